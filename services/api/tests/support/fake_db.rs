//! A db service that answers what a test tells it to.

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

use super::refusal;

type Answering<Q, A> =
    Arc<dyn Fn(Q) -> Pin<Box<dyn Future<Output = Result<A, Status>> + Send>> + Send + Sync>;

/// What one method answers; UNIMPLEMENTED until a test says so.
pub struct Slot<Q, A> {
    answer: Mutex<Option<Answering<Q, A>>>,
    calls: AtomicUsize,
}

impl<Q, A> Default for Slot<Q, A> {
    fn default() -> Self {
        Self { answer: Mutex::default(), calls: AtomicUsize::new(0) }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Slot<Q, A> {
    pub fn answers(&self, answer: impl Fn(Q) -> Result<A, Status> + Send + Sync + 'static) {
        self.set(move |request| Box::pin(std::future::ready(answer(request))));
    }

    /// Answers when the future is ready.
    pub fn answers_later<F: Future<Output = Result<A, Status>> + Send + 'static>(
        &self,
        answer: impl Fn(Q) -> F + Send + Sync + 'static,
    ) {
        self.set(move |request| Box::pin(answer(request)));
    }

    pub fn refuses(&self, code: Code, reason: ErrorReason) {
        self.answers(move |_| Err(refusal(code, reason)));
    }

    /// Never answers.
    pub fn hangs(&self) {
        self.set(|_| Box::pin(std::future::pending()));
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn set(
        &self,
        answer: impl Fn(Q) -> Pin<Box<dyn Future<Output = Result<A, Status>> + Send>>
        + Send
        + Sync
        + 'static,
    ) {
        *self.answer.lock().unwrap() = Some(Arc::new(answer));
    }

    async fn call(&self, request: Q) -> Result<Response<A>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().unwrap().clone();
        match answer {
            Some(answer) => answer(request).await.map(Response::new),
            None => Err(Status::unimplemented("no test has said what to answer")),
        }
    }
}

macro_rules! methods {
    ($($method:ident $request:ident $response:ident;)*) => {
        /// What every method answers.
        #[derive(Default)]
        pub struct Script {
            /// The method and the metadata of every call.
            pub metadata: Mutex<Vec<(&'static str, MetadataMap)>>,
            $(pub $method: Slot<proto::$request, proto::$response>,)*
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

pub struct FakeDb(pub Arc<Script>);

/// What every password check reserves.
pub const RESERVATION: [u8; 64] = [7; 64];

/// A hash with N = 2^`log2_n`, r = p = 1.
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

impl Script {
    /// `alice` exists, with this id and password; nobody else does.
    pub fn knows(&self, user_id: Uuid, password: &str) {
        self.knows_version(user_id, password, 1);
    }

    /// The same, with this version of the tokens.
    pub fn knows_version(&self, user_id: Uuid, password: &str, token_version: i64) {
        self.knows_credentials(user_id, &hash(password, 1), 1, token_version);
    }

    /// The same, with this hash of the password, and this cost of the most expensive one.
    pub fn knows_hash(&self, user_id: Uuid, password_hash: &str, hash_cost: i32) {
        self.knows_credentials(user_id, password_hash, hash_cost, 1);
    }

    /// No user exists; password checks are answered once `true` is sent.
    pub fn knows_nobody_later(&self) -> watch::Sender<bool> {
        let (answer, answered) = watch::channel(false);
        self.begin_password_check.answers_later(move |_| {
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
        answer
    }

    fn knows_credentials(
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
        self.begin_password_check.answers(move |request| {
            let found = match request.by {
                Some(By::Username(name)) => name == "alice",
                Some(By::Caller(_)) => true,
                None => false,
            };
            let credentials = found.then(|| credentials.clone());
            let reservation = RESERVATION.to_vec();
            Ok(proto::BeginPasswordCheckResponse { credentials, hash_cost, reservation })
        });
        self.record_log_in.answers(|_| Ok(proto::RecordLogInResponse {}));
        self.get_user.answers(move |request| match request.user_id == user_id.to_string() {
            true => Ok(proto::GetUserResponse { user: Some(super::user(user_id, 1)) }),
            false => Err(refusal(Code::NotFound, ErrorReason::UserNotFound)),
        });
    }
}
