//! A db service with scripted responses.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use merch_contract::grpc::assistant::v1::{
    self as proto, ErrorReason, assistant_service_server::AssistantService,
};
use scrypt::{Params, Scrypt, password_hash::PasswordHasher as _};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};
use uuid::Uuid;

use super::error_status;

type Handler<Q, A> =
    Arc<dyn Fn(Q) -> Pin<Box<dyn Future<Output = Result<A, Status>> + Send>> + Send + Sync>;

/// The scripted response of a method; UNIMPLEMENTED by default.
pub struct Stub<Q, A> {
    response: Mutex<Option<Handler<Q, A>>>,
    calls: AtomicUsize,
}

impl<Q, A> Default for Stub<Q, A> {
    fn default() -> Self {
        Self { response: Mutex::default(), calls: AtomicUsize::new(0) }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Stub<Q, A> {
    pub fn returns(&self, response: impl Fn(Q) -> Result<A, Status> + Send + Sync + 'static) {
        self.set(move |request| Box::pin(std::future::ready(response(request))));
    }

    pub fn returns_async<F: Future<Output = Result<A, Status>> + Send + 'static>(
        &self,
        response: impl Fn(Q) -> F + Send + Sync + 'static,
    ) {
        self.set(move |request| Box::pin(response(request)));
    }

    pub fn fails_with(&self, code: Code, reason: ErrorReason) {
        self.returns(move |_| Err(error_status(code, reason)));
    }

    pub fn hangs(&self) {
        self.set(|_| Box::pin(std::future::pending()));
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn set(
        &self,
        response: impl Fn(Q) -> Pin<Box<dyn Future<Output = Result<A, Status>> + Send>>
        + Send
        + Sync
        + 'static,
    ) {
        *self.response.lock().unwrap() = Some(Arc::new(response));
    }

    async fn call(&self, request: Q) -> Result<Response<A>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let response = self.response.lock().unwrap().clone();
        match response {
            Some(response) => response(request).await.map(Response::new),
            None => Err(Status::unimplemented("the test has no response for this method")),
        }
    }
}

macro_rules! methods {
    ($($method:ident $request:ident $response:ident;)*) => {
        /// The scripted responses of all methods.
        #[derive(Default)]
        pub struct Stubs {
            /// The method and the metadata of each call.
            pub metadata: Mutex<Vec<(&'static str, MetadataMap)>>,
            $(pub $method: Stub<proto::$request, proto::$response>,)*
        }

        #[tonic::async_trait]
        impl AssistantService for FakeDb {
            $(async fn $method(&self, request: Request<proto::$request>) -> Result<Response<proto::$response>, Status> {
                self.0.metadata.lock().unwrap().push((stringify!($method), request.metadata().clone()));
                self.0.$method.call(request.into_inner()).await
            })*
        }
    };
}

pub struct FakeDb(pub Arc<Stubs>);

/// The reservation of each password check.
pub const RESERVATION: [u8; 64] = [7; 64];

/// Returns a hash with N = 2^`log2_n`, r = p = 1.
pub fn hash(password: &str, log2_n: u8) -> String {
    let scrypt = Scrypt::new_with_params(Params::new(log2_n, 1, 1).unwrap());
    scrypt.hash_password(password.as_bytes()).unwrap().to_string()
}

methods! {
    create_user CreateUserRequest CreateUserResponse;
    check_availability CheckAvailabilityRequest CheckAvailabilityResponse;
    begin_password_check BeginPasswordCheckRequest BeginPasswordCheckResponse;
    cancel_password_check CancelPasswordCheckRequest CancelPasswordCheckResponse;
    get_credentials GetCredentialsRequest GetCredentialsResponse;
    record_log_in RecordLogInRequest RecordLogInResponse;
    revoke_tokens RevokeTokensRequest RevokeTokensResponse;
    get_user GetUserRequest GetUserResponse;
    update_user UpdateUserRequest UpdateUserResponse;
    change_password ChangePasswordRequest ChangePasswordResponse;
    deactivate_user DeactivateUserRequest DeactivateUserResponse;
    list_products ListProductsRequest ListProductsResponse;
    get_product GetProductRequest GetProductResponse;
    place_orders PlaceOrdersRequest PlaceOrdersResponse;
    list_orders ListOrdersRequest ListOrdersResponse;
    get_order GetOrderRequest GetOrderResponse;
    cancel_order CancelOrderRequest CancelOrderResponse;
    get_clock GetClockRequest GetClockResponse;
}

impl Stubs {
    /// The only user is `alice`, with this id and password.
    pub fn has_user(&self, user_id: Uuid, password: &str) {
        self.has_user_with_token_version(user_id, password, 1);
    }

    /// The same, with this token version.
    pub fn has_user_with_token_version(&self, user_id: Uuid, password: &str, token_version: i64) {
        self.has_credentials(user_id, &hash(password, 1), 1, token_version);
    }

    /// The same, with this password hash, and this maximum cost of stored hashes.
    pub fn has_user_with_hash(&self, user_id: Uuid, password_hash: &str, hash_cost: i32) {
        self.has_credentials(user_id, password_hash, hash_cost, 1);
    }

    /// No user exists. Password checks respond after the sender sends `true`.
    pub fn has_no_user_after_signal(&self) -> watch::Sender<bool> {
        let (response, answered) = watch::channel(false);
        self.begin_password_check.returns_async(move |_| {
            let mut answered = answered.clone();
            async move {
                answered.wait_for(|answered| *answered).await.unwrap();
                Ok(proto::BeginPasswordCheckResponse {
                    credentials: None,
                    hash_cost: 1,
                    reservation: RESERVATION.to_vec(),
                })
            }
        });
        response
    }

    fn has_credentials(
        &self,
        user_id: Uuid,
        password_hash: &str,
        hash_cost: i32,
        token_version: i64,
    ) {
        use proto::begin_password_check_request::By;
        let credentials = proto::Credentials {
            user_id: user_id.to_string(),
            password_hash: password_hash.to_owned(),
            token_version,
        };
        self.begin_password_check.returns(move |request| {
            let found = match request.by {
                Some(By::Username(name)) => name == "alice",
                Some(By::Caller(_)) => true,
                None => false,
            };
            let credentials = found.then(|| credentials.clone());
            let reservation = RESERVATION.to_vec();
            Ok(proto::BeginPasswordCheckResponse { credentials, hash_cost, reservation })
        });
        self.record_log_in.returns(|_| Ok(proto::RecordLogInResponse {}));
        self.get_user.returns(move |request| match request.user_id == user_id.to_string() {
            true => Ok(proto::GetUserResponse { user: Some(super::user(user_id, 1)) }),
            false => Err(error_status(Code::NotFound, ErrorReason::UserNotFound)),
        });
    }
}
