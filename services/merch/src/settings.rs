//! Flags and environment variables, with their defaults.
//!
//! Each role has only the settings that it uses; `config.rs` converts them for the services.

pub(crate) mod api;
pub(crate) mod common;
pub(crate) mod db;
pub(crate) mod logging;
pub(crate) mod operations;
pub(crate) mod secret;
pub(crate) mod values;
pub(crate) mod variables;

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand};

const ABOUT: &str = "\
The SUSTech Merch Store.

Without a subcommand: runs the whole store in one process. No setting is required: the database is \
an SQLite file and the Kafka broker is in memory. The data directory contains the database and the \
key that signs tokens. When the store is ready, it prints its addresses and writes them to run.json \
in the data directory.

Every option has an environment variable, named in its help; the option wins. Prefer variables or \
files for passwords and keys: other users of a machine can see the options of a program.";

#[derive(Debug, Parser)]
#[command(
    name = "merch",
    version,
    about = "The SUSTech Merch Store",
    long_about = ABOUT,
    args_conflicts_with_subcommands = true,
    max_term_width = 120
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) whole_store: WholeStore,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run only the api service: authentication and HTTP in front of a db and a logging service
    Api(ApiRole),
    /// Run only the db service: users, products and orders over gRPC, in front of the database
    Db(DbRole),
    /// Run only the logging service: log events over gRPC, into Kafka
    Logging(LoggingRole),
    /// Migrate the database's schema
    Migrate(Migrate),
    /// Create the Kafka topic of the log events, or print how the existing one differs from the
    /// settings
    Topic(Topic),
    /// Read the store's log events from Kafka
    Logs(Logs),
    /// Check whether a running store is ready; exit code 0 if it is, 1 otherwise
    Health(Health),
    /// Change stock and prices, list and deactivate users, revoke tokens; each change is a log
    /// event
    #[command(subcommand)]
    Admin(operations::Admin),
    /// Run SQL on the SQLite file of a store, also while it runs; read-only without --write
    Sql(operations::Sql),
    /// Write an embedded store to one file, also while it runs
    Backup(operations::Backup),
    /// Replace an embedded store with a backup
    Restore(operations::Restore),
    /// Show live orders, stock, failures, lag and replicas
    Top(operations::Top),
    /// Create and renew the certificates with which the roles authenticate each other
    #[command(subcommand)]
    Pki(operations::Pki),
}

/// `merch` without a subcommand
#[derive(Debug, Args)]
pub(crate) struct WholeStore {
    #[command(flatten)]
    pub(crate) api: api::Api,
    #[command(flatten)]
    pub(crate) keys: api::TokenKeys,
    #[command(flatten)]
    pub(crate) db: db::Db,
    #[command(flatten)]
    pub(crate) database: db::DatabaseUrl,
    #[command(flatten)]
    pub(crate) logging: logging::Logging,
    /// Kafka's bootstrap servers, host:port, separated by commas [default: an in-memory broker in
    /// this process]
    #[arg(
        long,
        env = "MERCH_KAFKA_BROKERS",
        value_name = "HOST:PORT,…",
        value_parser = values::brokers,
        help_heading = "Kafka"
    )]
    pub(crate) kafka_brokers: Option<String>,
    #[command(flatten)]
    pub(crate) kafka_security: logging::KafkaSecurity,
    #[command(flatten)]
    pub(crate) admin: operations::AdminToken,
    #[command(flatten)]
    pub(crate) limits: common::SharedLimits,
    #[command(flatten)]
    pub(crate) data: common::Data,
    #[command(flatten)]
    pub(crate) grpc: common::Grpc,
    #[command(flatten)]
    pub(crate) role: common::ProcessSettings,
}

#[derive(Debug, Args)]
pub(crate) struct ApiRole {
    #[command(flatten)]
    pub(crate) api: api::Api,
    #[command(flatten)]
    pub(crate) keys: api::TokenKeys,
    /// The db service: one name for all replicas, or several URLs, separated by commas
    #[arg(
        long,
        env = "MERCH_DB_ENDPOINT",
        value_name = "URL,…",
        default_value = "http://127.0.0.1:50051",
        value_parser = values::endpoints,
        help_heading = "Addresses"
    )]
    pub(crate) db_endpoint: String,
    #[command(flatten)]
    pub(crate) logging_service: logging::LoggingEndpoint,
    #[command(flatten)]
    pub(crate) limits: common::SharedLimits,
    #[command(flatten)]
    pub(crate) data: common::Data,
    #[command(flatten)]
    pub(crate) role: common::ProcessSettings,
}

#[derive(Debug, Args)]
pub(crate) struct DbRole {
    #[command(flatten)]
    pub(crate) db: db::Db,
    #[command(flatten)]
    pub(crate) admin: operations::AdminToken,
    #[command(flatten)]
    pub(crate) database: db::DatabaseUrl,
    #[command(flatten)]
    pub(crate) logging_service: logging::LoggingEndpoint,
    #[command(flatten)]
    pub(crate) limits: common::SharedLimits,
    #[command(flatten)]
    pub(crate) data: common::Data,
    #[command(flatten)]
    pub(crate) grpc: common::Grpc,
    #[command(flatten)]
    pub(crate) role: common::ProcessSettings,
}

