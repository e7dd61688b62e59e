//! Registering, logging in and out, and everything that one does with one's own user.

use std::sync::Arc;

use merch_chassis::WriteClass;
use merch_contract::grpc::assistant::v1::{
    self as proto, ErrorReason, begin_password_check_request::By,
};
use tracing::Instrument as _;
use uuid::Uuid;

use super::Store;
use crate::{
    context::RequestContext,
    db::{CallFailure, Idempotency},
    events::LogInFailure,
    identity::{Caller, HashFailure, Password, Place, Purpose, network},
    model::{self, User, required},
    problem::{Code, Problem},
};

/// Who wants to register.
pub(crate) struct NewUser {
    pub(crate) sid: String,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) password: Password,
}

/// What to change; what is `None` stays.
pub(crate) struct UserChange {
    pub(crate) username: Option<String>,
    pub(crate) email: Option<String>,
}

/// What logging in gives.
pub(crate) struct Session {
    pub(crate) user_id: Uuid,
    pub(crate) access_token: String,
    /// Seconds.
    pub(crate) expires_in: i32,
}

impl From<HashFailure> for Problem {
    fn from(failure: HashFailure) -> Self {
        match failure {
            HashFailure::Overloaded => Problem::unavailable(failure, None),
            HashFailure::Broken(_) => Problem::internal(failure),
        }
    }
}

