//! `merch`: the store in one process, each of its roles alone, and the commands that an operator
//! needs.
//!
//! Here is all that reads flags and environment, prints, and decides exit codes: 0 done, 1 failed
//! (one sentence on standard error), 2 a wrong command line.

mod admin;
mod admin_key;
mod archive;
mod attend;
mod backup;
mod config;
mod core_dumps;
mod data_dir;
mod database_lock;
mod failure;
mod health;
mod interrupt;
mod logs;
mod migrate;
mod pki;
mod restore;
mod roles;
mod run_file;
mod settings;
mod shell;
mod signing_key;
mod sql;
mod sqlite;
mod store;
mod supervisor;
mod table;
mod top;
mod topic;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser as _;
use command_output::parsed;
use merch_chassis::{StartError, telemetry};
use tokio::runtime::Runtime;

use crate::{
    failure::Failure,
    settings::{
        Arguments, Command,
        common::{Log, Role},
        variables,
    },
};

/// How long threads that are busy at the end are waited for.
const LINGER: Duration = Duration::from_secs(5);

/// Runs the program with the arguments and the environment of this process, and returns its exit
/// code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match parsed(Arguments::try_parse().map_err(variables::named)) {
        Ok(arguments) => arguments,
        Err(exit_code) => return exit_code,
    };
    run(arguments).unwrap_or_else(|failure| {
        telemetry::run_with_timeout(move || failure.report()).unwrap_or(ExitCode::FAILURE)
    })
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    // Declared first, so that it is dropped last: the log is flushed after everything has ended.
    let mut _flush = None;
    if let Some(log) = log_of(&arguments) {
        _flush = telemetry::init(log.log_format, &log.log_filter).map(Some).map_err(|error| {
            StartError::new(format!("--log-filter (MERCH_LOG_FILTER): {error}"))
        })?;
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for sentence in variables::unread(names, arguments.command.is_none()) {
            tracing::warn!("variables of the environment are {sentence}");
        }
    }
    core_dumps::allow(role_of(&arguments).is_some_and(|role| role.core_dumps));
    // Each connection is an open file, and the usual soft limit of 1,024 is there for programs that
    // cannot count further. What the system grants has to do.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the number of open files stays as low as it is");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            StartError::new(format!("the threads of this process cannot be started: {error}"))
        })?;
    block_on(runtime, LINGER, async {
        match arguments.command {
            None => store::run(arguments.store).await?,
            Some(Command::Api(settings)) => roles::api(settings).await?,
            Some(Command::Db(settings)) => roles::db(settings).await?,
            Some(Command::Logging(settings)) => roles::logging(settings).await?,
            Some(Command::Migrate(settings)) => return migrate::run(&settings).await,
            Some(Command::Topic(settings)) => topic::run(&settings).await?,
            Some(Command::Logs(settings)) => logs::run(&settings).await?,
            Some(Command::Health(settings)) => health::run(&settings)?,
            Some(Command::Admin(command)) => admin::run(&command).await?,
            Some(Command::Sql(settings)) => return sql::run(&settings).await,
            Some(Command::Backup(settings)) => backup::run(&settings).await?,
            Some(Command::Restore(settings)) => restore::run(&settings).await?,
            Some(Command::Top(settings)) => top::run(&settings).await?,
            Some(Command::Pki(command)) => pki::run(&command)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs `work`, and waits at most `linger` for threads that it leaves busy: a call of librdkafka
/// that never returns must not keep the process from ending.
fn block_on<T>(runtime: Runtime, linger: Duration, work: impl Future<Output = T>) -> T {
    let result = runtime.block_on(work);
    let begun = Instant::now();
    runtime.shutdown_timeout(linger);
    if begun.elapsed() >= linger {
        tracing::warn!(seconds = linger.as_secs_f64(), "a thread is still busy; ending without it");
    }
    result
}

/// The settings of a process that serves.
fn role_of(arguments: &Arguments) -> Option<&Role> {
    match &arguments.command {
        None => Some(&arguments.store.role),
        Some(Command::Api(settings)) => Some(&settings.role),
        Some(Command::Db(settings)) => Some(&settings.role),
        Some(Command::Logging(settings)) => Some(&settings.role),
        Some(_) => None,
    }
}

fn log_of(arguments: &Arguments) -> Option<&Log> {
    match &arguments.command {
        None | Some(Command::Api(_) | Command::Db(_) | Command::Logging(_)) => {
            role_of(arguments).map(|role| &role.log)
        }
        Some(Command::Migrate(settings)) => Some(&settings.log),
        Some(Command::Topic(settings)) => Some(&settings.log),
        Some(Command::Logs(settings)) => Some(&settings.log),
        Some(Command::Backup(settings)) => Some(&settings.log),
        Some(Command::Restore(settings)) => Some(&settings.log),
        Some(
            Command::Health(_)
            | Command::Admin(_)
            | Command::Sql(_)
            | Command::Top(_)
            | Command::Pki(_),
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn a_thread_that_never_ends_does_not_keep_the_process() {
        let (ended, end) = mpsc::channel();
        // Kept to the end of the test, so that the blocked call does not return.
        let (_release, blocked) = mpsc::channel::<()>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
            let result = block_on(runtime, Duration::from_millis(50), async {
                let (begun, beginning) = tokio::sync::oneshot::channel();
                drop(tokio::task::spawn_blocking(move || {
                    begun.send(()).unwrap();
                    blocked.recv()
                }));
                beginning.await.unwrap();
                7
            });
            ended.send(result).unwrap();
        });
        assert_eq!(end.recv_timeout(Duration::from_secs(60)), Ok(7));
    }
}
