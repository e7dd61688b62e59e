//! A service of the store in this process.

use std::net::{Ipv4Addr, SocketAddr};

use merch_chassis::{Readiness, StartError, bind};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::TIMEOUT;

#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    address: SocketAddr,
    readiness: Readiness,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), StartError>>,
}

impl Service {
    /// Binds `address`, or a free loopback port, and runs `serve` on it.
    pub(crate) async fn start<F>(
        name: &'static str,
        address: Option<SocketAddr>,
        serve: impl FnOnce(TcpListener, Readiness, CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = Result<(), StartError>> + Send + 'static,
    {
        let listener = bind(name, address.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()))
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().expect("a bound listener has an address");
        let (readiness, shutdown) = (Readiness::expecting(name), CancellationToken::new());
        let task = tokio::spawn(serve(listener, readiness.clone(), shutdown.clone()));
        Self { name, address, readiness, shutdown, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn ready(&mut self) {
        tokio::select! {
            waited = timeout(TIMEOUT, self.readiness.ready()) => {
                assert!(waited.is_ok(), "the {} service is not ready after {TIMEOUT:?}: {:?}", self.name, self.readiness.check());
            }
            ended = &mut self.task => panic!("the {} service ended during its start: {ended:?}", self.name),
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        match timeout(TIMEOUT, self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => panic!("the {} service failed: {error}", self.name),
            Ok(Err(error)) => panic!("the {} service panicked: {error}", self.name),
            Err(_) => panic!("the {} service did not drain within {TIMEOUT:?}", self.name),
        }
    }
}
