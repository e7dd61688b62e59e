//! Brokers that stand still, that are killed, and that are one of three.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use merch_logging::{provision::Topic, server::Config};
use merch_test_kafka::Options;
use tokio::{task::block_in_place, time::sleep};

use crate::{
    support::{BATCH, Own, Sender, complete_and_in_order, config, consume},
    with::{Service, until},
};

const TOPIC: &str = "log-channel";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_or_is_killed_costs_nothing_and_repeats_nothing() {
    let mut own = Own::with(Options::default()).await;
    let brokers = own.kafka.bootstrap_servers();
    // An attempt is given up after a third of this.
    let settings = config(brokers.clone(), TOPIC);
    let service =
        Service::start(Config { delivery_timeout: Duration::from_secs(15), ..settings.clone() })
            .await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    let mut sender = Sender::open(service.address).await;
    sender.send(0..1000).await;
    until("the first ones are acknowledged", || sender.acknowledged() == 1000).await;

    // It holds the connection and says nothing, for longer than one attempt takes: the producer
    // sends the same again on a new connection, and the broker has read both when it goes on.
    own.kafka.pause(0);
    let paused = Instant::now();
    sender.send(1000..3000).await;
    until("the service is not ready", || service.readiness.check().is_err()).await;
    sleep(Duration::from_secs(6).saturating_sub(paused.elapsed())).await;
    assert_eq!(sender.acknowledged(), 1000, "nobody has taken the others");
    own.kafka.resume(0);
    sender.finish().await;
    until("the service is ready again", || service.readiness.check().is_ok()).await;
    service.stop().await;
    let seen = consume(brokers.clone(), TOPIC).await;
    assert_eq!(complete_and_in_order(&seen, 0..3000), 0, "repeats");

    // Killed under load, and started again.
    let service =
        Service::start(Config { delivery_timeout: Duration::from_secs(60), ..settings }).await;
    let mut sender = Sender::open(service.address).await;
    sender.send(3000..6000).await;
    until("some of it is acknowledged", || sender.acknowledged() > 0).await;
    block_in_place(|| own.kafka.kill(0));
    sender.send(6000..8000).await;
    until("the service is not ready", || service.readiness.check().is_err()).await;
    block_in_place(|| own.kafka.restart(0));
    sender.finish().await;
    until("the service is ready again", || service.readiness.check().is_ok()).await;
    service.stop().await;
    let seen = consume(brokers, TOPIC).await;
    assert_eq!(complete_and_in_order(&seen, 0..8000), 0, "repeats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_not_overtaken_by_a_later_one_of_its_subject_when_kafka_is_away_for_too_long() {
    let delivery_timeout = Duration::from_secs(12);
    let own = Own::with(Options::default()).await;
    let brokers = own.kafka.bootstrap_servers();
    let service =
        Service::start(Config { delivery_timeout, ..config(brokers.clone(), TOPIC) }).await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    let mut first = Sender::open(service.address).await;
    first.send(0..BATCH).await;
    until("the first ones are acknowledged", || first.acknowledged() == BATCH).await;
    // What is sent next must not reach the broker at once, and wait there: so not before the
    // connection is given up, after a third of the time-out.
    own.kafka.pause(0);
    until("the service is not ready", || service.readiness.check().is_err()).await;
    sleep(delivery_timeout / 2).await;
    let mut sender = Sender::open(service.address).await;
    sender.send(BATCH..2 * BATCH).await;
    // So much later that these would go on waiting when the first ones are given up.
    sleep(delivery_timeout / 3).await;
    sender.send(2 * BATCH..3 * BATCH).await;
    // A later stream's, as of a sender that was cut off meanwhile.
    let mut later = Sender::open(service.address).await;
    later.send(3 * BATCH..4 * BATCH).await;
    sender.fails().await;
    own.kafka.resume(0);
    until("the service is ready again", || service.readiness.check().is_ok()).await;
    // What was still kept would be written now, before it is sent again.
    later.fails().await;
    let mut sender = Sender::open(service.address).await;
    sender.send(BATCH..4 * BATCH).await;
    sender.finish().await;
    first.finish().await;
    service.stop().await;
    let seen = consume(brokers, TOPIC).await;
    complete_and_in_order(&seen, 0..4 * BATCH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_brokers_is_killed_and_nothing_is_lost_and_nothing_stops() {
    let mut own = Own::with(Options { brokers: 3, ..Options::default() }).await;
    let brokers = own.kafka.bootstrap_servers();
    let topic = Topic {
        partitions: 6,
        replication: Some(3),
        min_insync_replicas: Some(2),
        ..Topic::new(TOPIC)
    };
    let service = Service::start(Config {
        topic,
        delivery_timeout: Duration::from_secs(60),
        ..config(brokers.clone(), TOPIC)
    })
    .await;
    until("the service is ready", || service.readiness.check().is_ok()).await;

    // A steady stream, which has to go on while a broker goes and comes back.
    let mut sender = Sender::open(service.address).await;
    let acknowledged = Arc::clone(&sender.acknowledged);
    let stop = tokio_util::sync::CancellationToken::new();
    let stopping = stop.clone();
    let feeder = tokio::spawn(async move {
        let (mut numbers, mut last, mut since, mut longest) =
            (0, 0, Instant::now(), Duration::ZERO);
        while !stopping.is_cancelled() {
            sender.send(numbers..numbers + BATCH).await;
            numbers += BATCH;
            sleep(Duration::from_millis(50)).await;
            if sender.acknowledged() > last {
                (last, since) = (sender.acknowledged(), Instant::now());
            }
            longest = longest.max(since.elapsed());
        }
        sender.finish().await;
        (numbers, longest)
    });
    // More than can be under way: the service takes 64 requests of a stream before it waits for
    // Kafka.
    let progress = async || {
        let from = acknowledged.load(Ordering::Relaxed);
        until("events go on being acknowledged", || {
            acknowledged.load(Ordering::Relaxed) > from + 70 * BATCH
        })
        .await;
    };
    progress().await;
    block_in_place(|| own.kafka.kill(0));
    progress().await;
    assert_eq!(service.readiness.check(), Ok(()), "two of three are enough");
    block_in_place(|| own.kafka.restart(0));
    progress().await;
    stop.cancel();
    let (sent, longest) = feeder.await.unwrap();
    service.stop().await;
    let seen = consume(brokers, TOPIC).await;
    assert_eq!(complete_and_in_order(&seen, 0..sent), 0, "repeats");
    assert!(longest < Duration::from_secs(20), "for {longest:?} nothing was acknowledged");
}
