use std::sync::Arc;

use merch_chassis::WriteClass;
use merch_contract::{
    grpc::assistant::v1::{self as proto, ErrorReason, begin_password_check_request::By},
    rest::server as rest,
};
use tokio::sync::oneshot;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{App, AppError};
use crate::{
    context::RequestContext,
    convert::{Versioned, id, required},
    db::{DbError, Idempotency},
    events::LogInError,
    identity::{Caller, Password, Purpose, QueueSlot, network},
};

impl App {
    /// Registers a buyer. Cheap checks come before the hash; the transaction repeats them.
    pub(crate) async fn register(
        &self,
        user: rest::Registration,
    ) -> Result<Versioned<rest::User>, AppError> {
        let password = Password::new(user.password);
        let client = RequestContext::current().client_address();
        self.rate_limits.registration(client).map_err(AppError::TooManyAttempts)?;
        if password.is_guessable([&user.sid, &user.username, &user.email]) {
            return Err(AppError::GuessablePassword);
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

        let slot = self.hasher.try_enqueue(Purpose::Registration, client)?;
        let request = proto::CreateUserRequest {
            context: context(),
            sid: user.sid,
            username: user.username,
            email: user.email,
            password_hash: self.hasher.hash(&slot, password).await?,
            client_network: client_network(),
        };
        // Not repeatable: the second call would find the names taken by the first.
        let response = self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.create_user(request).await
            })
            .await?;
        Ok(required(response.user, "CreateUser returned no user")?.try_into()?)
    }

    /// Verifies a password and issues a token. All refusals look the same and take the same time.
    pub(crate) async fn log_in(
        self: &Arc<Self>,
        username: String,
        password: Password,
    ) -> Result<rest::AccessToken, AppError> {
        let client = RequestContext::current().client_address();
        self.rate_limits.log_in(client).map_err(AppError::TooManyAttempts)?;
        // Before the reservation: a request without a slot must not use the account's budget.
        let slot = self.hasher.try_enqueue(Purpose::LogIn, client)?;
        let app = Arc::clone(self);
        self.run_uncancelled(async move { app.verify_and_log_in(username, password, slot).await })
            .await
    }

    async fn verify_and_log_in(
        &self,
        username: String,
        password: Password,
        slot: QueueSlot,
    ) -> Result<rest::AccessToken, AppError> {
        let check = self.begin_check(By::Username(username)).await?;
        let credentials = check.credentials.clone();
        let matches = self.verify(&slot, &check, password.clone()).await?;
        let Some(credentials) = credentials else {
            return self.refuse_log_in(LogInError::UnknownUser, None).await;
        };
        let caller =
            Caller { user_id: id(&credentials.user_id)?, token_version: credentials.token_version };
        if !matches {
            return self.refuse_log_in(LogInError::WrongPassword, Some(caller.user_id)).await;
        }

        let request = proto::RecordLogInRequest {
            context: context(),
            caller: Some(caller.to_proto()),
            client_network: client_network(),
            reservation: check.reservation.clone(),
            renewed_hash: self.rehash(&slot, &credentials.password_hash, password).await,
        };
        // Not repeatable: it would write a second event.
        let result = self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.record_log_in(request).await
            })
            .await;
        if let Err(error) = result {
            self.cancel_reservation(check.reservation).await;
            if error.reason() == Some(ErrorReason::TokenRevoked) {
                return self
                    .refuse_log_in(LogInError::ChangedMeanwhile, Some(caller.user_id))
                    .await;
            }
            return Err(error.into());
        }
        Ok(rest::AccessToken {
            access_token: self.tokens.issue(caller)?,
            token_type: rest::AccessTokenTokenType::Bearer,
            expires_in: self.tokens.lifetime_seconds(),
            user_id: caller.user_id,
        })
    }

    /// Reserves a password check in the account's budget at the db service.
    async fn begin_check(&self, by: By) -> Result<proto::BeginPasswordCheckResponse, DbError> {
        let request =
            proto::BeginPasswordCheckRequest { by: Some(by), client_network: client_network() };
        // A repetition may reserve two checks; the budget recovers with time.
        self.db
            .call(Idempotency::Idempotent, request, |mut db, request| async move {
                db.begin_password_check(request).await
            })
            .await
    }

    async fn verify(
        &self,
        slot: &QueueSlot,
        check: &proto::BeginPasswordCheckResponse,
        password: Password,
    ) -> Result<bool, AppError> {
        let stored = check.credentials.as_ref().map(|found| found.password_hash.clone());
        let max_stored_cost = u8::try_from(check.hash_cost).unwrap_or_default();
        match self.hasher.verify(slot, stored, max_stored_cost, password).await {
            Ok(matches) => Ok(matches),
            Err(error) => {
                self.cancel_reservation(check.reservation.clone()).await;
                Err(error.into())
            }
        }
    }

    async fn cancel_reservation(&self, reservation: Vec<u8>) {
        let request = proto::CancelPasswordCheckRequest { reservation };
        let call =
            self.db.call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.cancel_password_check(request).await
            });
        if let Err(error) = call.await {
            tracing::warn!(%error, "failed to cancel the reservation of a password check");
        }
    }

    /// Returns a hash at the current cost; empty if the stored one has it, or if hashing fails.
    async fn rehash(&self, slot: &QueueSlot, stored: &str, password: Password) -> String {
        if !self.hasher.needs_rehash(stored) {
            return String::new();
        }
        self.hasher.hash(slot, password).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to rehash a password; retrying at the next log-in");
            String::new()
        })
    }

    async fn refuse_log_in(
        &self,
        reason: LogInError,
        user: Option<Uuid>,
    ) -> Result<rest::AccessToken, AppError> {
        self.events.log_in_failed(reason, user).await?;
        Err(AppError::InvalidCredentials)
    }

    pub(crate) async fn log_out(&self, caller: Caller) -> Result<(), AppError> {
        let _permit = self.begin_write(caller, WriteClass::Revocation)?;
        let request =
            proto::RevokeTokensRequest { context: context(), caller: Some(caller.to_proto()) };
        // Not repeatable: the call revokes its own token. If only the response was lost, the
        // second call would return 401 and log a refused token.
        let result = self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.revoke_tokens(request).await
            })
            .await;
        let proto::RevokeTokensResponse {} = self.as_caller(caller, result).await?;
        Ok(())
    }

    pub(crate) async fn get_user(
        &self,
        caller: Caller,
        user_id: Uuid,
    ) -> Result<Versioned<rest::User>, AppError> {
        let request =
            proto::GetUserRequest { caller: Some(caller.to_proto()), user_id: user_id.to_string() };
        let result = self
            .db
            .call(Idempotency::Safe, request, |mut db, request| async move {
                db.get_user(request).await
            })
            .await;
        let response = self.as_caller(caller, result).await?;
        Ok(required(response.user, "GetUser returned no user")?.try_into()?)
    }

    /// Updates the user if it has one of `expected_versions`; empty means any version.
    pub(crate) async fn update_user(
        &self,
        caller: Caller,
        user_id: Uuid,
        change: rest::UserChange,
        expected_versions: Vec<i64>,
    ) -> Result<Versioned<rest::User>, AppError> {
        if change.username.is_some() || change.email.is_some() {
            let client = RequestContext::current().client_address();
            self.rate_limits.user_update(client).map_err(AppError::TooManyAttempts)?;
        }
        let _permit = self.begin_write(caller, WriteClass::Data)?;
        // With a condition, a repetition would fail after the first call has succeeded.
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
        let response = self.as_caller(caller, result).await?;
        Ok(required(response.user, "UpdateUser returned no user")?.try_into()?)
    }

    /// Replaces the caller's password. The current one is checked last, in the budgets of a log-in.
    pub(crate) async fn change_password(
        self: &Arc<Self>,
        caller: Caller,
        user_id: Uuid,
        current: Password,
        new: Password,
    ) -> Result<(), AppError> {
        let client = RequestContext::current().client_address();
        self.rate_limits.password_change(client).map_err(AppError::TooManyAttempts)?;
        let permit = self.begin_write(caller, WriteClass::Password)?;
        let user = self.get_user(caller, user_id).await?.value;
        if new.is_guessable([&user.sid, &user.username, &user.email]) {
            return Err(AppError::GuessablePassword);
        }
        let slot = self.hasher.try_enqueue(Purpose::PasswordChange, client)?;
        let app = Arc::clone(self);
        self.run_uncancelled(async move {
            let _permit = permit;
            app.verify_and_change(caller, current, new, slot).await
        })
        .await
    }

    async fn verify_and_change(
        &self,
        caller: Caller,
        current: Password,
        new: Password,
        slot: QueueSlot,
    ) -> Result<(), AppError> {
        let check = self.begin_check(By::Caller(caller.to_proto())).await;
        let check = self.as_caller(caller, check).await?;
        if !self.verify(&slot, &check, current).await? {
            self.events.password_refused(caller.user_id).await?;
            return Err(AppError::WrongPassword);
        }
        let result = self.replace_password(caller, new, &slot, check.reservation.clone()).await;
        if result.is_err() {
            self.cancel_reservation(check.reservation).await;
        }
        result
    }

    async fn replace_password(
        &self,
        caller: Caller,
        new: Password,
        slot: &QueueSlot,
        reservation: Vec<u8>,
    ) -> Result<(), AppError> {
        let request = proto::ChangePasswordRequest {
            context: context(),
            caller: Some(caller.to_proto()),
            user_id: caller.user_id.to_string(),
            password_hash: self.hasher.hash(slot, new).await?,
            client_network: client_network(),
            reservation,
        };
        // Not repeatable: the call revokes its own token, as in `log_out`.
        let result = self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.change_password(request).await
            })
            .await;
        let proto::ChangePasswordResponse {} = self.as_caller(caller, result).await?;
        Ok(())
    }

    pub(crate) async fn deactivate_user(
        &self,
        caller: Caller,
        user_id: Uuid,
    ) -> Result<(), AppError> {
        let _permit = self.begin_write(caller, WriteClass::Revocation)?;
        let request = proto::DeactivateUserRequest {
            context: context(),
            caller: Some(caller.to_proto()),
            user_id: user_id.to_string(),
        };
        // Not repeatable: the call revokes its own token, as in `log_out`.
        let result = self
            .db
            .call(Idempotency::NonIdempotent, request, |mut db, request| async move {
                db.deactivate_user(request).await
            })
            .await;
        let proto::DeactivateUserResponse {} = self.as_caller(caller, result).await?;
        Ok(())
    }

    /// Runs `work` as a task that continues after the client disconnects, so that each reserved
    /// check is hashed. The shutdown waits for it.
    async fn run_uncancelled<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, AppError>> + Send + 'static,
    ) -> Result<T, AppError> {
        let (sender, receiver) = oneshot::channel();
        let log_abandoned = self.log_abandoned;
        let work = async move {
            if let Err(Err(error)) = sender.send(work.await) {
                log_abandoned(error);
            }
        };
        let work = RequestContext::current().scope(work).in_current_span();
        self.uncancelled.spawn(work);
        receiver.await.unwrap_or(Err(AppError::TaskPanicked))
    }
}

fn client_network() -> String {
    let address = RequestContext::current().client_address();
    address.map(|address| network(address).to_string()).unwrap_or_default()
}

fn context() -> Option<proto::RequestContext> {
    Some(RequestContext::current().to_proto())
}
