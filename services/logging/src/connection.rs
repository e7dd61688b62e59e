//! Kafka connection settings, and diagnosis of connection errors.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use merch_chassis::StartError;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::ProducerContext,
};
use tokio::sync::Notify;
use zeroize::Zeroizing;

/// Whether this build has TLS and SCRAM (feature `kafka-tls`, which compiles OpenSSL).
pub const HAS_TLS: bool = cfg!(feature = "kafka-tls");

/// librdkafka repeats a broker's error at most twice a minute; older ones may be resolved.
const ERROR_TTL: Duration = Duration::from_secs(60);

/// Addresses and security of Kafka.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Bootstrap servers: `host:port`, separated by commas.
    pub brokers: String,
    /// The security protocol.
    pub security: Security,
}

/// Security protocol of a connection.
#[derive(Clone, Debug)]
pub enum Security {
    /// Neither encryption nor authentication.
    Plaintext,
    /// TLS with server authentication.
    Tls(Trust),
    /// SCRAM without encryption. The password is not sent.
    SaslPlaintext(Scram),
    /// TLS and SCRAM.
    SaslTls(Trust, Scram),
}

/// Trusted certificate authorities. The host name must match too.
#[derive(Clone, Debug)]
pub struct Trust {
    /// PEM file of the authorities; `None` uses the system's.
    pub ca_file: Option<PathBuf>,
}

/// Credentials for SASL/SCRAM (RFC 5802).
#[derive(Clone, Debug)]
pub struct Scram {
    /// The SCRAM hash function.
    pub mechanism: Mechanism,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Password,
}

/// A SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `SCRAM-SHA-256`
    ScramSha256,
    /// `SCRAM-SHA-512`
    ScramSha512,
}

/// A password that `Debug` hides and that is zeroed on drop. librdkafka keeps its own copy.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Wraps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(Zeroizing::new(password.into()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

impl<B: Into<String>> From<B> for Connection {
    fn from(brokers: B) -> Self {
        Self { brokers: brokers.into(), security: Security::Plaintext }
    }
}

impl Security {
    fn check_compiled(&self, has_tls: bool) -> Result<(), StartError> {
        if has_tls {
            return Ok(());
        }
        Err(StartError::new(format!(
            "this build has no TLS and SASL for Kafka, which MERCH_KAFKA_SECURITY={} needs; build \
             with `cargo build --release --features kafka-tls`, use the image, or set \
             MERCH_KAFKA_SECURITY=plaintext",
            self.name()
        )))
    }

    /// Returns the value of `MERCH_KAFKA_SECURITY`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls(_) => "tls",
            Self::SaslPlaintext(_) => "sasl_plaintext",
            Self::SaslTls(..) => "sasl_tls",
        }
    }

    fn trust(&self) -> Option<&Trust> {
        match self {
            Self::Plaintext | Self::SaslPlaintext(_) => None,
            Self::Tls(trust) | Self::SaslTls(trust, _) => Some(trust),
        }
    }

    fn scram(&self) -> Option<&Scram> {
        match self {
            Self::Plaintext | Self::Tls(_) => None,
            Self::SaslPlaintext(scram) | Self::SaslTls(_, scram) => Some(scram),
        }
    }
}

impl Connection {
    /// Returns the settings of all clients. They contain the password; the errors do not.
    pub(crate) fn client(&self) -> Result<ClientConfig, StartError> {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "merch-logging")
            .set("bootstrap.servers", &self.brokers)
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("log.connection.close", "false")
            // Auto-creation would use the broker's number of partitions.
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        if matches!(self.security, Security::Plaintext) {
            return Ok(config);
        }
        self.security.check_compiled(HAS_TLS)?;
        let protocol = match (self.security.trust(), self.security.scram()) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(Trust { ca_file: Some(file) }) = self.security.trust() {
            config.set("ssl.ca.location", ca_location(file)?);
        }
        if let Some(Scram { mechanism, username, password: Password(password) }) =
            self.security.scram()
        {
            for (what, text) in [
                ("user name (MERCH_KAFKA_USERNAME)", username.as_str()),
                ("password (MERCH_KAFKA_PASSWORD)", password.as_str()),
            ] {
                if text.is_empty() || text.contains('\0') {
                    return Err(StartError::new(format!(
                        "Kafka's {what} is empty or holds a zero byte; expected text"
                    )));
                }
            }
            let mechanism = match mechanism {
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config
                .set("sasl.mechanism", mechanism)
                .set("sasl.username", username)
                .set("sasl.password", password.as_str());
        }
        Ok(config)
    }

