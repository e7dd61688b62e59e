//! The connections of the balancer, behind traits, so that the simulation runs the rest.

use std::error::Error;

use tonic::{Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use super::{
    super::transport::{Address, Dialer},
    connection::Connection,
};

/// Opens connections.
pub(super) trait Connect: Clone + Send + Sync + 'static {
    type Channel: Channel;

    fn connect(
        &self,
        address: &Address,
    ) -> impl Future<Output = Result<Self::Channel, Box<dyn Error + Send + Sync>>> + Send;
}

/// A connection to a replica.
pub(super) trait Channel: Clone + Send + Sync + 'static {
    /// Returns whether new calls fail. Calls in flight may go on.
    fn is_closed(&self) -> bool;

    /// Waits until [`is_closed`](Self::is_closed).
    fn closed(&self) -> impl Future<Output = ()> + Send;

    fn is_untrusted(&self) -> bool;

    fn is_same(&self, other: &Self) -> bool;

    fn check_health(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> impl Future<Output = Result<Response<HealthCheckResponse>, Status>> + Send;
}

impl Connect for Dialer {
    type Channel = Connection;

    async fn connect(&self, address: &Address) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        Connection::open(address, self).await
    }
}

impl Channel for Connection {
    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }

    async fn closed(&self) {
        Self::closed(self).await;
    }

    fn is_untrusted(&self) -> bool {
        Self::is_untrusted(self)
    }

    fn is_same(&self, other: &Self) -> bool {
        Self::is_same(self, other)
    }

    async fn check_health(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        HealthClient::new(self.clone()).check(request).await
    }
}
