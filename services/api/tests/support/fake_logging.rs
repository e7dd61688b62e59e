//! A logging service that keeps and acknowledges all events.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use merch_contract::grpc::logging::v1::{
    LogMessage, StreamLogsRequest, StreamLogsResponse, logging_service_server::LoggingService,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

#[derive(Default)]
pub struct Received {
    events: Mutex<Vec<LogMessage>>,
    /// The metadata of each stream.
    pub metadata: Mutex<Vec<MetadataMap>>,
}

impl Received {
    pub fn events(&self) -> Vec<LogMessage> {
        self.events.lock().unwrap().clone()
    }
}

pub struct FakeLogging(pub Arc<Received>);

#[tonic::async_trait]
impl LoggingService for FakeLogging {
    type StreamLogsStream = Pin<Box<dyn Stream<Item = Result<StreamLogsResponse, Status>> + Send>>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let received = Arc::clone(&self.0);
        received.metadata.lock().unwrap().push(request.metadata().clone());
        let acknowledged = request.into_inner().map(move |request| {
            let request = request?;
            received.events.lock().unwrap().extend(request.messages);
            Ok(StreamLogsResponse { acknowledged_sequence: request.sequence, refused: Vec::new() })
        });
        Ok(Response::new(Box::pin(acknowledged)))
    }
}
