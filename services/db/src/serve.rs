//! Starts the service and its background tasks, and drains them.

use std::{sync::Arc, time::Duration};

use merch_chassis::{
    ConcurrencyLimit, Readiness, ServeFuture, StartError,
    grpc::{Contract, Listener, replicas::Replicas},
};
use merch_contract::grpc::{
    FILE_DESCRIPTOR_SET, FILE_DESCRIPTOR_SET_WITH_ADMIN,
    admin::v1::admin_service_server::{self as admin, AdminServiceServer},
    assistant::v1::assistant_service_server::{AssistantServiceServer, SERVICE_NAME},
};
use merch_logging::client::{
    ShipOptions, event::Origin, rate_limit::EventRateLimiter, ship, watch_age,
};
use sea_orm::DbErr;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use uuid::Uuid;

use crate::{
    admin_token::AdminToken,
    clock::Clock,
    config::Config,
    database::{Database, StartRetry},
    db_error::{Intent, classify},
    failure::Failure,
    grpc::{
        ACCESS, Assistant,
        admin::{Admin, Guarded},
    },
    ids::Ids,
    store::{
        Store, committer, housekeeping,
        outbox::{
            Outbox,
            leader::{LeaderMetric, Ship, ship_as_leader},
            lease::{self, Lease},
        },
    },
};

