//! Registering, logging in and out, and everything that one does with one's own user.

use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason, get_credentials_request::By};
use uuid::Uuid;

use super::Store;
use crate::{
    context::RequestContext,
    db::Kind,
    events::LogInFailure,
    identity::{Caller, HashFailure, Password},
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
    /// Makes a new buyer.
    pub(crate) async fn register(&self, user: NewUser) -> Result<User, Problem> {
        let password_hash = self.hasher.hash(user.password).await?;
        let request =
            proto::CreateUserRequest { context: context(), sid: user.sid, username: user.username, email: user.email, password_hash };
        // A second time would find the names taken, by the first.
        let answer = self.db.call(Kind::Once, request, |mut db, request| async move { db.create_user(request).await }).await?;
        Ok(User::try_from(required(answer.user, "CreateUser answered without a user")?)?)
    }

    /// Proves a password and gives a token. Whoever fails learns nothing of why, and waits as long as anybody.
    pub(crate) async fn log_in(&self, username: String, password: Password) -> Result<Session, Problem> {
        self.throttle.attempt(RequestContext::current().client_address()).map_err(Problem::too_many_attempts)?;

        // Asking for the credentials counts the attempt for the account, at all replicas together; past the rate it fails, and no password is
        // looked at.
        let request = proto::GetCredentialsRequest { by: Some(By::Username(username)) };
        // Made twice, it counts one attempt twice, which harms nobody.
        let found = match self.db.call(Kind::Keyed, request, |mut db, request| async move { db.get_credentials(request).await }).await {
            Ok(credentials) => Some(credentials),
            Err(failure) if failure.reason() == Some(ErrorReason::UserNotFound) => None,
            Err(failure) => return Err(failure.into()),
        };
        let proved = self.hasher.verify(found.as_ref().map(|credentials| credentials.password_hash.clone()), password).await?;
        let Some(credentials) = found else { return self.refuse_log_in(LogInFailure::UnknownUser, None).await };
        let caller = Caller { user_id: model::id(&credentials.user_id)?, token_version: credentials.token_version };
        if !proved {
            return self.refuse_log_in(LogInFailure::WrongPassword, Some(caller.user_id)).await;
        }

        let request = proto::RecordLogInRequest { context: context(), caller: Some(caller.to_proto()) };
        // A second time would write the event of a second log-in.
        match self.db.call(Kind::Once, request, |mut db, request| async move { db.record_log_in(request).await }).await {
            Ok(proto::RecordLogInResponse {}) => {}
            Err(failure) if failure.reason() == Some(ErrorReason::TokenRevoked) => {
                return self.refuse_log_in(LogInFailure::ChangedMeanwhile, Some(caller.user_id)).await;
            }
            Err(failure) => return Err(failure.into()),
        }
        let access_token = self.tokens.issue(caller).map_err(Problem::internal)?;
        Ok(Session { user_id: caller.user_id, access_token, expires_in: self.tokens.lifetime_seconds() })
    }

    async fn refuse_log_in(&self, reason: LogInFailure, user: Option<Uuid>) -> Result<Session, Problem> {
        self.events.log_in_failed(reason, user).await?;
        Err(Code::InvalidCredentials.into())
    }

    /// Makes every token of the caller void.
    pub(crate) async fn log_out(&self, caller: Caller) -> Result<(), Problem> {
        let _place = self.begin_write(caller)?;
        let request = proto::RevokeTokensRequest { context: context(), caller: Some(caller.to_proto()) };
        // It voids the token that it needs: if it was done and only the answer was lost, a second time would find a void token, and that would be told as 401
        // and logged as a refused token, which it is not.
        let result = self.db.call(Kind::Once, request, |mut db, request| async move { db.revoke_tokens(request).await }).await;
        let proto::RevokeTokensResponse {} = self.as_caller(caller, result).await?;
        Ok(())
    }

    /// Reads one's own user.
    pub(crate) async fn get_user(&self, caller: Caller, user_id: Uuid) -> Result<User, Problem> {
        let request = proto::GetUserRequest { caller: Some(caller.to_proto()), user_id: user_id.to_string() };
        let result = self.db.call(Kind::Safe, request, |mut db, request| async move { db.get_user(request).await }).await;
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
        let _place = self.begin_write(caller)?;
        // Values are set, not added to, so that a second time changes nothing. But with a condition the second time would fail where the first has succeeded.
        let kind = if expected_versions.is_empty() { Kind::Keyed } else { Kind::Once };
        let request = proto::UpdateUserRequest {
            context: context(),
            caller: Some(caller.to_proto()),
            user_id: user_id.to_string(),
            username: change.username,
            email: change.email,
            expected_versions,
        };
        let result = self.db.call(kind, request, |mut db, request| async move { db.update_user(request).await }).await;
        let answer = self.as_caller(caller, result).await?;
        Ok(User::try_from(required(answer.user, "UpdateUser answered without a user")?)?)
    }

    /// Replaces one's own password.
    pub(crate) async fn change_password(&self, caller: Caller, user_id: Uuid, current: Password, new: Password) -> Result<(), Problem> {
        let _place = self.begin_write(caller)?;
        // A void token is found out first, then a user who is somebody else; only then is a password looked at.
        let request = proto::GetCredentialsRequest { by: Some(By::Caller(caller.to_proto())) };
        let result = self.db.call(Kind::Safe, request, |mut db, request| async move { db.get_credentials(request).await }).await;
        let credentials = self.as_caller(caller, result).await?;
        if user_id != caller.user_id {
            return Err(Code::UserNotFound.into());
        }
        if !self.hasher.verify(Some(credentials.password_hash), current).await? {
            self.events.password_refused(caller.user_id).await?;
            return Err(Code::WrongPassword.into());
        }
        let request = proto::ChangePasswordRequest {
            context: context(),
            caller: Some(caller.to_proto()),
            user_id: user_id.to_string(),
            password_hash: self.hasher.hash(new).await?,
        };
        // It voids the token that it needs: as with a log-out.
        let result = self.db.call(Kind::Once, request, |mut db, request| async move { db.change_password(request).await }).await;
        let proto::ChangePasswordResponse {} = self.as_caller(caller, result).await?;
        Ok(())
    }

    /// Closes one's own account.
    pub(crate) async fn deactivate_user(&self, caller: Caller, user_id: Uuid) -> Result<(), Problem> {
        let _place = self.begin_write(caller)?;
        let request = proto::DeactivateUserRequest { context: context(), caller: Some(caller.to_proto()), user_id: user_id.to_string() };
        // It voids the token that it needs: as with a log-out.
        let result = self.db.call(Kind::Once, request, |mut db, request| async move { db.deactivate_user(request).await }).await;
        let proto::DeactivateUserResponse {} = self.as_caller(caller, result).await?;
        Ok(())
    }
}

fn context() -> Option<proto::RequestContext> {
    Some(RequestContext::current().to_proto())
}
