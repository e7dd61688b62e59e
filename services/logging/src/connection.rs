//! The way to Kafka: where it is, how it is protected, and what a client has to say when it does
//! not get through.

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

/// Whether this program has TLS and SCRAM: both are OpenSSL's, which the feature `kafka-tls`
/// compiles.
pub const HAS_TLS: bool = cfg!(feature = "kafka-tls");

/// librdkafka says the same thing about the same broker no more than twice a minute; what is older
/// need not be so any longer.
const FRESH: Duration = Duration::from_secs(60);

/// Where Kafka is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Kafka's addresses: `host:port`, several separated by commas.
    pub brokers: String,
    /// How what is said is protected, and who says it.
    pub security: Security,
}

/// How a connection is protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// Not at all.
    Plaintext,
    /// Encrypted, with a server that proves who it is.
    Tls(Trust),
    /// Readable by all on the way, with a client that proves who it is without sending its
    /// password.
    SaslPlaintext(Scram),
    /// Encrypted, and both prove who they are.
    SaslTls(Trust, Scram),
}

/// Whose word is taken for who a server is. The certificate has to name the host that was asked
/// for, too.
#[derive(Clone, Debug)]
pub struct Trust {
    /// A PEM file with the certificates of the authorities; `None` takes those that the system
    /// trusts.
    pub ca_file: Option<PathBuf>,
}

/// A user and its password, for SASL/SCRAM (RFC 5802).
#[derive(Clone, Debug)]
pub struct Scram {
    /// The hash that the broker has the password under.
    pub mechanism: Mechanism,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: Password,
}

/// The hash of SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `SCRAM-SHA-256`
    ScramSha256,
    /// `SCRAM-SHA-512`
    ScramSha512,
}

