use merch_contract::grpc::assistant::{v1 as proto, v1::ErrorReason};
use proto::{begin_password_check_request::By as CheckBy, get_credentials_request::By as ProtoBy};

use super::fields::{Fields, is_username};
use crate::{
    clock::timestamp,
    entity::users::Model,
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
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let new = NewUser {
        sid: fields.sid("sid", request.sid),
        username: fields.username("username", request.username),
        email: fields.email("email", request.email),
        password_hash: fields.password_hash("password_hash", request.password_hash),
        network: fields.network("client_network", &request.client_network),
    };
    let (context, new) = fields.finish((context, new))?;
    let user = store.create_user(&context, &new).await?;
    Ok(proto::CreateUserResponse { user: Some(user.into()) })
}

pub(super) async fn check_availability(
    store: &Store,
    request: proto::CheckAvailabilityRequest,
) -> Result<proto::CheckAvailabilityResponse, Failure> {
    let mut fields = Fields::default();
    let sid = fields.sid("sid", request.sid);
    let username = fields.username("username", request.username);
    let email = fields.email("email", request.email);
    fields.finish(())?;
    store.check_availability(&sid, &username, &email).await?;
    Ok(proto::CheckAvailabilityResponse {})
}

pub(super) async fn begin_password_check(
    store: &Store,
    request: proto::BeginPasswordCheckRequest,
) -> Result<proto::BeginPasswordCheckResponse, Failure> {
    let mut fields = Fields::default();
    let by = match request.by {
        None => {
            return Err(Failure::invalid(
                "by",
                "exactly one of username and caller; one must be set",
            ));
        }
        Some(CheckBy::Username(name)) => UserLookup::Username(fields.username("username", name)),
        Some(CheckBy::Caller(caller)) => UserLookup::Caller(fields.caller("caller", Some(caller))),
    };
    let network = fields.network("client_network", &request.client_network);
    fields.finish(())?;
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
    let mut fields = Fields::default();
    let reservation = fields.reservation("reservation", &request.reservation);
    fields.finish(())?;
    store.cancel_password_check(&reservation).await?;
    Ok(proto::CancelPasswordCheckResponse {})
}

pub(super) async fn get_credentials(
    store: &Store,
    request: proto::GetCredentialsRequest,
) -> Result<proto::GetCredentialsResponse, Failure> {
    let user = match request.by {
        None => {
            return Err(Failure::invalid(
                "by",
                "exactly one of username and caller; one must be set",
            ));
        }
        // No user can have this name, so no check is counted.
        Some(ProtoBy::Username(name)) if !is_username(&name) => None,
        Some(ProtoBy::Username(name)) => {
            store.begin_password_check(&UserLookup::Username(name), &Network::default()).await?.user
        }
        Some(ProtoBy::Caller(caller)) => {
            let mut fields = Fields::default();
            let caller = fields.caller("caller", Some(caller));
            store.find_user(&UserLookup::Caller(fields.finish(caller)?)).await?
        }
    };
    let user = user.ok_or(Failure::Refused(ErrorReason::UserNotFound))?;
    Ok(proto::GetCredentialsResponse {
        user_id: user.id.to_string(),
        password_hash: user.password_hash.0,
        token_version: user.token_version,
    })
}

pub(super) async fn record_log_in(
    store: &Store,
    request: proto::RecordLogInRequest,
) -> Result<proto::RecordLogInResponse, Failure> {
    let mut fields = Fields::default();
    let read = (fields.context(request.context), fields.caller("caller", request.caller));
    let verified = VerifiedPassword {
        network: fields.network("client_network", &request.client_network),
        reservation: fields.reservation("reservation", &request.reservation),
        renewed_hash: (!request.renewed_hash.is_empty())
            .then(|| fields.password_hash("renewed_hash", request.renewed_hash)),
    };
    let (context, caller) = fields.finish(read)?;
    store.record_log_in(&context, caller, &verified).await?;
    Ok(proto::RecordLogInResponse {})
}

pub(super) async fn revoke_tokens(
    store: &Store,
    request: proto::RevokeTokensRequest,
) -> Result<proto::RevokeTokensResponse, Failure> {
    let mut fields = Fields::default();
    let read = (fields.context(request.context), fields.caller("caller", request.caller));
    let (context, caller) = fields.finish(read)?;
    store.revoke_tokens(&context, caller).await?;
    Ok(proto::RevokeTokensResponse {})
}

pub(super) async fn get_user(
    store: &Store,
    request: proto::GetUserRequest,
) -> Result<proto::GetUserResponse, Failure> {
    let mut fields = Fields::default();
    let read = (fields.caller("caller", request.caller), fields.id("user_id", &request.user_id));
    let (caller, user_id) = fields.finish(read)?;
    let user = store.user(caller, user_id).await?;
    Ok(proto::GetUserResponse { user: Some(user.into()) })
}

pub(super) async fn update_user(
    store: &Store,
    request: proto::UpdateUserRequest,
) -> Result<proto::UpdateUserResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let caller = fields.caller("caller", request.caller);
    let user_id = fields.id("user_id", &request.user_id);
    let changes = UserChanges {
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
    let verified = VerifiedPassword {
        network: fields.network("client_network", &request.client_network),
        reservation: fields.reservation("reservation", &request.reservation),
        renewed_hash: None,
    };
    let hash = fields.finish(hash)?;
    store.change_password(&context, caller, user_id, &hash, &verified).await?;
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
