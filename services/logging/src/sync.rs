//! What threads share: in unit tests, types whose schedules the simulator chooses.

#[cfg(not(test))]
pub(crate) use std::sync::Mutex;
#[cfg(all(feature = "server", not(test)))]
pub(crate) use std::sync::RwLock;

#[cfg(test)]
pub(crate) use simulator::threads::{Mutex, Notify, RwLock};
#[cfg(all(feature = "client", not(test)))]
pub(crate) use tokio::sync::Notify;
