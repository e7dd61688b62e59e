//! A replica of the db service: the production code of a process on the simulated database.

use std::{
    num::NonZeroUsize,
    sync::{
        Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use merch_chassis::ConcurrencyLimit;
use merch_logging::client::{
    event::Origin,
    rate_limit::{EventRateLimiter, EventRateLimits},
};
use simulator::Chance;
use time::OffsetDateTime;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{WRITES_PER_USER, World};
use crate::{
    failure::Failure,
    ids::Ids,
    simulation::orders::{
        mutant::Mutant,
        plan::{CORRUPT, Plan},
        server::{Connection, TRANSACTION_TIMEOUT},
    },
    store::{
        committer::{self, Queue},
        place::{
            NewOrder, OrderOutcome, PlaceContext, PlaceOrders, TimeLeft,
            direct::{DirectOutcome, ProductsForSale, place_directly},
            place_batch,
        },
        transaction,
    },
};

/// A process of the db service.
pub(super) struct Process {
    pub(super) queue: Queue,
    pub(super) committer: JoinHandle<()>,
    pub(super) killed: CancellationToken,
}

impl Process {
    pub(super) fn start(
        world: Weak<World>,
        plan: &Plan,
        replica: usize,
        newest: Vec<Uuid>,
        ids: &Chance,
    ) -> Self {
        let store = SimulatedStore {
            world,
            replica,
            ids: Ids::seeded(ids.number(0..u64::MAX)),
            origin: Origin::new("db"),
            rate_limiter: EventRateLimiter::new(EventRateLimits {
                single_events: 1_000,
                ..EventRateLimits::default()
            }),
            stock_lock: tokio::sync::Mutex::default(),
            products: ProductsForSale::default(),
        };
        newest.into_iter().for_each(|id| store.ids.observe(id));
        let limit = NonZeroUsize::new(WRITES_PER_USER).expect("the limit is positive");
        let writes = ConcurrencyLimit::new(limit);
        let (queue, committer) = committer::new(store, writes, plan.queue, plan.batch);
        let committer = tokio::spawn(committer.run(CancellationToken::new()));
        Self { queue, committer, killed: CancellationToken::new() }
    }
}

/// The store of a process, as [`crate::store::Store`] on the simulated database.
struct SimulatedStore {
    world: Weak<World>,
    replica: usize,
    ids: Ids,
    origin: Origin,
    rate_limiter: EventRateLimiter,
    stock_lock: tokio::sync::Mutex<()>,
    products: ProductsForSale,
}

impl SimulatedStore {
    fn place_context<'a>(
        &'a self,
        now: &'a (dyn Fn() -> OffsetDateTime + Sync),
    ) -> PlaceContext<'a> {
        PlaceContext {
            ids: &self.ids,
            origin: &self.origin,
            rate_limiter: &self.rate_limiter,
            products: &self.products,
            now,
        }
    }
}

impl PlaceOrders for SimulatedStore {
    async fn place_directly(
        &self,
        orders: &[&NewOrder],
        time_left: TimeLeft<'_>,
    ) -> Result<Vec<DirectOutcome>, Failure> {
        let Some(world) = self.world.upgrade() else { return Err(Failure::TimedOut) };
        let _stock = self.stock_lock.lock().await;
        let now = || world.clock(self.replica);
        let connection = Connection(world.server.clone());
        place_directly(&self.place_context(&now), &connection, orders, time_left).await
    }

    async fn place(
        &self,
        orders: &[&NewOrder],
        time_left: TimeLeft<'_>,
    ) -> Result<Vec<OrderOutcome>, Failure> {
        let Some(world) = self.world.upgrade() else { return Err(Failure::TimedOut) };
        if world.server.has(Mutant::HangOnBatches) && orders.len() > 2 {
            return std::future::pending().await;
        }
        let _stock = self.stock_lock.lock().await;
        let now = || world.clock(self.replica);
        let (context, connection) = (&self.place_context(&now), Connection(world.server.clone()));
        let (started, attempts) = (Instant::now(), AtomicU32::new(0));
        let count = || attempts.fetch_add(1, Ordering::Relaxed);
        let result = transaction::write(&connection, |transaction| {
            count();
            async move { place_batch(context, &*transaction, orders, time_left).await }
        })
        .await;
        world.check_attempts(orders, attempts.into_inner(), started);
        if let Err(Failure::Internal(error)) = &result
            && orders.iter().all(|order| order.product_id != CORRUPT)
        {
            world.server.broken(format!("a batch fails: {error}"));
        }
        let mut outcomes = result?;
        if world.server.has(Mutant::ShiftOutcomes) {
            outcomes.rotate_left(1);
        }
        if world.server.has(Mutant::ReplayPresentState) {
            for outcome in &mut outcomes {
                if let OrderOutcome::Replayed(order) = outcome {
                    *order = world.server.read(|tables| tables.orders[&order.id].clone());
                }
            }
        }
        Ok(outcomes)
    }
}

impl World {
    /// A batch exceeds its limit with a single call only, and is tried four times at most, for ten
    /// seconds each.
    fn check_attempts(&self, orders: &[&NewOrder], attempts: u32, started: Instant) {
        const MAX_ATTEMPTS: u32 = 4;
        let call = |order: &NewOrder| order.context.request_id.split('/').next().map(str::to_owned);
        let is_one_call = orders.windows(2).all(|pair| call(pair[0]) == call(pair[1]));
        if orders.len() > self.plan.batch && !is_one_call {
            self.server.broken(format!("a batch has {} orders", orders.len()));
        }
        let longest = TRANSACTION_TIMEOUT * MAX_ATTEMPTS + Duration::from_secs(1);
        if attempts > MAX_ATTEMPTS || started.elapsed() > longest {
            let took = started.elapsed();
            self.server.broken(format!("a batch is tried {attempts} times, for {took:?}"));
        }
    }
}
