//! The side that writes events: what an event is, where it waits on disk, and how it gets to the
//! logging service.

pub mod event;

#[cfg(feature = "client")]
mod age;
#[cfg(feature = "client")]
pub mod flood;
#[cfg(feature = "client")]
pub mod journal;
#[cfg(feature = "client")]
mod ship;
#[cfg(feature = "client")]
mod source;

#[cfg(feature = "client")]
pub use self::{
    age::{DEFAULT_AGE_LIMIT, watch_age},
    ship::{ShipOptions, ShipStatus, find, ship},
    source::{EventSource, Oldest, SourceError},
};
