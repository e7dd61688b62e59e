use std::{
    error::Error,
    fmt,
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pbjson_types::Timestamp;

use crate::proto::LogMessage;

/// A durable store of unshipped events.
///
/// [`ship`](super::ship) acknowledges positions in reading order without gaps, so a source may
/// store only the last one. Futures may be dropped before completion.
pub trait EventSource: Send + Sync + 'static {
    /// Position of an event in the source.
    type Position: Clone + Send + Sync;

    /// Returns up to `limit` unacknowledged events after `after`, or from the oldest, in order.
    ///
    /// Only an empty result means that there are no more. A late commit may insert events before a
    /// position already read; reading restarts every
    /// [`ShipOptions::poll_interval`](super::ShipOptions::poll_interval) to find them.
    fn read(
        &self,
        after: Option<&Self::Position>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Self::Position, LogMessage)>, SourceError>> + Send;

    /// Marks events as delivered; repeated after an error.
    fn acknowledge(
        &self,
        positions: &[Self::Position],
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Returns the oldest unacknowledged event. Called every few seconds.
    fn oldest(&self) -> impl Future<Output = Result<Option<OldestEvent>, SourceError>> + Send {
        async {
            let first = self.read(None, 1).await?.into_iter().next();
            Ok(first.map(|(_, event)| OldestEvent::of(event)))
        }
    }

    /// Returns when there may be new events. Must not miss a change since `read`
    /// (`tokio::sync::Notify::notify_one` stores it).
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Stores a dead letter, already logged in full: an event that violates the contract or that
    /// Kafka refused permanently. After `Ok` it counts as acknowledged.
    fn dead_letter(
        &self,
        position: &Self::Position,
        event: &LogMessage,
        reason: &str,
    ) -> impl Future<Output = Result<(), SourceError>> + Send {
        let _ = (position, event, reason);
        async { Ok(()) }
    }
}

/// The oldest event of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldestEvent {
    /// Id within the source.
    pub id: String,
    /// Start of the wait, by the clock of the source (database or machine). `None` if the event may
    /// have been shipped before.
    pub time: Option<SystemTime>,
}

impl OldestEvent {
    pub(crate) fn of(event: LogMessage) -> Self {
        Self { time: event.time.and_then(system_time), id: event.id }
    }
}

fn system_time(time: Timestamp) -> Option<SystemTime> {
    let (seconds, nanos) = (u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?);
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// A failed read or write of a source; the caller retries.
#[derive(Debug)]
pub struct SourceError(Box<dyn Error + Send + Sync>);

impl SourceError {
    /// Wraps an error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