#[derive(Debug, Args)]
pub(crate) struct LoggingRole {
    #[command(flatten)]
    pub(crate) logging: logging::Logging,
    #[command(flatten)]
    pub(crate) kafka: logging::Kafka,
    #[command(flatten)]
    pub(crate) grpc: common::Grpc,
    #[command(flatten)]
    pub(crate) role: common::ProcessSettings,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Only print the pending migrations; exit code 1 if there are any
    #[arg(long)]
    pub(crate) status: bool,
    /// The database was restored from a backup of this time (RFC 3339): revokes all tokens, because
    /// tokens revoked after the backup would be valid again, and writes an event
    #[arg(long, value_name = "TIME", conflicts_with = "status", value_parser = values::time)]
    pub(crate) restored: Option<String>,
    #[command(flatten)]
    pub(crate) database: db::DatabaseUrl,
    #[command(flatten)]
    pub(crate) data: common::Data,
    #[command(flatten)]
    pub(crate) log: common::Log,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Continue with new events until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print each event as a line of JSON, unchanged from the topic
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Kafka's bootstrap servers [default: those of the store that runs with the data directory]
    #[arg(
        long,
        env = "MERCH_KAFKA_BROKERS",
        value_name = "HOST:PORT,…",
        value_parser = values::brokers,
        help_heading = "Kafka"
    )]
    pub(crate) kafka_brokers: Option<String>,
    #[command(flatten)]
    pub(crate) topic: logging::TopicName,
    #[command(flatten)]
    pub(crate) security: logging::KafkaSecurity,
    #[command(flatten)]
    pub(crate) data: common::Data,
    #[command(flatten)]
    pub(crate) log: common::Log,
}

/// Selects events; all given filters have to match.
#[derive(Debug, Default, Args)]
pub(crate) struct Filter {
    /// Only these events, such as order_placed, separated by commas; log_in* selects by prefix
    #[arg(long, value_name = "EVENT,…", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) event: Vec<String>,
    /// Only events about this subject: order:ID, or order: for all orders
    #[arg(long, value_name = "TYPE:ID", help_heading = "Filters")]
    pub(crate) subject: Option<String>,
    /// Only events of this level or higher: debug, info, warn or error
    #[arg(
        long,
        value_name = "LEVEL",
        value_parser = ["debug", "info", "warn", "error"],
        help_heading = "Filters"
    )]
    pub(crate) level: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Topic {
    #[command(flatten)]
    pub(crate) kafka: logging::Kafka,
    #[command(flatten)]
    pub(crate) topic: logging::TopicConfig,
    /// How long to wait for a Kafka that does not answer yet
    #[arg(
        long,
        env = "MERCH_KAFKA_PATIENCE",
        value_name = "TIME",
        default_value = "60s",
        value_parser = values::duration,
        help_heading = "Limits"
    )]
    pub(crate) kafka_patience: Duration,
    #[command(flatten)]
    pub(crate) log: common::Log,
}

#[derive(Debug, Args)]
pub(crate) struct Health {
    /// The admin address to query [default: that of the store that runs with the data directory]
    #[arg(long, env = "MERCH_ADMIN_LISTEN", value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) data: common::Data,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_valid() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_setting_has_help_and_a_variable() {
        /// Arguments of one invocation, which have no variable.
        const WITHOUT_VARIABLE: &[&str] = &[
            "help", "version", "status", "follow", "json", "add", "set", "key", "prefix", "active",
            "limit", "everyone", "write", "replace", "once", "event", "subject", "level",
            "restored",
        ];
        let everything = Arguments::command();
        for command in variables::commands(&everything) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                assert!(argument.get_help().is_some(), "{} --{id} has no help", command.get_name());
                if !argument.is_positional() && !WITHOUT_VARIABLE.contains(&id) {
                    let variable = argument
                        .get_env()
                        .unwrap_or_else(|| panic!("{} --{id} has no variable", command.get_name()));
                    assert_eq!(
                        variable,
                        format!("MERCH_{}", id.to_uppercase()).as_str(),
                        "{}",
                        command.get_name()
                    );
                }
            }
        }
    }

    #[test]
    fn help_hides_secret_values() {
        for secret in ["jwt_key", "jwt_verify_key", "database_url", "admin_token", "kafka_password"]
        {
            let command = Arguments::command();
            let argument =
                command.get_arguments().find(|argument| argument.get_id() == secret).unwrap();
            assert!(argument.is_hide_env_values_set(), "{secret}");
        }
    }

    #[test]
    fn subcommands_reject_whole_store_settings() {
        assert!(Arguments::try_parse_from(["merch", "--listen", "127.0.0.1:0", "logs"]).is_err());
        assert!(
            Arguments::try_parse_from(["merch", "api", "--database-url", "sqlite://x"]).is_err()
        );
        assert!(Arguments::try_parse_from(["merch", "api", "--listen", "127.0.0.1:0"]).is_ok());
    }
}
