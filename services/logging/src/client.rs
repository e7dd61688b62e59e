//! Client side of event logging.

pub mod event;

#[cfg(feature = "client")]
mod event_age;
#[cfg(feature = "client")]
pub mod journal;
#[cfg(feature = "client")]
pub mod rate_limit;
#[cfg(feature = "client")]
pub(crate) mod ship;
#[cfg(feature = "client")]
mod source;

#[cfg(feature = "client")]
pub use self::{
    event_age::{DEFAULT_AGE_LIMIT, watch_age},
    ship::{ShipOptions, ShipStatus, find_replicas, ship},
    source::{EventSource, OldestEvent, SourceError},
};
