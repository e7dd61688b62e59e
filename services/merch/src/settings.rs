//! The command line and the environment: what can be set, what it means, and what is taken when it
//! is not.
//!
//! Each role has only the settings that it uses, in a group of its own; `config.rs` turns them into
//! what the services take.

pub(crate) mod api;
pub(crate) mod common;
pub(crate) mod db;
pub(crate) mod logging;
pub(crate) mod operator;
pub(crate) mod secret;
pub(crate) mod values;
pub(crate) mod variables;

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand};

const ABOUT: &str = "\
The SUSTech Merch Store.

Without a subcommand: the whole store in one process. Nothing has to be set: the database is an SQLite file and the Kafka broker is in the process, \
and both, with the key that signs tokens, belong to the data folder. When it is ready it prints its addresses and writes them to run.json there.

Every option is also a variable of the environment, named in its help; the option wins. A password or key is better in the environment or a file, \
as other users of a machine can see the options of a program.";

/// `merch`
#[derive(Debug, Parser)]
#[command(name = "merch", version, about = "The SUSTech Merch Store", long_about = ABOUT, args_conflicts_with_subcommands = true, max_term_width = 120)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) store: Store,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Only the REST gateway: authentication and HTTP, in front of a db service and a logging
    /// service
    Api(ApiRole),
    /// Only the db service: users, products and orders over gRPC, in front of the database
    Db(DbRole),
    /// Only the logging service: log events over gRPC, into Kafka
    Logging(LoggingRole),
    /// Bring the database's schema up to date
    Migrate(Migrate),
    /// Make the Kafka topic of the log events, or say how the one that is there differs from what
    /// is asked for
    Topic(Topic),
    /// Read the store's log events from Kafka
    Logs(Logs),
    /// Ask a running store whether it is ready; exit code 0 when it is, 1 when it is not
    Health(Health),
    /// Change stock and prices, list and deactivate users, make tokens void: each is a log event
    #[command(subcommand)]
    Admin(operator::Admin),
    /// Run SQL against the SQLite file of a store, also while it runs; read-only unless told
    Sql(operator::Sql),
    /// Write the whole of an embedded store to one file, also while it runs
    Backup(operator::Backup),
    /// Put a backup in the place of an embedded store
    Restore(operator::Restore),
    /// Show what the store does now: orders, stock, failures, lag and replicas
    Top(operator::Top),
    /// Make and renew the certificates by which the roles know each other
    #[command(subcommand)]
    Pki(operator::Pki),
}

/// Everything in one process.
#[derive(Debug, Args)]
pub(crate) struct Store {
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
    /// Kafka's bootstrap servers, host:port with commas between them. Not set: a broker in this
    /// process, in memory
    #[arg(long, env = "MERCH_KAFKA_BROKERS", value_name = "HOST:PORT,…", value_parser = values::brokers, help_heading = "Kafka")]
    pub(crate) kafka_brokers: Option<String>,
    #[command(flatten)]
    pub(crate) kafka_security: logging::KafkaSecurity,
    #[command(flatten)]
    pub(crate) admin: operator::AdminToken,
    #[command(flatten)]
    pub(crate) users: common::Users,
    #[command(flatten)]
    pub(crate) writing: common::Events,
    #[command(flatten)]
    pub(crate) data: common::Data,
    #[command(flatten)]
    pub(crate) grpc: common::Grpc,
    #[command(flatten)]
    pub(crate) role: common::Role,
}

/// `merch api`
#[derive(Debug, Args)]
pub(crate) struct ApiRole {
    #[command(flatten)]
    pub(crate) api: api::Api,
    #[command(flatten)]
    pub(crate) keys: api::TokenKeys,
    /// Where the db service is; one name for all of its replicas, or several URLs with commas
    /// between them
    #[arg(long, env = "MERCH_DB_ENDPOINT", value_name = "URL,…", default_value = "http://127.0.0.1:50051", value_parser = values::endpoints, help_heading = "Addresses")]
    pub(crate) db_endpoint: String,
    #[command(flatten)]
    pub(crate) events: logging::Endpoint,
    #[command(flatten)]
    pub(crate) users: common::Users,
    #[command(flatten)]
    pub(crate) writing: common::Events,
    #[command(flatten)]
    pub(crate) data: common::Data,
    #[command(flatten)]
    pub(crate) role: common::Role,
}

/// `merch db`
#[derive(Debug, Args)]
pub(crate) struct DbRole {
    #[command(flatten)]
    pub(crate) db: db::Db,
    #[command(flatten)]
    pub(crate) admin: operator::AdminToken,
    #[command(flatten)]
    pub(crate) database: db::DatabaseUrl,
    #[command(flatten)]
    pub(crate) events: logging::Endpoint,
    #[command(flatten)]
    pub(crate) users: common::Users,
    #[command(flatten)]
    pub(crate) writing: common::Events,
    #[command(flatten)]
    pub(crate) data: common::Data,
    #[command(flatten)]
    pub(crate) grpc: common::Grpc,
    #[command(flatten)]
    pub(crate) role: common::Role,
}

