//! Which orders are placed when callers leave, are late or are too many.

use std::{num::NonZeroUsize, pin::pin, time::Duration};

use merch_logging::client::{
    event::Origin,
    rate_limit::{EventRateLimiter, EventRateLimits},
};
use sea_orm::{ConnectionTrait as _, EntityTrait as _};
use uuid::Uuid;

use super::*;
use crate::{
    clock::{Clock, SystemClock},
    config::{LogIns, Pool, ShippedEvents},
    database::{Database, Location, migrate},
    entity::products,
    ids::Ids,
    store::{Context, outbox::Outbox},
};

const BUYER: Uuid = Uuid::from_u128(7);
const PATIENCE: Duration = Duration::from_secs(10);
/// More than most tests here have under way for their one buyer.
const WRITES: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// A store with one buyer, in a folder that is to be kept.
async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let file = Location::file(folder.path().join("store.db"));
    migrate(&file).await.unwrap();
    let database = Database::open(&file, &Pool::default()).await.unwrap();
    let buyer = format!(
        "INSERT INTO users VALUES (x'{}', 'a', 'a', 'ada', 'ada', 'e', 'e', '', TRUE, 1, 1, '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')",
        BUYER.simple()
    );
    database.writer().execute_unprepared(&buyer).await.unwrap();
    let outbox = Outbox::new(database.clone(), ShippedEvents::Delete);
    let rate_limiter = Arc::new(EventRateLimiter::new(EventRateLimits::default()));
    let writes = ConcurrencyLimit::new(WRITES);
    let clock = Clock::begin(&database, Arc::new(SystemClock::default())).await.unwrap();
    let (origin, log_ins, selling) = (Origin::new("db"), LogIns::default(), Arc::default());
    (
        folder,
        Store {
            database,
            outbox,
            origin,
            rate_limiter,
            log_ins,
            selling,
            writes,
            clock,
            ids: Ids::default(),
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
            idempotency_key: None
        };
        count
    ]
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
async fn whoever_goes_away_in_the_queue_has_not_ordered() {
    let (_folder, store) = store().await;
    let (queue, committer) = new(store.clone(), 256, 256);
    {
        let mut away = pin!(queue.place(orders(1, 2), None));
        assert!(poll_once(&mut away).await.is_none(), "nobody commits yet");
    }
    let (stays, closing) = (queue.place(orders(2, 3), None), CancellationToken::new());
    let (verdicts, ()) = tokio::join!(
        async {
            let verdicts = stays.await;
            closing.cancel();
            verdicts
        },
        committer.run(closing.clone())
    );
    assert_eq!(verdicts.unwrap().len(), 3);
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (500, 497));
}

#[tokio::test]
async fn what_waits_at_the_end_is_committed_and_nothing_is_taken_after() {
    let (_folder, store) = store().await;
    let (queue, committer) = new(store.clone(), 256, 256);
    let closing = CancellationToken::new();
    closing.cancel();
    let (first, second) = (queue.place(orders(1, 200), None), queue.place(orders(2, 100), None));
    let (first, second, ()) = tokio::join!(first, second, committer.run(closing));
    assert_eq!(first.unwrap().len(), 200);
    assert!(
        matches!(second, Err(Failure::Refused(ErrorReason::Overloaded))),
        "there is room for 256"
    );
    assert!(matches!(
        queue.place(orders(1, 1), None).await,
        Err(Failure::Refused(ErrorReason::Overloaded))
    ));
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (300, 500));
}

/// Orders of one user fill their places and no more, in this call and the next one, until they are
/// answered.
#[tokio::test]
async fn no_user_fills_the_queue() {
    let (_folder, store) = store().await;
    let store = Store { writes: ConcurrencyLimit::new(NonZeroUsize::new(3).unwrap()), ..store };
    let (queue, committer) = new(store.clone(), 256, 256);
    let stranger = NewOrder {
        caller: Caller { user_id: Uuid::from_u128(8), token_version: 1 },
        ..orders(1, 1).remove(0)
    };
    let void =
        NewOrder { caller: Caller { user_id: BUYER, token_version: 0 }, ..orders(1, 1).remove(0) };
    let mixed = [orders(1, 2), vec![stranger], orders(1, 2), vec![void]].concat();
    let (mut first, mut second) =
        (pin!(queue.place(mixed, None)), pin!(queue.place(orders(2, 1), None)));
    assert!(poll_once(&mut first).await.is_none(), "no committer runs yet");
    let full = poll_once(&mut second).await.expect("answered without the committer").unwrap();
    assert_eq!(full, [Verdict::Refused(ErrorReason::TooManyWrites)]);

    let closing = CancellationToken::new();
    closing.cancel();
    let (first, ()) = tokio::join!(first, committer.run(closing));
    let (too_many, unknown) =
        (Verdict::Refused(ErrorReason::TooManyWrites), Verdict::Refused(ErrorReason::TokenRevoked));
    let first = first.unwrap();
    assert!(matches!(&first[..2], [Verdict::Placed(_), Verdict::Placed(_)]), "{first:?}");
    assert!(matches!(first[3], Verdict::Placed(_)), "{first:?}");
    assert_eq!(
        (&first[2], &first[4], &first[5]),
        (&unknown, &too_many, &unknown),
        "each user has its own places, and a void token has none of them"
    );
    assert_eq!(store.writes.keys(), 0, "all places are given back with the answer");
}

