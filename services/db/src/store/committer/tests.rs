use std::{num::NonZeroUsize, pin::pin, time::Duration};

use merch_logging::client::{
    event::Origin,
    rate_limit::{EventRateLimiter, EventRateLimits},
};
use sea_orm::{ConnectionTrait as _, EntityTrait as _};
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::{
    clock::{Clock, SystemClock},
    config::{LogIns, ShippedEvents},
    database::{Database, Location, Pool, migrate},
    entity::products,
    ids::Ids,
    store::{Context, Store, outbox::Outbox},
};

const BUYER: Uuid = Uuid::from_u128(7);
const TIMEOUT: Duration = Duration::from_secs(10);
const WRITES_PER_USER: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

async fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let file = Location::file(dir.path().join("store.db"));
    migrate(&file).await.unwrap();
    let database = Database::open(&file, &Pool::default()).await.unwrap();
    let buyer = format!(
        "INSERT INTO users \
         VALUES (x'{}', 'a', 'a', 'ada', 'ada', 'e', 'e', '', TRUE, 1, 1, '2026-01-01T00:00:00Z', \
         '2026-01-01T00:00:00Z')",
        BUYER.simple()
    );
    database.writer().execute_unprepared(&buyer).await.unwrap();
    let outbox = Outbox::new(database.clone(), ShippedEvents::Delete);
    let rate_limiter = Arc::new(EventRateLimiter::new(EventRateLimits::default()));
    let writes = ConcurrencyLimit::new(WRITES_PER_USER);
    let clock = Clock::start(&database, Arc::new(SystemClock::default())).await.unwrap();
    let (origin, log_ins, stock_lock) = (Origin::new("db"), LogIns::default(), Arc::default());
    (
        dir,
        Store {
            database,
            outbox,
            origin,
            rate_limiter,
            log_ins,
            stock_lock,
            writes,
            clock,
            ids: Ids::default(),
            products_for_sale: Arc::default(),
        },
    )
}

fn orders(product_id: i32, count: usize) -> Vec<NewOrder> {
    let caller = Caller { user_id: BUYER, token_version: 1 };
    vec![
        NewOrder {
            context: Context::default(),
            caller,
            product_id,
            quantity: 1,
            idempotency_key: None,
            deadline: None
        };
        count
    ]
}

fn until(deadline: Instant, orders: Vec<NewOrder>) -> Vec<NewOrder> {
    orders.into_iter().map(|order| NewOrder { deadline: Some(deadline), ..order }).collect()
}

async fn stock(store: &Store, product_id: i32) -> i32 {
    products::Entity::find_by_id(product_id)
        .one(store.database.reader())
        .await
        .unwrap()
        .unwrap()
        .stock
}

#[tokio::test]
async fn dropped_call_in_the_queue_places_nothing() {
    let (_dir, store) = store().await;
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    {
        let mut dropped = pin!(queue.place(orders(1, 2)));
        assert!(poll_once(&mut dropped).await.is_none(), "no committer runs yet");
    }
    let (live, shutdown) = (queue.place(orders(2, 3)), CancellationToken::new());
    let (outcomes, ()) = tokio::join!(
        async {
            let outcomes = live.await;
            shutdown.cancel();
            outcomes
        },
        committer.run(shutdown.clone())
    );
    assert_eq!(outcomes.unwrap().len(), 3);
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (500, 497));
}

#[tokio::test]
async fn shutdown_commits_the_queue_and_refuses_new_orders() {
    let (_dir, store) = store().await;
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let (first, second) = (queue.place(orders(1, 200)), queue.place(orders(2, 100)));
    let (first, second, ()) = tokio::join!(first, second, committer.run(shutdown));
    assert_eq!(first.unwrap().len(), 200);
    assert!(
        matches!(second, Err(Failure::Refused(ErrorReason::Overloaded))),
        "there is room for 256"
    );
    assert!(matches!(
        queue.place(orders(1, 1)).await,
        Err(Failure::Refused(ErrorReason::Overloaded))
    ));
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (300, 500));
}

