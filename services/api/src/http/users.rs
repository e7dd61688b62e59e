//! Users, over HTTP.

use merch_contract::rest::server as rest;

use super::{Api, answer};
use crate::{
    etag,
    identity::Password,
    model::User,
    store::{NewUser, Session, UserChange},
};

impl rest::UserManager for Api {
    async fn register(&self, body: rest::Registration) -> rest::RegisterResponse {
        answer(async {
            let user = self.store.register(body.into()).await?;
            let (location, etag) = (format!("/users/{}", user.id), etag::of_version(user.version));
            Ok(rest::RegisterResponse::Created { body: user.into(), location, etag })
        })
        .await
    }

    async fn log_in(&self, body: rest::Credentials) -> rest::LogInResponse {
        answer(async {
            let session = self.store.log_in(body.username, Password::new(body.password)).await?;
            Ok(rest::LogInResponse::Ok { body: session.into() })
        })
        .await
    }

    async fn log_out(&self, bearer_auth: rest::BearerAuth) -> rest::LogOutResponse {
        answer(async {
            let caller = self.store.authenticate(bearer_auth.token()).await?;
            self.store.log_out(caller).await?;
            Ok(rest::LogOutResponse::NoContent)
        })
        .await
    }

    async fn get_user(
        &self,
        bearer_auth: rest::BearerAuth,
        user_id: rest::UserId,
        if_none_match: Option<String>,
    ) -> rest::GetUserResponse {
        answer(async {
            let caller = self.store.authenticate(bearer_auth.token()).await?;
            let user = self.store.get_user(caller, user_id).await?;
            let etag = etag::of_version(user.version);
            if etag::none_match_holds(if_none_match.as_deref(), &etag)? {
                return Ok(rest::GetUserResponse::NotModified { etag });
            }
            Ok(rest::GetUserResponse::Ok { body: user.into(), etag })
        })
        .await
    }

    async fn update_user(
        &self,
        bearer_auth: rest::BearerAuth,
        user_id: rest::UserId,
        if_match: Option<String>,
        body: rest::UserChange,
    ) -> rest::UpdateUserResponse {
        answer(async {
            let caller = self.store.authenticate(bearer_auth.token()).await?;
            let expected_versions = etag::expected_versions(if_match.as_deref())?;
            let user =
                self.store.update_user(caller, user_id, body.into(), expected_versions).await?;
            let etag = etag::of_version(user.version);
            Ok(rest::UpdateUserResponse::Ok { body: user.into(), etag })
        })
        .await
    }

    async fn deactivate_user(
        &self,
        bearer_auth: rest::BearerAuth,
        user_id: rest::UserId,
    ) -> rest::DeactivateUserResponse {
        answer(async {
            let caller = self.store.authenticate(bearer_auth.token()).await?;
            self.store.deactivate_user(caller, user_id).await?;
            Ok(rest::DeactivateUserResponse::NoContent)
        })
        .await
    }

    async fn change_password(
        &self,
        bearer_auth: rest::BearerAuth,
        user_id: rest::UserId,
        body: rest::PasswordChange,
    ) -> rest::ChangePasswordResponse {
        answer(async {
            let caller = self.store.authenticate(bearer_auth.token()).await?;
            let (current, new) =
                (Password::new(body.current_password), Password::new(body.new_password));
            self.store.change_password(caller, user_id, current, new).await?;
            Ok(rest::ChangePasswordResponse::NoContent)
        })
        .await
    }
}

impl From<rest::Registration> for NewUser {
    fn from(user: rest::Registration) -> Self {
        Self {
            sid: user.sid,
            username: user.username,
            email: user.email,
            password: Password::new(user.password),
        }
    }
}

impl From<rest::UserChange> for UserChange {
    fn from(change: rest::UserChange) -> Self {
        Self { username: change.username, email: change.email }
    }
}

impl From<User> for rest::User {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            sid: user.sid,
            username: user.username,
            email: user.email,
            active: user.active,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

impl From<Session> for rest::AccessToken {
    fn from(session: Session) -> Self {
        Self {
            access_token: session.access_token,
            token_type: rest::AccessTokenTokenType::Bearer,
            expires_in: session.expires_in,
            user_id: session.user_id,
        }
    }
}
