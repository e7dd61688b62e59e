//! The REST gateway of the store: authenticates requests, calls the db service over gRPC, and
//! responds as `openapi.yaml` declares.
//!
//! A request passes `server` (connections), `middleware` (every response), the generated server
//! (validation), a handler in `http`, and a use case in `app`. A use case calls the db service
//! (`db`), checks passwords and tokens (`identity`), and writes log events (`events`). `pages`
//! serves the documentation. Every error response is a `problem`.

mod app;
mod clock;
mod coalesce;
mod config;
mod context;
mod convert;
mod db;
mod etag;
mod events;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod http;
mod identity;
mod journals;
mod middleware;
mod pages;
mod problem;
mod proxies;
mod read_limit;
mod readiness;
mod server;
mod sync;

use std::{sync::Arc, time::Duration};

use merch_chassis::{ConcurrencyLimit, Readiness, ServeFuture, StartError};
use merch_logging::client::{ShipOptions, journal::Journal, ship, watch_age};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::{App, Catalogue, OrderBatches},
    db::Db,
    events::Events,
    identity::{Hasher, RateLimits, RevokedTokens, Tokens},
    middleware::{Metrics, Middleware},
    pages::Pages,
    proxies::Proxies,
    server::ServerLimits,
};
pub use config::Config;
pub use identity::{Cost, InvalidCost, Rate, SigningKey, WeakKey};
pub use middleware::{CorsOrigins, InvalidOrigin};
pub use proxies::{InvalidProxy, TrustedProxies};

const EVICTION_INTERVAL: Duration = Duration::from_secs(60);

/// Serves the REST API until `shutdown` is cancelled. Then it finishes the requests in flight,
/// ships the journal, and returns. After [`Readiness::stop`], each response closes its connection.
///
/// `readiness` gets three parts:
/// - `db`: ready while at least one replica of the db service is healthy;
/// - `clock`: ready while this machine's clock agrees with the database's;
/// - `events`: always ready; degraded while the oldest log event is older than
///   [`Config::event_age_limit`].
///
/// # Errors
/// When an endpoint is not a URI, [`Config::transport`] does not allow its scheme, or the journal
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
    let db = Db::new(&config.db_endpoint, &config.transport, config.call_deadline)?;
    let logging =
        merch_logging::client::find_replicas(&config.logging_endpoint, &config.transport)?;
    let (dir, options, shared) =
        (config.journal_dir.clone(), config.journal.clone(), config.journal_shared);
    let (journal, journal_dir) = tokio::task::spawn_blocking(move || match shared {
        true => journals::open_first_free(&dir, &options),
        false => Ok((Journal::open(&dir, options)?, dir)),
    })
    .await
    .map_err(|error| StartError::new(format!("failed to open the journal: {error}")))??;

    let events = Events::new(journal.clone(), config.refusals);
    let app = Arc::new(app(&config, db.clone(), events.clone()));
    let pages = Pages::before(http::operations(Arc::clone(&app), config.body_limit));
    let proxies = Arc::new(Proxies::new(config.trusted_proxies));
    // Before the first request; names that do not resolve yet are resolved later.
    proxies.resolve_all().await;
    let middleware = Middleware::new(
        pages,
        events.clone(),
        Metrics::global(),
        Arc::clone(&proxies),
        config.header_limit,
        config.request_timeout,
        config.cors_origins,
    );

    let orphan_shipping = tokio::spawn({
        let (first, options, logging, shutdown) =
            (config.journal_dir, config.journal, logging.clone(), shutdown.clone());
        let ship =
            move |journal, options, shutdown| ship(journal, logging.clone(), options, shutdown);
        async move {
            if config.journal_shared {
                journals::adopt(first, journal_dir, options, ship, shutdown).await;
            }
        }
    });
    let drained = CancellationToken::new();
    let options = ShipOptions { drain_timeout: config.ship_timeout, ..ShipOptions::new("api") };
    let status = options.status.clone();
    let shipping = tokio::spawn(ship(journal.clone(), logging, options, drained.clone()));
    let refusals_done = CancellationToken::new();
    let summaries = tokio::spawn({
        let stop = refusals_done.clone();
        async move { events.write_summaries(stop).await }
    });
    let eviction = tokio::spawn(evict_idle(Arc::clone(&app), shutdown.clone()));
    let proxy_refresh = tokio::spawn({
        let (proxies, shutdown) = (Arc::clone(&proxies), shutdown.clone());
        async move { proxies.refresh(shutdown).await }
    });
    let (part, clock_part) = (readiness.part("db"), readiness.part("clock"));
    let clock_watch = tokio::spawn(clock::watch(db.clone(), clock_part, shutdown.clone()));
    let db_watch = tokio::spawn(readiness::watch_db(db, part, shutdown.clone()));
    let part = readiness.part("events");
    let age_watch = tokio::spawn(watch_age(
        journal,
        "api",
        status,
        config.event_age_limit,
        part,
        shutdown.clone(),
    ));

    let limits = ServerLimits {
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
    server::serve(listener, middleware, limits, proxies, readiness.stopping(), &shutdown).await;

    // Tasks of disconnected clients can still write refusals.
    app.uncancelled.close();
    let timeout = config.call_deadline.min(config.drain_timeout);
    if tokio::time::timeout(timeout, app.uncancelled.wait()).await.is_err() {
        let requests = app.uncancelled.len();
        tracing::warn!(
            requests,
            "log-ins or password changes are still running; their refusals may not be logged"
        );
    }
    refusals_done.cancel();
    if let Err(error) = summaries.await {
        tracing::error!(task = "refusal counts", %error, "background task panicked");
    }
    drained.cancel();
    for (task, handle) in [
        ("event shipping", shipping),
        ("orphaned journals", orphan_shipping),
        ("rate limit eviction", eviction),
        ("proxy resolution", proxy_refresh),
        ("db health", db_watch),
        ("event age", age_watch),
        ("clock comparison", clock_watch),
    ] {
        if let Err(error) = handle.await {
            tracing::error!(task, %error, "background task panicked");
        }
    }
    Ok(())
}

fn app(config: &Config, db: Db, events: Events) -> App {
    App {
        orders: OrderBatches::new(db.clone()),
        db,
        catalogue: Catalogue::new(),
        events,
        hasher: Hasher::new(config.hash_cost, config.hash_concurrency, config.hash_queue_capacity),
        rate_limits: RateLimits::new(
            config.log_ins_per_address,
            config.registrations_per_address,
            config.write_rate,
        ),
        tokens: Tokens::new(&config.signing_key, &config.verify_keys, config.token_lifetime),
        writes: ConcurrencyLimit::new(config.writes_per_user),
        revoked: RevokedTokens::default(),
        uncancelled: TaskTracker::new(),
        log_abandoned: |error| drop(problem::Problem::from(error)),
    }
}

async fn evict_idle(app: Arc<App>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVICTION_INTERVAL) => app.rate_limits.evict_idle(),
        }
    }
}
