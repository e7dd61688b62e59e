//! Users: between the contract's words and the store's.

use merch_contract::grpc::assistant::v1 as proto;
use merch_contract::grpc::assistant::v1::ErrorReason;
use proto::get_credentials_request::By as ProtoBy;

use super::fields::{Fields, is_username};
use crate::clock::timestamp;
use crate::entity::users::Model;
use crate::failure::Failure;
use crate::store::Store;
use crate::store::users::{By, Changes, NewUser};

pub(super) async fn create_user(store: &Store, request: proto::CreateUserRequest) -> Result<proto::CreateUserResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let new = NewUser {
        sid: fields.sid("sid", request.sid),
        username: fields.username("username", request.username),
        email: fields.email("email", request.email),
        password_hash: fields.password_hash("password_hash", request.password_hash),
    };
    let (context, new) = fields.finish((context, new))?;
    let user = store.create_user(&context, &new).await?;
    Ok(proto::CreateUserResponse { user: Some(user.into()) })
}

pub(super) async fn get_credentials(
    store: &Store,
    request: proto::GetCredentialsRequest,
) -> Result<proto::GetCredentialsResponse, Failure> {
    let by = match request.by {
        None => return Err(Failure::invalid("by", "exactly one of username and caller; one must be set")),
        // Nobody has such a name, and nobody can guess its password: it is not counted either.
        Some(ProtoBy::Username(name)) if !is_username(&name) => return Err(Failure::Refused(ErrorReason::UserNotFound)),
        Some(ProtoBy::Username(name)) => {
            store.count_log_in(&name).await?;
            By::Username(name)
        }
        Some(ProtoBy::Caller(caller)) => {
            let mut fields = Fields::default();
            let caller = fields.caller("caller", Some(caller));
            By::Caller(fields.finish(caller)?)
        }
    };
    let user = store.credentials(&by).await?;
    Ok(proto::GetCredentialsResponse {
        user_id: user.id.to_string(),
        password_hash: user.password_hash.0,
        token_version: user.token_version,
    })
}

pub(super) async fn record_log_in(store: &Store, request: proto::RecordLogInRequest) -> Result<proto::RecordLogInResponse, Failure> {
    let mut fields = Fields::default();
    let read = (fields.context(request.context), fields.caller("caller", request.caller));
    let (context, caller) = fields.finish(read)?;
    store.record_log_in(&context, caller).await?;
    Ok(proto::RecordLogInResponse {})
}

pub(super) async fn revoke_tokens(store: &Store, request: proto::RevokeTokensRequest) -> Result<proto::RevokeTokensResponse, Failure> {
    let mut fields = Fields::default();
    let read = (fields.context(request.context), fields.caller("caller", request.caller));
    let (context, caller) = fields.finish(read)?;
    store.revoke_tokens(&context, caller).await?;
    Ok(proto::RevokeTokensResponse {})
}

pub(super) async fn get_user(store: &Store, request: proto::GetUserRequest) -> Result<proto::GetUserResponse, Failure> {
    let mut fields = Fields::default();
    let read = (fields.caller("caller", request.caller), fields.id("user_id", &request.user_id));
    let (caller, user_id) = fields.finish(read)?;
    let user = store.user(caller, user_id).await?;
    Ok(proto::GetUserResponse { user: Some(user.into()) })
}

pub(super) async fn update_user(store: &Store, request: proto::UpdateUserRequest) -> Result<proto::UpdateUserResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let caller = fields.caller("caller", request.caller);
    let user_id = fields.id("user_id", &request.user_id);
    let changes = Changes {
        username: request.username.map(|username| fields.username("username", username)),
        email: request.email.map(|email| fields.email("email", email)),
        expected_versions: request.expected_versions,
    };
    let changes = fields.finish(changes)?;
    let user = store.update_user(&context, caller, user_id, &changes).await?;
    Ok(proto::UpdateUserResponse { user: Some(user.into()) })
}

pub(super) async fn change_password(
    store: &Store,
    request: proto::ChangePasswordRequest,
) -> Result<proto::ChangePasswordResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let caller = fields.caller("caller", request.caller);
    let user_id = fields.id("user_id", &request.user_id);
    let hash = fields.password_hash("password_hash", request.password_hash);
    let hash = fields.finish(hash)?;
    store.change_password(&context, caller, user_id, &hash).await?;
    Ok(proto::ChangePasswordResponse {})
}

pub(super) async fn deactivate_user(
    store: &Store,
    request: proto::DeactivateUserRequest,
) -> Result<proto::DeactivateUserResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let caller = fields.caller("caller", request.caller);
    let user_id = fields.id("user_id", &request.user_id);
    fields.finish(())?;
    store.deactivate_user(&context, caller, user_id).await?;
    Ok(proto::DeactivateUserResponse {})
}

impl From<Model> for proto::User {
    fn from(user: Model) -> Self {
        Self {
            id: user.id.to_string(),
            sid: user.sid,
            username: user.username,
            email: user.email,
            active: user.is_active,
            created_at: Some(timestamp(user.created_at)),
            updated_at: Some(timestamp(user.updated_at)),
            version: user.version,
        }
    }
}
