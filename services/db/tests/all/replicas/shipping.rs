//! The outbox of several replicas: one of them ships it, in order, and another one when that one is
//! gone.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::*;
use crate::postgres::Wire;

const LEASE: Duration = Duration::from_secs(2);

/// Three replicas with a logging service each, all of which write into one ledger.
async fn three(place: &Place) -> (Ledger, Vec<Desk>, Vec<Option<Replica>>) {
    let ledger = Ledger::default();
    let mut desks = vec![];
    for number in 0..3 {
        desks.push(ledger.desk(number).await);
    }
    let replicas: [Replica; 3] = replicas(place, |number, config| {
        config.logging_endpoint = desks[number].url.clone();
        config.turns.lease = LEASE;
    })
    .await;
    (ledger, desks, replicas.into_iter().map(Some).collect())
}

/// Registers somebody at the replica with this number and waits until the event has come.
async fn register(ledger: &Ledger, replicas: &[Option<Replica>], at: usize, name: &str) -> Buyer {
    let buyer = replicas[at].as_ref().unwrap().register(name).await;
    arrives(ledger, &buyer, "user_registered").await;
    buyer
}

async fn arrives(ledger: &Ledger, buyer: &Buyer, word: &str) {
    eventually("the event arrives", || async {
        ledger.words_of(buyer).await.iter().any(|found| found == word)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_shipped_once_by_one_replica_and_what_one_did_stays_in_order() {
    let place = Place::postgres().await;
    let (ledger, _, replicas) = three(&place).await;
    let clients: Vec<_> = replicas.iter().map(|replica| replica.as_ref().unwrap()).collect();
    // Many people, each of whom does one thing after another, each at another replica.
    let journeys = (0..12).map(|n| {
        let clients = &clients;
        async move {
            let at = |step: usize| clients[(n + step) % 3];
            let buyer = at(0).register(&format!("buyer{n}")).await;
            let mut expected = vec!["user_registered"];
            for round in 0..6 {
                let order = placed(at(round + 1).place(buyer.order(HOODIE, 1)).await.unwrap());
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
    eventually("all events have come", || async { ledger.len().await >= count }).await;
    // Nothing comes twice, also while the lease is renewed and the shipper begins again from the
    // oldest.
    tokio::time::sleep(LEASE * 3).await;
    let all = ledger.all().await;
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
        "what all of them wrote"
    );
    for (buyer, expected) in journeys {
        assert_eq!(ledger.words_of(&buyer).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_wrote_is_on_its_way_soon() {
    let place = Place::postgres().await;
    let (ledger, _, replicas) = three(&place).await;
    register(&ledger, &replicas, 0, "first").await;
    let other = (ledger.last_sender().await.unwrap() + 1) % 3;
    let mut waits = vec![];
    for n in 0..20 {
        let begun = Instant::now();
        register(&ledger, &replicas, other, &format!("buyer{n}")).await;
        waits.push(begun.elapsed());
    }
    waits.sort_unstable();
    eprintln!("from the call to the arrival: median {:?}, longest {:?}", waits[10], waits[19]);
    assert!(waits[10] < Duration::from_millis(500), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_one_that_ships_is_killed_another_goes_on_and_nothing_is_lost_or_out_of_order() {
    let place = Place::postgres().await;
    let (ledger, desks, mut replicas) = three(&place).await;
    let ada = register(&ledger, &replicas, 0, "ada").await;
    let leader = ledger.last_sender().await.unwrap();
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    // What is under way when it dies: sent, and never acknowledged.
    desks[leader].mute.store(true, std::sync::atomic::Ordering::SeqCst);
    let order = placed(replicas[one].as_ref().unwrap().place(ada.order(HOODIE, 1)).await.unwrap());
    arrives(&ledger, &ada, "order_placed").await;
    replicas[leader].take().unwrap().kill();
    let killed = Instant::now();
    replicas[other].as_ref().unwrap().cancel(&ada, &order.id).await.unwrap();
    arrives(&ledger, &ada, "order_cancelled").await;
    eprintln!("taken over after {:?} with a lease of {LEASE:?}", killed.elapsed());
    let senders: HashMap<String, Vec<usize>> =
        ledger.all().await.into_iter().fold(HashMap::new(), |mut senders, (number, event)| {
            senders.entry(event.event).or_default().push(number);
            senders
        });
    assert_eq!(senders["user_registered"], [leader], "what was acknowledged is not sent again");
    let successor = ledger.last_sender().await.unwrap();
    assert_ne!(successor, leader);
    assert_eq!(senders["order_placed"], [leader, successor], "what was not is");
    assert_eq!(senders["order_cancelled"], [successor]);
    assert_eq!(ledger.words_of(&ada).await, ["user_registered", "order_placed", "order_cancelled"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_ships_hands_over_when_it_stops_and_does_not_wait_for_the_others_to_be_silent()
{
    let place = Place::postgres().await;
    let ledger = Ledger::default();
    let desks = [ledger.desk(0).await, ledger.desk(1).await];
    // A lease that nobody could wait for.
    let [first, second]: [Replica; 2] = replicas(&place, |number, config| {
        config.logging_endpoint = desks[number].url.clone();
        config.turns.lease = Duration::from_secs(60);
        config.drain = Duration::from_secs(30);
    })
    .await;
    let mut replicas = vec![Some(first), Some(second)];
    let ada = register(&ledger, &replicas, 0, "ada").await;
    let leader = ledger.last_sender().await.unwrap();
    let other = 1 - leader;
    // The other one writes all the time.
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
    eventually("events flow", || async { ledger.len().await > 20 }).await;
    let begun = Instant::now();
    replicas[leader].take().unwrap().stop().await;
    let stopped = begun.elapsed();
    eventually("the other one ships", || async { ledger.last_sender().await == Some(other) }).await;
    eprintln!("stopped after {stopped:?}, handed over after {:?}", begun.elapsed());
    assert!(stopped < Duration::from_secs(10), "it does not ship for ever: {stopped:?}");
    enough.cancel();
    let written = writing.await.unwrap();
    replicas[other].take().unwrap().stop().await;
    let all = ledger.all().await;
    assert_eq!(all.len(), written + 1, "each event once, also those of the handing over");
    assert_eq!(ledger.without_repeats().await.len(), written + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_stands_by_and_stops_sees_its_events_off() {
    let place = Place::postgres().await;
    let ledger = Ledger::default();
    let desks = [ledger.desk(0).await, ledger.desk(1).await];
    let [first, second]: [Replica; 2] = replicas(&place, |number, config| {
        config.logging_endpoint = desks[number].url.clone();
        config.turns.lease = LEASE;
        config.drain = Duration::from_secs(20);
    })
    .await;
    let mut replicas = vec![Some(first), Some(second)];
    register(&ledger, &replicas, 0, "ada").await;
    let leader = ledger.last_sender().await.unwrap();
    replicas[leader].take().unwrap().kill();
    // Nobody has the lease but a dead one; the last one writes and stops at once.
    let last = replicas[1 - leader].take().unwrap();
    let bob = last.register("bob").await;
    last.stop().await;
    assert_eq!(ledger.words_of(&bob).await, ["user_registered"]);
    assert_eq!(ledger.last_sender().await, Some(1 - leader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_reach_the_logging_service_lets_another_ship() {
    let place = Place::postgres().await;
    let ledger = Ledger::default();
    let desk = ledger.desk(1).await;
    let barred = {
        let mut config = config(&place);
        config.turns = merch_db::Turns { lease: LEASE, patience: Duration::from_secs(1) };
        Replica::start(config).await
    };
    // It is alone, so it has the lease; and it has something to ship.
    let ada = barred.register("ada").await;
    let database = connect(&place.url).await;
    let held = "SELECT 1 FROM outbox_lease WHERE holder IS NOT NULL";
    eventually("it has the lease", || async { !rows(&database, held).await.is_empty() }).await;
    let mut config = config(&place);
    config.logging_endpoint = desk.url.clone();
    config.turns.lease = LEASE;
    let free = Replica::start(config).await;
    arrives(&ledger, &ada, "user_registered").await;
    assert_eq!(ledger.last_sender().await, Some(1));
    database.close().await.unwrap();
    free.stop().await;
    barred.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_loses_its_database_ships_nothing_more_and_another_takes_over() {
    let place = Place::postgres().await;
    let wire = Wire::before(&place.url).await;
    let ledger = Ledger::default();
    let desks = [ledger.desk(0).await, ledger.desk(1).await];
    let settings = |number: usize| {
        let mut config = config(&place);
        config.logging_endpoint = desks[number].url.clone();
        config.turns.lease = LEASE;
        config.pool.acquire_timeout = Duration::from_secs(1);
        config.pool.transaction_timeout = Duration::from_secs(1);
        config
    };
    let far = {
        let mut config = settings(0);
        config.database = (&wire.url).into();
        Replica::start(config).await
    };
    let ada = far.register("ada").await;
    arrives(&ledger, &ada, "user_registered").await;
    assert_eq!(ledger.last_sender().await, Some(0), "it is alone");
    let near = Replica::start(settings(1)).await;
    wire.cut.send_replace(true);
    let cut = Instant::now();
    let order = placed(near.place(ada.order(HOODIE, 1)).await.unwrap());
    arrives(&ledger, &ada, "order_placed").await;
    eprintln!("taken over after {:?} with a lease of {LEASE:?}", cut.elapsed());
    assert_eq!(ledger.last_sender().await, Some(1));
    // It comes back, and stands by.
    wire.cut.send_replace(false);
    near.cancel(&ada, &order.id).await.unwrap();
    eventually("it works again", || async { far.place(ada.order(BOTTLE, 1)).await.is_ok() }).await;
    eventually("all events have come", || async { ledger.words_of(&ada).await.len() == 4 }).await;
    // At least once: the new one may repeat an event, and the other one ships none.
    let mut senders: Vec<_> = ledger.all().await.iter().map(|(number, _)| *number).collect();
    senders.dedup();
    assert_eq!(senders, [0, 1]);
    near.stop().await;
    far.stop().await;
}
