//! The use-cases of the store: what each operation does, in terms of the db service, identity and log events. No HTTP in here.

mod orders;
mod products;
mod users;

use merch_chassis::{InFlight, InFlightPermit};
use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use uuid::Uuid;

use crate::{
    db::{CallFailure, Db},
    events::Events,
    identity::{Caller, Hasher, Refusal, Throttle, Tokens},
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
    /// The requests of each user that change something and are not answered yet, in this process.
    pub(crate) writes: InFlight<Uuid>,
}

impl Store {
    /// Who a token says is calling. Whether the token is void since, the db service says, in the statement that does the work.
    ///
    /// # Errors
    /// 401 after the refusal is on disk; the client is not told what is wrong with the token.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<Caller, Problem> {
        match self.tokens.verify(token) {
            Ok(caller) => Ok(caller),
            Err(refusal) => {
                self.events.token_refused(refusal, None).await?;
                Err(Code::TokenInvalid.into())
            }
        }
    }

    /// Takes a place among the changes that the caller has under way, until the permit is dropped. The db service bounds them again, for all
    /// replicas of this one together.
    ///
    /// # Errors
    /// 429 if the caller has no place left.
    fn begin_write(&self, caller: Caller) -> Result<InFlightPermit<Uuid>, Problem> {
        self.writes.try_acquire(caller.user_id).ok_or_else(|| Code::TooManyWrites.into())
    }

    /// What a call in somebody's name came to. A token that turned out to be void is a refused token, and its event is on disk before the answer.
    async fn as_caller<T>(&self, caller: Caller, result: Result<T, CallFailure>) -> Result<T, Problem> {
        match result {
            Ok(answer) => Ok(answer),
            Err(failure) => {
                let revoked = failure.reason() == Some(ErrorReason::TokenRevoked);
                let problem = Problem::from(failure);
                if revoked {
                    self.events.token_refused(Refusal::Revoked, Some(caller.user_id)).await?;
                }
                Err(problem)
            }
        }
    }
}

impl Caller {
    fn to_proto(self) -> proto::Caller {
        proto::Caller { user_id: self.user_id.to_string(), token_version: self.token_version }
    }
}
