//! The replicas of the logging service, behind traits, so that the simulation runs the rest.

use merch_chassis::grpc::replicas::{InFlightGuard, Replicas};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::proto::{
    StreamLogsRequest, StreamLogsResponse, logging_service_client::LoggingServiceClient,
};

/// The replicas that a sender knows.
pub(crate) trait LoggingReplicas: Send + Sync + 'static {
    type Replica: LoggingReplica;

    /// Waits for a replica. Equal keys get the same replica while it serves.
    fn pick(&self, key: u64) -> impl Future<Output = Self::Replica> + Send;

    /// Returns the address of the replica that [`pick`](Self::pick) would return now.
    fn preferred_address(&self, key: u64) -> Option<String>;
}

/// A replica that is used until this is dropped.
pub(crate) trait LoggingReplica: Send + Sync {
    type Responses: Responses;

    fn address(&self) -> String;

    fn is_replaced(&self) -> bool;

    /// Returns when the replica stops or another one takes its place.
    fn replaced(&self) -> impl Future<Output = ()> + Send;

    /// Returns when the replica does not answer.
    fn unreachable(&self) -> impl Future<Output = ()> + Send;

    /// Opens a stream.
    fn stream_logs(
        &self,
        requests: mpsc::Receiver<StreamLogsRequest>,
    ) -> impl Future<Output = Result<Self::Responses, Status>> + Send;
}

/// The responses of a stream.
pub(crate) trait Responses: Send {
    /// Returns `None` when the service has closed its side.
    fn message(
        &mut self,
    ) -> impl Future<Output = Result<Option<StreamLogsResponse>, Status>> + Send;
}

impl LoggingReplicas for Replicas {
    type Replica = InFlightGuard;

    fn pick(&self, key: u64) -> impl Future<Output = InFlightGuard> + Send {
        self.pick_by_hash(key)
    }

    fn preferred_address(&self, key: u64) -> Option<String> {
        Replicas::preferred_address(self, key).map(|address| address.to_string())
    }
}

impl LoggingReplica for InFlightGuard {
    type Responses = Streaming<StreamLogsResponse>;

    fn address(&self) -> String {
        InFlightGuard::address(self).to_string()
    }

    fn is_replaced(&self) -> bool {
        InFlightGuard::is_replaced(self)
    }

    fn replaced(&self) -> impl Future<Output = ()> + Send {
        InFlightGuard::replaced(self)
    }

    fn unreachable(&self) -> impl Future<Output = ()> + Send {
        InFlightGuard::unreachable(self)
    }

    async fn stream_logs(
        &self,
        requests: mpsc::Receiver<StreamLogsRequest>,
    ) -> Result<Streaming<StreamLogsResponse>, Status> {
        let mut client = LoggingServiceClient::new(self.connection());
        client.stream_logs(ReceiverStream::new(requests)).await.map(tonic::Response::into_inner)
    }
}

impl Responses for Streaming<StreamLogsResponse> {
    fn message(
        &mut self,
    ) -> impl Future<Output = Result<Option<StreamLogsResponse>, Status>> + Send {
        Streaming::message(self)
    }
}
