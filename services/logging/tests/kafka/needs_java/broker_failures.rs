use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use merch_logging::{server::Config, topic_admin::Topic};
use merch_test_kafka::Options;
use tokio::{task::block_in_place, time::sleep};

use crate::{
    logging_support::{Service, until},
    support::{BATCH, ExclusiveKafka, Sender, check_complete_and_ordered, config, consume},
};

const TOPIC: &str = "log-channel";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_or_killed_broker_causes_no_loss_or_duplicates() {
    let mut exclusive = ExclusiveKafka::with(Options::default()).await;
    let brokers = exclusive.kafka.bootstrap_servers();
    // One attempt takes a third of this.
    let settings = config(brokers.clone(), TOPIC);
    let service =
        Service::start(Config { delivery_timeout: Duration::from_secs(15), ..settings.clone() })
            .await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    let mut sender = Sender::open(service.address).await;
    sender.send(0..1000).await;
    until("the first events are acknowledged", || sender.acknowledged() == 1000).await;

    // Longer than one attempt: the producer sends the same batch on a new connection, and the
    // broker has both when it resumes.
    exclusive.kafka.pause(0);
    let paused = Instant::now();
    sender.send(1000..3000).await;
    until("the service is not ready", || service.readiness.check().is_err()).await;
    sleep(Duration::from_secs(6).saturating_sub(paused.elapsed())).await;
    assert_eq!(sender.acknowledged(), 1000, "no other request is acknowledged");
    exclusive.kafka.resume(0);
    sender.finish().await;
    until("the service is ready again", || service.readiness.check().is_ok()).await;
    service.stop().await;
    let records = consume(brokers.clone(), TOPIC).await;
    assert_eq!(check_complete_and_ordered(&records, 0..3000), 0, "no duplicates");

    let service =
        Service::start(Config { delivery_timeout: Duration::from_secs(60), ..settings }).await;
    let mut sender = Sender::open(service.address).await;
    sender.send(3000..6000).await;
    until("some events are acknowledged", || sender.acknowledged() > 0).await;
    block_in_place(|| exclusive.kafka.kill(0));
    sender.send(6000..8000).await;
    until("the service is not ready", || service.readiness.check().is_err()).await;
    block_in_place(|| exclusive.kafka.restart(0));
    sender.finish().await;
    until("the service is ready again", || service.readiness.check().is_ok()).await;
    service.stop().await;
    let records = consume(brokers, TOPIC).await;
    assert_eq!(check_complete_and_ordered(&records, 0..8000), 0, "no duplicates");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_timeout_keeps_the_order_of_each_key() {
    let delivery_timeout = Duration::from_secs(12);
    let exclusive = ExclusiveKafka::with(Options::default()).await;
    let brokers = exclusive.kafka.bootstrap_servers();
    let service =
        Service::start(Config { delivery_timeout, ..config(brokers.clone(), TOPIC) }).await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    let mut first = Sender::open(service.address).await;
    first.send(0..BATCH).await;
    until("the first events are acknowledged", || first.acknowledged() == BATCH).await;
    // Closed before the next records are sent; otherwise they wait in the broker's socket.
    exclusive.kafka.pause(0);
    until("the service is not ready", || service.readiness.check().is_err()).await;
    sleep(delivery_timeout / 2).await;
    let mut sender = Sender::open(service.address).await;
    sender.send(BATCH..2 * BATCH).await;
    // Late enough to be still pending when the first ones time out.
    sleep(delivery_timeout / 3).await;
    sender.send(2 * BATCH..3 * BATCH).await;
    // A second stream, as of a sender that reconnected.
    let mut later = Sender::open(service.address).await;
    later.send(3 * BATCH..4 * BATCH).await;
    sender.expect_failure().await;
    exclusive.kafka.resume(0);
    until("the service is ready again", || service.readiness.check().is_ok()).await;
    // A record left in the queue would be written now, before the retry.
    later.expect_failure().await;
    let mut sender = Sender::open(service.address).await;
    sender.send(BATCH..4 * BATCH).await;
    sender.finish().await;
    first.finish().await;
    service.stop().await;
    let records = consume(brokers, TOPIC).await;
    check_complete_and_ordered(&records, 0..4 * BATCH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_continues_when_one_of_three_brokers_is_killed() {
    let mut exclusive = ExclusiveKafka::with(Options { brokers: 3, ..Options::default() }).await;
    let brokers = exclusive.kafka.bootstrap_servers();
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

    let mut sender = Sender::open(service.address).await;
    let acknowledged = Arc::clone(&sender.acknowledged);
    let stop = tokio_util::sync::CancellationToken::new();
    let stopping = stop.clone();
    let load = tokio::spawn(async move {
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
    // More than the stream window of 64 requests.
    let progress = async || {
        let from = acknowledged.load(Ordering::Relaxed);
        until("more events are acknowledged", || {
            acknowledged.load(Ordering::Relaxed) > from + 70 * BATCH
        })
        .await;
    };
    progress().await;
    block_in_place(|| exclusive.kafka.kill(0));
    progress().await;
    // One check may reach the killed broker first and time out.
    until("two of three brokers suffice", || service.readiness.check().is_ok()).await;
    block_in_place(|| exclusive.kafka.restart(0));
    progress().await;
    stop.cancel();
    let (sent, longest) = load.await.unwrap();
    service.stop().await;
    let records = consume(brokers, TOPIC).await;
    assert_eq!(check_complete_and_ordered(&records, 0..sent), 0, "no duplicates");
    assert!(longest < Duration::from_secs(20), "no acknowledgement for {longest:?}");
}