#[tokio::test]
async fn orders_in_flight_are_limited_per_user() {
    let (_dir, store) = store().await;
    let store = Store { writes: ConcurrencyLimit::new(NonZeroUsize::new(3).unwrap()), ..store };
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    let unknown_user = NewOrder {
        caller: Caller { user_id: Uuid::from_u128(8), token_version: 1 },
        ..orders(1, 1).remove(0)
    };
    let revoked =
        NewOrder { caller: Caller { user_id: BUYER, token_version: 0 }, ..orders(1, 1).remove(0) };
    let mixed = [orders(1, 2), vec![unknown_user], orders(1, 2), vec![revoked]].concat();
    let (mut first, mut second) = (pin!(queue.place(mixed)), pin!(queue.place(orders(2, 1))));
    assert!(poll_once(&mut first).await.is_none(), "no committer runs yet");
    let full = poll_once(&mut second).await.expect("answered without the committer").unwrap();
    assert_eq!(full, [OrderOutcome::Refused(ErrorReason::TooManyWrites)]);

    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let (first, ()) = tokio::join!(first, committer.run(shutdown));
    let (too_many, unknown) = (
        OrderOutcome::Refused(ErrorReason::TooManyWrites),
        OrderOutcome::Refused(ErrorReason::TokenRevoked),
    );
    let first = first.unwrap();
    assert!(matches!(&first[..2], [OrderOutcome::Placed(_), OrderOutcome::Placed(_)]), "{first:?}");
    assert!(matches!(first[3], OrderOutcome::Placed(_)), "{first:?}");
    assert_eq!(
        (&first[2], &first[4], &first[5]),
        (&unknown, &too_many, &unknown),
        "each user has its own places, and a revoked token has none of them"
    );
    assert_eq!(store.writes.keys(), 0, "all places are given back with the answer");
}

#[tokio::test]
async fn cancellation_without_change_skips_the_stock_lock() {
    let (_dir, store) = store().await;
    let (context, caller) = (Context::default(), Caller { user_id: BUYER, token_version: 1 });
    let placed = store.place(&[&orders(1, 1)[0]], &|| vec![Some(TIMEOUT)]).await.unwrap();
    let Some(OrderOutcome::Placed(order)) = placed.into_iter().next() else {
        panic!("the order is placed")
    };
    let cancelled = store.cancel_order(&context, caller, order.id).await.unwrap();

    let stock_lock = store.stock_lock.lock().await;
    let unknown =
        tokio::time::timeout(TIMEOUT, store.cancel_order(&context, caller, Uuid::from_u128(9)));
    assert!(matches!(unknown.await, Ok(Err(Failure::Refused(ErrorReason::OrderNotFound)))));
    let revoked = Caller { token_version: 0, ..caller };
    let refused = tokio::time::timeout(TIMEOUT, store.cancel_order(&context, revoked, order.id));
    assert!(matches!(refused.await, Ok(Err(Failure::Refused(ErrorReason::TokenRevoked)))));
    let again = tokio::time::timeout(TIMEOUT, store.cancel_order(&context, caller, order.id));
    assert_eq!(again.await.expect("it does not wait").unwrap(), cancelled);
    drop(stock_lock);
    assert_eq!(stock(&store, 1).await, 500);
}

#[tokio::test]
async fn oversized_call_is_carried_over() {
    let (_dir, store) = store().await;
    let (queue, committer) = new(store.clone(), store.writes.clone(), 1000, 256);
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let calls = [200, 100, 156].map(|count| queue.place(orders(1, count)));
    let [first, second, third] = calls;
    let (first, second, third, ()) = tokio::join!(first, second, third, committer.run(shutdown));
    assert_eq!([first, second, third].map(|outcomes| outcomes.unwrap().len()), [200, 100, 156]);
    assert_eq!(stock(&store, 1).await, 44);
}

