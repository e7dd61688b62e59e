use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use merch_contract::grpc::assistant::v1::*;
use merch_db::{MachineClock, SystemClock};
use time::OffsetDateTime;

use crate::harness::*;

const DAY: i64 = 24 * 60 * 60;

#[derive(Debug, Default)]
pub(crate) struct TestClock {
    system: SystemClock,
    /// Seconds that the time of day is ahead.
    pub(crate) ahead: AtomicI64,
    /// Seconds added to the uptime.
    pub(crate) passed: AtomicI64,
}

impl MachineClock for TestClock {
    fn now(&self) -> OffsetDateTime {
        let seconds = self.ahead.load(Ordering::SeqCst) + self.passed.load(Ordering::SeqCst);
        self.system.now() + time::Duration::seconds(seconds)
    }

    fn uptime(&self) -> Duration {
        self.system.uptime()
            + Duration::from_secs(self.passed.load(Ordering::SeqCst).unsigned_abs())
    }
}

impl TestClock {
    pub(crate) fn ahead(seconds: i64) -> Arc<Self> {
        Arc::new(Self { ahead: AtomicI64::new(seconds), ..Self::default() })
    }
}

async fn start(test_database: TestDatabase, clock: &Arc<TestClock>) -> TestService {
    let mut config = config(&test_database);
    config.clock = clock.clone();
    config.housekeeping_interval = Duration::from_millis(20);
    TestService::start_with(test_database, config).await
}

/// Waits for a complete round, which ends with the deletion of shipped events.
async fn wait_for_housekeeping(store: &TestService) {
    let (id, payload) = match store.backend() {
        sea_orm::DbBackend::Postgres => ("gen_random_uuid()", "''"),
        _ => ("randomblob(16)", "x''"),
    };
    // A round that began before may delete the first one.
    for _ in 0..2 {
        let time = "'2026-01-01T00:00:00Z'";
        store
            .sql(&format!(
                "INSERT INTO outbox (id, payload, created_at, shipped_at) \
            VALUES ({id}, {payload}, {time}, {time})"
            ))
            .await;
        eventually("a round of housekeeping", || async {
            store.count("outbox WHERE shipped_at IS NOT NULL").await == 0
        })
        .await;
    }
}

fn clock_reason(store: &TestService) -> Option<String> {
    let reasons = store.readiness.check().err()?;
    reasons.into_iter().find(|(part, _)| *part == "clock").map(|(_, reason)| reason)
}

on_both!(
    async fn clock_jumps_never_expire_a_key_early(store: &TestService) {
        let buyer = store.register("ada").await;
        let key = |key: &str| buyer.order_with_key(HOODIE, 1, key);
        let mut first = vec![expect_placed(store.place(vec![key("0")]).await.unwrap().remove(0))];
        for ahead in [2 * DAY, -2 * DAY, 400 * DAY] {
            let clock = TestClock::ahead(ahead);
            let test_database = TestDatabase::external(store.test_database.url.clone());
            let other = start(test_database, &clock).await;
            wait_for_housekeeping(&other).await;
            first.push(expect_placed(
                other.place(vec![key(&first.len().to_string())]).await.unwrap().remove(0),
            ));
            clock.ahead.fetch_add(3 * DAY, Ordering::SeqCst);
            wait_for_housekeeping(&other).await;
            first.push(expect_placed(
                other.place(vec![key(&first.len().to_string())]).await.unwrap().remove(0),
            ));
            clock.ahead.fetch_sub(9 * DAY, Ordering::SeqCst);
            wait_for_housekeeping(&other).await;
            other.stop().await;
        }
        let right =
            start(TestDatabase::external(store.test_database.url.clone()), &TestClock::ahead(0))
                .await;
        wait_for_housekeeping(&right).await;
        for (n, order) in first.iter().enumerate() {
            assert_eq!(
                &expect_placed(right.place(vec![key(&n.to_string())]).await.unwrap().remove(0)),
                order,
                "key {n}"
            );
        }
        right.stop().await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_skew_makes_the_service_unready() {
    let clock = TestClock::ahead(2 * DAY);
    let store = start(TestDatabase::postgres().await, &clock).await;
    let is_reported = |seconds: &'static str| {
        let reason = clock_reason(&store);
        reason.is_some_and(|reason| {
            reason.contains(seconds) && reason.contains("expected at most 5 s")
        })
    };
    eventually("the clock is reported as ahead", || async {
        is_reported("ahead of the database's")
    })
    .await;
    clock.ahead.store(-60, Ordering::SeqCst);
    eventually("the clock is reported as behind", || async {
        is_reported("behind the database's")
    })
    .await;
    clock.ahead.store(3, Ordering::SeqCst);
    eventually("a skew of three seconds is accepted", || async { store.readiness.check().is_ok() })
        .await;
    store.stop().await;
}

on_both!(
    async fn get_clock_returns_the_database_time(store: &TestService) {
        let of_a_wrong_replica =
            start(TestDatabase::external(store.test_database.url.clone()), &TestClock::ahead(DAY))
                .await;
        for (store, ahead) in [(store, 0), (&of_a_wrong_replica, DAY)] {
            let now = store
                .client()
                .get_clock(call(GetClockRequest {}))
                .await
                .unwrap()
                .into_inner()
                .now
                .unwrap()
                .seconds;
            let expected = if store.backend() == sea_orm::DbBackend::Sqlite { ahead } else { 0 };
            assert!(
                (now - OffsetDateTime::now_utc().unix_timestamp() - expected).abs() < 30,
                "{now}"
            );
        }
        of_a_wrong_replica.stop().await;
    }
);

on_both!(
    async fn order_ids_increase_despite_clock_skew(store: &TestService) {
        let buyer = store.register("ada").await;
        let mut ids = vec![];
        for ahead in [0, 3_600, -3_600, 0, -DAY] {
            let clock = TestClock::ahead(ahead);
            let other =
                start(TestDatabase::external(store.test_database.url.clone()), &clock).await;
            ids.push(other.buy(&buyer, HOODIE, 1).await.id);
            clock.ahead.fetch_sub(600, Ordering::SeqCst);
            ids.push(other.buy(&buyer, BOTTLE, 1).await.id);
            ids.push(store.buy(&buyer, HOODIE, 1).await.id);
            other.stop().await;
        }
        assert!(ids.is_sorted(), "{ids:?}");
        let list = ListOrdersRequest {
            caller: Some(buyer.caller.clone()),
            page_size: 100,
            ..Default::default()
        };
        let listed = store.client().list_orders(call(list)).await.unwrap().into_inner().orders;
        ids.reverse();
        assert_eq!(
            listed.into_iter().map(|order| order.id).collect::<Vec<_>>(),
            ids,
            "newest first"
        );
    }
);
