//! The side that writes events: what an event is, where it waits on disk, and how it gets to the logging service.

pub mod event;
pub mod journal;
mod ship;
mod source;

pub use ship::{ShipOptions, find, ship};
pub use source::{EventSource, SourceError};
