//! Compares `openapi.yaml` and `proto/` with their last release in `contract-tests/released/`.
//!
//! [`Gate`] collects the changes: oasdiff and `buf breaking` report most of them, [`openapi`]
//! and [`proto`] add the breaks that these tools do not detect. A break is refused unless the major
//! of `info.version` has grown. [`release()`] replaces the baseline. `docs/breaking-changes.md` defines
//! what counts as a break.

mod baseline;
mod buf;
mod change;
mod contracts;
mod gate;
mod oasdiff;
pub mod openapi;
pub mod proto;
mod release;
mod report;
mod tool;

pub use baseline::Baseline;
pub use change::{Change, Detector, Level};
pub use contracts::{CompiledProtos, Contracts};
pub use gate::{Gate, GateError};
pub use release::{CHANGELOG, release};
pub use report::Report;
