//! The way to the db service: its replicas, a deadline on every call, and what a failed call means.

mod failure;

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
use tonic::{Request, Response, Status};

use crate::context::RequestContext;
pub(crate) use failure::{CallFailure, refused, wrong_page_token};
/// Whether a call may be made once more when it is not known what has become of it.
pub(crate) use merch_chassis::grpc::replicas::Idempotency;

/// The generated client.
pub(crate) type Client = AssistantServiceClient<Connection>;

/// The db service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Db {
    replicas: Replicas,
    deadline: Duration,
}

impl Db {
    /// Begins to look for its replicas at `endpoint`: one URI, or several with commas between them.
    /// They may come up later.
    ///
    /// # Errors
    /// When it is anything else, or `transport` does not allow to reach it.
    pub(crate) fn find(
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

    /// Makes one call, on another replica if the first one fails in a way that allows it. The
    /// deadline is that of all attempts together; it is told to the server, and kept here too,
    /// should the server not keep it.
    pub(crate) async fn call<M, T, F, A>(
        &self,
        kind: Idempotency,
        message: M,
        method: F,
    ) -> Result<T, CallFailure>
    where
        M: Clone,
        F: Fn(Client, Request<M>) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let context = RequestContext::current();
        let attempt = |connection, left| {
            let mut request = Request::new(message.clone());
            request.set_timeout(left);
            context.attach(&mut request);
            let answer = method(Client::new(connection), request);
            async { answer.await.map(Response::into_inner) }
        };
        self.replicas.call(kind, self.deadline, attempt).await.map_err(|error| match error {
            CallError::DeadlineExceeded => CallFailure::TooLate,
            CallError::NoReplica => CallFailure::Unreachable(error.to_string()),
            CallError::Failed(status) => CallFailure::from(status),
        })
    }

    /// Keeps `part` up to date: ready while at least one replica serves. Never returns.
    pub(crate) async fn follow(&self, part: &Part) {
        self.replicas.report_readiness(part).await;
    }
}