    pub(crate) fn creation_error(&self, error: &KafkaError) -> StartError {
        // The full message has the setting's value, which may be a secret.
        let reason = match error {
            KafkaError::ClientConfig(_, description, key, _) => format!("{key}: {description}"),
            other => other.to_string(),
        };
        StartError::new(format!(
            "failed to create a Kafka client for {:?}: {reason}; expected addresses such as \
             kafka:9092, separated by commas (--kafka-brokers)",
            self.brokers
        ))
    }

    /// Explains a timeout by librdkafka's last error, and names the setting to check.
    pub(crate) fn diagnose_timeout(&self, error: &KafkaError, context: &KafkaContext) -> String {
        let brokers = &self.brokers;
        let Some(ReportedError { code, reason, .. }) = context.last_error() else {
            return format!("Kafka at {brokers} does not answer: {error}");
        };
        match code {
            RDKafkaErrorCode::Authentication => format!(
                "Kafka at {brokers} rejected the credentials: {reason}; check \
                 MERCH_KAFKA_USERNAME, MERCH_KAFKA_PASSWORD and MERCH_KAFKA_MECHANISM"
            ),
            RDKafkaErrorCode::SSL => format!(
                "the TLS handshake with Kafka at {brokers} failed: {reason}; expected a \
                 certificate for that host from an authority in MERCH_KAFKA_CA_FILE"
            ),
            _ if [
                "security.protocol",
                "receive.message.max.bytes",
                "Send failed",
                "Receive failed",
            ]
            .iter()
            .any(|text| reason.contains(text)) =>
            {
                format!(
                    "Kafka at {brokers} does not answer: {reason}; check that its listener expects \
                     MERCH_KAFKA_SECURITY={}",
                    self.security.name()
                )
            }
            // A listener that expects SASL closes plaintext connections without an error.
            RDKafkaErrorCode::AllBrokersDown => format!(
                "Kafka at {brokers} does not answer: all brokers close the connection; check that \
                 their listener expects MERCH_KAFKA_SECURITY={}",
                self.security.name()
            ),
            _ => format!("Kafka at {brokers} does not answer: {reason}"),
        }
    }
}

/// Checks the PEM file for clearer errors than OpenSSL's.
fn ca_location(file: &Path) -> Result<&str, StartError> {
    let invalid = |what: &str| {
        StartError::new(format!(
            "MERCH_KAFKA_CA_FILE (--kafka-ca-file): the file {} {what}",
            file.display()
        ))
    };
    let content = fs::read(file).map_err(|error| {
        invalid(&format!(
            "cannot be read: {error}; expected a PEM file with the authorities of \
             Kafka's certificate"
        ))
    })?;
    if !content.windows(PEM_HEADER.len()).any(|window| window == PEM_HEADER) {
        return Err(invalid(
            "holds no certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----",
        ));
    }
    file.to_str().ok_or_else(|| {
        invalid("has a name that is not UTF-8; rename it, as librdkafka requires UTF-8")
    })
}

const PEM_HEADER: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// librdkafka callbacks: logs its lines and keeps the most specific recent error.
#[derive(Clone, Default)]
pub(crate) struct KafkaContext {
    last_error: Arc<Mutex<Option<ReportedError>>>,
    /// Triggers an early health check.
    pub(crate) error_reported: Arc<Notify>,
}

#[derive(Clone, Debug)]
struct ReportedError {
    code: RDKafkaErrorCode,
    reason: String,
    at: Instant,
}

impl ReportedError {
    /// Authentication and TLS errors explain the disconnects that follow them.
    fn priority(&self) -> u8 {
        match self.code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL => 2,
            RDKafkaErrorCode::AllBrokersDown => 0,
            _ => 1,
        }
    }
}

impl KafkaContext {
    pub(crate) fn clear_error(&self) {
        *self.lock() = None;
    }

    fn last_error(&self) -> Option<ReportedError> {
        self.lock().clone().filter(|error| error.at.elapsed() < ERROR_TTL)
    }

