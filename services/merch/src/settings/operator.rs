//! Settings of the operator's commands: `merch admin`, `sql`, `backup`, `restore`, `top` and `pki`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use merch_chassis::StartError;

use super::{
    common::{Data, Internal, Log},
    db::DatabaseUrl,
    secret,
    values::{self, Secret},
};

/// The credential of the operator's service.
#[derive(Debug, Args)]
pub(crate) struct AdminToken {
    /// The operator's credential for `merch admin`, at least 32 random bytes. Better:
    /// --admin-token-file, or the variable
    #[arg(
        long,
        env = "MERCH_ADMIN_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        help_heading = "Identity"
    )]
    admin_token: Option<Secret>,
    /// A file that holds that credential. Neither set: the whole store makes one and keeps it in
    /// the data folder, `merch db` offers no service to the operator
    #[arg(long, env = "MERCH_ADMIN_TOKEN_FILE", value_name = "FILE", value_parser = values::path("file"), help_heading = "Identity")]
    admin_token_file: Option<PathBuf>,
}

impl AdminToken {
    /// The credential that is set. An empty variable is an empty slot of a configuration: not set.
    ///
    /// # Errors
    /// When both are set, or the file cannot be read.
    pub(crate) fn read(&self) -> Result<Option<Secret>, StartError> {
        let value = self.admin_token.as_ref().filter(|token| !token.reveal().is_empty());
        secret::read("MERCH_ADMIN_TOKEN", value, self.admin_token_file.as_deref())
    }
}

/// `merch admin`
#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Add pieces to a product's stock, or set it as counted
    Restock(Restock),
    /// Set the price of a product for orders to come
    SetPrice(SetPrice),
    /// List users, oldest first
    ListUsers(ListUsers),
    /// Make a user inactive and its tokens void
    Deactivate(Deactivate),
    /// Make the tokens of a user, or of everyone, void: they have to log in again
    RevokeTokens(RevokeTokens),
}

/// Where the operator's service is, and how its answer is shown.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Where the db service is. Not set: that of the store that runs with the data folder
    #[arg(long, env = "MERCH_DB_ENDPOINT", value_name = "URL", value_parser = values::endpoints, help_heading = "Addresses")]
    pub(crate) db_endpoint: Option<String>,
    #[command(flatten)]
    pub(crate) token: AdminToken,
    #[command(flatten)]
    pub(crate) internal: Internal,
    #[command(flatten)]
    pub(crate) data: Data,
    /// The answer as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `merch admin restock`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("change").required(true).args(["add", "set"])))]
pub(crate) struct Restock {
    /// The product's id
    pub(crate) product: i32,
    /// So many pieces more
    #[arg(long, value_name = "PIECES", value_parser = values::whole(1..=1_000_000_000_i32))]
    pub(crate) add: Option<i32>,
    /// So many pieces in all, as counted: those of orders that are placed are not among them
    #[arg(long, value_name = "PIECES", value_parser = values::whole(0..=1_000_000_000_i32))]
    pub(crate) set: Option<i32>,
    /// A word of your own for this restocking: with the same one it is done once, however often it
    /// is sent [default: a new one each time]
    #[arg(long, value_name = "WORD")]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `merch admin set-price`
#[derive(Debug, Args)]
pub(crate) struct SetPrice {
    /// The product's id
    pub(crate) product: i32,
    /// The price of one piece in minor units of its currency: 4999 is 49.99
    #[arg(value_parser = values::whole(0..=1_000_000_000_000_i64))]
    pub(crate) cents: i64,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `merch admin list-users`
#[derive(Debug, Args)]
pub(crate) struct ListUsers {
    /// Only users whose username begins with this
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Only users that are active (true), or that are not (false)
    #[arg(long, value_name = "TRUE|FALSE")]
    pub(crate) active: Option<bool>,
    /// So many users, at most
    #[arg(long, value_name = "NUMBER", default_value = "1000", value_parser = values::whole(1..=1_000_000_usize))]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `merch admin deactivate`
#[derive(Debug, Args)]
pub(crate) struct Deactivate {
    /// The username, or the id
    pub(crate) user: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `merch admin revoke-tokens`
#[derive(Debug, Args)]
pub(crate) struct RevokeTokens {
    /// The username, or the id
    #[arg(required_unless_present = "everyone", conflicts_with = "everyone")]
    pub(crate) user: Option<String>,
    /// All users'
    #[arg(long)]
    pub(crate) everyone: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `merch sql`
#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// What to run, several statements with semicolons between them. Not given: from standard input
    pub(crate) statement: Option<String>,
    /// Also statements that write; without it the file is opened for reading alone
    #[arg(long)]
    pub(crate) write: bool,
    /// Rows as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseUrl,
    #[command(flatten)]
    pub(crate) data: Data,
}

/// `merch backup`
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write, which must not be there yet
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) database: DatabaseUrl,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// `merch restore`
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A file that `merch backup` has written
    pub(crate) file: PathBuf,
    /// Put it in the place of the store that is in the data folder. What was there is kept beside
    /// it, in a folder of its own
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseUrl,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// `merch top`
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The roles' admin ports, host:port with commas between them; every address of a name is
    /// asked. Not set: that of the store that runs with the data folder
    #[arg(long, env = "MERCH_ADMIN", value_name = "HOST:PORT,…", value_delimiter = ',', value_parser = values::host_and_port, help_heading = "Addresses")]
    pub(crate) admin: Vec<String>,
    /// Where the db service is, for what is left of each product. Not set: that of the store that
    /// runs with the data folder
    #[arg(long, env = "MERCH_DB_ENDPOINT", value_name = "URL", value_parser = values::endpoints, help_heading = "Addresses")]
    pub(crate) db_endpoint: Option<String>,
    /// One frame, in plain text, of what happens within a second
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) internal: Internal,
    #[command(flatten)]
    pub(crate) data: Data,
}

/// `merch pki`
#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    /// Make an authority, unless there is one, and a certificate for each role; one that has more
    /// than a third of its time left is kept
    Init(PkiFolder),
    /// Make a new certificate for each role, by the authority that is there
    Renew(PkiFolder),
}

/// Where certificates are made, and for how long.
#[derive(Debug, Args)]
pub(crate) struct PkiFolder {
    /// The folder of the authority (ca) and of each role (api, db, logging, operator)
    #[arg(long, env = "MERCH_PKI_DIR", value_name = "FOLDER", default_value = "merch-pki", value_parser = values::path("folder"), help_heading = "Internal network")]
    pub(crate) pki_dir: PathBuf,
    /// How long a role's certificate is valid
    #[arg(long, env = "MERCH_PKI_LIFETIME", value_name = "TIME", default_value = "90d", value_parser = values::lifetime, help_heading = "Internal network")]
    pub(crate) pki_lifetime: Duration,
}
