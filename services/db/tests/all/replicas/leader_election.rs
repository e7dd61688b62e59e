use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::*;
use crate::postgres::FreezableProxy;

const LEASE: Duration = Duration::from_secs(2);

async fn three(
    test_database: &TestDatabase,
) -> (SharedLog, Vec<LoggingStub>, Vec<Option<Replica>>) {
    let log = SharedLog::default();
    let mut stubs = vec![];
    for number in 0..3 {
        stubs.push(log.stub(number).await);
    }
    let replicas: [Replica; 3] = replicas(test_database, |number, config| {
        config.logging_endpoint = stubs[number].url.clone();
        config.leader_election.lease = LEASE;
    })
    .await;
    (log, stubs, replicas.into_iter().map(Some).collect())
}

async fn register(log: &SharedLog, replicas: &[Option<Replica>], at: usize, name: &str) -> Buyer {
    let buyer = replicas[at].as_ref().unwrap().register(name).await;
    arrives(log, &buyer, "user_registered").await;
    buyer
}

async fn arrives(log: &SharedLog, buyer: &Buyer, word: &str) {
    eventually("the event arrives", || async {
        log.events_of(buyer).await.iter().any(|found| found == word)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leader_ships_each_event_once_in_order() {
    let test_database = TestDatabase::postgres().await;
    let (log, _, replicas) = three(&test_database).await;
    let clients: Vec<_> = replicas.iter().map(|replica| replica.as_ref().unwrap()).collect();
    let journeys = (0..12).map(|n| {
        let clients = &clients;
        async move {
            let at = |step: usize| clients[(n + step) % 3];
            let buyer = at(0).register(&format!("buyer{n}")).await;
            let mut expected = vec!["user_registered"];
            for round in 0..6 {
                let order =
                    expect_placed(at(round + 1).place(buyer.order(HOODIE, 1)).await.unwrap());
                at(round + 2).cancel(&buyer, &order.id).await.unwrap();
                expected.extend(["order_placed", "order_cancelled"]);
                if round % 3 == 0 {
                    at(round).rename(&buyer, &format!("renamed{n}.{round}")).await.unwrap();
                    expected.push("user_updated");
                }
            }
            (buyer, expected)
        }
    });
    let journeys = futures_util::future::join_all(journeys).await;
    let count: usize = journeys.iter().map(|(_, expected)| expected.len()).sum();
    eventually("all events have come", || async { log.len().await >= count }).await;
    // No event is duplicated, even when the lease is renewed and the shipper restarts at the oldest
    // event.
    tokio::time::sleep(LEASE * 3).await;
    let all = log.all().await;
    assert_eq!(all.len(), count);
    assert_eq!(
        all.iter().map(|(_, event)| &event.id).collect::<HashSet<_>>().len(),
        count,
        "each event once"
    );
    assert_eq!(
        all.iter().map(|(number, _)| *number).collect::<HashSet<_>>().len(),
        1,
        "one replica ships"
    );
    assert_eq!(
        all.iter().map(|(_, event)| &event.instance).collect::<HashSet<_>>().len(),
        3,
        "the events of all replicas"
    );
    for (buyer, expected) in journeys {
        assert_eq!(log.events_of(&buyer).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_ships_events_of_followers_promptly() {
    let test_database = TestDatabase::postgres().await;
    let (log, _, replicas) = three(&test_database).await;
    register(&log, &replicas, 0, "first").await;
    let other = (log.last_sender().await.unwrap() + 1) % 3;
    let mut waits = vec![];
    for n in 0..20 {
        let begun = Instant::now();
        register(&log, &replicas, other, &format!("buyer{n}")).await;
        waits.push(begun.elapsed());
    }
    waits.sort_unstable();
    eprintln!("from the call to the arrival: median {:?}, longest {:?}", waits[10], waits[19]);
    assert!(waits[10] < Duration::from_millis(500), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leader_is_replaced_without_loss() {
    let test_database = TestDatabase::postgres().await;
    let (log, stubs, mut replicas) = three(&test_database).await;
    let ada = register(&log, &replicas, 0, "ada").await;
    let leader = log.last_sender().await.unwrap();
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    // In flight when the leader is killed: sent, never acknowledged.
    stubs[leader].mute.store(true, std::sync::atomic::Ordering::SeqCst);
    let order =
        expect_placed(replicas[one].as_ref().unwrap().place(ada.order(HOODIE, 1)).await.unwrap());
    arrives(&log, &ada, "order_placed").await;
    replicas[leader].take().unwrap().kill();
    let killed = Instant::now();
    replicas[other].as_ref().unwrap().cancel(&ada, &order.id).await.unwrap();
    arrives(&log, &ada, "order_cancelled").await;
    eprintln!("taken over after {:?} with a lease of {LEASE:?}", killed.elapsed());
    let senders: HashMap<String, Vec<usize>> =
        log.all().await.into_iter().fold(HashMap::new(), |mut senders, (number, event)| {
            senders.entry(event.event).or_default().push(number);
            senders
        });
    assert_eq!(senders["user_registered"], [leader], "an acknowledged event is not sent again");
    let successor = log.last_sender().await.unwrap();
    assert_ne!(successor, leader);
    assert_eq!(senders["order_placed"], [leader, successor], "an unacknowledged event is");
    assert_eq!(senders["order_cancelled"], [successor]);
    assert_eq!(log.events_of(&ada).await, ["user_registered", "order_placed", "order_cancelled"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_leader_hands_over_under_load() {
    let test_database = TestDatabase::postgres().await;
    let log = SharedLog::default();
    let stubs = [log.stub(0).await, log.stub(1).await];
    // The lease outlasts the test.
    let [first, second]: [Replica; 2] = replicas(&test_database, |number, config| {
        config.logging_endpoint = stubs[number].url.clone();
        config.leader_election.lease = Duration::from_secs(60);
        config.drain = Duration::from_secs(30);
    })
    .await;
    let mut replicas = vec![Some(first), Some(second)];
    let ada = register(&log, &replicas, 0, "ada").await;
    let leader = log.last_sender().await.unwrap();
    let other = 1 - leader;
    let (mut client, order, enough) = (
        replicas[other].as_ref().unwrap().client.clone(),
        ada.order(HOODIE, 1),
        CancellationToken::new(),
    );
    let writing = tokio::spawn({
        let enough = enough.clone();
        async move {
            let mut written = 0;
            while !enough.is_cancelled() {
                client
                    .place_orders(call(PlaceOrdersRequest { orders: vec![order.clone()] }))
                    .await
                    .unwrap();
                written += 1;
            }
            written
        }
    });
    eventually("events flow", || async { log.len().await > 20 }).await;
    let begun = Instant::now();
    replicas[leader].take().unwrap().stop().await;
    let stopped = begun.elapsed();
    eventually("the other one ships", || async { log.last_sender().await == Some(other) }).await;
    eprintln!("stopped after {stopped:?}, handed over after {:?}", begun.elapsed());
    assert!(stopped < Duration::from_secs(10), "the drain ends: {stopped:?}");
    enough.cancel();
    let written = writing.await.unwrap();
    replicas[other].take().unwrap().stop().await;
    let all = log.all().await;
    assert_eq!(all.len(), written + 1, "each event once, also during the hand-over");
    assert_eq!(log.deduplicated().await.len(), written + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_follower_waits_for_its_events() {
    let test_database = TestDatabase::postgres().await;
    let log = SharedLog::default();
    let stubs = [log.stub(0).await, log.stub(1).await];
    let [first, second]: [Replica; 2] = replicas(&test_database, |number, config| {
        config.logging_endpoint = stubs[number].url.clone();
        config.leader_election.lease = LEASE;
        config.drain = Duration::from_secs(20);
    })
    .await;
    let mut replicas = vec![Some(first), Some(second)];
    register(&log, &replicas, 0, "ada").await;
    let leader = log.last_sender().await.unwrap();
    replicas[leader].take().unwrap().kill();
    // A killed replica holds the lease; the last one writes and stops at once.
    let last = replicas[1 - leader].take().unwrap();
    let bob = last.register("bob").await;
    last.stop().await;
    assert_eq!(log.events_of(&bob).await, ["user_registered"]);
    assert_eq!(log.last_sender().await, Some(1 - leader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_leader_is_replaced() {
    let test_database = TestDatabase::postgres().await;
    let log = SharedLog::default();
    let stub = log.stub(1).await;
    let stalled = {
        let mut config = config(&test_database);
        config.leader_election =
            merch_db::LeaderElection { lease: LEASE, stall_timeout: Duration::from_secs(1) };
        Replica::start(config).await
    };
    let ada = stalled.register("ada").await;
    let database = connect(&test_database.url).await;
    let held = "SELECT 1 FROM outbox_lease WHERE holder IS NOT NULL";
    eventually("the stalled replica has the lease", || async {
        !rows(&database, held).await.is_empty()
    })
    .await;
    let mut config = config(&test_database);
    config.logging_endpoint = stub.url.clone();
    config.leader_election.lease = LEASE;
    let free = Replica::start(config).await;
    arrives(&log, &ada, "user_registered").await;
    assert_eq!(log.last_sender().await, Some(1));
    database.close().await.unwrap();
    free.stop().await;
    stalled.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_without_database_stops_shipping() {
    let test_database = TestDatabase::postgres().await;
    let proxy = FreezableProxy::before(&test_database.url).await;
    let log = SharedLog::default();
    let stubs = [log.stub(0).await, log.stub(1).await];
    let settings = |number: usize| {
        let mut config = config(&test_database);
        config.logging_endpoint = stubs[number].url.clone();
        config.leader_election.lease = LEASE;
        config.pool.acquire_timeout = Duration::from_secs(1);
        config.pool.transaction_timeout = Duration::from_secs(1);
        config
    };
    let far = {
        let mut config = settings(0);
        config.database = (&proxy.url).into();
        Replica::start(config).await
    };
    let ada = far.register("ada").await;
    arrives(&log, &ada, "user_registered").await;
    assert_eq!(log.last_sender().await, Some(0), "it is alone");
    let near = Replica::start(settings(1)).await;
    proxy.cut.send_replace(true);
    let cut = Instant::now();
    let order = expect_placed(near.place(ada.order(HOODIE, 1)).await.unwrap());
    arrives(&log, &ada, "order_placed").await;
    eprintln!("taken over after {:?} with a lease of {LEASE:?}", cut.elapsed());
    assert_eq!(log.last_sender().await, Some(1));
    proxy.cut.send_replace(false);
    near.cancel(&ada, &order.id).await.unwrap();
    eventually("it works again", || async { far.place(ada.order(BOTTLE, 1)).await.is_ok() }).await;
    eventually("all events have come", || async { log.events_of(&ada).await.len() == 4 }).await;
    // The new leader may repeat an event; the old one ships none.
    let mut senders: Vec<_> = log.all().await.iter().map(|(number, _)| *number).collect();
    senders.dedup();
    assert_eq!(senders, [0, 1]);
    near.stop().await;
    far.stop().await;
}