#[tokio::test]
async fn disconnect_before_separate_commit_places_nothing() {
    let (_dir, store) = store().await;
    store
        .database
        .writer()
        .execute_unprepared("UPDATE products SET price_cents = 9000000000000000000 WHERE id = 3")
        .await
        .unwrap();
    let poison = NewOrder { quantity: 3, ..orders(3, 1).remove(0) };
    let [poison, live] = place_with_a_disconnect_in_flight(&store, poison).await;
    assert!(matches!(poison, Err(Failure::Internal(_))), "{poison:?}");
    assert!(matches!(live.unwrap().as_slice(), [OrderOutcome::Placed(_)]));
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (500, 499));
}

/// The trigger acts like another process that uses the key, while product 1 has an order. It runs
/// past the deadline of that order.
#[tokio::test]
async fn call_that_expires_before_a_retry_places_nothing() {
    let (_dir, store) = store().await;
    let other = "
        CREATE TRIGGER other BEFORE INSERT ON idempotency_keys BEGIN
            INSERT INTO idempotency_keys
            SELECT NEW.user_id, NEW.key, NEW.fingerprint, NEW.order_id, NEW.created_at
            WHERE EXISTS (SELECT 1 FROM orders WHERE product_id = 1)
                AND 1000000 = (
                    WITH RECURSIVE counted(n) AS (
                        SELECT 1 UNION ALL SELECT n + 1 FROM counted LIMIT 1000000
                    )
                    SELECT max(n) FROM counted
                );
        END";
    store.database.writer().execute_unprepared(other).await.unwrap();
    let keyed = NewOrder { idempotency_key: Some("k".to_owned()), ..orders(2, 1).remove(0) };
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    let deadline = Instant::now() + Duration::from_millis(150);
    let expired = queue.place(until(deadline, orders(1, 1)));
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let (keyed, expired, live, ()) = tokio::join!(
        queue.place(vec![keyed]),
        expired,
        queue.place(orders(2, 1)),
        committer.run(shutdown)
    );
    assert_eq!(expired.unwrap(), [OrderOutcome::Refused(ErrorReason::OrderExpired)]);
    assert!(
        matches!(keyed.unwrap().as_slice(), [OrderOutcome::Placed(_)]),
        "undone only together with the order for product 1"
    );
    assert!(matches!(live.unwrap().as_slice(), [OrderOutcome::Placed(_)]));
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (500, 498));
}

/// The other calls get their own outcomes.
#[tokio::test]
async fn call_that_expires_before_the_decision_places_nothing() {
    let (_dir, store) = store().await;
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    let deadline = Instant::now() + Duration::from_millis(300);
    let (mut expired, mut second, mut third) = (
        pin!(queue.place(until(deadline, orders(1, 2)))),
        pin!(queue.place(orders(2, 1))),
        pin!(queue.place(orders(3, 1))),
    );
    assert!(poll_once(&mut expired).await.is_none());
    assert!(poll_once(&mut second).await.is_none());
    assert!(poll_once(&mut third).await.is_none());
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let mut committing = pin!(committer.run(shutdown));
    while_writer_is_locked(&store, &mut committing, tokio::time::sleep_until(deadline)).await;
    let (expired, second, third, ()) = tokio::join!(expired, second, third, committing);
    assert_eq!(expired.unwrap(), vec![OrderOutcome::Refused(ErrorReason::OrderExpired); 2]);
    for (product, outcomes) in [(2, second), (3, third)] {
        assert!(matches!(
            outcomes.unwrap().as_slice(),
            [OrderOutcome::Placed(order)] if order.product_id == product
        ));
        assert_eq!(stock(&store, product).await, 499);
    }
    assert_eq!(stock(&store, 1).await, 500);
}

