//! Cases, their context, and the runner.

mod answer;
mod call;
mod case;
mod cleanup;
mod context;
mod ledger;
mod pool;
mod run;

pub use answer::Answer;
pub use call::Call;
pub use case::{Case, Requirement};
pub use context::{Context, Product};
pub use pool::{Lease, User};
pub use run::run_cases;

pub use crate::report::Failure;
