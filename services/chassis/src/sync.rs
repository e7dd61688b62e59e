//! What threads share: in unit tests, types whose schedules the simulator chooses.

#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, RwLock, atomic::AtomicUsize};

#[cfg(test)]
pub(crate) use simulator::threads::{AtomicUsize, Mutex, Notify, RwLock, watch};
#[cfg(not(test))]
pub(crate) use tokio::sync::{Notify, watch};
