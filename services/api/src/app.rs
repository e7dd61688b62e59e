//! The use cases, one method per operation. They do not depend on HTTP: `http` maps an [`AppError`]
//! to a response.

mod order_batches;
mod orders;
mod products;
mod users;

use std::time::Duration;

use merch_chassis::{ConcurrencyLimit, ConcurrencyPermit, WriteClass};
use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use merch_logging::client::journal::AppendError;
use tokio_util::task::TaskTracker;

pub(crate) use self::{order_batches::OrderBatches, products::Catalogue};
use crate::{
    db::{Db, DbError},
    events::Events,
    identity::{Caller, HashError, Hasher, RateLimits, RevokedTokens, TokenError, Tokens},
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error("the token is not valid")]
    InvalidToken,
    #[error("the username or the password is wrong")]
    InvalidCredentials,
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("the new password is easy to guess")]
    GuessablePassword,
    /// With the time to wait before a retry.
    #[error("the client network sends too many attempts")]
    TooManyAttempts(Duration),
    #[error("the caller has too many writes in flight")]
    TooManyWritesInFlight,
    /// With the time to wait before a retry.
    #[error("the caller exceeds the write rate")]
    WriteRateExceeded(Duration),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error("failed to write an event to the journal: {0}")]
    Event(#[from] AppendError),
    #[error("failed to sign a token: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
    #[error("the task of the request panicked")]
    TaskPanicked,
}

pub(crate) struct App {
    pub(crate) db: Db,
    pub(crate) catalogue: Catalogue,
    pub(crate) orders: OrderBatches,
    pub(crate) events: Events,
    pub(crate) hasher: Hasher,
    pub(crate) rate_limits: RateLimits,
    pub(crate) tokens: Tokens,
    /// Writes in flight in this process.
    pub(crate) writes: ConcurrencyLimit<(Caller, WriteClass)>,
    pub(crate) revoked: RevokedTokens,
    /// Tasks that continue after their client disconnects.
    pub(crate) uncancelled: TaskTracker,
    /// Logs the error of such a task like that of a response.
    pub(crate) log_abandoned: fn(AppError),
}

impl App {
    /// Verifies a token, also against the revoked ones that are cached. The db service checks the
    /// token version again in each statement. The event of a refusal is on disk, or counted, before
    /// this returns.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<Caller, AppError> {
        let (error, user) = match self.tokens.verify(token) {
            Ok(caller) if !self.revoked.contains(caller) => return Ok(caller),
            Ok(caller) => (TokenError::Revoked, Some(caller.user_id)),
            Err(error) => (error, None),
        };
        self.events.token_refused(error, user).await?;
        Err(AppError::InvalidToken)
    }

    /// Acquires a permit for a write. The db service limits a user's writes across all api
    /// replicas.
    fn begin_write(
        &self,
        caller: Caller,
        class: WriteClass,
    ) -> Result<ConcurrencyPermit<(Caller, WriteClass)>, AppError> {
        let permit =
            self.writes.try_acquire((caller, class)).ok_or(AppError::TooManyWritesInFlight)?;
        match class {
            WriteClass::Data => {
                self.rate_limits.write(caller).map_err(AppError::WriteRateExceeded)?;
            }
            WriteClass::Password | WriteClass::Revocation => {}
        }
        Ok(permit)
    }

    /// Returns the result of a call. If the db service refused the token, the event is on disk, or
    /// counted, before this returns.
    async fn as_caller<T>(
        &self,
        caller: Caller,
        result: Result<T, DbError>,
    ) -> Result<T, AppError> {
        if let Err(error) = &result
            && error.reason() == Some(ErrorReason::TokenRevoked)
        {
            self.revoked.insert(caller);
            self.events.token_refused(TokenError::Revoked, Some(caller.user_id)).await?;
        }
        Ok(result?)
    }
}

impl Caller {
    fn to_proto(self) -> proto::Caller {
        proto::Caller { user_id: self.user_id.to_string(), token_version: self.token_version }
    }
}
