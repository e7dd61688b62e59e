//! The REST gateway of the store: it authenticates, calls the db service over gRPC, and answers as
//! `openapi.yaml` says.
//!
//! A request comes through `listen` (connections) and `edge` (what holds for every answer) to
//! `pages` or to the generated server, which holds it against the document and calls the handler
//! floor, `http`; a handler calls one use-case of `store`, which speaks to the db service (`db`),
//! checks passwords and tokens (`identity`) and writes log events (`events`). Every error is a
//! `problem`.

mod clock;
mod config;
mod context;
mod db;
mod edge;
mod etag;
mod events;
mod http;
mod identity;
mod journals;
mod listen;
mod model;
mod pages;
mod problem;
mod proxies;
mod readiness;
mod store;

use std::{sync::Arc, time::Duration};

use merch_chassis::{ConcurrencyLimit, Readiness, ServeFuture, StartError};
use merch_logging::client::{ShipOptions, journal::Journal, ship, watch_age};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    db::Db,
    edge::{Edge, Metrics},
    events::Events,
    identity::{Hasher, RevokedTokens, Throttle, Tokens},
    listen::Bounds,
    pages::Pages,
    proxies::Proxies,
    store::Store,
};
pub use config::Config;
pub use edge::{CorsOrigins, InvalidOrigin};
pub use identity::{Cost, InvalidCost, Rate, SigningKey, WeakKey};
pub use proxies::{InvalidProxy, TrustedProxies};

/// The time between two removals of idle entries from the rate limits.
const FORGET: Duration = Duration::from_secs(60);

/// Serves the store's REST API until `shutdown` is cancelled; then it finishes the requests under
/// way, ships what is in the journal, and returns. From [`Readiness::stop`] on, which may come
/// before that, each answer closes its connection.
///
/// `readiness` gets three parts:
/// - `db`: ready while at least one replica of the db service says that it is serving;
/// - `clock`: ready while this machine's clock agrees with the database's;
/// - `events`: always ready; degraded while the oldest log event has waited for longer than
///   [`Config::event_age_limit`].
///
/// # Errors
/// When an endpoint is no URI, [`Config::transport`] does not allow to reach one, or the journal
/// cannot be opened.
pub fn serve(
    listener: TcpListener,
    config: Config,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> ServeFuture {
    Box::pin(run(listener, config, readiness, shutdown))
}

async fn run(
    listener: TcpListener,
    config: Config,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let db = Db::find(&config.db_endpoint, &config.transport, config.call_deadline)?;
    let logging =
        merch_logging::client::find_replicas(&config.logging_endpoint, &config.transport)?;
    let (folder, options, shared) =
        (config.journal_folder.clone(), config.journal.clone(), config.journal_shared);
    let (journal, journal_folder) = tokio::task::spawn_blocking(move || match shared {
        true => journals::take(&folder, &options),
        false => Ok((Journal::open(&folder, options)?, folder)),
    })
    .await
    .map_err(|error| StartError::new(format!("opening the journal failed: {error}")))??;

    let events = Events::new(journal.clone(), config.refusals);
    let store = Arc::new(Store {
        db: db.clone(),
        events: events.clone(),
        hasher: Hasher::new(config.hash_cost, config.hashes_at_once, config.hashes_waiting),
        throttle: Throttle::new(
            config.log_ins_per_address,
            config.registrations_per_address,
            config.write_rate,
        ),
        tokens: Tokens::new(&config.signing_key, &config.verify_keys, config.token_lifetime),
        writes: ConcurrencyLimit::new(config.writes_per_user),
        revoked: RevokedTokens::default(),
        unfinished: TaskTracker::new(),
    });
    let pages = Pages::before(http::operations(Arc::clone(&store), config.body_limit));
    let proxies = Arc::new(Proxies::new(config.trusted_proxies));
    // Once before anybody is served, so that the first request is judged as all others are. A name
    // that is not there yet comes up later.
    proxies.look_up().await;
    let edge = Edge::new(
        pages,
        events.clone(),
        Metrics::of_process(),
        Arc::clone(&proxies),
        config.header_limit,
        config.request_timeout,
        config.cors_origins,
    );

    let adopting = tokio::spawn({
        let (first, options, logging, shutdown) =
            (config.journal_folder, config.journal, logging.clone(), shutdown.clone());
        let ship =
            move |journal, options, shutdown| ship(journal, logging.clone(), options, shutdown);
        async move {
            if config.journal_shared {
                journals::adopt(first, journal_folder, options, ship, shutdown).await;
            }
        }
    });
    let drained = CancellationToken::new();
    let options = ShipOptions { drain_timeout: config.ship_timeout, ..ShipOptions::new("api") };
    let status = options.status.clone();
    let shipping = tokio::spawn(ship(journal.clone(), logging, options, drained.clone()));
    let refused_all = CancellationToken::new();
    let summarising = tokio::spawn({
        let stop = refused_all.clone();
        async move { events.summarise(stop).await }
    });
    let housekeeping = tokio::spawn(forget_the_idle(Arc::clone(&store), shutdown.clone()));
    let following_proxies = tokio::spawn({
        let (proxies, shutdown) = (Arc::clone(&proxies), shutdown.clone());
        async move { proxies.follow(shutdown).await }
    });
    let (part, clock_part) = (readiness.part("db"), readiness.part("clock"));
    let comparing = tokio::spawn(clock::follow(db.clone(), clock_part, shutdown.clone()));
    let following = tokio::spawn(readiness::follow_db(db, part, shutdown.clone()));
    let part = readiness.part("events");
    let aging = tokio::spawn(watch_age(
        journal,
        "api",
        status,
        config.event_age_limit,
        part,
        shutdown.clone(),
    ));

    let bounds = Bounds {
        header_limit: config.header_limit,
        body_limit: config.body_limit,
        header_timeout: config.header_timeout,
        first_byte_timeout: config.first_byte_timeout,
        request_memory: config.request_memory,
        write_timeout: config.write_timeout,
        connections: config.connections,
        connections_per_address: config.connections_per_address,
        drain_timeout: config.drain_timeout,
    };
    listen::serve(listener, edge, bounds, proxies, readiness.stopping(), &shutdown).await;

    // A log-in or a password change runs on after its client is gone, and may still refuse.
    store.unfinished.close();
    let patience = config.call_deadline.min(config.drain_timeout);
    if tokio::time::timeout(patience, store.unfinished.wait()).await.is_err() {
        let requests = store.unfinished.len();
        tracing::warn!(
            requests,
            "log-ins or password changes are still under way; their refusals may be missing from the log"
        );
    }
    // Nothing else refuses any more; what was counted of refusals is written.
    refused_all.cancel();
    if let Err(error) = summarising.await {
        tracing::error!(%error, "counting refusals ended with a bug");
    }
    // Nothing else writes to the journal any more.
    drained.cancel();
    for (what, task) in [
        ("shipping log events", shipping),
        ("shipping what others left behind", adopting),
        ("housekeeping", housekeeping),
        ("looking up proxies", following_proxies),
        ("following the db service", following),
        ("following the age of log events", aging),
        ("comparing the clocks", comparing),
    ] {
        if let Err(error) = task.await {
            tracing::error!(%error, "{what} ended with a bug");
        }
    }
    Ok(())
}

/// Keeps what the throttle remembers small.
async fn forget_the_idle(store: Arc<Store>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(FORGET) => store.throttle.forget_the_idle(),
        }
    }
}