impl Store {
    /// Makes a new buyer. What needs no hash is checked first, so that refused registrations cost
    /// little; the transaction decides again whether the names are free.
    pub(crate) async fn register(&self, user: NewUser) -> Result<User, Problem> {
        let peer = RequestContext::current().client_address();
        self.throttle.registration(peer).map_err(Problem::too_many_attempts)?;
        if user.password.is_guessable([&user.sid, &user.username, &user.email]) {
            return Err(Code::GuessablePassword.into());
        }
        let request = proto::CheckAvailabilityRequest {
            sid: user.sid.clone(),
            username: user.username.clone(),
            email: user.email.clone(),
        };
        let call = self.db.call(Idempotency::Safe, request, |mut db, request| async move {
            db.check_availability(request).await
        });
        let proto::CheckAvailabilityResponse {} = call.await?;

        let place = self.hasher.place(Purpose::Registration, peer)?;
        let request = proto::CreateUserRequest {
            context: context(),
            sid: user.sid,
            username: user.username,
            email: user.email,
            password_hash: self.hasher.hash(&place, user.password).await?,
            client_network: client_network(),
        };
        // A second time would find the names taken, by the first.
        let answer = self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.create_user(request).await
            })
            .await?;
        Ok(User::try_from(required(answer.user, "CreateUser answered without a user")?)?)
    }

    /// Proves a password and gives a token. Every refusal is the same answer after the same work.
    pub(crate) async fn log_in(
        self: &Arc<Self>,
        username: String,
        password: Password,
    ) -> Result<Session, Problem> {
        let peer = RequestContext::current().client_address();
        self.throttle.log_in(peer).map_err(Problem::too_many_attempts)?;
        // The place comes first: a request that finds none draws from no budget.
        let place = self.hasher.place(Purpose::LogIn, peer)?;
        let store = Arc::clone(self);
        self.uncancelled(async move { store.prove_and_log_in(username, password, place).await })
            .await
    }

    async fn prove_and_log_in(
        &self,
        username: String,
        password: Password,
        place: Place,
    ) -> Result<Session, Problem> {
        let check = self.begin_check(By::Username(username)).await?;
        let found = check.credentials.clone();
        let proved = self.verify(&place, &check, password.clone()).await?;
        let Some(credentials) = found else {
            return self.refuse_log_in(LogInFailure::UnknownUser, None).await;
        };
        let caller = Caller {
            user_id: model::id(&credentials.user_id)?,
            token_version: credentials.token_version,
        };
        if !proved {
            return self.refuse_log_in(LogInFailure::WrongPassword, Some(caller.user_id)).await;
        }

        let request = proto::RecordLogInRequest {
            context: context(),
            caller: Some(caller.to_proto()),
            client_network: client_network(),
            reservation: check.reservation.clone(),
            renewed_hash: self.renewed(&place, &credentials.password_hash, password).await,
        };
        // A second time would write the event of a second log-in.
        match self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.record_log_in(request).await
            })
            .await
        {
            Ok(proto::RecordLogInResponse {}) => {}
            Err(failure) => {
                self.give_back(check.reservation).await;
                if failure.reason() == Some(ErrorReason::TokenRevoked) {
                    return self
                        .refuse_log_in(LogInFailure::ChangedMeanwhile, Some(caller.user_id))
                        .await;
                }
                return Err(failure.into());
            }
        }
        let access_token = self.tokens.issue(caller).map_err(Problem::internal)?;
        Ok(Session {
            user_id: caller.user_id,
            access_token,
            expires_in: self.tokens.lifetime_seconds(),
        })
    }

    /// Reserves a password check at the db service, over all replicas together.
    async fn begin_check(&self, by: By) -> Result<proto::BeginPasswordCheckResponse, CallFailure> {
        let request =
            proto::BeginPasswordCheckRequest { by: Some(by), client_network: client_network() };
        // A call that is sent twice may reserve two checks; the budget recovers with time.
        self.db
            .call(Idempotency::Idempotent, request, |mut db, request| async move {
                db.begin_password_check(request).await
            })
            .await
    }

    /// Checks a password that a check was reserved for. If it was not hashed, the reservation is
    /// given back.
    async fn verify(
        &self,
        place: &Place,
        check: &proto::BeginPasswordCheckResponse,
        password: Password,
    ) -> Result<bool, Problem> {
        let stored = check.credentials.as_ref().map(|found| found.password_hash.clone());
        let greatest = u8::try_from(check.hash_cost).unwrap_or_default();
        match self.hasher.verify(place, stored, greatest, password).await {
            Ok(proved) => Ok(proved),
            Err(failure) => {
                self.give_back(check.reservation.clone()).await;
                Err(failure.into())
            }
        }
    }

    /// Gives a reservation back. A right password keeps none, also when what it was for fails.
    async fn give_back(&self, reservation: Vec<u8>) {
        let request = proto::CancelPasswordCheckRequest { reservation };
        let call =
            self.db.call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.cancel_password_check(request).await
            });
        if let Err(error) = call.await {
            tracing::warn!(%error, "failed to give a password check back");
        }
    }

    /// A hash of a password that was proved at the present cost; empty if the stored one has it, or
    /// if hashing failed, as the next log-in tries again.
    async fn renewed(&self, place: &Place, stored: &str, password: Password) -> String {
        if !self.hasher.is_outdated(stored) {
            return String::new();
        }
        self.hasher.hash(place, password).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to renew a password hash; the next log-in tries again");
            String::new()
        })
    }

    async fn refuse_log_in(
        &self,
        reason: LogInFailure,
        user: Option<Uuid>,
    ) -> Result<Session, Problem> {
        self.events.log_in_failed(reason, user).await?;
        Err(Code::InvalidCredentials.into())
    }

    /// Makes every token of the caller void.
    pub(crate) async fn log_out(&self, caller: Caller) -> Result<(), Problem> {
        let _place = self.begin_write(caller, WriteClass::Revocation)?;
        let request =
            proto::RevokeTokensRequest { context: context(), caller: Some(caller.to_proto()) };
        // It voids the token that it needs: if it was done and only the answer was lost, a second
        // time would find a void token, and that would be told as 401 and logged as a refused
        // token, which it is not.
        let result = self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.revoke_tokens(request).await
            })
            .await;
        let proto::RevokeTokensResponse {} = self.as_caller(caller, result).await?;
        Ok(())
    }

    /// Reads one's own user.
    pub(crate) async fn get_user(&self, caller: Caller, user_id: Uuid) -> Result<User, Problem> {
        let request =
            proto::GetUserRequest { caller: Some(caller.to_proto()), user_id: user_id.to_string() };
        let result = self
            .db
            .call(Idempotency::Safe, request, |mut db, request| async move {
                db.get_user(request).await
            })
            .await;
        let answer = self.as_caller(caller, result).await?;
        Ok(User::try_from(required(answer.user, "GetUser answered without a user")?)?)
    }

    /// Changes one's own user, if it has one of the expected versions; none at all means any.
    pub(crate) async fn update_user(
        &self,
        caller: Caller,
        user_id: Uuid,
        change: UserChange,
        expected_versions: Vec<i64>,
    ) -> Result<User, Problem> {
        if change.username.is_some() || change.email.is_some() {
            let peer = RequestContext::current().client_address();
            self.throttle.renaming(peer).map_err(Problem::too_many_attempts)?;
        }
        let _place = self.begin_write(caller, WriteClass::Data)?;
        // Values are set, not added to, so that a second time changes nothing. But with a condition
        // the second time would fail where the first has succeeded.
        let kind = if expected_versions.is_empty() {
            Idempotency::Idempotent
        } else {
            Idempotency::NonIdempotent
        };
        let request = proto::UpdateUserRequest {
            context: context(),
            caller: Some(caller.to_proto()),
            user_id: user_id.to_string(),
            username: change.username,
            email: change.email,
            expected_versions,
        };
        let result = self
            .db
            .call(kind, request, |mut db, request| async move { db.update_user(request).await })
            .await;
        let answer = self.as_caller(caller, result).await?;
        Ok(User::try_from(required(answer.user, "UpdateUser answered without a user")?)?)
    }

    /// Replaces the caller's password. A void token is found first, then another user, then a new
    /// password that is refused; only then is the current password checked, which draws from the
    /// same budgets as a log-in.
    pub(crate) async fn change_password(
        self: &Arc<Self>,
        caller: Caller,
        user_id: Uuid,
        current: Password,
        new: Password,
    ) -> Result<(), Problem> {
        let peer = RequestContext::current().client_address();
        self.throttle.password_change(peer).map_err(Problem::too_many_attempts)?;
        let under_way = self.begin_write(caller, WriteClass::Password)?;
        let user = self.get_user(caller, user_id).await?;
        if new.is_guessable([&user.sid, &user.username, &user.email]) {
            return Err(Code::GuessablePassword.into());
        }
        let place = self.hasher.place(Purpose::PasswordChange, peer)?;
        let store = Arc::clone(self);
        self.uncancelled(async move {
            let _under_way = under_way;
            store.prove_and_change(caller, current, new, place).await
        })
        .await
    }

    async fn prove_and_change(
        &self,
        caller: Caller,
        current: Password,
        new: Password,
        place: Place,
    ) -> Result<(), Problem> {
        let check = self.begin_check(By::Caller(caller.to_proto())).await;
        let check = self.as_caller(caller, check).await?;
        if !self.verify(&place, &check, current).await? {
            self.events.password_refused(caller.user_id).await?;
            return Err(Code::WrongPassword.into());
        }
        let changed = self.replace_password(caller, new, &place, check.reservation.clone()).await;
        if changed.is_err() {
            self.give_back(check.reservation).await;
        }
        changed
    }

    /// Replaces the password of a caller who proved the present one.
    async fn replace_password(
        &self,
        caller: Caller,
        new: Password,
        place: &Place,
        reservation: Vec<u8>,
    ) -> Result<(), Problem> {
        let request = proto::ChangePasswordRequest {
            context: context(),
            caller: Some(caller.to_proto()),
            user_id: caller.user_id.to_string(),
            password_hash: self.hasher.hash(place, new).await?,
            client_network: client_network(),
            reservation,
        };
        // It voids the token that it needs: as with a log-out.
        let result = self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.change_password(request).await
            })
            .await;
        let proto::ChangePasswordResponse {} = self.as_caller(caller, result).await?;
        Ok(())
    }

    /// Closes one's own account.
    pub(crate) async fn deactivate_user(
        &self,
        caller: Caller,
        user_id: Uuid,
    ) -> Result<(), Problem> {
        let _place = self.begin_write(caller, WriteClass::Revocation)?;
        let request = proto::DeactivateUserRequest {
            context: context(),
            caller: Some(caller.to_proto()),
            user_id: user_id.to_string(),
        };
        // It voids the token that it needs: as with a log-out.
        let result = self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.deactivate_user(request).await
            })
            .await;
        let proto::DeactivateUserResponse {} = self.as_caller(caller, result).await?;
        Ok(())
    }

    /// Runs `work` to its end as part of this request, even if the client goes away: a password
    /// check that is reserved is hashed, so that it counts for what it is. The shutdown waits for
    /// it.
    async fn uncancelled<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let work = RequestContext::current().scope(work).in_current_span();
        self.unfinished.spawn(work).await.unwrap_or_else(|error| Err(Problem::internal(error)))
    }
}

/// Where the client is, as the db service counts it.
fn client_network() -> String {
    let address = RequestContext::current().client_address();
    address.map(|address| network(address).to_string()).unwrap_or_default()
}

fn context() -> Option<proto::RequestContext> {
    Some(RequestContext::current().to_proto())
}
