//! Settings of the db service.

use std::{net::SocketAddr, path::Path};

use clap::Args;
use merch_chassis::StartError;

use super::values::{self, Secret};
use crate::data_dir;

/// What the db service listens on and how it uses its database.
#[derive(Debug, Args)]
pub(crate) struct Db {
    /// Where the db service takes gRPC calls: not for the public [default: 127.0.0.1:50051 for `merch db`; any free port of 127.0.0.1 for the whole store]
    #[arg(long, env = "MERCH_DB_LISTEN", value_name = "ADDRESS", value_parser = values::address, help_heading = "Addresses")]
    pub(crate) db_listen: Option<SocketAddr>,
    /// How many connections to the database there are at most (with SQLite: readers)
    #[arg(long, env = "MERCH_DATABASE_CONNECTIONS", value_name = "NUMBER", default_value = "16", value_parser = values::whole(1..=1000_u32), help_heading = "Storage")]
    pub(crate) database_connections: u32,
}

/// Which database.
#[derive(Debug, Args)]
pub(crate) struct DatabaseUrl {
    /// The database: postgres://user:password@host:port/database or sqlite:///path/to/file [default: merch.db in the data folder]
    #[arg(long, env = "MERCH_DATABASE_URL", value_name = "URL", hide_env_values = true, help_heading = "Storage")]
    database_url: Option<Secret>,
}

impl DatabaseUrl {
    /// Whether the URL, if it is set, names a database of a kind that the store knows; it is not connected to.
    ///
    /// # Errors
    /// One sentence that does not show it.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let Some(url) = &self.database_url else { return Ok(()) };
        merch_db::check_url(url.reveal()).map_err(|error| StartError::new(format!("--database-url (MERCH_DATABASE_URL): {error}")))
    }

    /// Whether it is the SQLite file in the data folder.
    pub(crate) fn is_default(&self) -> bool {
        self.database_url.is_none()
    }

    /// The URL that is set, or that of the file in `data_dir`.
    pub(crate) fn or_in(&self, data_dir: &Path) -> String {
        self.database_url.as_ref().map_or_else(|| data_dir::sqlite_url(data_dir), |url| url.reveal().to_owned())
    }
}
