use std::{
    collections::HashSet,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use merch_test_kafka::{Kafka, Options, PASSWORD, SecurityProtocol, USER};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::{Running, TIMEOUT, finish, http, merch, startup_error};

fn output(command: &mut Command) -> Output {
    finish(command.spawn().unwrap())
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn topic(kafka: &Kafka, arguments: &[&str]) -> Command {
    let mut command = merch(&[
        "topic",
        "--kafka-retention",
        "7d",
        "--kafka-replication",
        "1",
        "--kafka-min-insync-replicas",
        "1",
    ]);
    command.args(arguments).env("MERCH_KAFKA_BROKERS", kafka.bootstrap_servers());
    command
}

fn events(kafka: &Kafka) -> Vec<Value> {
    let logs =
        output(merch(&["logs", "--json"]).env("MERCH_KAFKA_BROKERS", kafka.bootstrap_servers()));
    stdout(&logs).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn events_survive_repeated_kills_of_logging() {
    let kafka = Kafka::start();
    let created = output(&mut topic(&kafka, &["--kafka-partitions", "4"]));
    assert_eq!(
        stdout(&created),
        "created log-channel with 4 partitions, replication factor 1, retention.ms 604800000, \
         retention.bytes 1073741824, min.insync.replicas 1\n"
    );
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    stdout(&output(&mut merch(&["migrate", "--data-dir", data_dir])));
    let logging = |listen: &str| {
        Running::start(
            merch(&[
                "logging",
                "--logging-listen",
                listen,
                "--admin-listen",
                "127.0.0.1:0",
                "--kafka-create-topic",
                "false",
            ])
            .env("MERCH_KAFKA_BROKERS", kafka.bootstrap_servers()),
        )
    };
    let first = logging("127.0.0.1:0");
    let address = first.address("logging").to_owned();
    let endpoint = format!("http://{address}");
    let db = Running::start(
        merch(&[
            "db",
            "--data-dir",
            data_dir,
            "--db-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .env("MERCH_LOGGING_ENDPOINT", &endpoint),
    );
    let key = dir.path().join("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    let api = Running::start(
        merch(&[
            "api",
            "--data-dir",
            data_dir,
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--hash-cost",
            "10",
        ])
        .env("MERCH_DB_ENDPOINT", format!("http://{}", db.address("db")))
        .env("MERCH_LOGGING_ENDPOINT", &endpoint)
        .env("MERCH_WRITE_RATE", "1000000")
        .env("MERCH_JWT_KEY_FILE", &key),
    );

    let user = json!({ "sid": "12110305", "username": "carol", "email": "carol@example.com", "password": "correct horse" });
    let (status, user) = http(api.address("api"), "POST", "/users", None, Some(&user));
    assert_eq!(status, 201, "{user}");
    let (status, token) = http(
        api.address("api"),
        "POST",
        "/login",
        None,
        Some(&json!({ "username": "carol", "password": "correct horse" })),
    );
    assert_eq!(status, 200, "{token}");
    let token = token["access_token"].as_str().unwrap();

    let done = AtomicBool::new(false);
    let (expected, survivor) = thread::scope(|scope| {
        let buyers: Vec<_> = (1..=3)
            .map(|product| {
                let (api, done) = (api.address("api"), &done);
                scope.spawn(move || {
                    let mut expected = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let body = json!({ "product_id": product, "quantity": 1 });
                        let (status, order) =
                            http(api, "POST", "/orders", Some(token), Some(&body));
                        assert_eq!(status, 201, "{order}");
                        let id = order["id"].as_str().unwrap().to_owned();
                        let (status, cancelled) =
                            http(api, "POST", &format!("/orders/{id}/cancel"), Some(token), None);
                        assert_eq!(status, 200, "{cancelled}");
                        expected.push((format!("order:{id}"), "order_placed"));
                        expected.push((format!("order:{id}"), "order_cancelled"));
                    }
                    expected
                })
            })
            .collect();
        let mut running = first;
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            // Drop sends SIGKILL.
            drop(running);
            thread::sleep(Duration::from_millis(200));
            running = logging(&address);
        }
        done.store(true, Ordering::Relaxed);
        let expected: Vec<_> = buyers.into_iter().flat_map(|buyer| buyer.join().unwrap()).collect();
        (expected, running)
    });
    assert!(expected.len() > 20, "expected more than 20 events, got {}", expected.len());

    let mut missing: HashSet<(String, String)> =
        expected.iter().map(|(subject, event)| (subject.clone(), (*event).to_owned())).collect();
    missing
        .insert((format!("user:{}", user["id"].as_str().unwrap()), "user_registered".to_owned()));
    missing.insert((format!("user:{}", user["id"].as_str().unwrap()), "user_logged_in".to_owned()));
    let deadline = Instant::now() + TIMEOUT;
    while !missing.is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} events did not arrive, such as {:?}",
            missing.len(),
            missing.iter().next()
        );
        for event in events(&kafka) {
            missing.remove(&(
                event["subject"].as_str().unwrap_or_default().to_owned(),
                event["event"].as_str().unwrap().to_owned(),
            ));
        }
    }
    // Only committed events, each under one id: a repeated record is not a second event.
    let orders: HashSet<_> = events(&kafka)
        .into_iter()
        .filter(|event| event["event"] == "order_placed")
        .map(|event| (event["id"].to_string(), event["subject"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(orders.len(), expected.len() / 2);
    for role in [api, db, survivor] {
        assert_eq!(role.stop().code(), Some(0));
    }

    let same = output(&mut topic(&kafka, &["--kafka-partitions", "4"]));
    assert_eq!(stdout(&same), "log-channel exists with the requested settings\n");
    let other = stdout(&output(&mut topic(&kafka, &["--kafka-partitions", "6"])));
    assert!(
        other.starts_with(
            "log-channel exists and was not changed\n  differs: 4 partitions, expected 6; "
        ),
        "{other}"
    );
}

#[test]
fn tls_and_scram_settings_work_and_stay_secret() {
    let kafka =
        Kafka::with(Options { security_protocol: SecurityProtocol::SaslSsl, ..Options::default() });
    let dir = tempdir().unwrap();
    let (right, wrong) = (dir.path().join("right"), dir.path().join("wrong"));
    std::fs::write(&right, format!("{PASSWORD}\n")).unwrap();
    std::fs::write(&wrong, "hush, this is not it").unwrap();
    let with = |command: &mut Command, password: &std::path::Path| {
        command
            .env("MERCH_KAFKA_BROKERS", kafka.bootstrap_servers())
            .env("MERCH_KAFKA_SECURITY", "sasl_tls")
            .env("MERCH_KAFKA_CA_FILE", kafka.certificates().ca_file())
            .env("MERCH_KAFKA_USERNAME", USER)
            .env("MERCH_KAFKA_PASSWORD_FILE", password)
            .env("MERCH_LOG_FILTER", "debug");
    };

    let mut command = merch(&["topic", "--kafka-patience", "1s"]);
    with(&mut command, &wrong);
    let refused = output(&mut command);
    let message = startup_error(&refused);
    assert!(
        message.starts_with(&format!(
            "Kafka at {} rejected the credentials: ",
            kafka.bootstrap_servers()
        )),
        "{message}"
    );
    for output in [&refused.stdout, &refused.stderr] {
        let text = String::from_utf8_lossy(output);
        assert!(!text.contains("hush") && !text.contains(PASSWORD), "a secret is shown: {text}");
    }

    let mut command = merch(&["topic"]);
    with(&mut command, &right);
    let created = output(&mut command);
    assert_eq!(
        stdout(&created),
        "created log-channel with 3 partitions, retention.bytes 1073741824\n"
    );
    assert!(!String::from_utf8_lossy(&created.stderr).contains(PASSWORD));
    let mut command =
        merch(&["logging", "--logging-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    with(&mut command, &right);
    // Announces itself only when it is ready.
    assert_eq!(Running::start(&mut command).stop().code(), Some(0));
    let mut command = merch(&["logs", "--json"]);
    with(&mut command, &right);
    assert_eq!(stdout(&output(&mut command)), "");
}
