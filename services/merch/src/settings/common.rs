//! Settings that several roles share.

use std::{
    net::SocketAddr,
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use merch_chassis::telemetry::{self, Format};

use super::values;

/// The data folder.
#[derive(Debug, Args)]
pub(crate) struct Data {
    /// The folder for everything that must outlive the process; made, for its owner only, if it is not there
    #[arg(long, env = "MERCH_DATA_DIR", value_name = "FOLDER", default_value = "merch-data", value_parser = values::path("folder"), help_heading = "Storage")]
    pub(crate) data_dir: PathBuf,
}

/// What every long-running role has.
#[derive(Debug, Args)]
pub(crate) struct Role {
    /// Where /livez, /readyz and /metrics are served: not for the public [default: 127.0.0.1:9101 for `merch api`, :9102 for `merch db`, :9103 for
    /// `merch logging`; any free port for the whole store]
    #[arg(long, env = "MERCH_ADMIN_LISTEN", value_name = "ADDRESS", value_parser = values::address, help_heading = "Addresses")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// How long a call between the services may take, such as 500ms or 5s
    #[arg(long, env = "MERCH_GRPC_DEADLINE", value_name = "TIME", default_value = "5s", value_parser = values::duration, help_heading = "Limits")]
    pub(crate) grpc_deadline: Duration,
    /// How long a role that is told to stop goes on as ever before it does, so that whoever sends it requests has seen that it is not ready any more
    #[arg(long, env = "MERCH_SHUTDOWN_DELAY", value_name = "TIME", default_value = "0s", value_parser = values::delay, help_heading = "Limits")]
    pub(crate) shutdown_delay: Duration,
    /// How long each role may go on with what is under way once it is told to stop
    #[arg(long, env = "MERCH_DRAIN_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = values::duration, help_heading = "Limits")]
    pub(crate) drain_timeout: Duration,
    /// Whether a crash may leave a core dump, which would hold keys, passwords and tokens: `true` or `false`. With `false` no debugger can attach
    #[arg(long, env = "MERCH_CORE_DUMPS", value_name = "BOOL", default_value = "false", value_parser = values::yes_or_no, action = clap::ArgAction::Set, help_heading = "Limits")]
    pub(crate) core_dumps: bool,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// What one user may occupy: at each api and at each db alike.
#[derive(Debug, Args)]
pub(crate) struct Users {
    /// How many requests that change something one user may have under way at one replica; further ones are answered with 429
    #[arg(long, env = "MERCH_WRITES_PER_USER", value_name = "NUMBER", default_value = "16", value_parser = values::whole(NonZeroU16::MIN..=NonZeroU16::MAX), help_heading = "Limits")]
    pub(crate) writes_per_user: NonZeroU16,
}

impl Users {
    /// The number as the services take it.
    pub(crate) fn writes_per_user(&self) -> NonZeroUsize {
        self.writes_per_user.into()
    }
}

/// The lines that a process writes on standard error about itself.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The form of the lines on standard error: `human` or `json`
    #[arg(long, env = "MERCH_LOG_FORMAT", value_name = "FORM", default_value = "human", help_heading = "Lines on standard error")]
    pub(crate) log_format: Format,
    /// What is written there: a level (error, warn, info, debug, trace), or levels by part such as `info,merch_db=debug`
    #[arg(long, env = "MERCH_LOG_FILTER", value_name = "LEVELS", default_value = telemetry::DEFAULT_FILTER, hide_default_value = true, help_heading = "Lines on standard error")]
    pub(crate) log_filter: String,
}
