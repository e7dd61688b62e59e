//! Settings that several roles share.

use std::{
    net::SocketAddr,
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use merch_chassis::{
    StartError,
    grpc::{Tls, TlsFiles, Transport},
    telemetry::{self, Format},
};

use super::values;

/// The data folder.
#[derive(Debug, Args)]
pub(crate) struct Data {
    /// The folder for everything that must outlive the process; made, for its owner only, if it is
    /// not there
    #[arg(long, env = "MERCH_DATA_DIR", value_name = "FOLDER", default_value = "merch-data", value_parser = values::path("folder"), help_heading = "Storage")]
    pub(crate) data_dir: PathBuf,
}

/// What every long-running role has.
#[derive(Debug, Args)]
pub(crate) struct Role {
    /// Where /livez, /readyz and /metrics are served: not for the public [default: 127.0.0.1:9101
    /// for `merch api`, :9102 for `merch db`, :9103 for `merch logging`; any free port for the
    /// whole store]
    #[arg(long, env = "MERCH_ADMIN_LISTEN", value_name = "ADDRESS", value_parser = values::address, help_heading = "Addresses")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// How long a call between the services may take, such as 500ms or 5s
    #[arg(long, env = "MERCH_GRPC_DEADLINE", value_name = "TIME", default_value = "5s", value_parser = values::duration, help_heading = "Limits")]
    pub(crate) grpc_deadline: Duration,
    /// How long a role that is told to stop goes on as ever before it does, so that whoever sends
    /// it requests has seen that it is not ready any more
    #[arg(long, env = "MERCH_SHUTDOWN_DELAY", value_name = "TIME", default_value = "0s", value_parser = values::delay, help_heading = "Limits")]
    pub(crate) shutdown_delay: Duration,
    /// How long each role may go on with what is under way once it is told to stop
    #[arg(long, env = "MERCH_DRAIN_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = values::duration, help_heading = "Limits")]
    pub(crate) drain_timeout: Duration,
    /// Whether a crash may leave a core dump, which would hold keys, passwords and tokens: `true`
    /// or `false`. With `false` no debugger can attach
    #[arg(long, env = "MERCH_CORE_DUMPS", value_name = "BOOL", default_value = "false", value_parser = values::yes_or_no, action = clap::ArgAction::Set, help_heading = "Limits")]
    pub(crate) core_dumps: bool,
    #[command(flatten)]
    pub(crate) internal: Internal,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// What one user may occupy: at each api and at each db alike.
#[derive(Debug, Args)]
pub(crate) struct Users {
    /// How many requests that change something one user may have under way at one replica; further
    /// ones are answered with 429
    #[arg(long, env = "MERCH_WRITES_PER_USER", value_name = "NUMBER", default_value = "16", value_parser = values::whole(NonZeroU16::MIN..=NonZeroU16::MAX), help_heading = "Limits")]
    pub(crate) writes_per_user: NonZeroU16,
}

impl Users {
    /// The number as the services take it.
    pub(crate) fn writes_per_user(&self) -> NonZeroUsize {
        self.writes_per_user.into()
    }
}

/// How this process and the other roles prove to each other who they are.
#[derive(Debug, Args)]
pub(crate) struct Internal {
    /// This role's certificate in PEM, and after it the chain that leads to the authority; `merch
    /// pki init` makes one for each role. With it, calls between the services use mutual TLS. Its
    /// files are read again when they change
    #[arg(long, env = "MERCH_TLS_CERT_FILE", value_name = "FILE", value_parser = values::path("file"), help_heading = "Internal network")]
    tls_cert_file: Option<PathBuf>,
    /// The private key of that certificate, in PEM
    #[arg(long, env = "MERCH_TLS_KEY_FILE", value_name = "FILE", value_parser = values::path("file"), help_heading = "Internal network")]
    tls_key_file: Option<PathBuf>,
    /// The certificates of the authorities that the other roles' certificates are verified against,
    /// in PEM
    #[arg(long, env = "MERCH_TLS_CA_FILE", value_name = "FILE", value_parser = values::path("file"), help_heading = "Internal network")]
    tls_ca_file: Option<PathBuf>,
    /// Allow plaintext calls without authentication between the services on addresses other than
    /// loopback: every process on that network can read and forge them. Allows plaintext to http://
    /// endpoints, too, from a role that has a certificate
    #[arg(long, env = "MERCH_INSECURE_INTERNAL", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = values::yes_or_no, action = clap::ArgAction::Set, help_heading = "Internal network")]
    insecure_internal: bool,
}

impl Internal {
    /// Reads the certificate, if one is set, and follows its files from now on.
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
                    "some of MERCH_TLS_CERT_FILE, MERCH_TLS_KEY_FILE and MERCH_TLS_CA_FILE are set; expected all of them or none",
                ));
            }
        };
        Ok(Transport::new(tls, self.insecure_internal))
    }
}

/// What a gRPC server offers besides its services.
#[derive(Debug, Args)]
pub(crate) struct Grpc {
    /// Serve gRPC reflection (v1 and v1alpha), for tools such as grpcurl
    #[arg(long, env = "MERCH_GRPC_REFLECTION", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = values::yes_or_no, action = clap::ArgAction::Set, help_heading = "Internal network")]
    pub(crate) grpc_reflection: bool,
}

/// How the roles that write log events go about it.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// How long the oldest log event may wait for Kafka before /readyz says `degraded`; the role
    /// serves on
    #[arg(long, env = "MERCH_EVENT_AGE_LIMIT", value_name = "TIME", default_value = "1m", value_parser = values::duration, help_heading = "Limits")]
    event_age_limit: Duration,
    /// How many refusals (of tokens, log-ins, orders, operator calls) of one client and reason are
    /// log events of their own in a minute; one event counts the rest
    #[arg(long, env = "MERCH_REFUSAL_EVENTS", value_name = "A MINUTE", default_value = "5", value_parser = values::whole(1..=10_000_u32), help_heading = "Limits")]
    refusal_events: u32,
}

impl Events {
    /// Tells the gateway.
    pub(crate) fn apply_to_api(&self, config: &mut merch_api::Config) {
        config.event_age_limit = self.event_age_limit;
        config.refusals.single_events = self.refusal_events;
    }

    /// Tells the db service.
    pub(crate) fn apply_to_db(&self, config: &mut merch_db::Config) {
        config.event_age_limit = self.event_age_limit;
        config.refusals.single_events = self.refusal_events;
    }
}

/// The lines that a process writes on standard error about itself.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The form of the lines on standard error: `human` or `json`
    #[arg(
        long,
        env = "MERCH_LOG_FORMAT",
        value_name = "FORM",
        default_value = "human",
        help_heading = "Lines on standard error"
    )]
    pub(crate) log_format: Format,
    /// What is written there: a level (error, warn, info, debug, trace), or levels by part such as
    /// `info,merch_db=debug`
    #[arg(long, env = "MERCH_LOG_FILTER", value_name = "LEVELS", default_value = telemetry::DEFAULT_FILTER, hide_default_value = true, help_heading = "Lines on standard error")]
    pub(crate) log_filter: String,
}
