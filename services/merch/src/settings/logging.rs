//! Settings of the logging service and of connections to it and to Kafka.

use std::path::PathBuf;

use clap::Args;
use merch_chassis::{StartError, grpc::ListenAddress};
use merch_logging::{
    connection::{Connection, Mechanism, Password, Scram, Security, Trust},
    topic_admin::{self, Retention, RetentionBytes},
};

use super::{
    secret,
    values::{self, Secret},
};

#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// Address of the logging service's gRPC server, or unix:/path for processes of this user; not
    /// for public networks [default: 127.0.0.1:50052 for `merch logging`; the whole store uses a
    /// socket in the data directory, and this address in addition]
    #[arg(
        long,
        env = "MERCH_LOGGING_LISTEN",
        value_name = "ADDRESS",
        value_parser = values::listen,
        help_heading = "Addresses"
    )]
    pub(crate) logging_listen: Option<ListenAddress>,
    #[command(flatten)]
    pub(crate) topic: TopicConfig,
    /// Whether to create a missing topic: `true` or `false`. If `false`, run `merch topic`
    #[arg(
        long,
        env = "MERCH_KAFKA_CREATE_TOPIC",
        value_name = "BOOL",
        default_value = "true",
        value_parser = values::boolean,
        action = clap::ArgAction::Set,
        help_heading = "Kafka"
    )]
    pub(crate) kafka_create_topic: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TopicName {
    /// The Kafka topic of the log events
    #[arg(
        long,
        env = "MERCH_KAFKA_TOPIC",
        value_name = "TOPIC",
        default_value = "log-channel",
        value_parser = values::topic,
        help_heading = "Kafka"
    )]
    pub(crate) kafka_topic: String,
}

/// The topic and the configuration with which it is created.
#[derive(Debug, Args)]
pub(crate) struct TopicConfig {
    #[command(flatten)]
    pub(crate) topic: TopicName,
    /// Partitions of a new topic; events of one user or order stay in order within one partition
    #[arg(
        long,
        env = "MERCH_KAFKA_PARTITIONS",
        value_name = "NUMBER",
        default_value = "3",
        value_parser = values::integer(1..=10_000_i32),
        help_heading = "Kafka"
    )]
    kafka_partitions: i32,
    /// Replication factor of a new topic, at most the number of brokers [default: the brokers'
    /// setting]
    #[arg(
        long,
        env = "MERCH_KAFKA_REPLICATION",
        value_name = "NUMBER",
        value_parser = values::integer(1..=100_i32),
        help_heading = "Kafka"
    )]
    kafka_replication: Option<i32>,
    /// Retention time of a new topic, such as 7d, or `forever` [default: the brokers' setting]
    #[arg(
        long,
        env = "MERCH_KAFKA_RETENTION",
        value_name = "TIME",
        value_parser = values::retention,
        help_heading = "Kafka"
    )]
    kafka_retention: Option<Retention>,
    /// Retention size of each partition of a new topic, such as 1GiB, or `unlimited`; beyond it the
    /// oldest events are deleted
    #[arg(
        long,
        env = "MERCH_KAFKA_RETENTION_BYTES",
        value_name = "BYTES",
        default_value = "1GiB",
        value_parser = values::retention_bytes,
        help_heading = "Kafka"
    )]
    kafka_retention_bytes: RetentionBytes,
    /// min.insync.replicas of a new topic: number of replicas that must store an event; with one
    /// less than the replication factor, one broker may fail [default: the brokers' setting]
    #[arg(
        long,
        env = "MERCH_KAFKA_MIN_INSYNC_REPLICAS",
        value_name = "NUMBER",
        value_parser = values::integer(1..=100_i32),
        help_heading = "Kafka"
    )]
    kafka_min_insync_replicas: Option<i32>,
}

impl TopicConfig {
    /// The topic that the settings describe.
    pub(crate) fn to_topic(&self) -> Result<topic_admin::Topic, StartError> {
        if let (Some(replication), Some(min_insync_replicas)) =
            (self.kafka_replication, self.kafka_min_insync_replicas)
            && min_insync_replicas > replication
        {
            return Err(StartError::new(format!(
                "MERCH_KAFKA_MIN_INSYNC_REPLICAS is {min_insync_replicas} and \
                 MERCH_KAFKA_REPLICATION is {replication}; expected at most the replication \
                 factor, otherwise nothing could be written"
            )));
        }
        Ok(topic_admin::Topic {
            name: self.topic.kafka_topic.clone(),
            partitions: self.kafka_partitions,
            replication: self.kafka_replication,
            retention: self.kafka_retention,
            retention_bytes: Some(self.kafka_retention_bytes),
            min_insync_replicas: self.kafka_min_insync_replicas,
        })
    }
}

