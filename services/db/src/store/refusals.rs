use std::net::IpAddr;

use merch_contract::grpc::logging::v1::{Level, LogMessage};
use merch_logging::client::{
    event::{attribute, event_name},
    rate_limit::{self, Client},
};
use tokio_util::sync::CancellationToken;

use super::{Store, db_failure, outbox};
use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialError {
    Missing,
    Wrong,
}

impl CredentialError {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Wrong => "token_wrong",
        }
    }
}

impl Store {
    /// In a flood, only counts the call.
    pub(crate) async fn record_operator_refusal(
        &self,
        reason: CredentialError,
        peer: Option<IpAddr>,
    ) -> Result<(), Failure> {
        if !self.rate_limiter.admit(Client::at(peer), event_name::OPERATOR_REFUSED, reason.as_str())
        {
            return Ok(());
        }
        let event = self
            .origin
            .event(
                Level::Warn,
                event_name::OPERATOR_REFUSED,
                "A call without the operator's credential was refused.",
            )
            .attribute(attribute::REASON, reason.as_str());
        let event = match peer {
            Some(address) => event.attribute(attribute::CLIENT_ADDRESS, address.to_canonical()),
            None => event,
        };
        self.write_events(vec![event.build()]).await
    }

    /// Logs after each period and when `stop` is cancelled.
    pub(crate) async fn summarise_refusals(&self, stop: CancellationToken) {
        rate_limit::write_summaries(
            &self.rate_limiter,
            &self.origin,
            |events| self.write_events(events),
            stop,
        )
        .await;
    }

    async fn write_events(&self, events: Vec<LogMessage>) -> Result<(), Failure> {
        let now = self.clock.now();
        self.write(|transaction| {
            let events = events.clone();
            async move { outbox::append(&*transaction, now, events).await.map_err(db_failure) }
        })
        .await
    }
}
