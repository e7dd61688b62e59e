//! Refusals that are log events of their own, and the counts of those that are not.

use std::{net::IpAddr, sync::Arc};

use merch_contract::grpc::logging::v1::{Level, LogMessage};
use merch_logging::client::{
    event::{attribute, event_name},
    rate_limit::{self, Client},
};
use tokio_util::sync::CancellationToken;

use super::{Store, outbox, plain};
use crate::failure::Failure;

/// Why a call of the operator's service was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It shows no bearer token.
    Missing,
    /// It shows another one.
    Wrong,
}

impl Refusal {
    /// The `reason` of its event.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Wrong => "token_wrong",
        }
    }
}

impl Store {
    /// A call without the operator's credential was refused, from this address. Written before it
    /// is answered, or counted in a flood.
    pub(crate) async fn operator_refused(
        &self,
        reason: Refusal,
        peer: Option<IpAddr>,
    ) -> Result<(), Failure> {
        if !self.rate_limiter.admit(Client::at(peer), event_name::OPERATOR_REFUSED, reason.word()) {
            return Ok(());
        }
        let event = self
            .origin
            .event(
                Level::Warn,
                event_name::OPERATOR_REFUSED,
                "A call without the operator's credential was refused.",
            )
            .attribute(attribute::REASON, reason.word());
        let event = match peer {
            Some(address) => event.attribute(attribute::CLIENT_ADDRESS, address.to_canonical()),
            None => event,
        };
        self.write_events(vec![event.build()]).await
    }

    /// Writes what is counted of refusals, at the end of each period and once more when `stop` is
    /// cancelled.
    pub(crate) async fn summarise_refusals(&self, stop: CancellationToken) {
        rate_limit::write_summaries(
            &self.rate_limiter,
            &self.origin,
            |events| self.write_events(events),
            stop,
        )
        .await;
    }

    /// Writes events that belong to no change.
    async fn write_events(&self, events: Vec<LogMessage>) -> Result<(), Failure> {
        let (now, events) = (self.clock.now(), Arc::new(events));
        self.write(|transaction| {
            let events = Arc::clone(&events);
            async move { outbox::append(&*transaction, now, &events).await.map_err(plain) }
        })
        .await
    }
}