/// An order that is not the caller's, or is cancelled already, is answered while others sell.
#[tokio::test]
async fn a_cancellation_that_changes_nothing_does_not_wait_for_the_selling_lock() {
    let (_folder, store) = store().await;
    let (context, caller) = (Context::default(), Caller { user_id: BUYER, token_version: 1 });
    let placed = store.place(&[&orders(1, 1)[0]], &|| vec![true]).await.unwrap();
    let Some(Some(Verdict::Placed(order))) = placed.into_iter().next() else {
        panic!("the order is placed")
    };
    let cancelled = store.cancel_order(&context, caller, order.id).await.unwrap();

    let selling = store.selling.lock().await;
    let unknown =
        tokio::time::timeout(PATIENCE, store.cancel_order(&context, caller, Uuid::from_u128(9)));
    assert!(matches!(unknown.await, Ok(Err(Failure::Refused(ErrorReason::OrderNotFound)))));
    let void = Caller { token_version: 0, ..caller };
    let refused = tokio::time::timeout(PATIENCE, store.cancel_order(&context, void, order.id));
    assert!(matches!(refused.await, Ok(Err(Failure::Refused(ErrorReason::TokenRevoked)))));
    let again = tokio::time::timeout(PATIENCE, store.cancel_order(&context, caller, order.id));
    assert_eq!(again.await.expect("it does not wait").unwrap(), cancelled);
    drop(selling);
    assert_eq!(stock(&store, 1).await, 500);
}

#[tokio::test]
async fn a_call_that_does_not_fit_is_the_next_transactions() {
    let (_folder, store) = store().await;
    let (queue, committer) = new(store.clone(), 1000, 256);
    let closing = CancellationToken::new();
    closing.cancel();
    let calls = [200, 100, 156].map(|count| queue.place(orders(1, count), None));
    let [first, second, third] = calls;
    let (first, second, third, ()) = tokio::join!(first, second, third, committer.run(closing));
    assert_eq!([first, second, third].map(|verdicts| verdicts.unwrap().len()), [200, 100, 156]);
    assert_eq!(stock(&store, 1).await, 44);
}

/// An order that no row can hold, one of a caller who leaves while the two of them are in flight,
/// and one of a caller who stays.
#[tokio::test]
async fn whoever_goes_away_before_being_tried_alone_has_not_ordered() {
    let (_folder, store) = store().await;
    store
        .database
        .writer()
        .execute_unprepared("UPDATE products SET price_cents = 9000000000000000000 WHERE id = 3")
        .await
        .unwrap();
    let broken = NewOrder { quantity: 3, ..orders(3, 1).remove(0) };
    let [broken, stays] = with_one_who_leaves_in_flight(&store, broken).await;
    assert!(matches!(broken, Err(Failure::Fault(_))), "{broken:?}");
    assert!(matches!(stays.unwrap().as_slice(), [Verdict::Placed(_)]));
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (500, 499));
}

/// As if another process had placed an order under the key, as long as there is an order for
/// product 1; and that takes a while, in which the time of whoever ordered it is over.
#[tokio::test]
async fn whoever_goes_away_before_a_transaction_is_run_again_has_not_ordered() {
    let (_folder, store) = store().await;
    let other = "CREATE TRIGGER other BEFORE INSERT ON idempotency_keys BEGIN INSERT INTO idempotency_keys \
                 SELECT NEW.user_id, NEW.key, NEW.fingerprint, NEW.order_id, NEW.created_at WHERE EXISTS (SELECT 1 FROM orders WHERE \
                 product_id = 1) AND 1000000 = (WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted LIMIT 1000000) \
                 SELECT max(n) FROM counted); END";
    store.database.writer().execute_unprepared(other).await.unwrap();
    let keyed = NewOrder { idempotency_key: Some("k".to_owned()), ..orders(2, 1).remove(0) };
    let (queue, committer) = new(store.clone(), 256, 256);
    let late = queue.place(orders(1, 1), Some(Instant::now() + Duration::from_millis(150)));
    let closing = CancellationToken::new();
    closing.cancel();
    let (keyed, late, stays, ()) = tokio::join!(
        queue.place(vec![keyed], None),
        late,
        queue.place(orders(2, 1), None),
        committer.run(closing)
    );
    assert!(matches!(late, Err(Failure::TimedOut)), "{late:?}");
    assert!(
        matches!(keyed.unwrap().as_slice(), [Verdict::Placed(_)]),
        "undone only together with the order for product 1"
    );
    assert!(matches!(stays.unwrap().as_slice(), [Verdict::Placed(_)]));
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (500, 498));
}

