//! The gRPC edge: takes what the contract gives, calls one use-case, returns what the contract allows.

pub(crate) mod admin;
mod fields;
mod orders;
mod page_token;
mod products;
mod users;

use merch_chassis::grpc::AnswerBy;
use merch_contract::grpc::assistant::v1 as proto;
use merch_contract::grpc::assistant::v1::assistant_service_server::AssistantService;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::failure::Failure;
use crate::store::Store;
use crate::store::committer::Queue;

/// `merch.assistant.v1.AssistantService` over the store.
pub(crate) struct Assistant {
    pub(crate) store: Store,
    pub(crate) orders: Queue,
}

type Answer<T> = Result<Response<T>, Status>;

/// A request that may say where it came from.
trait Traced {
    fn context(&self) -> Option<&proto::RequestContext> {
        None
    }
}

macro_rules! traced {
    (in the message: $($request:ident),+; in the metadata: $($read:ident),+) => {
        $(impl Traced for proto::$request {
            fn context(&self) -> Option<&proto::RequestContext> {
                self.context.as_ref()
            }
        })+
        $(impl Traced for proto::$read {})+
    };
}

traced! {
    in the message: CreateUserRequest, RecordLogInRequest, RevokeTokensRequest, UpdateUserRequest, ChangePasswordRequest, DeactivateUserRequest,
        CancelOrderRequest;
    in the metadata: GetCredentialsRequest, GetUserRequest, ListProductsRequest, GetProductRequest, PlaceOrdersRequest, ListOrdersRequest,
        GetOrderRequest
}

/// Runs a use-case in a span that names the call, so that what is logged of a fault can be found by the request's id.
async fn answer<Q: Traced, A, F>(method: &'static str, request: Request<Q>, call: impl FnOnce(Q) -> F) -> Answer<A>
where
    F: Future<Output = Result<A, Failure>>,
{
    let metadata = || request.metadata().get("x-request-id").and_then(|value| value.to_str().ok());
    let request_id = request.get_ref().context().map(|context| context.request_id.as_str()).or_else(metadata).unwrap_or_default();
    let span = tracing::info_span!("call", method, request_id);
    let outcome = call(request.into_inner()).instrument(span.clone()).await;
    span.in_scope(|| outcome.map(Response::new).map_err(Status::from))
}

#[tonic::async_trait]
impl AssistantService for Assistant {
    async fn create_user(&self, request: Request<proto::CreateUserRequest>) -> Answer<proto::CreateUserResponse> {
        answer("CreateUser", request, |request| users::create_user(&self.store, request)).await
    }

    async fn get_credentials(&self, request: Request<proto::GetCredentialsRequest>) -> Answer<proto::GetCredentialsResponse> {
        answer("GetCredentials", request, |request| users::get_credentials(&self.store, request)).await
    }

    async fn record_log_in(&self, request: Request<proto::RecordLogInRequest>) -> Answer<proto::RecordLogInResponse> {
        answer("RecordLogIn", request, |request| users::record_log_in(&self.store, request)).await
    }

    async fn revoke_tokens(&self, request: Request<proto::RevokeTokensRequest>) -> Answer<proto::RevokeTokensResponse> {
        answer("RevokeTokens", request, |request| users::revoke_tokens(&self.store, request)).await
    }

    async fn get_user(&self, request: Request<proto::GetUserRequest>) -> Answer<proto::GetUserResponse> {
        answer("GetUser", request, |request| users::get_user(&self.store, request)).await
    }

    async fn update_user(&self, request: Request<proto::UpdateUserRequest>) -> Answer<proto::UpdateUserResponse> {
        answer("UpdateUser", request, |request| users::update_user(&self.store, request)).await
    }

    async fn change_password(&self, request: Request<proto::ChangePasswordRequest>) -> Answer<proto::ChangePasswordResponse> {
        answer("ChangePassword", request, |request| users::change_password(&self.store, request)).await
    }

    async fn deactivate_user(&self, request: Request<proto::DeactivateUserRequest>) -> Answer<proto::DeactivateUserResponse> {
        answer("DeactivateUser", request, |request| users::deactivate_user(&self.store, request)).await
    }

    async fn list_products(&self, request: Request<proto::ListProductsRequest>) -> Answer<proto::ListProductsResponse> {
        answer("ListProducts", request, |request| products::list_products(&self.store, request)).await
    }

    async fn get_product(&self, request: Request<proto::GetProductRequest>) -> Answer<proto::GetProductResponse> {
        answer("GetProduct", request, |request| products::get_product(&self.store, request)).await
    }

    async fn place_orders(&self, request: Request<proto::PlaceOrdersRequest>) -> Answer<proto::PlaceOrdersResponse> {
        let until = request.extensions().get::<AnswerBy>().map(|until| until.0);
        answer("PlaceOrders", request, |request| orders::place_orders(&self.orders, request, until)).await
    }

    async fn list_orders(&self, request: Request<proto::ListOrdersRequest>) -> Answer<proto::ListOrdersResponse> {
        answer("ListOrders", request, |request| orders::list_orders(&self.store, request)).await
    }

    async fn get_order(&self, request: Request<proto::GetOrderRequest>) -> Answer<proto::GetOrderResponse> {
        answer("GetOrder", request, |request| orders::get_order(&self.store, request)).await
    }

    async fn cancel_order(&self, request: Request<proto::CancelOrderRequest>) -> Answer<proto::CancelOrderResponse> {
        answer("CancelOrder", request, |request| orders::cancel_order(&self.store, request)).await
    }
}
