//! `merch`: the whole store, its roles, and the operator's commands.
//!
//! Only this crate reads flags and the environment, prints, and chooses exit codes: 0 success, 1
//! failure (one message on standard error), 2 invalid command line.

mod admin;
mod admin_key;
mod archive;
mod backup;
mod command_error;
mod config;
mod core_dumps;
mod data_dir;
mod database_lock;
mod health;
mod hex;
mod interrupt;
mod lifecycle;
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
mod supervisor;
mod table;
mod top;
mod topic;
mod whole_store;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser as _;
use command_output::parsed;
use merch_chassis::{StartError, telemetry};
use tokio::runtime::Runtime;

use crate::{
    command_error::CommandError,
    settings::{
        Arguments, Command,
        common::{Log, ProcessSettings},
        variables,
    },
};

/// How long to wait for blocked threads at exit.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the program and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match parsed(Arguments::try_parse().map_err(variables::with_variable_names)) {
        Ok(arguments) => arguments,
        Err(exit_code) => return exit_code,
    };
    run(arguments).unwrap_or_else(|error| {
        telemetry::run_with_timeout(move || error.report()).unwrap_or(ExitCode::FAILURE)
    })
}

fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    // Dropped last: flushes the log after everything else has ended.
    let mut _flush = None;
    if let Some(log) = log_of(&arguments) {
        _flush = telemetry::init(log.log_format, &log.log_filter).map(Some).map_err(|error| {
            StartError::new(format!("--log-filter (MERCH_LOG_FILTER): {error}"))
        })?;
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for message in variables::unused_variables(names, arguments.command.is_none()) {
            tracing::warn!("environment variables {message}");
        }
    }
    core_dumps::allow(role_of(&arguments).is_some_and(|role| role.core_dumps));
    // Each connection needs a descriptor; the usual soft limit is 1,024.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "failed to raise the open file limit");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::new(format!("failed to start threads: {error}")))?;
    block_on(runtime, SHUTDOWN_TIMEOUT, async {
        match arguments.command {
            None => whole_store::run(arguments.whole_store).await?,
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

/// Waits at most `timeout` for blocked threads: a librdkafka call that never returns must not block
/// the exit.
fn block_on<T>(runtime: Runtime, timeout: Duration, work: impl Future<Output = T>) -> T {
    let result = runtime.block_on(work);
    let started = Instant::now();
    runtime.shutdown_timeout(timeout);
    if started.elapsed() >= timeout {
        tracing::warn!(
            seconds = timeout.as_secs_f64(),
            "a thread is still blocked; exiting without it"
        );
    }
    result
}

fn role_of(arguments: &Arguments) -> Option<&ProcessSettings> {
    match &arguments.command {
        None => Some(&arguments.whole_store.role),
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
    fn blocked_thread_does_not_prevent_exit() {
        let (ended, end) = mpsc::channel();
        // Keeps the call blocked until the end of the test.
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