/// A password; never shown, and overwritten when it is dropped. librdkafka has a copy of its own.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Keeps it.
    pub fn new(password: impl Into<String>) -> Self {
        Self(Zeroizing::new(password.into()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// Unprotected, as within one machine.
impl<B: Into<String>> From<B> for Connection {
    fn from(brokers: B) -> Self {
        Self { brokers: brokers.into(), security: Security::Plaintext }
    }
}

impl Security {
    /// Refuses what needs TLS or SASL if this program has neither.
    fn check_compiled(&self, has_tls: bool) -> Result<(), StartError> {
        if has_tls {
            return Ok(());
        }
        Err(StartError::new(format!(
            "this program was compiled without TLS and SASL for Kafka, and MERCH_KAFKA_SECURITY={} needs them; expected one with the feature \
             kafka-tls (`cargo build --release --features kafka-tls`; the image has it), or MERCH_KAFKA_SECURITY=plaintext",
            self.word()
        )))
    }

    /// The word for it in `MERCH_KAFKA_SECURITY`.
    #[must_use]
    pub fn word(&self) -> &'static str {
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
    /// What every client of Kafka here has in common: it is let in, and comes back quickly after a
    /// broker does.
    ///
    /// The result holds the password and shows it to whoever formats it: it is handed to librdkafka
    /// and to nobody else.
    ///
    /// # Errors
    /// When this program has no TLS, or the settings make no sense. The password is not in it.
    pub(crate) fn client(&self) -> Result<ClientConfig, StartError> {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "merch-logging")
            .set("bootstrap.servers", &self.brokers)
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("log.connection.close", "false")
            // A topic that appears because somebody asked for it has the broker's number of
            // partitions and not ours; `provision` makes it.
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
            config.set("ssl.ca.location", authorities(file)?);
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

    /// Why librdkafka could make no client of that configuration.
    pub(crate) fn unusable(&self, error: &KafkaError) -> StartError {
        // A setting that librdkafka refuses is shown with its value by it, which may be a secret.
        let reason = match error {
            KafkaError::ClientConfig(_, description, key, _) => format!("{key}: {description}"),
            other => other.to_string(),
        };
        StartError::new(format!(
            "no Kafka client can be made for {:?}: {reason}; expected addresses such as kafka:9092, separated by commas (--kafka-brokers)",
            self.brokers
        ))
    }

    /// Why Kafka does not answer, in a sentence: what librdkafka complained of, if it did, and
    /// which setting that is about.
    pub(crate) fn silence(&self, error: &KafkaError, ears: &Ears) -> String {
        let brokers = &self.brokers;
        let Some(Complaint { code, reason, .. }) = ears.complaint() else {
            return format!("Kafka at {brokers} does not answer: {error}");
        };
        match code {
            RDKafkaErrorCode::Authentication => format!(
                "Kafka at {brokers} does not let this client in: {reason}; expected the name and the password of one of its users, with the mechanism that it \
                 has them under (MERCH_KAFKA_USERNAME, MERCH_KAFKA_PASSWORD, MERCH_KAFKA_MECHANISM)"
            ),
            RDKafkaErrorCode::SSL => format!(
                "there is no TLS with Kafka at {brokers}: {reason}; expected a certificate for that host, by an authority of MERCH_KAFKA_CA_FILE"
            ),
            // A connection that was there and was cut: by a broker that died, or by a listener that
            // wants SASL and was sent something else.
            _ if [
                "security.protocol",
                "receive.message.max.bytes",
                "Send failed",
                "Receive failed",
            ]
            .iter()
            .any(|word| reason.contains(word)) =>
            {
                format!(
                    "Kafka at {brokers} does not answer: {reason}; is it to be spoken to with MERCH_KAFKA_SECURITY={}?",
                    self.security.word()
                )
            }
            // A listener that wants SASL and is sent something else closes the connection without a
            // word, which is no news by itself.
            RDKafkaErrorCode::AllBrokersDown => format!(
                "Kafka at {brokers} does not answer: no connection to any of its brokers lasts; is it to be spoken to with MERCH_KAFKA_SECURITY={}?",
                self.security.word()
            ),
            _ => format!("Kafka at {brokers} does not answer: {reason}"),
        }
    }
}

/// The path of a file that holds certificates: librdkafka's own words for one that does not are
/// OpenSSL's.
fn authorities(file: &Path) -> Result<&str, StartError> {
    let wrong = |what: &str| {
        StartError::new(format!(
            "MERCH_KAFKA_CA_FILE (--kafka-ca-file): the file {} {what}",
            file.display()
        ))
    };
    let content = fs::read(file).map_err(|error| {
        wrong(&format!("cannot be read: {error}; expected a PEM file with the certificates of the authorities that Kafka's is from"))
    })?;
    if !content.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return Err(wrong(
            "holds no certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----",
        ));
    }
    file.to_str().ok_or_else(|| wrong("has a name that is not UTF-8; librdkafka wants one that is"))
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// What librdkafka tells the owner of a client, on its own threads: log lines, which go to ours,
/// and complaints, of which the most telling one is kept.
#[derive(Clone, Default)]
pub(crate) struct Ears {
    complaint: Arc<Mutex<Option<Complaint>>>,
    /// Something went wrong: time to look whether Kafka is there.
    pub(crate) trouble: Arc<Notify>,
}

/// What librdkafka says is wrong.
#[derive(Clone, Debug)]
struct Complaint {
    code: RDKafkaErrorCode,
    reason: String,
    at: Instant,
}

impl Complaint {
    /// A refusal says more than the connection that ended because of it, and that says more than
    /// that all of them have ended.
    fn weight(&self) -> u8 {
        match self.code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL => 2,
            RDKafkaErrorCode::AllBrokersDown => 0,
            _ => 1,
        }
    }
}

impl Ears {
    /// Everything is well again: what was complained of is in the past.
    pub(crate) fn forget(&self) {
        *self.kept() = None;
    }

    fn complaint(&self) -> Option<Complaint> {
        self.kept().clone().filter(|complaint| complaint.at.elapsed() < FRESH)
    }

    fn hear(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        // How long it took is different each time; without it, what is said of the same fault is
        // the same.
        let reason = reason.split(" (after ").next().unwrap_or(reason).to_owned();
        let heard = Complaint { code, reason, at: Instant::now() };
        let mut kept = self.kept();
        if kept
            .as_ref()
            .is_none_or(|old| heard.weight() >= old.weight() || old.at.elapsed() >= FRESH)
        {
            *kept = Some(heard);
        }
    }

    /// No code that can panic runs under the lock.
    fn kept(&self) -> MutexGuard<'_, Option<Complaint>> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Ears {
    /// They are about single connections and repeat themselves; what matters comes as an error.
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
        tracing::debug!(target: "librdkafka", %error, reason, "Kafka is in trouble");
        self.hear(&error, reason);
        self.trouble.notify_one();
    }
}

impl ConsumerContext for Ears {}

/// For clients that only ask.
impl ProducerContext for Ears {
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
    fn a_password_is_not_shown() {
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
        let error = connection.unusable(&refused).to_string();
        assert!(error.contains("sasl.password: is no good") && !error.contains("hush"), "{error}");
    }

    #[test]
    #[cfg(feature = "kafka-tls")]
    fn settings_that_make_no_sense_are_told() {
        let told = |security| {
            Connection { brokers: "kafka:9092".to_owned(), security }
                .client()
                .unwrap_err()
                .to_string()
        };
        let wrong = told(Security::SaslPlaintext(scram("")));
        assert!(wrong.starts_with("Kafka's password (MERCH_KAFKA_PASSWORD) is empty"), "{wrong}");
        let ca_file = |path: &Path| Security::Tls(Trust { ca_file: Some(path.to_owned()) });
        let wrong = told(ca_file(Path::new("/nowhere/ca.pem")));
        assert!(
            wrong.starts_with(
                "MERCH_KAFKA_CA_FILE (--kafka-ca-file): the file /nowhere/ca.pem cannot be read: "
            ),
            "{wrong}"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        fs::write(&file, "-----BEGIN PRIVATE KEY-----").unwrap();
        let wrong = told(ca_file(&file));
        assert!(wrong.contains("holds no certificate; expected PEM"), "{wrong}");
    }

    #[test]
    fn a_program_without_tls_says_which_one_is_needed() {
        for security in
            [Security::Tls(Trust { ca_file: None }), Security::SaslPlaintext(scram("hush"))]
        {
            let wrong = security.check_compiled(false).unwrap_err().to_string();
            assert!(
                wrong.contains("compiled without TLS and SASL")
                    && wrong.contains("feature kafka-tls"),
                "{wrong}"
            );
            assert!(security.check_compiled(true).is_ok());
        }
    }

    #[test]
    fn the_most_telling_complaint_is_kept() {
        let ears = Ears::default();
        let connection = Connection::from("kafka:9092");
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure);
        let said = |ears: &Ears| connection.silence(&timed_out, ears);
        assert!(
            said(&ears).starts_with("Kafka at kafka:9092 does not answer: Meta data fetch error"),
            "{}",
            said(&ears)
        );
        for (code, reason) in [
            (RDKafkaErrorCode::BrokerTransportFailure, "refused"),
            (RDKafkaErrorCode::Authentication, "no such user (after 3ms in state AUTH_REQ)"),
            (RDKafkaErrorCode::BrokerTransportFailure, "closed"),
            (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"),
        ] {
            ears.error(KafkaError::Global(code), reason);
        }
        assert!(
            said(&ears).starts_with(
                "Kafka at kafka:9092 does not let this client in: no such user; expected"
            ),
            "{}",
            said(&ears)
        );
        ears.forget();
        ears.error(KafkaError::Global(RDKafkaErrorCode::SSL), "unknown authority");
        assert!(
            said(&ears).starts_with("there is no TLS with Kafka at kafka:9092: unknown authority; expected a certificate"),
            "{}",
            said(&ears)
        );
    }
}
