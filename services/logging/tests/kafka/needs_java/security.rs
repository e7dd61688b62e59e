use std::{ops::ControlFlow, path::Path, time::Duration};

use merch_logging::{
    connection::{Connection, Mechanism, Password, Scram, Security, Trust},
    consumer::{self, ReadOptions},
    topic_admin::{Topic, ensure},
};
use merch_test_kafka::{Kafka, Options, PASSWORD, SecurityProtocol, USER};
use tokio::time::timeout;

use crate::{
    logging_support::{DEADLINE, MemorySource, Service, Shipping, fast_options, until},
    support::{ExclusiveKafka, config, order_events},
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
async fn only_tls_with_the_right_password_connects() {
    let exclusive = ExclusiveKafka::with(Options {
        security_protocol: SecurityProtocol::SaslSsl,
        ..Options::default()
    })
    .await;
    let kafka = &exclusive.kafka;
    let (ca, other_ca) = (kafka.certificates().ca_file(), kafka.certificates().other_ca_file());

    // All clients: producer, topic creation, consumer, and `ensure`.
    let good = connection(kafka, Security::SaslTls(trust(ca), scram(PASSWORD)));
    let service = Service::start(config(good.clone(), TOPIC)).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, fast_options());
    source.push(order_events(0..200, 10));
    source.all_acknowledged().await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    shipping.drain().await;
    service.stop().await;
    let mut records = 0;
    let reading = consumer::read(read_options(&good), |record| {
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
            .ends_with("with the requested settings")
    );

    let wrong = Scram { mechanism: Mechanism::ScramSha256, ..scram(PASSWORD) };
    for (what, security, begin, also) in [
        (
            "a wrong password",
            Security::SaslTls(trust(ca), scram(WRONG)),
            "Kafka at {} rejected the credentials: ",
            "MERCH_KAFKA_PASSWORD",
        ),
        (
            "another mechanism",
            Security::SaslTls(trust(ca), wrong),
            "Kafka at {} rejected the credentials: ",
            "MERCH_KAFKA_MECHANISM",
        ),
        (
            "another authority",
            Security::SaslTls(trust(other_ca), scram(PASSWORD)),
            "the TLS handshake with Kafka at {} failed: ",
            "MERCH_KAFKA_CA_FILE",
        ),
        (
            "no password",
            Security::Tls(trust(ca)),
            "Kafka at {} does not answer: ",
            "MERCH_KAFKA_SECURITY=tls",
        ),
        (
            "plain text",
            Security::Plaintext,
            "Kafka at {} does not answer: ",
            "MERCH_KAFKA_SECURITY=plaintext",
        ),
    ] {
        let bad = connection(kafka, security);
        let begin = begin.replace("{}", &bad.brokers);
        let is_expected = |text: &str| {
            assert!(!text.contains(WRONG) && !text.contains(PASSWORD), "a secret is shown: {text}");
            text.contains(&begin) && text.contains(also)
        };
        let service = Service::start(config(bad.clone(), TOPIC)).await;
        let mut last = String::new();
        let reported = timeout(Duration::from_secs(20), async {
            loop {
                last = service
                    .readiness
                    .check()
                    .map_or_else(|reasons| reasons[0].1.clone(), |()| "ready".to_owned());
                if is_expected(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(reported.await.is_ok(), "{what}: service: {last}");
        service.stop().await;

        let options = ReadOptions { timeout: Duration::from_secs(2), ..read_options(&bad) };
        let error =
            consumer::read(options, |_| ControlFlow::Continue(())).await.unwrap_err().to_string();
        assert!(is_expected(&error), "{what}: consumer: {error}");
        let error =
            ensure(&bad, &Topic::new(TOPIC), Duration::from_secs(1)).await.unwrap_err().to_string();
        assert!(is_expected(&error), "{what}: ensure: {error}");
    }
}
