//! The operations of `UserManager`.

use merch_contract::rest::server as rest;

use super::{Handlers, respond};
use crate::{etag, identity::Password};

impl rest::UserManager for Handlers {
    async fn register(&self, body: rest::Registration) -> rest::RegisterResponse {
        respond(async {
            let user = self.app.register(body).await?;
            let (location, etag) =
                (format!("/users/{}", user.value.id), etag::from_version(user.version));
            Ok(rest::RegisterResponse::Created { body: user.value.into(), location, etag })
        })
        .await
    }

    async fn log_in(&self, body: rest::Credentials) -> rest::LogInResponse {
        respond(async {
            let token = self.app.log_in(body.username, Password::new(body.password)).await?;
            Ok(rest::LogInResponse::Ok { body: token.into() })
        })
        .await
    }

    async fn log_out(&self, bearer_auth: rest::BearerAuth) -> rest::LogOutResponse {
        respond(async {
            let caller = self.app.authenticate(bearer_auth.token()).await?;
            self.app.log_out(caller).await?;
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
        respond(async {
            let caller = self.app.authenticate(bearer_auth.token()).await?;
            let user = self.app.get_user(caller, user_id).await?;
            let etag = etag::from_version(user.version);
            if etag::matches_if_none_match(if_none_match.as_deref(), &etag)? {
                return Ok(rest::GetUserResponse::NotModified { etag });
            }
            Ok(rest::GetUserResponse::Ok { body: user.value.into(), etag })
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
        respond(async {
            let caller = self.app.authenticate(bearer_auth.token()).await?;
            let expected_versions = etag::expected_versions(if_match.as_deref())?;
            let user = self.app.update_user(caller, user_id, body, expected_versions).await?;
            let etag = etag::from_version(user.version);
            Ok(rest::UpdateUserResponse::Ok { body: user.value.into(), etag })
        })
        .await
    }

    async fn deactivate_user(
        &self,
        bearer_auth: rest::BearerAuth,
        user_id: rest::UserId,
    ) -> rest::DeactivateUserResponse {
        respond(async {
            let caller = self.app.authenticate(bearer_auth.token()).await?;
            self.app.deactivate_user(caller, user_id).await?;
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
        respond(async {
            let caller = self.app.authenticate(bearer_auth.token()).await?;
            let (current, new) =
                (Password::new(body.current_password), Password::new(body.new_password));
            self.app.change_password(caller, user_id, current, new).await?;
            Ok(rest::ChangePasswordResponse::NoContent)
        })
        .await
    }
}