/// Serves the database on `listener` until `shutdown` is cancelled. Returns when all calls have
/// ended, the queued orders are committed, and the events are shipped or [`Config::drain`] is over.
///
/// # Errors
/// If the configuration is invalid, the database cannot be opened, or its schema does not fit.
pub fn serve(
    listener: impl Into<Listener>,
    config: Config,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> ServeFuture {
    Box::pin(run(listener.into(), config, readiness, shutdown))
}

async fn run(
    listener: Listener,
    config: Config,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let (part, clock_part) = (readiness.part("database"), readiness.part("clock"));
    check(&config)?;
    let logging =
        merch_logging::client::find_replicas(&config.logging_endpoint, &config.transport)?;
    // A stop signal ends the wait for PostgreSQL.
    let opening = Database::open(&config.database, &config.pool);
    let Some(database) = shutdown.run_until_cancelled(opening).await else { return Ok(()) };
    let database = database?;
    let outbox = Outbox::new(database.clone(), config.shipped_events);
    let loading = load_state(&database, &outbox, &config);
    let Some(state) = shutdown.run_until_cancelled(loading).await else { return Ok(()) };
    let (clock, ids) = state?;

    let origin = Origin::new("db");
    tracing::info!(
        instance = origin.instance(), database = ?database.backend(),
        "starting the db service"
    );
    let lease = Lease::new(database.clone(), Uuid::now_v7(), config.leader_election.lease);
    let store = Store {
        database: database.clone(),
        outbox: outbox.clone(),
        origin,
        rate_limiter: Arc::new(EventRateLimiter::new(config.refusals)),
        log_ins: config.log_ins,
        stock_lock: Arc::default(),
        writes: ConcurrencyLimit::new(config.writes_per_user),
        clock,
        ids,
        products_for_sale: Arc::default(),
    };
    let (orders, committer) = committer::new(
        store.clone(),
        store.writes.clone(),
        config.orders.queue,
        config.orders.batch,
    );

    let (stop_orders, stop_background, stop_shipping) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let stop_refusals = CancellationToken::new();
    let mut committing = tokio::spawn(committer.run(stop_orders.clone()));
    let options = ShipOptions { drain_timeout: config.drain, ..ShipOptions::new("db") };
    let (stall_timeout, stop, status) =
        (config.leader_election.stall_timeout, stop_shipping.clone(), options.status.clone());
    let events = readiness.part("events");
    let aging = tokio::spawn(watch_age(
        outbox.clone(),
        "db",
        status,
        config.event_age_limit,
        events,
        stop_background.clone(),
    ));
    let summarising = tokio::spawn({
        let (store, stop) = (store.clone(), stop_refusals.clone());
        async move { store.summarise_refusals(stop).await }
    });
    let shipping = tokio::spawn(async move {
        let drain = options.drain_timeout;
        let shipper = LoggingService { logging, options };
        if outbox.is_shared() {
            ship_as_leader(outbox, lease, stall_timeout, shipper, drain, stop).await;
        } else {
            let _metric = LeaderMetric::begin();
            shipper.ship(outbox, stop).await;
        }
    });
    let keeping = tokio::spawn(housekeeping::run(
        store.clone(),
        config.orders.idempotency_retention,
        config.housekeeping_interval,
        stop_background.clone(),
    ));
    let watching =
        tokio::spawn(housekeeping::watch(store.clone(), part, clock_part, stop_background.clone()));

    let (routes, contract) = build_routes(store, orders, config.admin_token);
    let serving =
        merch_chassis::grpc::serve(listener, routes, contract, config.grpc, readiness, shutdown);
    let served = tokio::select! {
        served = serving => served,
        _ = &mut committing => Err(StartError::new("the task that commits orders ended \
            unexpectedly; see the log, and report this as a bug")),
    };

    // Writers stop before the shipper, and all of them before the database is closed.
    stop_orders.cancel();
    if !committing.is_finished() {
        join("committer", committing).await;
    }
    stop_refusals.cancel();
    join("counting refusals", summarising).await;
    stop_background.cancel();
    join("age of events", aging).await;
    join("housekeeping", keeping).await;
    join("watch", watching).await;
    stop_shipping.cancel();
    join("shipper", shipping).await;
    database.close().await;
    served
}

/// The replicas of the logging service, as the receiver of the outbox.
struct LoggingService {
    logging: Replicas,
    options: ShipOptions,
}

impl Ship for LoggingService {
    fn ship(&self, outbox: Outbox, shutdown: CancellationToken) -> impl Future<Output = ()> + Send {
        ship(outbox, self.logging.clone(), self.options.clone(), shutdown)
    }
}

/// Retries a lost connection for [`Pool::start_timeout`](crate::database::Pool::start_timeout).
async fn load_state(
    database: &Database,
    outbox: &Outbox,
    config: &Config,
) -> Result<(Clock, Ids), StartError> {
    let mut retry = StartRetry::new(config.pool.start_timeout);
    loop {
        let (what, error) = match try_load_state(database, outbox, config).await {
            Ok(state) => return state,
            Err(read_error) => read_error,
        };
        let message = format!("{what} cannot be read: {error}; try again");
        let is_transient = match classify(error, Intent::Other) {
            Failure::Retryable(_) | Failure::Unavailable(_) => true,
            Failure::Refused(_)
            | Failure::Invalid(_)
            | Failure::TooManyLogIns(_)
            | Failure::TimedOut
            | Failure::Internal(_) => false,
        };
        if !(is_transient && retry.wait(&message).await) {
            return Err(StartError::new(message));
        }
    }
}

async fn try_load_state(
    database: &Database,
    outbox: &Outbox,
    config: &Config,
) -> Result<Result<(Clock, Ids), StartError>, (&'static str, DbErr)> {
    let read_error = |what| move |error| (what, error);
    if let Err(mismatch) = database
        .check_schema()
        .await
        .map_err(read_error("the schema's version (table seaql_migrations)"))?
    {
        return Ok(Err(mismatch));
    }
    outbox.reset_shipped().await.map_err(read_error("the outbox"))?;
    let clock = Clock::start(database, config.clock.clone())
        .await
        .map_err(read_error("the database's clock"))?;
    let ids = Ids::load(database).await.map_err(read_error("the greatest ids"))?;
    Ok(Ok((clock, ids)))
}

fn build_routes(
    store: Store,
    orders: committer::Queue,
    admin_token: Option<AdminToken>,
) -> (Routes, Contract) {
    let assistant = AssistantServiceServer::new(Assistant { store: store.clone(), orders });
    match admin_token {
        None => (
            Routes::new(assistant),
            Contract {
                services: &[SERVICE_NAME],
                file_descriptor_set: FILE_DESCRIPTOR_SET,
                access: ACCESS,
            },
        ),
        Some(token) => (
            Routes::new(assistant).add_service(Guarded::new(
                AdminServiceServer::new(Admin { store: store.clone() }),
                token,
                store,
            )),
            Contract {
                services: &[SERVICE_NAME, admin::SERVICE_NAME],
                file_descriptor_set: FILE_DESCRIPTOR_SET_WITH_ADMIN,
                access: ACCESS,
            },
        ),
    }
}

fn check(config: &Config) -> Result<(), StartError> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let orders = &config.orders;
    if orders.batch < 256 {
        return Err(StartError::new(format!(
            "orders per transaction: expected at least 256, got {}",
            orders.batch
        )));
    }
    if orders.queue < orders.batch {
        return Err(StartError::new(format!(
            "size of the order queue: expected at least {}, got {}",
            orders.batch, orders.queue
        )));
    }
    if orders.idempotency_retention < DAY {
        return Err(StartError::new(format!(
            "retention of idempotency keys: expected at least 24 hours, got {:?}",
            orders.idempotency_retention
        )));
    }
    if !(lease::MIN_DURATION..=lease::MAX_DURATION).contains(&config.leader_election.lease) {
        return Err(StartError::new(format!(
            "outbox lease: expected {:?} to {:?}, got {:?}",
            lease::MIN_DURATION,
            lease::MAX_DURATION,
            config.leader_election.lease
        )));
    }
    if config.housekeeping_interval.is_zero() {
        return Err(StartError::new("housekeeping interval: expected more than zero"));
    }
    Ok(())
}

async fn join(task: &str, handle: JoinHandle<()>) {
    if let Err(error) = handle.await {
        tracing::error!(%error, task, "a task of the db service panicked");
    }
}