/// `merch logging`
#[derive(Debug, Args)]
pub(crate) struct LoggingRole {
    #[command(flatten)]
    pub(crate) logging: logging::Logging,
    /// Kafka's bootstrap servers, host:port with commas between them
    #[arg(long, env = "MERCH_KAFKA_BROKERS", value_name = "HOST:PORT,…", required = true, value_parser = values::brokers, help_heading = "Kafka")]
    pub(crate) kafka_brokers: String,
    #[command(flatten)]
    pub(crate) kafka_security: logging::KafkaSecurity,
    #[command(flatten)]
    pub(crate) grpc: common::Grpc,
    #[command(flatten)]
    pub(crate) role: common::Role,
}

/// `merch migrate`
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Only say which migrations are pending; exit code 1 if any is
    #[arg(long)]
    pub(crate) status: bool,
    /// The database was just restored from a backup that was taken then (RFC 3339): every token
    /// becomes void, as those that were revoked since would hold again, and an event says so
    #[arg(long, value_name = "TIME", conflicts_with = "status", value_parser = values::time)]
    pub(crate) restored: Option<String>,
    #[command(flatten)]
    pub(crate) database: db::DatabaseUrl,
    #[command(flatten)]
    pub(crate) data: common::Data,
    #[command(flatten)]
    pub(crate) log: common::Log,
}

/// `merch logs`
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on with the events as they come, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Each event as one line of JSON, as it stands on the topic
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Kafka's bootstrap servers. Not set: those of the store that runs with the data folder
    #[arg(long, env = "MERCH_KAFKA_BROKERS", value_name = "HOST:PORT,…", value_parser = values::brokers, help_heading = "Kafka")]
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

/// Which events `merch logs` shows: those that everything given here allows.
#[derive(Debug, Default, Args)]
pub(crate) struct Filter {
    /// Only these events, such as order_placed, with commas between them; log_in* is all that begin
    /// like that
    #[arg(long, value_name = "WORD,…", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) event: Vec<String>,
    /// Only what was done to this: order:ID, or order: for all orders
    #[arg(long, value_name = "KIND:ID", help_heading = "Filters")]
    pub(crate) subject: Option<String>,
    /// Only events that are as grave as this, or graver: debug, info, warn or error
    #[arg(long, value_name = "LEVEL", value_parser = ["debug", "info", "warn", "error"], help_heading = "Filters")]
    pub(crate) level: Option<String>,
}

/// `merch topic`
#[derive(Debug, Args)]
pub(crate) struct Topic {
    /// Kafka's bootstrap servers, host:port with commas between them
    #[arg(long, env = "MERCH_KAFKA_BROKERS", value_name = "HOST:PORT,…", required = true, value_parser = values::brokers, help_heading = "Kafka")]
    pub(crate) kafka_brokers: String,
    #[command(flatten)]
    pub(crate) security: logging::KafkaSecurity,
    #[command(flatten)]
    pub(crate) topic: logging::WantedTopic,
    /// How long a Kafka that does not answer yet is waited for
    #[arg(long, env = "MERCH_KAFKA_PATIENCE", value_name = "TIME", default_value = "60s", value_parser = values::duration, help_heading = "Limits")]
    pub(crate) kafka_patience: Duration,
    #[command(flatten)]
    pub(crate) log: common::Log,
}

/// `merch health`
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// The admin address to ask. Not set: that of the store that runs with the data folder
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
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_setting_says_what_it_is_and_has_a_variable() {
        /// What is said anew each time, and is no setting.
        const OF_ONE_RUN: &[&str] = &[
            "help", "version", "status", "follow", "json", "add", "set", "key", "prefix", "active",
            "limit", "everyone", "write", "replace", "once", "event", "subject", "level",
            "restored",
        ];
        let everything = Arguments::command();
        for command in variables::commands(&everything) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                assert!(argument.get_help().is_some(), "{} --{id} has no help", command.get_name());
                if !argument.is_positional() && !OF_ONE_RUN.contains(&id) {
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
    fn secrets_are_not_shown_in_help() {
        for secret in ["jwt_key", "jwt_verify_key", "database_url", "admin_token", "kafka_password"]
        {
            let command = Arguments::command();
            let argument =
                command.get_arguments().find(|argument| argument.get_id() == secret).unwrap();
            assert!(argument.is_hide_env_values_set(), "{secret}");
        }
    }

    #[test]
    fn settings_of_the_whole_store_are_not_for_its_subcommands() {
        assert!(Arguments::try_parse_from(["merch", "--listen", "127.0.0.1:0", "logs"]).is_err());
        assert!(
            Arguments::try_parse_from(["merch", "api", "--database-url", "sqlite://x"]).is_err()
        );
        assert!(Arguments::try_parse_from(["merch", "api", "--listen", "127.0.0.1:0"]).is_ok());
    }
}
