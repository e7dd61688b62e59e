mod access;
pub(crate) mod admin;
mod orders;
pub(crate) mod page_token;
mod products;
mod read;
mod users;

use merch_chassis::grpc::CallDeadline;
use merch_contract::{
    grpc::assistant::{v1 as proto, v1::assistant_service_server::AssistantService},
    validation::Validate,
};
use tonic::{Request, Response, Status};
use tracing::Span;

pub(crate) use self::access::ACCESS;
use crate::{
    clock::timestamp,
    failure::Failure,
    store::{Store, committer::Queue},
};

pub(crate) struct Assistant {
    pub(crate) store: Store,
    pub(crate) orders: Queue,
}

type Answer<T> = Result<Response<T>, Status>;

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
    in the message: CreateUserRequest, RecordLogInRequest, RevokeTokensRequest, UpdateUserRequest,
        ChangePasswordRequest, DeactivateUserRequest, CancelOrderRequest;
    in the metadata: CheckAvailabilityRequest, BeginPasswordCheckRequest,
        CancelPasswordCheckRequest, GetCredentialsRequest, GetUserRequest, ListProductsRequest,
        GetProductRequest, PlaceOrdersRequest, ListOrdersRequest, GetOrderRequest, GetClockRequest
}

/// Checks the rules of `proto/`, then calls.
async fn answer<Q: Traced + Validate, A, F>(
    request: Request<Q>,
    call: impl FnOnce(Q) -> F,
) -> Answer<A>
where
    F: Future<Output = Result<A, Failure>>,
{
    if let (Some(context), None) =
        (request.get_ref().context(), request.metadata().get("x-request-id"))
    {
        Span::current().record("request_id", context.request_id.as_str());
    }
    let request = request.into_inner();
    let violations = request.violations();
    if !violations.is_empty() {
        return Err(Failure::Invalid(violations).into());
    }
    call(request).await.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl AssistantService for Assistant {
    async fn create_user(
        &self,
        request: Request<proto::CreateUserRequest>,
    ) -> Answer<proto::CreateUserResponse> {
        answer(request, |request| users::create_user(&self.store, request)).await
    }

    async fn check_availability(
        &self,
        request: Request<proto::CheckAvailabilityRequest>,
    ) -> Answer<proto::CheckAvailabilityResponse> {
        answer(request, |request| users::check_availability(&self.store, request)).await
    }

    async fn begin_password_check(
        &self,
        request: Request<proto::BeginPasswordCheckRequest>,
    ) -> Answer<proto::BeginPasswordCheckResponse> {
        answer(request, |request| users::begin_password_check(&self.store, request)).await
    }

    async fn cancel_password_check(
        &self,
        request: Request<proto::CancelPasswordCheckRequest>,
    ) -> Answer<proto::CancelPasswordCheckResponse> {
        answer(request, |request| users::cancel_password_check(&self.store, request)).await
    }

    async fn get_credentials(
        &self,
        request: Request<proto::GetCredentialsRequest>,
    ) -> Answer<proto::GetCredentialsResponse> {
        answer(request, |request| users::get_credentials(&self.store, request)).await
    }

    async fn record_log_in(
        &self,
        request: Request<proto::RecordLogInRequest>,
    ) -> Answer<proto::RecordLogInResponse> {
        answer(request, |request| users::record_log_in(&self.store, request)).await
    }

    async fn revoke_tokens(
        &self,
        request: Request<proto::RevokeTokensRequest>,
    ) -> Answer<proto::RevokeTokensResponse> {
        answer(request, |request| users::revoke_tokens(&self.store, request)).await
    }

    async fn get_user(
        &self,
        request: Request<proto::GetUserRequest>,
    ) -> Answer<proto::GetUserResponse> {
        answer(request, |request| users::get_user(&self.store, request)).await
    }

    async fn update_user(
        &self,
        request: Request<proto::UpdateUserRequest>,
    ) -> Answer<proto::UpdateUserResponse> {
        answer(request, |request| users::update_user(&self.store, request)).await
    }

    async fn change_password(
        &self,
        request: Request<proto::ChangePasswordRequest>,
    ) -> Answer<proto::ChangePasswordResponse> {
        answer(request, |request| users::change_password(&self.store, request)).await
    }

    async fn deactivate_user(
        &self,
        request: Request<proto::DeactivateUserRequest>,
    ) -> Answer<proto::DeactivateUserResponse> {
        answer(request, |request| users::deactivate_user(&self.store, request)).await
    }

    async fn list_products(
        &self,
        request: Request<proto::ListProductsRequest>,
    ) -> Answer<proto::ListProductsResponse> {
        answer(request, |request| products::list_products(&self.store, request)).await
    }

    async fn get_product(
        &self,
        request: Request<proto::GetProductRequest>,
    ) -> Answer<proto::GetProductResponse> {
        answer(request, |request| products::get_product(&self.store, request)).await
    }

    async fn place_orders(
        &self,
        request: Request<proto::PlaceOrdersRequest>,
    ) -> Answer<proto::PlaceOrdersResponse> {
        let until = request.extensions().get::<CallDeadline>().map(|until| until.0);
        answer(request, |request| orders::place_orders(&self.orders, request, until)).await
    }

    async fn list_orders(
        &self,
        request: Request<proto::ListOrdersRequest>,
    ) -> Answer<proto::ListOrdersResponse> {
        answer(request, |request| orders::list_orders(&self.store, request)).await
    }

    async fn get_order(
        &self,
        request: Request<proto::GetOrderRequest>,
    ) -> Answer<proto::GetOrderResponse> {
        answer(request, |request| orders::get_order(&self.store, request)).await
    }

    async fn cancel_order(
        &self,
        request: Request<proto::CancelOrderRequest>,
    ) -> Answer<proto::CancelOrderResponse> {
        answer(request, |request| orders::cancel_order(&self.store, request)).await
    }

    async fn get_clock(
        &self,
        request: Request<proto::GetClockRequest>,
    ) -> Answer<proto::GetClockResponse> {
        let now = timestamp(self.store.clock.now());
        answer(request, async |_| Ok(proto::GetClockResponse { now: Some(now) })).await
    }
}
