//! Runs the service: opens, serves, and stops in the order that loses nothing.

use std::{sync::Arc, time::Duration};

use merch_chassis::{
    ConcurrencyLimit, Readiness, ServeFuture, StartError,
    grpc::{Contract, Listener},
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
    database::{Database, Patience},
    db_error::{Intent, meaning},
    failure::Failure,
    grpc::{
        ACCESS, Assistant,
        admin::{Admin, Guarded},
    },
    ids::Ids,
    store::{
        Store, committer, housekeeping,
        lease::{self, Lease},
        outbox::Outbox,
        turns::{Leading, ship_in_turns},
    },
};

/// Serves the database on `listener` until `shutdown` is cancelled, and returns when all is
/// drained: no call is accepted any more, the orders that wait are committed, and the events are
/// shipped (or, after [`Config::drain`], wait in the outbox).
///
/// # Errors
/// One sentence, if the configuration cannot be used, the database is not there or its schema is
/// not migrated.
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
    // PostgreSQL may not be there yet: a service that receives a stop signal meanwhile stops.
    let opening = Database::open(&config.database, &config.pool);
    let Some(database) = shutdown.run_until_cancelled(opening).await else { return Ok(()) };
    let database = database?;
    let outbox = Outbox::new(database.clone(), config.shipped_events);
    let beginning = begin(&database, &outbox, &config);
    let Some(begun) = shutdown.run_until_cancelled(beginning).await else { return Ok(()) };
    let (clock, ids) = begun?;

    let origin = Origin::new("db");
    tracing::info!(instance = origin.instance(), database = ?database.backend(), "the db service starts");
    let lease = Lease::new(database.clone(), Uuid::now_v7(), config.turns.lease);
    let store = Store {
        database: database.clone(),
        outbox: outbox.clone(),
        origin,
        rate_limiter: Arc::new(EventRateLimiter::new(config.refusals)),
        log_ins: config.log_ins,
        selling: Arc::default(),
        writes: ConcurrencyLimit::new(config.writes_per_user),
        clock,
        ids,
    };
    let (orders, committer) =
        committer::new(store.clone(), config.orders.queue, config.orders.batch);

    let (closing, resting, shipped) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let refused_all = CancellationToken::new();
    let mut committing = tokio::spawn(committer.run(closing.clone()));
    let options = ShipOptions { drain_timeout: config.drain, ..ShipOptions::new("db") };
    let (patience, stop, status) = (config.turns.patience, shipped.clone(), options.status.clone());
    let events = readiness.part("events");
    let aging = tokio::spawn(watch_age(
        outbox.clone(),
        "db",
        status,
        config.event_age_limit,
        events,
        resting.clone(),
    ));
    let summarising = tokio::spawn({
        let (store, stop) = (store.clone(), refused_all.clone());
        async move { store.summarise_refusals(stop).await }
    });
    let shipping = tokio::spawn(async move {
        if outbox.is_shared() {
            ship_in_turns(outbox, lease, patience, logging, options, stop).await;
        } else {
            let _leading = Leading::begin();
            ship(outbox, logging, options, stop).await;
        }
    });
    let keeping = tokio::spawn(housekeeping::run(
        store.clone(),
        config.orders.idempotency_retention,
        config.housekeeping_interval,
        resting.clone(),
    ));
    let watching =
        tokio::spawn(housekeeping::watch(store.clone(), part, clock_part, resting.clone()));

    let (routes, contract) = offered(store, orders, config.admin_token);
    let served = tokio::select! {
        served = merch_chassis::grpc::serve(listener, routes, contract, config.grpc, readiness, shutdown) => served,
        _ = &mut committing => Err(StartError::new("the db service stops, as the task that commits orders ended: a bug; its log has the details")),
    };

    // Whoever writes stops before whoever ships, and everyone before the database is closed.
    closing.cancel();
    if !committing.is_finished() {
        ended("committer", committing).await;
    }
    refused_all.cancel();
    ended("counting refusals", summarising).await;
    resting.cancel();
    ended("age of events", aging).await;
    ended("housekeeping", keeping).await;
    ended("watch", watching).await;
    shipped.cancel();
    ended("shipper", shipping).await;
    database.close().await;
    served
}

/// Reads what the service has to know before it serves. A connection that is lost meanwhile is
/// replaced, for as long as [`Pool::start_patience`](crate::config::Pool::start_patience).
///
/// # Errors
/// One sentence, if something cannot be read or the schema does not fit.
async fn begin(
    database: &Database,
    outbox: &Outbox,
    config: &Config,
) -> Result<(Clock, Ids), StartError> {
    let mut patience = Patience::new(config.pool.start_patience);
    loop {
        let (what, error) = match try_to_begin(database, outbox, config).await {
            Ok(begun) => return begun,
            Err(unread) => unread,
        };
        let sentence = format!("{what} cannot be read: {error}; try again");
        let passes = match meaning(error, Intent::Plain) {
            Failure::Undone(_) | Failure::Unavailable(_) => true,
            Failure::Refused(_)
            | Failure::Invalid(_)
            | Failure::TooManyLogIns(_)
            | Failure::TimedOut
            | Failure::Fault(_) => false,
        };
        if !(passes && patience.wait(&sentence).await) {
            return Err(StartError::new(sentence));
        }
    }
}

/// One try.
///
/// # Errors
/// What cannot be read, and why; within, one sentence if the schema does not fit.
async fn try_to_begin(
    database: &Database,
    outbox: &Outbox,
    config: &Config,
) -> Result<Result<(Clock, Ids), StartError>, (&'static str, DbErr)> {
    let unread = |what| move |error| (what, error);
    if let Err(unfit) = database
        .check_schema()
        .await
        .map_err(unread("the schema's version (table seaql_migrations)"))?
    {
        return Ok(Err(unfit));
    }
    outbox.begin().await.map_err(unread("the outbox"))?;
    let clock = Clock::begin(database, config.clock.clone())
        .await
        .map_err(unread("the database's clock"))?;
    let ids = Ids::above(database).await.map_err(unread("the greatest ids"))?;
    Ok(Ok((clock, ids)))
}

/// The services and what is said of them: the operator's only where there is a credential for it.
fn offered(
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
            "orders of one transaction: expected a bound of at least 256, got {}",
            orders.batch
        )));
    }
    if orders.queue < orders.batch {
        return Err(StartError::new(format!(
            "orders that may wait: expected at least {}, got {}",
            orders.batch, orders.queue
        )));
    }
    if orders.idempotency_retention < DAY {
        return Err(StartError::new(format!(
            "idempotency keys must be kept for at least 24 hours, got {:?}",
            orders.idempotency_retention
        )));
    }
    if !(lease::SHORTEST..=lease::LONGEST).contains(&config.turns.lease) {
        return Err(StartError::new(format!(
            "the lease on the outbox must last {:?} to {:?}, got {:?}",
            lease::SHORTEST,
            lease::LONGEST,
            config.turns.lease
        )));
    }
    if config.housekeeping_interval.is_zero() {
        return Err(StartError::new(
            "the time between two rounds of housekeeping must be more than zero",
        ));
    }
    Ok(())
}

/// A task that panicked has been logged as a panic; here is told which one it was.
async fn ended(task: &str, handle: JoinHandle<()>) {
    if let Err(error) = handle.await {
        tracing::error!(%error, task, "a task of the db service did not end well");
    }
}
