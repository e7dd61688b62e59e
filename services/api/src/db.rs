//! The client of the db service: its replicas, the deadline of a call, and the errors of a call.

mod error;

use std::{future::Future, time::Duration};

use merch_chassis::{
    Part, StartError,
    grpc::{
        Transport,
        replicas::{CallError, Connection, Endpoints, Replicas},
    },
};
use merch_contract::grpc::assistant::v1::{
    assistant_service_client::AssistantServiceClient, assistant_service_server::SERVICE_NAME,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::context::RequestContext;
pub(crate) use error::DbError;
/// Whether a call may be repeated if its outcome is unknown.
pub(crate) use merch_chassis::grpc::replicas::Idempotency;

/// The generated client.
pub(crate) type Client = AssistantServiceClient<Connection>;

/// The client of the db service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Db {
    replicas: Replicas,
    deadline: Duration,
}

impl Db {
    /// Starts to resolve the replicas at `endpoint`: one URI, or several separated by commas. The
    /// replicas may start later.
    ///
    /// # Errors
    /// If `endpoint` is not a URI, or `transport` does not allow its scheme.
    pub(crate) fn new(
        endpoint: &str,
        transport: &Transport,
        deadline: Duration,
    ) -> Result<Self, StartError> {
        Ok(Self {
            replicas: Replicas::discover(
                Endpoints::parse("db", endpoint, transport)?,
                SERVICE_NAME,
            ),
            deadline,
        })
    }

    /// Makes one call, and repeats it on another replica if `kind` allows it. The deadline covers
    /// all attempts. It is sent to the server and also enforced by this client.
    pub(crate) async fn call<M, T, F, A>(
        &self,
        kind: Idempotency,
        message: M,
        method: F,
    ) -> Result<T, DbError>
    where
        M: Clone,
        F: Fn(Client, Request<M>) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let context = RequestContext::current();
        self.call_until(self.deadline(), kind, &context, || message.clone(), method).await
    }

    /// Returns the deadline of a call that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// Like [`Self::call`], with another deadline, for the request of `context`. `message` returns
    /// the message of each attempt.
    pub(crate) async fn call_until<M, T, F, A>(
        &self,
        deadline: Instant,
        kind: Idempotency,
        context: &RequestContext,
        message: impl Fn() -> M,
        method: F,
    ) -> Result<T, DbError>
    where
        F: Fn(Client, Request<M>) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let attempt = |connection, left| {
            let mut request = Request::new(message());
            request.set_timeout(left);
            context.attach(&mut request);
            let response = method(Client::new(connection), request);
            async { response.await.map(Response::into_inner) }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        self.replicas.call(kind, left, attempt).await.map_err(|error| match error {
            CallError::DeadlineExceeded => DbError::DeadlineExceeded,
            CallError::NoReplica => DbError::Unreachable(error.to_string()),
            CallError::Failed(status) => DbError::from(status),
        })
    }

    /// Keeps `part` ready while at least one replica serves. Never returns.
    pub(crate) async fn watch_health(&self, part: &Part) {
        self.replicas.report_readiness(part).await;
    }
}
