//! Would a change of the contracts break somebody who was built against the last release?
//!
//! The last release stands in `contract-tests/released/`. [`gate::Gate`] holds `openapi.yaml` and
//! `proto/` against it, by three witnesses: `redocly diff`, `buf breaking`, and the rules of this
//! crate, which see what those two do not. A break is refused unless the major of `info.version`
//! has grown. [`release`] moves the baseline. `docs/breaking-changes.md` says what counts as a
//! break, and why.

pub mod change;
pub mod contracts;
pub mod gate;
pub mod openapi;
pub mod proto;
pub mod release;
mod tools;

pub use change::{Change, Level, Witness};
pub use contracts::Contracts;
