//! The logging service over librdkafka's broker: acknowledged means on the topic.

use std::time::Duration;

use merch_chassis::{
    Readiness,
    grpc::{Files, Listen, Listener, Tls, Transport},
    pki::{ROLE_LIFETIME, Renew, make},
};
use merch_logging::{
    client::{
        self, EventSource as _, ShipOptions,
        journal::{Journal, JournalOptions},
    },
    proto::LogMessage,
    server,
};
use tempfile::tempdir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    DEADLINE, MemorySource, Sender, Service, Shipping, broker, config, distinct_numbers, event,
    events, journal, numbers, quick, records, until,
};

/// The fields that a status names.
fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status
        .get_details_bad_request()
        .expect("a refusal names fields")
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_on_the_topic_as_proto3_json() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let folder = tempdir().unwrap();
    let journal = journal(folder.path());
    let shipping = Shipping::start(journal.clone(), service.address, quick());
    let sent = event(1);
    journal.append(sent.clone()).await.unwrap();
    until("the event is acknowledged", || journal.backlog() == 0).await;

    let records = records(broker.bootstrap_servers()).await;
    assert_eq!(records.len(), 1);
    let value: serde_json::Value = serde_json::from_slice(&records[0].value).unwrap();
    assert_eq!(value["id"], sent.id);
    assert_eq!(value["requestId"], "request-1");
    assert_eq!(value["level"], "LEVEL_INFO");
    assert!(value["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(**records[0].event.as_ref().unwrap(), sent);
    assert_eq!(records[0].key.as_deref(), Some(sent.subject.as_bytes()));
    shipping.drain().await;
    service.stop().await;
}

/// How often the shipper of `source` has opened its stream again.
fn reopened(source: &str) -> f64 {
    let families = prometheus::gather();
    let reconnects =
        families.iter().filter(|family| family.name() == "merch_log_ship_reconnects_total");
    let of_source = reconnects
        .flat_map(|family| family.get_metric())
        .filter(|metric| metric.get_label().iter().any(|label| label.value() == source));
    of_source.map(|metric| metric.get_counter().get_value()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_moves_to_the_next_connection_without_a_failure_or_a_second_copy() {
    let broker = broker();
    let mut aging = config(broker.bootstrap_servers());
    aging.limits.connection_age = Duration::from_millis(300);
    let service = Service::start(aging).await;
    let source = MemorySource::default();
    let options = ShipOptions { source: "aging", ..quick() };
    let status = options.status.clone();
    let shipping = Shipping::start(source.clone(), service.address, options);
    until("the service is ready", || service.readiness.check().is_ok()).await;
    let mut sent = 0;
    until("the stream is opened again and again", || {
        source.push(events(sent..sent + 10));
        sent += 10;
        assert_eq!(status.failure(), None);
        reopened("aging") >= 5.0
    })
    .await;
    source.all_acknowledged().await;
    assert_eq!(status.failure(), None);
    let mut arrived = numbers(
        &records(broker.bootstrap_servers())
            .await
            .into_iter()
            .map(|record| *record.event.unwrap())
            .collect::<Vec<_>>(),
    );
    arrived.sort_unstable();
    assert_eq!(arrived, (0..sent).collect::<Vec<_>>());
    shipping.drain().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_are_cumulative_and_end_with_the_stream() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let mut sender = Sender::open(&service).await;
    for sequence in 1..=50 {
        sender.send(sequence, events(0..20)).await;
    }
    drop(sender.requests);
    let mut last = 0;
    while let Some(acknowledged) =
        timeout(DEADLINE, sender.responses.message()).await.unwrap().unwrap()
    {
        assert!(acknowledged.acknowledged_sequence > last);
        last = acknowledged.acknowledged_sequence;
    }
    assert_eq!(last, 50, "all is acknowledged before the service closes its side");
    assert_eq!(records(broker.bootstrap_servers()).await.len(), 1000);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_with_a_certificate_speaks_for_its_own_role() {
    let folder = tempdir().unwrap();
    make(folder.path(), Renew::Due, ROLE_LIFETIME).unwrap();
    let tls = |role: &str| {
        let at = |file: &str| folder.path().join(role).join(file);
        let files = Files { cert: at("tls.crt"), key: at("tls.key"), ca: at("ca.crt") };
        Transport::new(Some(Tls::load(files).unwrap()), false)
    };
    let broker = broker();
    let at = Listen::Tcp(([127, 0, 0, 1], 0).into());
    let listener = Listener::bind("the test", &at, &tls("logging")).await.unwrap();
    let url = listener.url(|address| address.to_string());
    let shutdown = CancellationToken::new();
    let config = config(broker.bootstrap_servers());
    let serving = tokio::spawn(server::serve(
        listener,
        config,
        Readiness::expecting("logging"),
        shutdown.clone(),
    ));
    let ship = async |role: &str, events: Vec<LogMessage>| {
        let source = MemorySource::default();
        source.push(events);
        let shipping =
            Shipping::start_to(source.clone(), client::find(&url, &tls(role)).unwrap(), quick());
        source.all_acknowledged().await;
        shipping.drain().await;
        source.dead_letters()
    };

    // What is forged is refused for good, each alone; the sender goes on with the rest.
    let mut sent = events(0..6);
    sent[1].service = "db".to_owned();
    sent[3].service = "logging".to_owned();
    sent[4].actor = "operator".to_owned();
    let refused = ship("api", sent).await;
    let expected = [
        ("event 1", "messages[0].service: expected `api`, the role of the sender's certificate"),
        ("event 3", "messages[0].service: expected `api`, the role of the sender's certificate"),
        ("event 4", "messages[0].actor: expected `operator` in events of the role db alone"),
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:?}");
    for ((message, reason), (event, rule)) in refused.iter().zip(expected) {
        assert!(message == event && reason.contains(rule), "{message}: {reason}");
    }
    let mut own = event(6);
    (own.service, own.actor) = ("db".to_owned(), "operator".to_owned());
    assert_eq!(
        ship("db", vec![own, event(7)]).await.len(),
        1,
        "the api's event is not the db's to send"
    );
    let mut arrived = distinct_numbers(broker.bootstrap_servers()).await;
    arrived.sort_unstable();
    assert_eq!(arrived, [0, 2, 5, 6]);
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_proves_nothing_may_name_any_service() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let mut sender = Sender::open(&service).await;
    let mut events = events(0..1);
    (events[0].service, events[0].actor) = ("db".to_owned(), "operator".to_owned());
    sender.send(1, events).await;
    assert_eq!(sender.receive().await.unwrap(), Some(1));
    drop(sender);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_break_the_rules_are_refused_by_field() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let mut bad = events(0..5);
    bad[3].id = "nonsense".to_owned();
    let mut too_large = event(0);
    // Fits a request, but not a record: as JSON each of these takes six bytes.
    too_large.message = "\u{1}".repeat(300 * 1024);
    for (requests, expected) in [
        (vec![(2, events(0..1))], "sequence"),
        (vec![(0, events(0..1))], "sequence"),
        (vec![(1, events(0..1)), (1, events(1..2))], "sequence"),
        (vec![(1, events(0..1)), (3, events(1..2))], "sequence"),
        (vec![(1, vec![])], "messages"),
        (vec![(1, events(0..1001))], "messages"),
        (vec![(1, bad)], "messages[3].id"),
        (vec![(1, vec![event(0), too_large])], "messages[1]"),
    ] {
        let mut sender = Sender::open(&service).await;
        let good = requests.len() as u64 - 1;
        for (sequence, messages) in requests {
            sender.send(sequence, messages).await;
        }
        let mut acknowledged = 0;
        let status = loop {
            match sender.receive().await {
                Ok(sequence) => acknowledged = sequence.expect("the stream ends with a status"),
                Err(status) => break status,
            }
        };
        assert_eq!(fields(&status), [expected]);
        assert_eq!(acknowledged, good, "what came before is acknowledged");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_event_among_others_blocks_none_of_them() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let folder = tempdir().unwrap();
    let journal = journal(folder.path());
    let mut all = events(0..100);
    all[20].actor = "somebody".to_owned();
    // The client's rules let it pass and the service's do not: too large for a record.
    all[60].message = "\u{1}".repeat(300 * 1024);
    for event in all {
        journal.append(event).await.unwrap();
    }
    let shipping = Shipping::start(journal.clone(), service.address, quick());
    until("all is dealt with", || journal.backlog() == 0).await;
    shipping.drain().await;

    assert_eq!(
        distinct_numbers(broker.bootstrap_servers()).await,
        (0..100).filter(|number| ![20, 60].contains(number)).collect::<Vec<_>>()
    );
    let dead_letter = std::fs::read_to_string(folder.path().join("dead-letters.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        dead_letter.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| line["event"]["requestId"].as_str().unwrap()).collect::<Vec<_>>(),
        ["request-20", "request-60"]
    );
    assert!(
        lines[0]["reason"].as_str().unwrap().starts_with("actor: expected"),
        "{}",
        lines[0]["reason"]
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_service_is_restarted_again_and_again() {
    let broker = broker();
    let mut service = Service::start(config(broker.bootstrap_servers())).await;
    let address = service.address;
    let source = MemorySource::default();
    let shipping = Shipping::start(
        source.clone(),
        address,
        merch_logging::client::ShipOptions { batch_events: 7, ..quick() },
    );
    for round in 0..6 {
        source.push(events(round * 300..(round + 1) * 300));
        let before = source.acknowledged();
        until("some are acknowledged", || source.acknowledged() > before).await;
        // In turn in good order and as if killed, in the middle of the stream.
        if round % 2 == 0 {
            service.stop().await
        } else {
            service.kill().await
        }
        service = Service::start_at(address, config(broker.bootstrap_servers())).await;
    }
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;
    assert_eq!(
        distinct_numbers(broker.bootstrap_servers()).await,
        (0..1800).collect::<Vec<_>>(),
        "and in order, but for repeats"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_was_never_acknowledged_is_shipped_by_the_next_process() {
    let broker = broker();
    let folder = tempdir().unwrap();
    {
        let journal = journal(folder.path());
        for event in events(0..50) {
            journal.append(event).await.unwrap();
        }
        // Shipping to nobody, and killed.
        let shipping = Shipping::start(journal.clone(), ([127, 0, 0, 1], 1).into(), quick());
        shipping.kill().await;
    }
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let journal = journal(folder.path());
    let shipping = Shipping::start(journal.clone(), service.address, quick());
    until("all is shipped", || journal.backlog() == 0).await;
    shipping.drain().await;
    service.stop().await;
    assert_eq!(distinct_numbers(broker.bootstrap_servers()).await, (0..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_broker_is_filled_from_what_the_journal_retains() {
    let folder = tempdir().unwrap();
    let open = || {
        Journal::open(
            folder.path(),
            JournalOptions {
                retained_events: 30,
                replay_retained: true,
                ..JournalOptions::default()
            },
        )
        .unwrap()
    };
    for (round, expected) in [(0, 0..100), (1, 70..110)] {
        let broker = broker();
        let service = Service::start(config(broker.bootstrap_servers())).await;
        let journal = open();
        for event in if round == 0 { events(0..100) } else { events(100..110) } {
            journal.append(event).await.unwrap();
        }
        let shipping = Shipping::start(journal.clone(), service.address, quick());
        until("all is shipped", || journal.backlog() == 0).await;
        shipping.drain().await;
        service.stop().await;
        assert_eq!(
            distinct_numbers(broker.bootstrap_servers()).await,
            expected.collect::<Vec<_>>()
        );
        assert!(journal.read(None, 1).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_acknowledges_what_was_taken() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let mut sender = Sender::open(&service).await;
    sender.send(1, events(0..10)).await;
    assert_eq!(sender.receive().await.unwrap(), Some(1));
    // Kafka takes its time, so that the shutdown finds requests under way.
    broker
        .with(|cluster| cluster.broker_round_trip_time(-1, Duration::from_millis(100)))
        .unwrap()
        .unwrap();
    for sequence in 2..=10 {
        sender.send(sequence, events(0..10)).await;
    }
    let stopping = tokio::spawn(service.stop());
    let mut acknowledged = 1;
    let status = loop {
        match sender.receive().await {
            Ok(sequence) => acknowledged = sequence.expect("the stream ends with a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    stopping.await.unwrap();
    assert_eq!(
        records(broker.bootstrap_servers()).await.len() as u64,
        acknowledged * 10,
        "what was taken is on the topic and acknowledged, and nothing else"
    );
}
