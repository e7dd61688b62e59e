//! A Kafka that wants TLS and SCRAM: who has both gets in, and everybody else is told why not,
//! without a secret.

use std::{ops::ControlFlow, path::Path, time::Duration};

use merch_logging::{
    connection::{Connection, Mechanism, Password, Scram, Security, Trust},
    provision::{Topic, ensure},
    topic::{self, ReadOptions},
};
use merch_test_kafka::{Kafka, Options, PASSWORD, Protection, USER};
use tokio::time::timeout;

use crate::{
    support::{Own, config, order_events},
    with::{DEADLINE, MemorySource, Service, Shipping, quick, until},
};

const TOPIC: &str = "log-channel";
const WRONG: &str = "hush, this is not it";

fn scram(password: &str) -> Scram {
    Scram {
        mechanism: Mechanism::ScramSha512,
        username: USER.to_owned(),
        password: Password::new(password),
    }
}

fn trust(ca_file: &Path) -> Trust {
    Trust { ca_file: Some(ca_file.to_owned()) }
}

fn connection(kafka: &Kafka, security: Security) -> Connection {
    Connection { brokers: kafka.bootstrap_servers(), security }
}

fn read_options(kafka: &Connection) -> ReadOptions {
    ReadOptions {
        kafka: kafka.clone(),
        topic: TOPIC.to_owned(),
        follow: false,
        timeout: Duration::from_secs(10),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_tls_and_a_password_gets_in_and_nobody_else() {
    let own =
        Own::with(Options { protection: Protection::TlsAndScram, ..Options::default() }).await;
    let kafka = &own.kafka;
    let (ca, other_ca) = (kafka.certificates().ca_file(), kafka.certificates().other_ca_file());

    // Everything that speaks to Kafka: the service with its producer and its topic, the reader, the
    // one-shot.
    let good = connection(kafka, Security::SaslTls(trust(ca), scram(PASSWORD)));
    let service = Service::start(config(good.clone(), TOPIC)).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, quick());
    source.push(order_events(0..200, 10));
    source.all_acknowledged().await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    shipping.drain().await;
    service.stop().await;
    let mut records = 0;
    let reading = topic::read(read_options(&good), |record| {
        assert!(record.event.is_ok());
        records += 1;
        ControlFlow::Continue(())
    });
    timeout(DEADLINE, reading).await.unwrap().unwrap();
    assert_eq!(records, 200);
    assert!(
        ensure(&good, &Topic::new(TOPIC), DEADLINE)
            .await
            .unwrap()
            .to_string()
            .ends_with("as asked for")
    );

    let wrong = Scram { mechanism: Mechanism::ScramSha256, ..scram(PASSWORD) };
    for (what, security, begin, also) in [
        (
            "a wrong password",
            Security::SaslTls(trust(ca), scram(WRONG)),
            "Kafka at {} does not let this client in: ",
            "MERCH_KAFKA_PASSWORD",
        ),
        (
            "another mechanism",
            Security::SaslTls(trust(ca), wrong),
            "Kafka at {} does not let this client in: ",
            "MERCH_KAFKA_MECHANISM",
        ),
        (
            "another authority",
            Security::SaslTls(trust(other_ca), scram(PASSWORD)),
            "there is no TLS with Kafka at {}: ",
            "MERCH_KAFKA_CA_FILE",
        ),
        (
            "no password",
            Security::Tls(trust(ca)),
            "Kafka at {} does not answer: ",
            "MERCH_KAFKA_SECURITY=tls?",
        ),
        (
            "plain text",
            Security::Plaintext,
            "Kafka at {} does not answer: ",
            "MERCH_KAFKA_SECURITY=plaintext?",
        ),
    ] {
        let bad = connection(kafka, security);
        let begin = begin.replace("{}", &bad.brokers);
        let tells = |text: &str| {
            assert!(!text.contains(WRONG) && !text.contains(PASSWORD), "a secret is shown: {text}");
            text.contains(&begin) && text.contains(also)
        };
        let service = Service::start(config(bad.clone(), TOPIC)).await;
        let mut last = String::new();
        let told = timeout(Duration::from_secs(20), async {
            loop {
                last = service
                    .readiness
                    .check()
                    .map_or_else(|reasons| reasons[0].1.clone(), |()| "ready".to_owned());
                if tells(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(told.await.is_ok(), "{what}: the service says: {last}");
        service.stop().await;

        let options = ReadOptions { timeout: Duration::from_secs(2), ..read_options(&bad) };
        let error =
            topic::read(options, |_| ControlFlow::Continue(())).await.unwrap_err().to_string();
        assert!(tells(&error), "{what}: the reader says: {error}");
        let error =
            ensure(&bad, &Topic::new(TOPIC), Duration::from_secs(1)).await.unwrap_err().to_string();
        assert!(tells(&error), "{what}: the one-shot says: {error}");
    }
}
