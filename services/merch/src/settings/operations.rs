//! Settings of the operations commands: `merch admin`, `sql`, `backup`, `restore`, `top` and `pki`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use merch_chassis::StartError;

use super::{
    common::{Data, InternalTls, Log},
    db::DatabaseUrl,
    secret,
    values::{self, Secret},
};

/// The credential of the admin service.
#[derive(Debug, Args)]
pub(crate) struct AdminToken {
    /// The operator's credential for `merch admin`, at least 32 random bytes. Prefer
    /// --admin-token-file or the variable
    #[arg(
        long,
        env = "MERCH_ADMIN_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        help_heading = "Identity"
    )]
    admin_token: Option<Secret>,
    /// A file with that credential [default: a generated file in the data directory for the whole
    /// store; without one `merch db` serves no admin calls]
    #[arg(
        long,
        env = "MERCH_ADMIN_TOKEN_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Identity"
    )]
    admin_token_file: Option<PathBuf>,
}

impl AdminToken {
    /// Reads the credential. An empty variable counts as not set.
    ///
    /// # Errors
    /// When both are set, or the file cannot be read.
    pub(crate) fn read(&self) -> Result<Option<Secret>, StartError> {
        let value = self.admin_token.as_ref().filter(|token| !token.reveal().is_empty());
        secret::read("MERCH_ADMIN_TOKEN", value, self.admin_token_file.as_deref())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Add to a product's stock, or set it
    Restock(Restock),
    /// Set the price of a product for future orders
    SetPrice(SetPrice),
    /// List users, oldest first
    ListUsers(ListUsers),
    /// Deactivate a user and revoke its tokens
    Deactivate(Deactivate),
    /// Revoke the tokens of one user or of all users, who then have to log in again
    RevokeTokens(RevokeTokens),
}

/// The admin service and the output format.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The db service [default: that of the store that runs with the data directory]
    #[arg(
        long,
        env = "MERCH_DB_ENDPOINT",
        value_name = "URL",
        value_parser = values::endpoints,
        help_heading = "Addresses"
    )]
    pub(crate) db_endpoint: Option<String>,
    #[command(flatten)]
    pub(crate) token: AdminToken,
    #[command(flatten)]
    pub(crate) internal: InternalTls,
    #[command(flatten)]
    pub(crate) data: Data,
    /// Print JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("change").required(true).args(["add", "set"])))]
pub(crate) struct Restock {
    /// The product's id
    pub(crate) product: i32,
    /// Pieces to add
    #[arg(long, value_name = "PIECES", value_parser = values::integer(1..=1_000_000_000_i32))]
    pub(crate) add: Option<i32>,
    /// The new stock, as counted, without the pieces of placed orders
    #[arg(long, value_name = "PIECES", value_parser = values::integer(0..=1_000_000_000_i32))]
    pub(crate) set: Option<i32>,
    /// An idempotency key: with the same key the change is made once [default: a new key each time]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct SetPrice {
    /// The product's id
    pub(crate) product: i32,
    /// The price of one piece in minor units of its currency: 4999 is 49.99
    #[arg(value_parser = values::integer(0..=1_000_000_000_000_i64))]
    pub(crate) cents: i64,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct ListUsers {
    /// Only users whose username starts with this
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Only active (true) or inactive (false) users
    #[arg(long, value_name = "TRUE|FALSE")]
    pub(crate) active: Option<bool>,
    /// Maximum number of users
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "1000",
        value_parser = values::integer(1..=1_000_000_usize)
    )]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Deactivate {
    /// The username or the id
    pub(crate) user: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeTokens {
    /// The username or the id
    #[arg(required_unless_present = "everyone", conflicts_with = "everyone")]
    pub(crate) user: Option<String>,
    /// Revoke the tokens of all users
    #[arg(long)]
    pub(crate) everyone: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// SQL statements, separated by semicolons [default: standard input]
    pub(crate) statement: Option<String>,
    /// Allow statements that write; without it the file is opened read-only
    #[arg(long)]
    pub(crate) write: bool,
    /// Print rows as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseUrl,
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write; it must not exist
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) database: DatabaseUrl,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) log: Log,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A file that `merch backup` has written
    pub(crate) file: PathBuf,
    /// Replace the store in the data directory; its files are kept in a subdirectory
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseUrl,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) log: Log,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The roles' admin ports, host:port, separated by commas; every address of a name is queried
    /// [default: that of the store that runs with the data directory]
    #[arg(
        long,
        env = "MERCH_ADMIN",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        value_parser = values::host_and_port,
        help_heading = "Addresses"
    )]
    pub(crate) admin: Vec<String>,
    /// The db service, for the stock of each product [default: that of the store that runs with the
    /// data directory]
    #[arg(
        long,
        env = "MERCH_DB_ENDPOINT",
        value_name = "URL",
        value_parser = values::endpoints,
        help_heading = "Addresses"
    )]
    pub(crate) db_endpoint: Option<String>,
    /// Print one frame, measured over a second, as plain text
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) internal: InternalTls,
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    /// Create a certificate authority, unless there is one, and a certificate for each role;
    /// certificates with more than a third of their lifetime left are kept
    Init(PkiDirectory),
    /// Create a new certificate for each role with the existing authority
    Renew(PkiDirectory),
}

#[derive(Debug, Args)]
pub(crate) struct PkiDirectory {
    /// Directory of the authority (ca) and of each role (api, db, logging, operator)
    #[arg(
        long,
        env = "MERCH_PKI_DIR",
        value_name = "DIRECTORY",
        default_value = "merch-pki",
        value_parser = values::path("directory"),
        help_heading = "Internal network"
    )]
    pub(crate) pki_dir: PathBuf,
    /// How long a role's certificate is valid
    #[arg(
        long,
        env = "MERCH_PKI_LIFETIME",
        value_name = "TIME",
        default_value = "90d",
        value_parser = values::lifetime,
        help_heading = "Internal network"
    )]
    pub(crate) pki_lifetime: Duration,
}
