//! The way to the db service: one gRPC channel, a deadline on every call, and what a failed call means.

mod failure;

use std::{future::Future, time::Duration};

use merch_chassis::StartError;
use merch_contract::grpc::assistant::v1::assistant_service_client::AssistantServiceClient;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

pub(crate) use failure::{CallFailure, refused, wrong_page_token};

/// The generated client.
pub(crate) type Client = AssistantServiceClient<Channel>;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(2);
/// Silence after which the connection is asked whether it still lives, and the time that it has to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

/// A channel that connects at its first use and again whenever it has to, so that services may start in any order. `of` names the service in errors.
///
/// # Errors
/// When the endpoint is no URI.
pub(crate) fn endpoint(of: &str, uri: &str) -> Result<Endpoint, StartError> {
    let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(|error| {
        StartError::new(format!("expected the endpoint of the {of} service as a URI such as http://127.0.0.1:50051, got `{uri}` ({error})"))
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true))
}

/// The db service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Db {
    client: Client,
    deadline: Duration,
}

impl Db {
    pub(crate) fn new(channel: Channel, deadline: Duration) -> Self {
        Self { client: Client::new(channel), deadline }
    }

    /// Makes one call. The deadline is told to the server, and kept here too, should the server not keep it.
    pub(crate) async fn call<M, T, F, A>(&self, message: M, method: F) -> Result<T, CallFailure>
    where
        F: FnOnce(Client, Request<M>) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        match tokio::time::timeout(self.deadline, method(self.client.clone(), request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(CallFailure::from(status)),
            Err(_) => Err(CallFailure::TooLate),
        }
    }
}
