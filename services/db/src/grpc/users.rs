use merch_contract::{
    grpc::assistant::{v1 as proto, v1::ErrorReason},
    validation::Validate as _,
};
use proto::{begin_password_check_request::By as CheckBy, get_credentials_request::By as ProtoBy};

use super::read;
use crate::{
    clock::timestamp,
    entity::users::{Model, PasswordHash},
    failure::Failure,
    store::{
        Store, UserLookup,
        known_networks::Network,
        users::{NewUser, UserChanges, VerifiedPassword},
    },
};

pub(super) async fn create_user(
    store: &Store,
    request: proto::CreateUserRequest,
) -> Result<proto::CreateUserResponse, Failure> {
    let new = NewUser {
        sid: request.sid,
        username: request.username,
        email: request.email,
        password_hash: PasswordHash(request.password_hash),
        network: read::network(&request.client_network)?,
    };
    let user = store.create_user(&read::context(request.context), &new).await?;
    Ok(proto::CreateUserResponse { user: Some(user.into()) })
}

pub(super) async fn check_availability(
    store: &Store,
    request: proto::CheckAvailabilityRequest,
) -> Result<proto::CheckAvailabilityResponse, Failure> {
    store.check_availability(&request.sid, &request.username, &request.email).await?;
    Ok(proto::CheckAvailabilityResponse {})
}

pub(super) async fn begin_password_check(
    store: &Store,
    request: proto::BeginPasswordCheckRequest,
) -> Result<proto::BeginPasswordCheckResponse, Failure> {
    let by = match request.by {
        None => return Err(read::unchecked("by")),
        Some(CheckBy::Username(name)) => UserLookup::Username(name),
        Some(CheckBy::Caller(caller)) => UserLookup::Caller(read::caller(Some(caller))?),
    };
    let network = read::network(&request.client_network)?;
    let check = store.begin_password_check(&by, &network).await?;
    Ok(proto::BeginPasswordCheckResponse {
        credentials: check.user.map(|user| proto::Credentials {
            user_id: user.id.to_string(),
            password_hash: user.password_hash.0,
            token_version: user.token_version,
        }),
        hash_cost: check.hash_cost,
        reservation: check.reservation.to_bytes(),
    })
}

pub(super) async fn cancel_password_check(
    store: &Store,
    request: proto::CancelPasswordCheckRequest,
) -> Result<proto::CancelPasswordCheckResponse, Failure> {
    store.cancel_password_check(&read::reservation(&request.reservation)?).await?;
    Ok(proto::CancelPasswordCheckResponse {})
}

pub(super) async fn get_credentials(
    store: &Store,
    request: proto::GetCredentialsRequest,
) -> Result<proto::GetCredentialsResponse, Failure> {
    let user = match request.by {
        None => return Err(read::unchecked("by")),
        // No user can have a name that BeginPasswordCheck refuses, so no check is counted.
        Some(ProtoBy::Username(name)) if !is_username(&name) => None,
        Some(ProtoBy::Username(name)) => {
            store.begin_password_check(&UserLookup::Username(name), &Network::default()).await?.user
        }
        Some(ProtoBy::Caller(caller)) => {
            store.find_user(&UserLookup::Caller(read::caller(Some(caller))?)).await?
        }
    };
    let user = user.ok_or(Failure::Refused(ErrorReason::UserNotFound))?;
    Ok(proto::GetCredentialsResponse {
        user_id: user.id.to_string(),
        password_hash: user.password_hash.0,
        token_version: user.token_version,
    })
}

fn is_username(name: &str) -> bool {
    let by = Some(CheckBy::Username(name.to_owned()));
    let request = proto::BeginPasswordCheckRequest { by, client_network: String::new() };
    request.violations().iter().all(|violation| violation.field != "username")
}

pub(super) async fn record_log_in(
    store: &Store,
    request: proto::RecordLogInRequest,
) -> Result<proto::RecordLogInResponse, Failure> {
    let context = read::context(request.context);
    let caller = read::caller(request.caller)?;
    let renewed_hash = Some(request.renewed_hash).filter(|hash| !hash.is_empty());
    let verified = VerifiedPassword {
        network: read::network(&request.client_network)?,
        reservation: read::reservation(&request.reservation)?,
        renewed_hash: renewed_hash.map(PasswordHash),
    };
    store.record_log_in(&context, caller, &verified).await?;
    Ok(proto::RecordLogInResponse {})
}

pub(super) async fn revoke_tokens(
    store: &Store,
    request: proto::RevokeTokensRequest,
) -> Result<proto::RevokeTokensResponse, Failure> {
    let context = read::context(request.context);
    store.revoke_tokens(&context, read::caller(request.caller)?).await?;
    Ok(proto::RevokeTokensResponse {})
}

pub(super) async fn get_user(
    store: &Store,
    request: proto::GetUserRequest,
) -> Result<proto::GetUserResponse, Failure> {
    let caller = read::caller(request.caller)?;
    let user = store.user(caller, read::id("user_id", &request.user_id)?).await?;
    Ok(proto::GetUserResponse { user: Some(user.into()) })
}

pub(super) async fn update_user(
    store: &Store,
    request: proto::UpdateUserRequest,
) -> Result<proto::UpdateUserResponse, Failure> {
    let context = read::context(request.context);
    let caller = read::caller(request.caller)?;
    let user_id = read::id("user_id", &request.user_id)?;
    let changes = UserChanges {
        username: request.username,
        email: request.email,
        expected_versions: request.expected_versions,
    };
    let user = store.update_user(&context, caller, user_id, &changes).await?;
    Ok(proto::UpdateUserResponse { user: Some(user.into()) })
}

pub(super) async fn change_password(
    store: &Store,
    request: proto::ChangePasswordRequest,
) -> Result<proto::ChangePasswordResponse, Failure> {
    let context = read::context(request.context);
    let caller = read::caller(request.caller)?;
    let user_id = read::id("user_id", &request.user_id)?;
    let hash = PasswordHash(request.password_hash);
    let verified = VerifiedPassword {
        network: read::network(&request.client_network)?,
        reservation: read::reservation(&request.reservation)?,
        renewed_hash: None,
    };
    store.change_password(&context, caller, user_id, &hash, &verified).await?;
    Ok(proto::ChangePasswordResponse {})
}

pub(super) async fn deactivate_user(
    store: &Store,
    request: proto::DeactivateUserRequest,
) -> Result<proto::DeactivateUserResponse, Failure> {
    let context = read::context(request.context);
    let caller = read::caller(request.caller)?;
    let user_id = read::id("user_id", &request.user_id)?;
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
