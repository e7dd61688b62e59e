//! A whole store in the process of a test, for the tests of `contract-tests`.
//!
//! A [`TestStore`] is a whole store in this process: its own database (SQLite or PostgreSQL),
//! broker, logging service, db service and api, each behind a port of its own.
//! [`on_both_databases!`] runs a test on both databases. Every answer that comes through [`Call`]
//! is held against `openapi.yaml` ([`contract_tests::contract`]), and every log event has to be
//! expected by the test that causes it.
//!
//! The tests stand in `contract-tests/tests/`.

mod call;
mod database;
mod events;
mod role;
mod store;
mod user;

pub use call::{Answer, Call};
pub use database::{BareDatabase, Database};
pub use events::{Events, Record};
pub use store::{Options, TestStore};
pub use user::{TestUser, fresh_name};

/// How long anything in a test may take that has to happen at some time. Far more than it takes: a
/// machine under load must not fail a test.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Makes each function a test on SQLite and a test on PostgreSQL: `async fn name(store: &TestStore)
/// { … }`.
///
/// `#[with(|options| …)]` before a function changes the store's [`Options`]. The store is finished
/// after the function has returned: see [`TestStore::finish`].
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
