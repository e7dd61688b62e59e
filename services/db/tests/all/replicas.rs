//! Each db service has its own runtime, so that it can be killed.

mod leader_election;
mod orders;
mod password_checks;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use merch_chassis::{Readiness, StartError};
use merch_contract::grpc::{
    assistant::v1::{
        assistant_service_client::AssistantServiceClient, place_order_result::Outcome, *,
    },
    logging::v1::{
        LogMessage, StreamLogsRequest, StreamLogsResponse,
        logging_service_server::{LoggingService, LoggingServiceServer},
    },
};
use merch_db::Config;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Mutex, mpsc, oneshot},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::harness::*;

pub(crate) struct Replica {
    pub(crate) client: AssistantServiceClient<Channel>,
    shutdown: CancellationToken,
    ended: Option<oneshot::Receiver<Result<(), StartError>>>,
    runtime: Option<Runtime>,
}

impl Replica {
    async fn start(config: Config) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (shutdown, readiness) = (CancellationToken::new(), Readiness::expecting("db"));
        let (ending, ended) = oneshot::channel();
        let (bound, address) = oneshot::channel();
        runtime.spawn({
            let (shutdown, readiness) = (shutdown.clone(), readiness.clone());
            async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                let _ = ending.send(merch_db::serve(listener, config, readiness, shutdown).await);
            }
        });
        let address = address.await.unwrap();
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        eventually("the replica is ready", || async { readiness.check().is_ok() }).await;
        Self {
            client: AssistantServiceClient::new(channel),
            shutdown,
            ended: Some(ended),
            runtime: Some(runtime),
        }
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = self.ended.take().unwrap();
        tokio::time::timeout(TIMEOUT, ended).await.expect("the replica stops").unwrap().unwrap();
    }

    /// Stops like after SIGKILL: all tasks end where they are.
    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    async fn place(&self, order: NewOrder) -> Result<Outcome, Status> {
        let answer = self
            .client
            .clone()
            .place_orders(call(PlaceOrdersRequest { orders: vec![order] }))
            .await?;
        Ok(answer.into_inner().results.remove(0).outcome.expect("exactly one outcome is set"))
    }

    async fn register(&self, name: &str) -> Buyer {
        let user = self
            .client
            .clone()
            .create_user(call(new_user(name)))
            .await
            .unwrap()
            .into_inner()
            .user
            .unwrap();
        Buyer { caller: Caller { user_id: user.id.clone(), token_version: 1 }, user }
    }

    async fn cancel(&self, buyer: &Buyer, order_id: &str) -> Result<Order, Status> {
        let request = CancelOrderRequest {
            context: context(),
            caller: Some(buyer.caller.clone()),
            order_id: order_id.to_owned(),
        };
        Ok(self.client.clone().cancel_order(call(request)).await?.into_inner().order.unwrap())
    }

    async fn rename(&self, buyer: &Buyer, username: &str) -> Result<(), Status> {
        let request = UpdateUserRequest {
            context: context(),
            caller: Some(buyer.caller.clone()),
            user_id: buyer.user.id.clone(),
            username: Some(username.to_owned()),
            email: None,
            expected_versions: vec![],
        };
        self.client.clone().update_user(call(request)).await.map(|_| ())
    }
}

impl Drop for Replica {
    /// A runtime must not be dropped within another one.
    fn drop(&mut self) {
        self.end();
    }
}

async fn replicas<const N: usize>(
    test_database: &TestDatabase,
    change: impl Fn(usize, &mut Config),
) -> [Replica; N] {
    let mut started = vec![];
    for number in 0..N {
        let mut config = config(test_database);
        config.drain = Duration::from_secs(10);
        change(number, &mut config);
        started.push(Replica::start(config).await);
    }
    started.try_into().unwrap_or_else(|_| unreachable!("as many as were started"))
}

/// The events that all logging services received, in order of arrival, with the sending replica's
/// number.
#[derive(Clone, Default)]
struct SharedLog(Arc<Mutex<Vec<(usize, LogMessage)>>>);

#[derive(Clone)]
struct LoggingStub {
    number: usize,
    log: SharedLog,
    /// Receives events without acknowledging them.
    mute: Arc<AtomicBool>,
    url: String,
}

impl SharedLog {
    async fn stub(&self, number: usize) -> LoggingStub {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stub = LoggingStub { number, log: self.clone(), mute: Arc::default(), url };
        let service = LoggingServiceServer::new(stub.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        stub
    }

    async fn all(&self) -> Vec<(usize, LogMessage)> {
        self.0.lock().await.clone()
    }

    async fn len(&self) -> usize {
        self.0.lock().await.len()
    }

    async fn last_sender(&self) -> Option<usize> {
        self.0.lock().await.last().map(|(number, _)| *number)
    }

    /// Returns each event at its first position, like a consumer that drops duplicates.
    async fn deduplicated(&self) -> Vec<LogMessage> {
        let mut seen = std::collections::HashSet::new();
        self.all()
            .await
            .into_iter()
            .map(|(_, event)| event)
            .filter(|event| seen.insert(event.id.clone()))
            .collect()
    }

    async fn events_of(&self, buyer: &Buyer) -> Vec<String> {
        let actor = format!("user:{}", buyer.user.id);
        self.deduplicated()
            .await
            .into_iter()
            .filter(|event| event.actor == actor)
            .map(|event| event.event)
            .collect()
    }
}

#[tonic::async_trait]
impl LoggingService for LoggingStub {
    type StreamLogsStream = ReceiverStream<Result<StreamLogsResponse, Status>>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let (mut requests, stub) = (request.into_inner(), self.clone());
        let (answers, stream) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                stub.log
                    .0
                    .lock()
                    .await
                    .extend(request.messages.into_iter().map(|event| (stub.number, event)));
                if stub.mute.load(Ordering::SeqCst) {
                    continue;
                }
                if answers
                    .send(Ok(StreamLogsResponse {
                        acknowledged_sequence: request.sequence,
                        refused: Vec::new(),
                    }))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
