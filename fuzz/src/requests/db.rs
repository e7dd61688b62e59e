//! A db service that checks requests and returns or refuses what each method may.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use merch_contract::{
    grpc::assistant::v1::{
        self as proto, ErrorReason as Reason,
        assistant_service_server::{AssistantService, AssistantServiceServer},
        begin_password_check_request::By,
        place_order_result::Outcome,
    },
    validation::{Validate, Violation},
};
use pbjson_types::Timestamp;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

pub(super) use merch_contract::grpc::assistant::v1::assistant_service_server::SERVICE_NAME;

/// The user of all tokens.
pub(super) const CALLER: Uuid = Uuid::from_u128(0x0198_c0de_7e57_7000_8000_0000_0000_0001);
/// The only user is `alice`, with this password.
pub(super) const PASSWORD: &str = "correct horse battery staple";
const PASSWORD_HASH: &str =
    "$scrypt$ln=1,r=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$1mKPbvBAwmdv9RFvZaJed9zTI4cgosTfuJKqG1coA38";

/// Which calls of a request fail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Script {
    /// A bit for each call, the first one last.
    pub(super) failing: u8,
    /// Chooses one of the reasons that the method may have.
    pub(super) reason: u8,
}

/// What happened during a request.
#[derive(Debug, Default)]
pub(super) struct Calls {
    script: Script,
    count: u32,
    pub(super) violations: Vec<Violation>,
    pub(super) unavailable: bool,
    pub(super) too_many: bool,
    pub(super) revoked: bool,
}

#[derive(Debug, Default)]
pub(super) struct Db(Mutex<Calls>);

pub(super) fn server(db: Arc<Db>) -> AssistantServiceServer<Db> {
    AssistantServiceServer::from_arc(db)
}

impl Db {
    pub(super) fn begin(&self, script: Script) {
        *self.calls() = Calls { script, ..Calls::default() };
    }

