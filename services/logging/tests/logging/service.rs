use std::time::Duration;

use merch_chassis::{
    Readiness,
    grpc::{ListenAddress, Listener, Tls, TlsFiles, Transport},
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
    events, fast_options, journal, numbers, records, until,
};

fn refused_fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status
        .get_details_bad_request()
        .expect("a status with field violations")
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_event_is_on_the_topic_as_proto3_json() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let dir = tempdir().unwrap();
    let journal = journal(dir.path());
    let shipping = Shipping::start(journal.clone(), service.address, fast_options());
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

fn reconnects(source: &str) -> f64 {
    let families = prometheus::gather();
    let counters =
        families.iter().filter(|family| family.name() == "merch_log_ship_reconnects_total");
    let of_source = counters
        .flat_map(|family| family.get_metric())
        .filter(|metric| metric.get_label().iter().any(|label| label.value() == source));
    of_source.map(|metric| metric.get_counter().get_value()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_survives_connection_age_without_duplicates() {
    let broker = broker();
    let mut aging = config(broker.bootstrap_servers());
    aging.limits.connection_age = Duration::from_millis(300);
    let service = Service::start(aging).await;
    let source = MemorySource::default();
    let options = ShipOptions { source: "aging", ..fast_options() };
    let status = options.status.clone();
    let shipping = Shipping::start(source.clone(), service.address, options);
    until("the service is ready", || service.readiness.check().is_ok()).await;
    let mut sent = 0;
    until("the stream reconnects five times", || {
        source.push(events(sent..sent + 10));
        sent += 10;
        assert_eq!(status.failure(), None);
        reconnects("aging") >= 5.0
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
async fn all_requests_are_acknowledged_before_the_stream_closes() {
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
    assert_eq!(last, 50, "all requests are acknowledged before the stream closes");
    assert_eq!(records(broker.bootstrap_servers()).await.len(), 1000);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_role_limits_service_and_actor() {
    let dir = tempdir().unwrap();
    make(dir.path(), Renew::Due, ROLE_LIFETIME).unwrap();
    let tls = |role: &str| {
        let at = |file: &str| dir.path().join(role).join(file);
        let files = TlsFiles { cert: at("tls.crt"), key: at("tls.key"), ca: at("ca.crt") };
        Transport::new(Some(Tls::load(files).unwrap()), false)
    };
    let broker = broker();
    let at = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
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
        let shipping = Shipping::start_to(
            source.clone(),
            client::find_replicas(&url, &tls(role)).unwrap(),
            fast_options(),
        );
        source.all_acknowledged().await;
        shipping.drain().await;
        source.dead_letters()
    };

    // Forged events are refused permanently.
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
    assert_eq!(ship("db", vec![own, event(7)]).await.len(), 1, "db may not send events of the api");
    let mut arrived = distinct_numbers(broker.bootstrap_servers()).await;
    arrived.sort_unstable();
    assert_eq!(arrived, [0, 2, 5, 6]);
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sender_without_certificate_may_name_any_service() {
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
async fn invalid_requests_are_refused_by_field() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let mut bad = events(0..5);
    bad[3].id = "nonsense".to_owned();
    let mut too_large = event(0);
    // Fits a request, but not a record: each character takes six bytes in JSON.
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
        assert_eq!(refused_fields(&status), [expected]);
        assert_eq!(acknowledged, good, "earlier requests are acknowledged");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_events_do_not_block_others() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let dir = tempdir().unwrap();
    let journal = journal(dir.path());
    let mut all = events(0..100);
    all[20].actor = "unknown".to_owned();
    // Valid for the client, too large for a record.
    all[60].message = "\u{1}".repeat(300 * 1024);
    for event in all {
        journal.append(event).await.unwrap();
    }
    let shipping = Shipping::start(journal.clone(), service.address, fast_options());
    until("all events are acknowledged", || journal.backlog() == 0).await;
    shipping.drain().await;

    assert_eq!(
        distinct_numbers(broker.bootstrap_servers()).await,
        (0..100).filter(|number| ![20, 60].contains(number)).collect::<Vec<_>>()
    );
    let dead_letter = std::fs::read_to_string(dir.path().join("dead-letters.jsonl")).unwrap();
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
async fn service_restarts_lose_no_events() {
    let broker = broker();
    let mut service = Service::start(config(broker.bootstrap_servers())).await;
    let address = service.address;
    let source = MemorySource::default();
    let shipping = Shipping::start(
        source.clone(),
        address,
        merch_logging::client::ShipOptions { batch_events: 7, ..fast_options() },
    );
    for round in 0..6 {
        source.push(events(round * 300..(round + 1) * 300));
        let before = source.acknowledged();
        until("some events are acknowledged", || source.acknowledged() > before).await;
        // Alternately a graceful stop and a kill, with the stream open.
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
        "in order, apart from duplicates"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unacknowledged_journal_is_shipped_by_the_next_process() {
    let broker = broker();
    let dir = tempdir().unwrap();
    {
        let journal = journal(dir.path());
        for event in events(0..50) {
            journal.append(event).await.unwrap();
        }
        // Nothing listens at this address.
        let shipping = Shipping::start(journal.clone(), ([127, 0, 0, 1], 1).into(), fast_options());
        shipping.kill().await;
    }
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let journal = journal(dir.path());
    let shipping = Shipping::start(journal.clone(), service.address, fast_options());
    until("all events are shipped", || journal.backlog() == 0).await;
    shipping.drain().await;
    service.stop().await;
    assert_eq!(distinct_numbers(broker.bootstrap_servers()).await, (0..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_broker_receives_the_retained_events() {
    let dir = tempdir().unwrap();
    let open = || {
        Journal::open(
            dir.path(),
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
        let shipping = Shipping::start(journal.clone(), service.address, fast_options());
        until("all events are shipped", || journal.backlog() == 0).await;
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
async fn shutdown_acknowledges_received_requests() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let mut sender = Sender::open(&service).await;
    sender.send(1, events(0..10)).await;
    assert_eq!(sender.receive().await.unwrap(), Some(1));
    // Slow, so that the shutdown finds requests in flight.
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
        "exactly the acknowledged requests are on the topic"
    );
}
