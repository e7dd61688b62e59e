//! `LoggingService` as tonic calls it: each call gets a task of its own.

use std::sync::Arc;

use merch_chassis::grpc::Peer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::{kafka::Kafka, stream};
use crate::proto::{StreamLogsRequest, StreamLogsResponse, logging_service_server::LoggingService};

pub(super) struct Service {
    kafka: Arc<Kafka>,
    shutdown: CancellationToken,
}

impl Service {
    pub(super) fn new(kafka: Arc<Kafka>, shutdown: CancellationToken) -> Self {
        Self { kafka, shutdown }
    }
}

#[tonic::async_trait]
impl LoggingService for Service {
    type StreamLogsStream = ReceiverStream<Result<StreamLogsResponse, Status>>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        // One response at a time: while it waits for the sender, further acknowledgements gather
        // for the next one.
        let (responses, outbound) = mpsc::channel(1);
        let sender = request.extensions().get::<Peer>().and_then(Peer::role);
        let serving = stream::serve(
            sender,
            request.into_inner(),
            responses,
            Arc::clone(&self.kafka),
            self.shutdown.clone(),
        );
        tokio::spawn(serving.in_current_span());
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}