/// A call of several orders whose time is over while they wait for the writer: the others' verdicts
/// are their own.
#[tokio::test]
async fn whoever_is_late_when_the_orders_are_judged_has_not_ordered() {
    let (_folder, store) = store().await;
    let (queue, committer) = new(store.clone(), 256, 256);
    let until = Instant::now() + Duration::from_millis(300);
    let (mut late, mut second, mut third) = (
        pin!(queue.place(orders(1, 2), Some(until))),
        pin!(queue.place(orders(2, 1), None)),
        pin!(queue.place(orders(3, 1), None)),
    );
    assert!(poll_once(&mut late).await.is_none());
    assert!(poll_once(&mut second).await.is_none());
    assert!(poll_once(&mut third).await.is_none());
    let closing = CancellationToken::new();
    closing.cancel();
    let mut committing = pin!(committer.run(closing));
    while_the_writer_is_held(&store, &mut committing, tokio::time::sleep_until(until)).await;
    let (late, second, third, ()) = tokio::join!(late, second, third, committing);
    assert!(matches!(late, Err(Failure::TimedOut)), "{late:?}");
    for (product, verdicts) in [(2, second), (3, third)] {
        assert!(
            matches!(verdicts.unwrap().as_slice(), [Verdict::Placed(order)] if order.product_id == product)
        );
        assert_eq!(stock(&store, product).await, 499);
    }
    assert_eq!(stock(&store, 1).await, 500);
}

/// Nobody knows whether it was done: they are told so, and nothing is run again.
#[tokio::test]
async fn a_fault_while_committing_is_not_taken_for_nothing_done() {
    let (_folder, store) = store().await;
    let broken = "CREATE TABLE broken (id INTEGER CONSTRAINT fk REFERENCES products (id) DEFERRABLE INITIALLY DEFERRED) STRICT; \
                  CREATE TRIGGER breaks AFTER INSERT ON orders BEGIN INSERT INTO broken VALUES (99); END";
    store.database.writer().execute_unprepared(broken).await.unwrap();
    let (queue, committer) = new(store.clone(), 256, 256);
    let closing = CancellationToken::new();
    closing.cancel();
    let (first, second, ()) = tokio::join!(
        queue.place(orders(1, 1), None),
        queue.place(orders(2, 1), None),
        committer.run(closing)
    );
    for outcome in [first, second] {
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    }
    // The connection is none the worse for it.
    store.database.writer().execute_unprepared("DROP TRIGGER breaks").await.unwrap();
    let (queue, committer) = new(store.clone(), 256, 256);
    let closing = CancellationToken::new();
    closing.cancel();
    let (placed, ()) = tokio::join!(queue.place(orders(1, 1), None), committer.run(closing));
    assert!(matches!(placed.unwrap().as_slice(), [Verdict::Placed(_)]));
    assert_eq!((stock(&store, 1).await, stock(&store, 2).await), (499, 500));
}

/// Three calls in one batch: `first`, an order for product 1 whose caller leaves before the batch's
/// transaction has done anything, and an order for product 2. What came of the first and of the
/// last.
async fn with_one_who_leaves_in_flight(
    store: &Store,
    first: NewOrder,
) -> [Result<Vec<Verdict>, Failure>; 2] {
    let (queue, committer) = new(store.clone(), 256, 256);
    let (mut first, mut last) =
        (pin!(queue.place(vec![first], None)), pin!(queue.place(orders(2, 1), None)));
    let mut leaves = Box::pin(queue.place(orders(1, 1), None));
    assert!(poll_once(&mut first).await.is_none());
    assert!(poll_once(&mut leaves.as_mut()).await.is_none());
    assert!(poll_once(&mut last).await.is_none());
    let closing = CancellationToken::new();
    closing.cancel();
    let mut committing = pin!(committer.run(closing));
    while_the_writer_is_held(store, &mut committing, async { drop(leaves) }).await;
    let (first, last, ()) = tokio::join!(first, last, committing);
    [first, last]
}

/// The batch is gathered and waits for the only writer, while this happens.
async fn while_the_writer_is_held(
    store: &Store,
    committing: &mut std::pin::Pin<&mut impl Future<Output = ()>>,
    meanwhile: impl Future<Output = ()>,
) {
    let held = store.database.begin().await.unwrap();
    assert!(poll_once(committing).await.is_none());
    meanwhile.await;
    held.rollback().await.unwrap();
}

/// Polls once.
async fn poll_once<T>(future: &mut std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