    fn store_error(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let reason = reason.split(" (after ").next().unwrap_or(reason).to_owned();
        let reported = ReportedError { code, reason, at: Instant::now() };
        let mut last = self.lock();
        if last.as_ref().is_none_or(|old| {
            reported.priority() >= old.priority() || old.at.elapsed() >= ERROR_TTL
        }) {
            *last = Some(reported);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<ReportedError>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for KafkaContext {
    /// Errors are warnings here: they concern single connections.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{message}")
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "Kafka client error");
        self.store_error(&error, reason);
        self.error_reported.notify_one();
    }
}

impl ConsumerContext for KafkaContext {}

/// For producers that only request metadata.
impl ProducerContext for KafkaContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scram(password: &str) -> Scram {
        Scram {
            mechanism: Mechanism::ScramSha512,
            username: "merch".to_owned(),
            password: Password::new(password),
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let connection = Connection {
            brokers: "kafka:9092".to_owned(),
            security: Security::SaslTls(Trust { ca_file: None }, scram("hush")),
        };
        assert!(!format!("{connection:?}").contains("hush"));
        let refused = KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "is no good".to_owned(),
            "sasl.password".to_owned(),
            "hush".to_owned(),
        );
        let error = connection.creation_error(&refused).to_string();
        assert!(error.contains("sasl.password: is no good") && !error.contains("hush"), "{error}");
    }

    #[test]
    #[cfg(feature = "kafka-tls")]
    fn invalid_settings_are_reported() {
        let error_of = |security| {
            Connection { brokers: "kafka:9092".to_owned(), security }
                .client()
                .unwrap_err()
                .to_string()
        };
        let wrong = error_of(Security::SaslPlaintext(scram("")));
        assert!(wrong.starts_with("Kafka's password (MERCH_KAFKA_PASSWORD) is empty"), "{wrong}");
        let ca_file = |path: &Path| Security::Tls(Trust { ca_file: Some(path.to_owned()) });
        let wrong = error_of(ca_file(Path::new("/nowhere/ca.pem")));
        assert!(
            wrong.starts_with(
                "MERCH_KAFKA_CA_FILE (--kafka-ca-file): the file /nowhere/ca.pem cannot be read: "
            ),
            "{wrong}"
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        fs::write(&file, "-----BEGIN PRIVATE KEY-----").unwrap();
        let wrong = error_of(ca_file(&file));
        assert!(wrong.contains("holds no certificate; expected PEM"), "{wrong}");
    }

    #[test]
    fn build_without_tls_names_the_needed_feature() {
        for security in
            [Security::Tls(Trust { ca_file: None }), Security::SaslPlaintext(scram("hush"))]
        {
            let wrong = security.check_compiled(false).unwrap_err().to_string();
            assert!(
                wrong.contains("no TLS and SASL") && wrong.contains("--features kafka-tls"),
                "{wrong}"
            );
            assert!(security.check_compiled(true).is_ok());
        }
    }

    #[test]
    fn most_specific_error_is_kept() {
        let context = KafkaContext::default();
        let connection = Connection::from("kafka:9092");
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure);
        let diagnosis = |context: &KafkaContext| connection.diagnose_timeout(&timed_out, context);
        assert!(
            diagnosis(&context)
                .starts_with("Kafka at kafka:9092 does not answer: Meta data fetch error"),
            "{}",
            diagnosis(&context)
        );
        for (code, reason) in [
            (RDKafkaErrorCode::BrokerTransportFailure, "refused"),
            (RDKafkaErrorCode::Authentication, "no such user (after 3ms in state AUTH_REQ)"),
            (RDKafkaErrorCode::BrokerTransportFailure, "closed"),
            (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"),
        ] {
            context.error(KafkaError::Global(code), reason);
        }
        assert!(
            diagnosis(&context)
                .starts_with("Kafka at kafka:9092 rejected the credentials: no such user; check"),
            "{}",
            diagnosis(&context)
        );
        context.clear_error();
        context.error(KafkaError::Global(RDKafkaErrorCode::SSL), "unknown authority");
        assert!(
            diagnosis(&context).starts_with(
                "the TLS handshake with Kafka at kafka:9092 failed: \
                 unknown authority; expected a certificate"
            ),
            "{}",
            diagnosis(&context)
        );
    }
}
