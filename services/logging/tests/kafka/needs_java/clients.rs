//! Clients of other languages, with their default packages: gzip is the only common codec.
//! `tools/clients` builds them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    logging_support::{MemorySource, Service, Shipping, fast_options, until},
    support::{config, consume, order_events, shared_kafka},
};

/// More than one batch, in several partitions.
const EVENTS: usize = 500;

async fn client_reads_all_events(client: &'static str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let check = Command::new(root.join("tools/clients"))
        .args(["--check", client])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));

    let brokers = shared_kafka().await.bootstrap_servers();
    let service = Service::start(config(brokers.clone(), client)).await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    let source = MemorySource::default();
    let events = order_events(0..EVENTS, 40);
    let shipped: BTreeSet<String> = events.iter().map(|event| event.id.clone()).collect();
    source.push(events);
    let shipping = Shipping::start(source.clone(), service.address, fast_options());
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;

    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut drive = Command::new(target.join("clients").join(client).join("drive"));
    drive
        .env("MERCH_KAFKA", &brokers)
        .env("MERCH_TOPIC", client)
        .env("MERCH_EVENTS", EVENTS.to_string())
        .stdin(Stdio::null());
    let output = spawn_blocking(move || drive.output().unwrap()).await.unwrap();
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{client}: {stderr}");
    let read: BTreeMap<String, Value> = stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line)
                .unwrap_or_else(|error| panic!("{client}: {line}: {error}"))
        })
        .map(|value| (value["id"].as_str().unwrap().to_owned(), value))
        .collect();
    assert_eq!(read.keys().cloned().collect::<BTreeSet<_>>(), shipped, "{client}: equal ids");
    let plain: BTreeMap<String, Value> = consume(brokers, client)
        .await
        .into_iter()
        .map(|records| (records.value["id"].as_str().unwrap().to_owned(), records.value))
        .collect();
    assert_eq!(read, plain, "{client}: equal JSON");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_console_consumer_reads_all_events() {
    client_reads_all_events("kafka-java").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkajs_reads_all_events() {
    client_reads_all_events("kafka-javascript").await;
}

mod needs_python {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn kafka_python_reads_all_events() {
        super::client_reads_all_events("kafka-python").await;
    }
}

mod needs_go {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn franz_go_reads_all_events() {
        super::client_reads_all_events("kafka-go").await;
    }
}
