//! Settings that several roles share.

use std::{net::SocketAddr, num::NonZeroU16, path::PathBuf, time::Duration};

use clap::Args;
use merch_chassis::{
    StartError,
    grpc::{Tls, TlsFiles, Transport},
    telemetry::{self, Format},
};

use super::values;

#[derive(Debug, Args)]
pub(crate) struct Data {
    /// Directory for all persistent data; created, private to its owner, if it is missing
    #[arg(
        long,
        env = "MERCH_DATA_DIR",
        value_name = "DIRECTORY",
        default_value = "merch-data",
        value_parser = values::path("directory"),
        help_heading = "Storage"
    )]
    pub(crate) data_dir: PathBuf,
}

/// Settings of every long-running role.
#[derive(Debug, Args)]
pub(crate) struct ProcessSettings {
    /// Address of /livez, /readyz and /metrics; not for public networks [default: 127.0.0.1:9101
    /// for `merch api`, :9102 for `merch db`, :9103 for `merch logging`; any free port for the
    /// whole store]
    #[arg(
        long,
        env = "MERCH_ADMIN_LISTEN",
        value_name = "ADDRESS",
        value_parser = values::address,
        help_heading = "Addresses"
    )]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Deadline of a call between the services, such as 500ms or 5s
    #[arg(
        long,
        env = "MERCH_GRPC_DEADLINE",
        value_name = "TIME",
        default_value = "5s",
        value_parser = values::duration,
        help_heading = "Limits"
    )]
    pub(crate) grpc_deadline: Duration,
    /// After SIGTERM, report not ready but keep serving for this long. Set it when a load balancer
    /// polls /readyz
    #[arg(
        long,
        env = "MERCH_SHUTDOWN_DELAY",
        value_name = "TIME",
        default_value = "0s",
        value_parser = values::delay,
        help_heading = "Limits"
    )]
    pub(crate) shutdown_delay: Duration,
    /// How long each role may take to finish requests and ship events after that
    #[arg(
        long,
        env = "MERCH_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = values::duration,
        help_heading = "Limits"
    )]
    pub(crate) drain_timeout: Duration,
    /// Whether a crash may leave a core dump, which contains keys, passwords and tokens: `true` or
    /// `false`. With `false` no debugger can attach
    #[arg(
        long,
        env = "MERCH_CORE_DUMPS",
        value_name = "BOOL",
        default_value = "false",
        value_parser = values::boolean,
        action = clap::ArgAction::Set,
        help_heading = "Limits"
    )]
    pub(crate) core_dumps: bool,
    #[command(flatten)]
    pub(crate) internal: InternalTls,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// Mutual authentication between the roles.
#[derive(Debug, Args)]
pub(crate) struct InternalTls {
    /// This role's certificate and its chain, in PEM; `merch pki init` creates one for each role.
    /// Enables mutual TLS between the services. Its files are read again when they change
    #[arg(
        long,
        env = "MERCH_TLS_CERT_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Internal network"
    )]
    tls_cert_file: Option<PathBuf>,
    /// The private key of that certificate, in PEM
    #[arg(
        long,
        env = "MERCH_TLS_KEY_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Internal network"
    )]
    tls_key_file: Option<PathBuf>,
    /// The certificate authorities that the other roles' certificates are verified against, in PEM
    #[arg(
        long,
        env = "MERCH_TLS_CA_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Internal network"
    )]
    tls_ca_file: Option<PathBuf>,
    /// Allow unauthenticated plaintext calls between the services on addresses other than loopback:
    /// every process on that network can read and forge them. Also allows plaintext to http://
    /// endpoints from a role that has a certificate
    #[arg(
        long,
        env = "MERCH_INSECURE_INTERNAL",
        value_name = "BOOL",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = values::boolean,
        action = clap::ArgAction::Set,
        help_heading = "Internal network"
    )]
    insecure_internal: bool,
}

impl InternalTls {
    /// Loads the certificate, if one is set; it is reloaded when its files change.
    ///
    /// # Errors
    /// When only some of the files are set, or they cannot be used.
    pub(crate) fn transport(&self) -> Result<Transport, StartError> {
        let tls = match (&self.tls_cert_file, &self.tls_key_file, &self.tls_ca_file) {
            (None, None, None) => None,
            (Some(cert), Some(key), Some(ca)) => {
                Some(Tls::load(TlsFiles { cert: cert.clone(), key: key.clone(), ca: ca.clone() })?)
            }
            _ => {
                return Err(StartError::new(
                    "only some of MERCH_TLS_CERT_FILE, MERCH_TLS_KEY_FILE and MERCH_TLS_CA_FILE \
                     are set; expected all of them or none",
                ));
            }
        };
        Ok(Transport::new(tls, self.insecure_internal))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Grpc {
    /// Serve gRPC reflection (v1 and v1alpha), for tools such as grpcurl
    #[arg(
        long,
        env = "MERCH_GRPC_REFLECTION",
        value_name = "BOOL",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = values::boolean,
        action = clap::ArgAction::Set,
        help_heading = "Internal network"
    )]
    pub(crate) grpc_reflection: bool,
}

/// Limits that the api and the db service share.
#[derive(Debug, Args)]
pub(crate) struct SharedLimits {
    /// Concurrent writes of one user at one replica; more are answered with 429
    #[arg(
        long,
        env = "MERCH_WRITES_PER_USER",
        value_name = "NUMBER",
        default_value = "16",
        value_parser = values::integer(NonZeroU16::MIN..=NonZeroU16::MAX),
        help_heading = "Limits"
    )]
    writes_per_user: NonZeroU16,
    /// How long the oldest log event may wait for Kafka before /readyz reports `degraded`; the role
    /// keeps serving
    #[arg(
        long,
        env = "MERCH_EVENT_AGE_LIMIT",
        value_name = "TIME",
        default_value = "1m",
        value_parser = values::duration,
        help_heading = "Limits"
    )]
    event_age_limit: Duration,
    /// Refusals (of tokens, log-ins, orders, operator calls) per client, reason and minute that are
    /// separate log events; one more event counts the rest
    #[arg(
        long,
        env = "MERCH_REFUSAL_EVENTS",
        value_name = "A MINUTE",
        default_value = "5",
        value_parser = values::integer(1..=10_000_u32),
        help_heading = "Limits"
    )]
    refusal_events: u32,
}

impl SharedLimits {
    pub(crate) fn apply_to_api(&self, config: &mut merch_api::Config) {
        config.writes_per_user = self.writes_per_user.into();
        config.event_age_limit = self.event_age_limit;
        config.refusals.single_events = self.refusal_events;
    }

    pub(crate) fn apply_to_db(&self, config: &mut merch_db::Config) {
        config.writes_per_user = self.writes_per_user.into();
        config.event_age_limit = self.event_age_limit;
        config.refusals.single_events = self.refusal_events;
    }
}

/// The process's log on standard error.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Format of the log on standard error: `human` or `json`
    #[arg(
        long,
        env = "MERCH_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "human",
        help_heading = "Logging"
    )]
    pub(crate) log_format: Format,
    /// Log level (error, warn, info, debug, trace), or levels by module such as
    /// `info,merch_db=debug`
    #[arg(
        long,
        env = "MERCH_LOG_FILTER",
        value_name = "LEVELS",
        default_value = telemetry::DEFAULT_FILTER,
        hide_default_value = true,
        help_heading = "Logging"
    )]
    pub(crate) log_filter: String,
}
