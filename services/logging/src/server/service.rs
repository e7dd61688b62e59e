use std::sync::Arc;

use merch_chassis::grpc::Peer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::{producer::KafkaProducer, stream};
use crate::proto::{StreamLogsRequest, StreamLogsResponse, logging_service_server::LoggingService};

pub(super) struct Service {
    kafka: Arc<KafkaProducer>,
    shutdown: CancellationToken,
}

impl Service {
    pub(super) fn new(kafka: Arc<KafkaProducer>, shutdown: CancellationToken) -> Self {
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
        // Capacity 1: while a response waits, further acknowledgements accumulate into the next.
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