    pub(super) fn end(&self) -> Calls {
        std::mem::take(&mut *self.calls())
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a request. Returns the reason if the call fails by the script.
    fn check(&self, request: &impl Validate, reasons: &[Reason]) -> Option<Reason> {
        let mut calls = self.calls();
        calls.violations.extend(request.violations());
        let fails = calls.script.failing.checked_shr(calls.count).unwrap_or(0) & 1 == 1;
        calls.count += 1;
        let reasons = [&[Reason::DatabaseUnavailable, Reason::Overloaded], reasons].concat();
        let reason = reasons[usize::from(calls.script.reason) % reasons.len()];
        if fails {
            calls.record(reason);
        }
        fails.then_some(reason)
    }
}

impl Calls {
    fn record(&mut self, reason: Reason) {
        match reason {
            Reason::DatabaseUnavailable | Reason::Overloaded | Reason::OrderExpired => {
                self.unavailable = true;
            }
            Reason::TooManyLogIns | Reason::TooManyWrites => self.too_many = true,
            Reason::TokenRevoked => self.revoked = true,
            _ => {}
        }
    }
}

fn status(reason: Reason) -> Status {
    let mut details = ErrorDetails::with_error_info(
        reason.as_str_name(),
        "assistant.merch",
        std::collections::HashMap::<String, String>::new(),
    );
    details.set_retry_info(Some(std::time::Duration::from_millis(1500)));
    Status::with_error_details(reason.code(), "internal text that clients must not see", details)
}

macro_rules! methods {
    ($($method:ident $request:ident $response:ident $reasons:expr, $answer:expr;)*) => {
        #[tonic::async_trait]
        impl AssistantService for Db {
            $(async fn $method(
                &self,
                request: Request<proto::$request>,
            ) -> Result<Response<proto::$response>, Status> {
                let request = request.into_inner();
                let reasons: fn(&proto::$request) -> Vec<Reason> = $reasons;
                if let Some(reason) = self.check(&request, &reasons(&request)) {
                    return Err(status(reason));
                }
                let answer: fn(&Db, proto::$request) -> Result<proto::$response, Reason> = $answer;
                answer(self, request).map(Response::new).map_err(status)
            })*
        }
    };
}

methods! {
    create_user CreateUserRequest CreateUserResponse
        |_| vec![Reason::SidTaken, Reason::UsernameTaken, Reason::EmailTaken],
        |_, request| Ok(proto::CreateUserResponse {
            user: Some(proto::User {
                id: CALLER.to_string(),
                sid: request.sid,
                username: request.username,
                email: request.email,
                ..user()
            }),
        });
    check_availability CheckAvailabilityRequest CheckAvailabilityResponse
        |_| vec![Reason::SidTaken, Reason::UsernameTaken, Reason::EmailTaken],
        |_, _| Ok(proto::CheckAvailabilityResponse {});
    begin_password_check BeginPasswordCheckRequest BeginPasswordCheckResponse
        |request| match request.by {
            Some(By::Caller(_)) => vec![Reason::TooManyLogIns, Reason::TokenRevoked],
            Some(By::Username(_)) | None => vec![Reason::TooManyLogIns],
        },
        |_, request| {
            let is_known = match request.by {
                Some(By::Username(name)) => name.eq_ignore_ascii_case("alice"),
                Some(By::Caller(_)) => true,
                None => false,
            };
            Ok(proto::BeginPasswordCheckResponse {
                credentials: is_known.then(|| proto::Credentials {
                    user_id: CALLER.to_string(),
                    password_hash: PASSWORD_HASH.to_owned(),
                    token_version: 1,
                }),
                hash_cost: 1,
                reservation: vec![7; 64],
            })
        };
    cancel_password_check CancelPasswordCheckRequest CancelPasswordCheckResponse
        |_| Vec::new(),
        |_, _| Ok(proto::CancelPasswordCheckResponse {});
    get_credentials GetCredentialsRequest GetCredentialsResponse
        |_| vec![Reason::UserNotFound],
        |_, _| Err(Reason::UserNotFound);
    record_log_in RecordLogInRequest RecordLogInResponse
        |_| vec![Reason::TokenRevoked],
        |_, _| Ok(proto::RecordLogInResponse {});
    revoke_tokens RevokeTokensRequest RevokeTokensResponse
        |_| vec![Reason::TokenRevoked, Reason::TooManyWrites],
        |_, _| Ok(proto::RevokeTokensResponse {});
    get_user GetUserRequest GetUserResponse
        |_| vec![Reason::TokenRevoked, Reason::UserNotFound],
        |_, request| is_caller(&request.user_id)
            .map(|()| proto::GetUserResponse { user: Some(user()) });
    update_user UpdateUserRequest UpdateUserResponse
        |request| {
            let mut reasons = vec![
                Reason::TokenRevoked, Reason::UserNotFound, Reason::UsernameTaken,
                Reason::EmailTaken, Reason::TooManyWrites,
            ];
            if !request.expected_versions.is_empty() {
                reasons.push(Reason::VersionMismatch);
            }
            reasons
        },
        |_, request| is_caller(&request.user_id).map(|()| proto::UpdateUserResponse {
            user: Some(proto::User {
                username: request.username.unwrap_or_else(|| user().username),
                email: request.email.unwrap_or_else(|| user().email),
                ..user()
            }),
        });
    change_password ChangePasswordRequest ChangePasswordResponse
        |_| vec![Reason::TokenRevoked, Reason::UserNotFound, Reason::TooManyWrites],
        |_, request| is_caller(&request.user_id).map(|()| proto::ChangePasswordResponse {});
    deactivate_user DeactivateUserRequest DeactivateUserResponse
        |_| vec![Reason::TokenRevoked, Reason::UserNotFound, Reason::TooManyWrites],
        |_, request| is_caller(&request.user_id).map(|()| proto::DeactivateUserResponse {});
    list_products ListProductsRequest ListProductsResponse
        |request| if_sent(&request.page_token, Reason::InvalidPageToken),
        |_, request| Ok(proto::ListProductsResponse {
            products: (1..=request.page_size.min(3)).map(product).collect(),
            next_page_token: if request.page_size < 3 { "AQEAAAAH".to_owned() } else { String::new() },
        });
    get_product GetProductRequest GetProductResponse
        |_| vec![Reason::ProductNotFound],
        |_, request| match request.product_id {
            1..=3 => {
                Ok(proto::GetProductResponse { product: Some(product(request.product_id)) })
            }
            _ => Err(Reason::ProductNotFound),
        };
    place_orders PlaceOrdersRequest PlaceOrdersResponse
        |_| Vec::new(),
        |db, request| Ok(proto::PlaceOrdersResponse {
            results: request.orders.into_iter().map(|order| db.place(order)).collect(),
        });
    list_orders ListOrdersRequest ListOrdersResponse
        |request| {
            let mut reasons = if_sent(&request.page_token, Reason::InvalidPageToken);
            reasons.push(Reason::TokenRevoked);
            reasons
        },
        |_, request| Ok(proto::ListOrdersResponse {
            orders: (1..=request.page_size.min(3)).map(|quantity| order(1, quantity)).collect(),
            next_page_token: String::new(),
        });
    get_order GetOrderRequest GetOrderResponse
        |_| vec![Reason::TokenRevoked, Reason::OrderNotFound],
        |_, request| is_caller(&request.order_id).map_err(|_| Reason::OrderNotFound)
            .map(|()| proto::GetOrderResponse { order: Some(order(1, 2)) });
    cancel_order CancelOrderRequest CancelOrderResponse
        |_| vec![Reason::TokenRevoked, Reason::OrderNotFound, Reason::TooManyWrites],
        |_, request| is_caller(&request.order_id).map_err(|_| Reason::OrderNotFound)
            .map(|()| proto::CancelOrderResponse {
                order: Some(proto::Order {
                    status: proto::OrderStatus::Cancelled.into(),
                    cancelled_at: timestamp(),
                    version: 2,
                    ..order(1, 2)
                }),
            });
    get_clock GetClockRequest GetClockResponse
        |_| Vec::new(),
        |_, _| Ok(proto::GetClockResponse { now: timestamp() });
}

impl Db {
    fn place(&self, new: proto::NewOrder) -> proto::PlaceOrderResult {
        let mut reasons = vec![
            Reason::TokenRevoked,
            Reason::ProductNotFound,
            Reason::OutOfStock,
            Reason::TooManyWrites,
            Reason::OrderExpired,
        ];
        reasons.extend(if_sent(&new.idempotency_key, Reason::IdempotencyKeyReused));
        let outcome = match self.check(&new, &reasons) {
            Some(reason) => Outcome::Refusal(proto::OrderRefusal {
                reason: reason.into(),
                message: "internal text that clients must not see".to_owned(),
            }),
            None => Outcome::Order(order(new.product_id, new.quantity)),
        };
        proto::PlaceOrderResult { outcome: Some(outcome) }
    }
}

fn if_sent(text: &str, reason: Reason) -> Vec<Reason> {
    if text.is_empty() { Vec::new() } else { vec![reason] }
}

/// The caller's id is the id of the only order, too.
fn is_caller(id: &str) -> Result<(), Reason> {
    if id == CALLER.to_string() { Ok(()) } else { Err(Reason::UserNotFound) }
}

fn user() -> proto::User {
    proto::User {
        id: CALLER.to_string(),
        sid: "12110301".to_owned(),
        username: "alice".to_owned(),
        email: "alice@mail.example.com".to_owned(),
        active: true,
        created_at: timestamp(),
        updated_at: timestamp(),
        version: 7,
    }
}

fn product(id: i32) -> proto::Product {
    proto::Product {
        id,
        name: "SUSTech Hoodie".to_owned(),
        category: "Apparel".to_owned(),
        slogan: "Warm.".to_owned(),
        description: "A hoodie.".to_owned(),
        price_cents: 4999,
        currency: "CNY".to_owned(),
        stock: 500,
        version: 7,
    }
}

fn order(product_id: i32, quantity: i32) -> proto::Order {
    proto::Order {
        id: CALLER.to_string(),
        user_id: CALLER.to_string(),
        product_id,
        quantity,
        unit_price_cents: 4999,
        total_price_cents: 4999 * i64::from(quantity),
        currency: "CNY".to_owned(),
        status: proto::OrderStatus::Placed.into(),
        created_at: timestamp(),
        cancelled_at: None,
        version: 7,
    }
}

fn timestamp() -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_795_334_400, nanos: 120_000_000 })
}
