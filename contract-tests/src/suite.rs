//! Cases, what they are given, and the run of all of them against one implementation.

mod answer;
mod call;
mod case;
mod cleanup;
mod context;
mod failure;
mod ledger;
mod pool;
mod run;

pub use answer::Answer;
pub use call::Call;
pub use case::{Case, Need};
pub use context::{Context, Product};
pub use failure::Failure;
pub use pool::{Lease, User};
pub use run::{run, run_cases};
