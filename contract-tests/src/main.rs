//! `merch-contract-tests`: the command line of the suite.
//!
//! Exit codes: 0 all passed, 1 failures, 2 nothing was tested.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use clap::Parser;
use command_output::{OutputError, Stdout, eprint_line, parsed, print};
use contract_tests::{
    document::Document,
    options::{Options, Output},
    report::{self, Report},
};
use tokio_util::sync::CancellationToken;

/// A wrong command line, an invalid document, or an unreachable store.
const NOT_TESTED: u8 = 2;

const INTERRUPTED: i32 = 130;

const ABOUT: &str = "\
Tests a running implementation of the SUSTech Merch Store's openapi.yaml over HTTP.

The suite registers users, changes them, and places and cancels orders. At the end, even after \
Ctrl-C, it cancels its orders and deactivates its users. A second Ctrl-C exits immediately.

Prints a table of every operation and declared status, and each failure with a curl command that \
repeats it.";

const AFTER_HELP: &str = "\
Examples:
  merch-contract-tests --url http://127.0.0.1:8080
  merch-contract-tests --url https://staging.example/merch --only OrderManager --junit report.xml
  merch-contract-tests --url http://127.0.0.1:8080 --exhaust-stock --json > report.json

Exit codes: 0 all passed, 1 a case failed or a status was not reached, 2 nothing was tested.";

#[derive(Debug, Parser)]
#[command(
    name = "merch-contract-tests",
    version,
    about = "Tests a running store against openapi.yaml",
    long_about = ABOUT,
    after_help = AFTER_HELP,
    max_term_width = 120
)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    output: Output,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = match parsed(Arguments::try_parse()) {
        Ok(arguments) => arguments,
        Err(exit_code) => return exit_code,
    };
    arguments.options.progress = true;
    match run(arguments).await {
        Ok((report, printed)) => {
            match printed.map_err(|error| error.after(summary(&report)).report()) {
                Ok(()) if report.failed() => ExitCode::FAILURE,
                Ok(()) => ExitCode::SUCCESS,
                // A closed pipe is no error, but a failed run is.
                Err(exit_code) => {
                    if report.failed() {
                        ExitCode::FAILURE
                    } else {
                        exit_code
                    }
                }
            }
        }
        Err(why) => {
            eprint_line(format_args!("error: {why}"));
            ExitCode::from(NOT_TESTED)
        }
    }
}

/// The report, and whether it was printed.
///
/// # Errors
/// Why nothing was tested, or why the JUnit file cannot be written.
async fn run(
    Arguments { options, output }: Arguments,
) -> Result<(Report, Result<(), OutputError>), String> {
    let document = match &output.spec {
        None => Document::embedded(),
        Some(path) => {
            let name = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("--spec {name}: expected a document, but {error}"))?;
            Document::read(&text).map_err(|error| format!("--spec {name}: {error}"))?
        }
    };
    // Created first, so that an unwritable file fails before the run.
    let junit = match &output.junit {
        None => None,
        Some(path) => {
            let file = std::fs::File::create(path);
            Some((
                path,
                file.map_err(|error| {
                    format!("--junit {}: expected a writable file, but {error}", path.display())
                })?,
            ))
        }
    };
    let signals =
        Signals::listen().map_err(|error| format!("failed to install signal handlers: {error}"))?;
    tokio::spawn(stop_on(signals, options.stop.clone()));
    let report = contract_tests::run(options, Arc::new(document)).await;
    if let Some((path, mut file)) = junit {
        let written = file.write_all(report::junit(&report).as_bytes());
        written.map_err(|error| format!("--junit {}: {error}", path.display()))?;
    }
    if let (Some(why), false) = (&report.not_tested, output.json) {
        return Err(why.clone());
    }
    let text = if output.json {
        format!("{:#}", report::json(&report))
    } else {
        let colours = Stdout::is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        report::table(&report, colours)
    };
    let printed = print(text.trim_end_matches('\n'));
    match &report.not_tested {
        Some(why) => Err(why.clone()),
        None => Ok((report, printed)),
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The first signal stops the run and cleans up; the second exits immediately.
async fn stop_on(mut signals: Signals, stop: CancellationToken) {
    signals.next().await;
    stop.cancel();
    // In a thread: a stalled stderr must not block the second signal.
    std::thread::spawn(|| {
        eprint_line("interrupted: cleaning up the store; interrupt again to exit immediately")
    });
    signals.next().await;
    std::process::exit(INTERRUPTED);
}

fn summary(report: &Report) -> String {
    let (passed, failed, skipped) = report.counts();
    format!(
        "the suite ran and cleaned up: {passed} cases passed, {failed} failed, {skipped} skipped"
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_have_help_and_hide_secrets() {
        let command = Arguments::command();
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} has no help", argument.get_id());
        }
        let secret =
            command.get_arguments().find(|argument| argument.get_id() == "expired_token").unwrap();
        assert!(secret.is_hide_env_values_set());
    }

    #[test]
    fn command_line_defaults_match_the_library() {
        let parsed = Arguments::try_parse_from(["merch-contract-tests", "--url", "http://h:1"])
            .unwrap()
            .options;
        let ours = Options::new("http://h:1".parse().unwrap());
        assert_eq!((parsed.jobs, parsed.timeout, parsed.url), (ours.jobs, ours.timeout, ours.url));
        assert!(!parsed.exhaust_stock && !ours.exhaust_stock && parsed.only.is_empty());
    }
}
