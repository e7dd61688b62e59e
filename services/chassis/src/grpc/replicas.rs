//! Client-side load balancing over the replicas of a service.

mod balancer;
mod channel;
mod connection;
mod endpoints;
mod health_check;
mod metrics;
mod resolver;
mod retry;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod threads;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use self::{balancer::Balancer, retry::RetryBudget};
pub use self::{
    balancer::InFlightGuard,
    connection::{Connection, ResponseBody},
    endpoints::Endpoints,
    resolver::{Resolve, ResolveFuture, SystemResolver},
    retry::{CallError, Idempotency},
};
use super::transport::Address;
use crate::Part;

/// The replicas of one service. Clones share one state; health checks stop with the last.
#[derive(Clone, Debug)]
pub struct Replicas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoints: Endpoints,
    balancer: Arc<Balancer<Connection>>,
    budget: RetryBudget,
    _stop: DropGuard,
}

impl Replicas {
    /// Starts discovery. `service` is the full name for gRPC health:
    /// `merch.assistant.v1.AssistantService`.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    #[must_use]
    pub fn discover(endpoints: Endpoints, service: &'static str) -> Self {
        Self::discover_with(endpoints, service, Arc::new(SystemResolver))
    }

    /// Like [`discover`](Self::discover), with another resolver.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    #[must_use]
    pub fn discover_with(
        endpoints: Endpoints,
        service: &'static str,
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        let balancer = Arc::new(Balancer::new(endpoints.service()));
        let stop = CancellationToken::new();
        tokio::spawn(resolver::run(
            endpoints.clone(),
            endpoints.dialer().clone(),
            resolver,
            service,
            Arc::clone(&balancer),
            stop.clone(),
        ));
        Self(Arc::new(Inner {
            endpoints,
            balancer,
            budget: RetryBudget::full(),
            _stop: stop.drop_guard(),
        }))
    }

    /// Makes one call. `attempt` makes a single attempt on the given connection and sends the
    /// remaining time as its `grpc-timeout`.
    ///
    /// An unprocessed attempt is always retried on another replica. A lost one, or one on a removed
    /// replica, is retried at most twice and only if `idempotency` allows it. Without a healthy
    /// replica, a call waits until two seconds after the outage began; 256 of the waiting calls
    /// wait at least 1.5 seconds.
    ///
    /// # Errors
    /// The service's own status, or why there is no response.
    pub async fn call<T, A>(
        &self,
        idempotency: Idempotency,
        deadline: Duration,
        attempt: impl Fn(Connection, Duration) -> A,
    ) -> Result<T, CallError>
    where
        A: Future<Output = Result<T, Status>>,
    {
        retry::call(&self.0.balancer, &self.0.budget, idempotency, deadline, attempt).await
    }

    /// Waits for a replica for a long-lived stream. Equal keys get the same replica while it
    /// serves.
    pub async fn pick_by_hash(&self, key: u64) -> InFlightGuard {
        self.0.balancer.wait_for_pick_by_hash(key).await
    }

    /// Returns the address that [`pick_by_hash`](Self::pick_by_hash) would pick now.
    #[must_use]
    pub fn preferred_address(&self, key: u64) -> Option<Address> {
        self.0.balancer.pick_by_hash(key).map(|guard| guard.address())
    }

    /// Returns the number of healthy replicas.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.0.balancer.serving()
    }

    /// Keeps `part` ready while at least one replica serves. Never returns.
    pub async fn report_readiness(&self, part: &Part) {
        loop {
            let changed = self.0.balancer.changed();
            if self.serving() > 0 {
                part.ready();
            } else {
                let endpoints = &self.0.endpoints;
                part.not_ready(format!(
                    "no healthy {} replica at {endpoints}",
                    endpoints.service()
                ));
            }
            changed.await;
        }
    }
}
