//! Calls to a service of which there are several: its addresses are looked up, probed, chosen
//! among, and tried one after another.
//!
//! One task follows the addresses behind the names ([`resolving`]), one for each address asks by
//! gRPC health whether it serves ([`probing`]); a call goes to the least loaded of those that do
//! ([`choosing`]), and elsewhere when it fails there in a way that allows it ([`calling`]).

mod calling;
mod choosing;
mod connection;
mod endpoints;
mod meters;
mod probing;
mod resolving;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use self::{calling::Budget, choosing::Set};
pub use self::{
    calling::{CallError, Kind},
    choosing::Held,
    connection::{Answer, Connection},
    endpoints::Endpoints,
    resolving::{Resolve, Resolved, SystemResolver},
};
use super::transport::Address;
use crate::Part;

/// The replicas of one service. Cheap to clone; when the last clone is dropped, nobody probes them
/// any more.
#[derive(Clone, Debug)]
pub struct Replicas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoints: Endpoints,
    set: Arc<Set>,
    budget: Budget,
    _end: DropGuard,
}

impl Replicas {
    /// Begins to look for them. `service` is the full name that they are asked about by gRPC
    /// health: `merch.assistant.v1.AssistantService`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn find(endpoints: Endpoints, service: &'static str) -> Self {
        Self::find_with(endpoints, service, Arc::new(SystemResolver))
    }

    /// As [`find`](Self::find), with somebody else who knows the addresses.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn find_with(
        endpoints: Endpoints,
        service: &'static str,
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        let set = Arc::new(Set::new(endpoints.of()));
        let stop = CancellationToken::new();
        tokio::spawn(resolving::follow(
            endpoints.clone(),
            resolver,
            service,
            Arc::clone(&set),
            stop.clone(),
        ));
        Self(Arc::new(Inner { endpoints, set, budget: Budget::full(), _end: stop.drop_guard() }))
    }

    /// Makes one call. `attempt` makes a single attempt on the connection that it gets, and tells
    /// the server of the time that it gets, which is what is left of `deadline`.
    ///
    /// An attempt that never left is made again elsewhere; one that was lost, or whose replica was
    /// removed while it was under way, only if `kind` allows it, and twice at most. While no
    /// replica serves, a call waits for one: until two seconds after the last one was gone; or, as
    /// long as no more than 256 calls wait, for one and a half seconds if that is longer.
    ///
    /// # Errors
    /// Why there is no answer, or the answer of the service if that is an error.
    pub async fn call<T, A>(
        &self,
        kind: Kind,
        deadline: Duration,
        attempt: impl Fn(Connection, Duration) -> A,
    ) -> Result<T, CallError>
    where
        A: Future<Output = Result<T, Status>>,
    {
        calling::call(&self.0.set, &self.0.budget, kind, deadline, attempt).await
    }

    /// Waits for a replica to have a long-lived stream with. The same `seed` gets the same one as
    /// long as that serves; different seeds are spread.
    pub async fn hold(&self, seed: u64) -> Held {
        let mut changes = self.0.set.changes();
        loop {
            match self.0.set.favourite(seed) {
                Some(held) => return held,
                None => changes.next().await,
            }
        }
    }

    /// The replica that [`hold`](Self::hold) would give now.
    #[must_use]
    pub fn favourite(&self, seed: u64) -> Option<Address> {
        self.0.set.favourite(seed).map(|held| held.address())
    }

    /// How many of them serve now.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.0.set.serving()
    }

    /// Keeps `part` up to date: ready while at least one replica serves. Never returns.
    pub async fn follow(&self, part: &Part) {
        let mut changes = self.0.set.changes();
        loop {
            if self.serving() > 0 {
                part.ready();
            } else {
                let endpoints = &self.0.endpoints;
                part.not_ready(format!(
                    "no {} service at {endpoints} answers that it is serving",
                    endpoints.of()
                ));
            }
            changes.next().await;
        }
    }
}