/// Authentication and encryption towards Kafka.
#[derive(Debug, Args)]
pub(crate) struct KafkaSecurity {
    /// Protocol to Kafka: `plaintext`, `tls`, `sasl_plaintext` or `sasl_tls` (SASL is SCRAM: a user
    /// and a password)
    #[arg(
        long,
        env = "MERCH_KAFKA_SECURITY",
        value_name = "PROTOCOL",
        default_value = "plaintext",
        value_parser = values::one_of(&["plaintext", "tls", "sasl_plaintext", "sasl_tls"]),
        help_heading = "Kafka"
    )]
    kafka_security: &'static str,
    /// A PEM file with the certificate authorities of Kafka's certificate [default: those that the
    /// system trusts]
    #[arg(
        long,
        env = "MERCH_KAFKA_CA_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Kafka"
    )]
    kafka_ca_file: Option<PathBuf>,
    /// Username for SASL
    #[arg(long, env = "MERCH_KAFKA_USERNAME", value_name = "NAME", help_heading = "Kafka")]
    kafka_username: Option<String>,
    /// The password of that user. Prefer the variable or the file: other users of a machine can see
    /// options
    #[arg(
        long,
        env = "MERCH_KAFKA_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        help_heading = "Kafka"
    )]
    kafka_password: Option<Secret>,
    /// A file that contains only that password
    #[arg(
        long,
        env = "MERCH_KAFKA_PASSWORD_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Kafka"
    )]
    kafka_password_file: Option<PathBuf>,
    /// The SCRAM mechanism: `scram-sha-512` or `scram-sha-256`
    #[arg(
        long,
        env = "MERCH_KAFKA_MECHANISM",
        value_name = "MECHANISM",
        default_value = "scram-sha-512",
        value_parser = values::one_of(&["scram-sha-512", "scram-sha-256"]),
        help_heading = "Kafka"
    )]
    kafka_mechanism: &'static str,
}

impl KafkaSecurity {
    /// The connection to the Kafka at `brokers`.
    ///
    /// # Errors
    /// When a setting is missing, or one is set that the protocol ignores: it would protect
    /// nothing.
    pub(crate) fn connection(&self, brokers: &str) -> Result<Connection, StartError> {
        let word = self.kafka_security;
        let (tls, sasl) = (word.ends_with("tls"), word.starts_with("sasl"));
        let unused = |setting: &str, expected: &str| {
            let option = setting["MERCH_".len()..].to_lowercase().replace('_', "-");
            StartError::new(format!(
                "{setting} (--{option}) is set and MERCH_KAFKA_SECURITY is `{word}`, which ignores \
                 it; expected {expected}, or no such setting"
            ))
        };
        if self.kafka_ca_file.is_some() && !tls {
            return Err(unused("MERCH_KAFKA_CA_FILE", "`tls` or `sasl_tls`"));
        }
        if !sasl {
            let set = [
                ("MERCH_KAFKA_USERNAME", self.kafka_username.is_some()),
                ("MERCH_KAFKA_PASSWORD", self.kafka_password.is_some()),
                ("MERCH_KAFKA_PASSWORD_FILE", self.kafka_password_file.is_some()),
            ];
            if let Some((setting, _)) = set.into_iter().find(|(_, is_set)| *is_set) {
                return Err(unused(setting, "`sasl_tls`"));
            }
        }
        let trust = Trust { ca_file: self.kafka_ca_file.clone() };
        let security = match (tls, sasl) {
            (false, false) => Security::Plaintext,
            (true, false) => Security::Tls(trust),
            (false, true) => Security::SaslPlaintext(self.scram()?),
            (true, true) => Security::SaslTls(trust, self.scram()?),
        };
        Ok(Connection { brokers: brokers.to_owned(), security })
    }

    /// Checks that no security is configured for the embedded broker, which is plaintext.
    pub(crate) fn check_unused(&self) -> Result<(), StartError> {
        if matches!(self.connection("none:0")?.security, Security::Plaintext) {
            return Ok(());
        }
        Err(StartError::new(
            "MERCH_KAFKA_SECURITY (--kafka-security) is set and MERCH_KAFKA_BROKERS \
             (--kafka-brokers) is not; expected the addresses of that Kafka: the embedded broker \
             supports neither TLS nor users",
        ))
    }

    fn scram(&self) -> Result<Scram, StartError> {
        let word = self.kafka_security;
        let missing = |setting: &str| {
            StartError::new(format!(
                "MERCH_KAFKA_SECURITY is `{word}`; expected {setting} to be set"
            ))
        };
        let username =
            self.kafka_username.clone().ok_or_else(|| missing("MERCH_KAFKA_USERNAME"))?;
        let password = secret::read(
            "MERCH_KAFKA_PASSWORD",
            self.kafka_password.as_ref(),
            self.kafka_password_file.as_deref(),
        )?;
        Ok(Scram {
            mechanism: if self.kafka_mechanism == "scram-sha-256" {
                Mechanism::ScramSha256
            } else {
                Mechanism::ScramSha512
            },
            username,
            password: Password::new(
                password
                    .ok_or_else(|| missing("MERCH_KAFKA_PASSWORD or MERCH_KAFKA_PASSWORD_FILE"))?
                    .reveal(),
            ),
        })
    }
}

