//! Runs the built store under random faults and checks its promises.
//!
//! `make chaos` runs the program; `docs/chaos.md` describes it.

pub mod books;
pub mod checker;
pub mod clients;
pub mod disk;
pub mod history;
pub mod nemesis;
pub mod plan;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod readers;
pub mod role;
pub mod run;
pub mod soak;
pub mod store;
