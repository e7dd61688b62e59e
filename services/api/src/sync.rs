//! What threads share: in unit tests, types whose schedules the simulator chooses.

#[cfg(test)]
pub(crate) use simulator::threads::{AtomicUsize, Mutex};
#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, atomic::AtomicUsize};