/// The Kafka that a role or command requires.
#[derive(Debug, Args)]
pub(crate) struct Kafka {
    /// Kafka's bootstrap servers, host:port, separated by commas
    #[arg(
        long,
        env = "MERCH_KAFKA_BROKERS",
        value_name = "HOST:PORT,…",
        required = true,
        value_parser = values::brokers,
        help_heading = "Kafka"
    )]
    kafka_brokers: String,
    #[command(flatten)]
    security: KafkaSecurity,
}

impl Kafka {
    pub(crate) fn connection(&self) -> Result<Connection, StartError> {
        self.security.connection(&self.kafka_brokers)
    }
}

/// The logging service that the other roles send their events to.
#[derive(Debug, Args)]
pub(crate) struct LoggingEndpoint {
    /// The logging service: one name for all replicas, or several URLs, separated by commas. It may
    /// be down: events wait on disk
    #[arg(
        long,
        env = "MERCH_LOGGING_ENDPOINT",
        value_name = "URL,…",
        default_value = "http://127.0.0.1:50052",
        value_parser = values::endpoints,
        help_heading = "Addresses"
    )]
    pub(crate) logging_endpoint: String,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Settings {
        #[command(flatten)]
        security: KafkaSecurity,
        #[command(flatten)]
        topic: TopicConfig,
    }

    fn settings(arguments: &[&str]) -> Settings {
        Settings::try_parse_from(std::iter::once(&"test").chain(arguments)).unwrap()
    }

    fn connection(arguments: &[&str]) -> Result<Security, String> {
        settings(arguments)
            .security
            .connection("kafka:9092")
            .map(|connection| connection.security)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_protocol_is_accepted() {
        let user = ["--kafka-username", "merch", "--kafka-password", "hush"];
        for (word, with_user) in
            [("plaintext", false), ("tls", false), ("sasl_plaintext", true), ("sasl_tls", true)]
        {
            let arguments =
                [&["--kafka-security", word][..], if with_user { &user[..] } else { &[] }].concat();
            assert_eq!(connection(&arguments).unwrap().name(), word);
        }
    }

    #[test]
    fn user_and_password_require_sasl() {
        for (arguments, expected) in [
            (
                &["--kafka-security", "sasl_tls", "--kafka-password", "hush"][..],
                "expected MERCH_KAFKA_USERNAME to be set",
            ),
            (
                &["--kafka-security", "sasl_tls", "--kafka-username", "merch"],
                "expected MERCH_KAFKA_PASSWORD or MERCH_KAFKA_PASSWORD_FILE to be set",
            ),
            (
                &["--kafka-security", "tls", "--kafka-password", "hush"],
                "MERCH_KAFKA_PASSWORD (--kafka-password) is set and MERCH_KAFKA_SECURITY is `tls`",
            ),
            (
                &["--kafka-username", "merch"],
                "MERCH_KAFKA_USERNAME (--kafka-username) is set and MERCH_KAFKA_SECURITY is \
                 `plaintext`",
            ),
            (
                &["--kafka-ca-file", "ca.pem"],
                "MERCH_KAFKA_CA_FILE (--kafka-ca-file) is set and MERCH_KAFKA_SECURITY is \
                 `plaintext`",
            ),
        ] {
            let error = connection(arguments).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hush"), "{arguments:?}: {error}");
        }
        assert!(
            settings(&["--kafka-security", "tls"])
                .security
                .check_unused()
                .unwrap_err()
                .to_string()
                .contains("MERCH_KAFKA_BROKERS (--kafka-brokers) is not")
        );
        assert_eq!(settings(&[]).security.check_unused(), Ok(()));
    }

    #[test]
    fn min_insync_replicas_above_replication_is_refused() {
        let wanted =
            |arguments| settings(arguments).topic.to_topic().map_err(|error| error.to_string());
        let wrong =
            wanted(&["--kafka-replication", "2", "--kafka-min-insync-replicas", "3"]).unwrap_err();
        assert!(
            wrong.starts_with(
                "MERCH_KAFKA_MIN_INSYNC_REPLICAS is 3 and MERCH_KAFKA_REPLICATION is 2; expected"
            ),
            "{wrong}"
        );
        let topic = wanted(&["--kafka-partitions", "6", "--kafka-retention", "forever"]).unwrap();
        assert_eq!(
            (topic.partitions, topic.replication, topic.retention),
            (6, None, Some(Retention::Forever))
        );
        assert_eq!(topic.retention_bytes, Some(RetentionBytes::Limit(1 << 30)));
        let unbounded = wanted(&["--kafka-retention-bytes", "unlimited"]).unwrap();
        assert_eq!(unbounded.retention_bytes, Some(RetentionBytes::Unlimited));
    }
}