#[tokio::test]
async fn expired_order_is_refused_alone() {
    let (_dir, store) = store().await;
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    let now = Instant::now();
    let call = [orders(1, 1), until(now, orders(2, 1)), until(now + TIMEOUT, orders(3, 1))];
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let (outcomes, ()) = tokio::join!(queue.place(call.concat()), committer.run(shutdown));
    assert!(
        matches!(
            outcomes.unwrap().as_slice(),
            [
                OrderOutcome::Placed(_),
                OrderOutcome::Refused(ErrorReason::OrderExpired),
                OrderOutcome::Placed(_)
            ]
        ),
        "each order has its own deadline"
    );
    let stock = [stock(&store, 1).await, stock(&store, 2).await, stock(&store, 3).await];
    assert_eq!(stock, [499, 500, 499]);
}

#[tokio::test]
async fn internal_error_fails_only_its_order() {
    let (_dir, store) = store().await;
    let overflow = "UPDATE products SET price_cents = 9000000000000000000 WHERE id = 3";
    store.database.writer().execute_unprepared(overflow).await.unwrap();
    let poison = NewOrder { quantity: 3, ..orders(3, 1).remove(0) };
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let (mixed, alone, ()) = tokio::join!(
        queue.place([orders(1, 1), vec![poison.clone()], orders(2, 1)].concat()),
        queue.place(vec![poison]),
        committer.run(shutdown)
    );
    assert!(
        matches!(
            mixed.as_deref(),
            Ok([
                OrderOutcome::Placed(_),
                OrderOutcome::Refused(ErrorReason::Unspecified),
                OrderOutcome::Placed(_)
            ])
        ),
        "{mixed:?}"
    );
    assert!(matches!(alone, Err(Failure::Internal(_))), "{alone:?}");
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (499, 499));
}

#[tokio::test]
async fn failed_commit_has_an_unknown_outcome() {
    let (_dir, store) = store().await;
    let deferred_violation = "
        CREATE TABLE broken (
            id INTEGER CONSTRAINT fk REFERENCES products (id) DEFERRABLE INITIALLY DEFERRED
        ) STRICT;
        CREATE TRIGGER breaks AFTER INSERT ON orders BEGIN
            INSERT INTO broken VALUES (99);
        END";
    store.database.writer().execute_unprepared(deferred_violation).await.unwrap();
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let (first, second, ()) =
        tokio::join!(queue.place(orders(1, 1)), queue.place(orders(2, 1)), committer.run(shutdown));
    for outcome in [first, second] {
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    }
    store.database.writer().execute_unprepared("DROP TRIGGER breaks").await.unwrap();
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let (placed, ()) = tokio::join!(queue.place(orders(1, 1)), committer.run(shutdown));
    assert!(matches!(placed.unwrap().as_slice(), [OrderOutcome::Placed(_)]));
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (499, 500));
}

/// Places one batch: `first`, an order whose caller disconnects before the transaction starts, and
/// another order. Returns the other two replies.
async fn place_with_a_disconnect_in_flight(
    store: &Store,
    first: NewOrder,
) -> [Result<Vec<OrderOutcome>, Failure>; 2] {
    let (queue, committer) = new(store.clone(), store.writes.clone(), 256, 256);
    let (mut first, mut last) = (pin!(queue.place(vec![first])), pin!(queue.place(orders(2, 1))));
    let mut disconnecting = Box::pin(queue.place(orders(1, 1)));
    assert!(poll_once(&mut first).await.is_none());
    assert!(poll_once(&mut disconnecting.as_mut()).await.is_none());
    assert!(poll_once(&mut last).await.is_none());
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let mut committing = pin!(committer.run(shutdown));
    while_writer_is_locked(store, &mut committing, async { drop(disconnecting) }).await;
    let (first, last, ()) = tokio::join!(first, last, committing);
    [first, last]
}

async fn while_writer_is_locked(
    store: &Store,
    committing: &mut std::pin::Pin<&mut impl Future<Output = ()>>,
    meanwhile: impl Future<Output = ()>,
) {
    let held = store.database.begin().await.unwrap();
    assert!(poll_once(committing).await.is_none());
    meanwhile.await;
    held.rollback().await.unwrap();
}

async fn poll_once<T>(future: &mut std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
