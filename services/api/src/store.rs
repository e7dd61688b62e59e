//! The use-cases of the store: what each operation does, in terms of the db service, identity and
//! log events. No HTTP in here.

mod orders;
mod products;
mod users;

use merch_chassis::{ConcurrencyLimit, ConcurrencyPermit, WriteClass};
use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use tokio_util::task::TaskTracker;

use crate::{
    db::{CallFailure, Db},
    events::Events,
    identity::{Caller, Hasher, Refusal, RevokedTokens, Throttle, Tokens},
    problem::{Code, Problem},
};
pub(crate) use users::{NewUser, Session, UserChange};

/// What every use-case needs.
pub(crate) struct Store {
    pub(crate) db: Db,
    pub(crate) events: Events,
    pub(crate) hasher: Hasher,
    pub(crate) throttle: Throttle,
    pub(crate) tokens: Tokens,
    /// The requests with each token version that change something and are not answered yet, in this
    /// process.
    pub(crate) writes: ConcurrencyLimit<(Caller, WriteClass)>,
    pub(crate) revoked: RevokedTokens,
    /// Requests that run to their end even if their client goes away; they may write log events.
    pub(crate) unfinished: TaskTracker,
}

impl Store {
    /// Returns the caller that a token names. Whether it was voided since, the db service decides
    /// in the statement that does the work; a token that it called void before is refused here.
    ///
    /// # Errors
    /// 401 after the refusal is on disk or counted; the client is not told what is wrong with the
    /// token. 503 if its event cannot be written.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<Caller, Problem> {
        let (refusal, user) = match self.tokens.verify(token) {
            Ok(caller) if !self.revoked.contains(caller) => return Ok(caller),
            Ok(caller) => (Refusal::Revoked, Some(caller.user_id)),
            Err(refusal) => (refusal, None),
        };
        self.events.token_refused(refusal, user).await?;
        Err(Code::TokenInvalid.into())
    }

    /// Takes a place among the changes of a class that the caller has under way, until the permit
    /// is dropped. The db service bounds them again, for all replicas of this one together. Changes
    /// of data have a rate as well.
    ///
    /// # Errors
    /// 429 if the caller has no place left, or sent too many within a minute.
    fn begin_write(
        &self,
        caller: Caller,
        class: WriteClass,
    ) -> Result<ConcurrencyPermit<(Caller, WriteClass)>, Problem> {
        let place = self.writes.try_acquire((caller, class)).ok_or(Code::TooManyWrites)?;
        match class {
            WriteClass::Data => self.throttle.write(caller).map_err(Problem::too_many_writes)?,
            WriteClass::Password | WriteClass::Revocation => {}
        }
        Ok(place)
    }

    /// Returns the result of a call for `caller`. A token that turns out to be void is a refused
    /// token: its event is on disk, or counted, before the answer.
    async fn as_caller<T>(
        &self,
        caller: Caller,
        result: Result<T, CallFailure>,
    ) -> Result<T, Problem> {
        match result {
            Ok(answer) => Ok(answer),
            Err(failure) => {
                let revoked = failure.reason() == Some(ErrorReason::TokenRevoked);
                let problem = Problem::from(failure);
                if revoked {
                    self.token_revoked(caller).await?;
                }
                Err(problem)
            }
        }
    }

    /// Remembers that the db service called a token void, and writes its event.
    async fn token_revoked(&self, caller: Caller) -> Result<(), Problem> {
        self.revoked.insert(caller);
        self.events.token_refused(Refusal::Revoked, Some(caller.user_id)).await
    }
}

impl Caller {
    fn to_proto(self) -> proto::Caller {
        proto::Caller { user_id: self.user_id.to_string(), token_version: self.token_version }
    }
}
