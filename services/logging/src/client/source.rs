//! Where events wait on disk: the contract between the shipping client and a store of events (an
//! outbox table, a journal).

use std::{
    error::Error,
    fmt,
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pbjson_types::Timestamp;

use crate::proto::LogMessage;

/// A durable store of events that have still to reach the topic.
///
/// [`ship`](super::ship) reads and acknowledges in one order: the positions it acknowledges are
/// those it has read, in the order in which it read them and without gaps, so that a source may
/// keep no more than the last one.
///
/// The futures may be dropped before they are ready, as when a connection ends; a source must bear
/// that.
pub trait EventSource: Send + Sync + 'static {
    /// Where an event stands in the source.
    type Position: Clone + Send + Sync;

    /// Up to `limit` events that are not acknowledged and come after `after` (`None`: from the
    /// oldest), in the order in which they happened.
    ///
    /// Fewer than `limit` says nothing; none at all says that there are no more for now. Events
    /// that turn up *before* a position that was read already (a transaction that took its number
    /// early and committed late) are found all the same: reading starts again from the oldest every
    /// [`ShipOptions::poll_interval`](super::ShipOptions::poll_interval).
    fn read(
        &self,
        after: Option<&Self::Position>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Self::Position, LogMessage)>, SourceError>> + Send;

    /// These events are on the topic: they need not be sent again. Called again with the same
    /// positions after an error.
    fn acknowledge(
        &self,
        positions: &[Self::Position],
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The oldest event that is not acknowledged, if there is one. It is asked for every few
    /// seconds.
    fn oldest(&self) -> impl Future<Output = Result<Option<Oldest>, SourceError>> + Send {
        async {
            let first = self.read(None, 1).await?.into_iter().next();
            Ok(first.map(|(_, event)| Oldest::of(event)))
        }
    }

    /// Returns when there may be something new to read. A change between a `read` and the next call
    /// of `changed` must not be missed (`tokio::sync::Notify::notify_one` keeps it).
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Keeps an event that can never be on the topic: it breaks the contract, or Kafka refused it
    /// for good. It has been logged whole, at error level; a source that has a place for such
    /// events keeps it there. When this returns `Ok` the event is acknowledged like any other, so
    /// that it does not hold up those behind it.
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
pub struct Oldest {
    /// What tells it from every other event of the source.
    pub id: String,
    /// Since when it waits, by the clock that dates the events of the source: the database's for an
    /// outbox, the machine's for a journal. `None` if the event may have been shipped before.
    pub time: Option<SystemTime>,
}

impl Oldest {
    /// By the event's id and time.
    pub(crate) fn of(event: LogMessage) -> Self {
        Self { time: event.time.and_then(system_time), id: event.id }
    }
}

/// The time of an event; `None` before 1970.
fn system_time(time: Timestamp) -> Option<SystemTime> {
    let (seconds, nanos) = (u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?);
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// A source that cannot be read or written for now. What was asked is asked again later.
#[derive(Debug)]
pub struct SourceError(Box<dyn Error + Send + Sync>);

impl SourceError {
    /// `error` is what went wrong; it ends up in the log.
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
