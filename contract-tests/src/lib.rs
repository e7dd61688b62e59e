//! Proves that the store keeps to its contracts, with nothing but what any client has: HTTP, and the Kafka topic.
//!
//! A [`TestStore`] is a whole store in this process: its own database (SQLite or PostgreSQL), broker, logging service, db service and api, each behind
//! a port of its own. [`on_both_databases!`] runs a test on both databases. Every answer that comes through [`Call`] is held against `openapi.yaml`
//! ([`contract`]), and every log event has to be expected by the test that causes it.
//!
//! The tests stand in `tests/contract/`, a file for each resource.

mod call;
pub mod contract;
mod database;
mod events;
mod role;
mod store;
mod user;

pub use call::{Answer, Call};
pub use database::Database;
pub use events::{Events, Record};
pub use store::{Options, TestStore};
pub use user::{TestUser, fresh_name};

/// How long anything in a test may take that has to happen at some time. Far more than it takes: a machine under load must not fail a test.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Makes each function a test on SQLite and a test on PostgreSQL: `async fn name(store: &TestStore) { … }`.
///
/// `#[with(|options| …)]` before a function changes the store's [`Options`]. The store is finished after the function has returned: see
/// [`TestStore::finish`].
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[doc = $doc:literal])* $(#[with($options:expr)])? async fn $name:ident($store:ident: &TestStore) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn test($store: &$crate::TestStore) $body

            async fn run(database: $crate::Database) {
                #[allow(unused_mut)]
                let mut options = $crate::Options::default();
                $({
                    let change: fn(&mut $crate::Options) = $options;
                    change(&mut options);
                })?
                let store = $crate::TestStore::start_with(database, options).await;
                test(&store).await;
                store.finish().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                run($crate::Database::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                run($crate::Database::Postgres).await;
            }
        }
    )*};
}
