//! A complete store in the process of a test.
//!
//! A [`TestStore`] has a database (SQLite or PostgreSQL), broker, logging service, db service and
//! api, each on a free port. [`on_both_databases!`] runs a test on both databases. [`Call`] checks
//! every response against `openapi.yaml` ([`contract_tests::contract`]), and a test must declare
//! every log event that it expects.
//!
//! The tests are in `contract-tests/tests/`.

mod call;
mod database;
mod events;
mod service;
mod store;
mod user;

pub use call::{Answer, Call};
pub use database::{BareDatabase, Database};
pub use events::{Events, Record};
pub use store::{Options, TestStore};
pub use user::{TestUser, fresh_name};

/// Limit of any wait in a test; long enough for a machine under load.
pub const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Makes each function a test on SQLite and on PostgreSQL: `async fn name(store: &TestStore) { …
/// }`.
///
/// `#[with(|options| …)]` changes the store's [`Options`]. The macro finishes the store: see
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
