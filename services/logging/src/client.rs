//! The side that writes events: what an event is, where it waits on disk, and how it gets to the logging service.

mod age;
pub mod event;
pub mod flood;
pub mod journal;
mod ship;
mod source;

pub use age::{DEFAULT_AGE_LIMIT, watch_age};
pub use ship::{ShipOptions, ShipStatus, find, ship};
pub use source::{EventSource, Oldest, SourceError};
