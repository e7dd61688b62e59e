//! `merch-contract-tests`: the suite against an address, as a command.
//!
//! Here is all that reads the command line, prints, and decides exit codes: 0 all passed, 1
//! failures, 2 nothing was tested (one sentence on standard error).

use std::{io::Write as _, process::ExitCode, sync::Arc};

use clap::Parser;
use command_output::{OutputError, Stdout, eprint_line, parsed, print};
use contract_tests::{
    document::Document,
    options::{Options, Output},
    report::{self, Report},
    suite,
};
use tokio_util::sync::CancellationToken;

/// Nothing was tested: a wrong command line, no document, or nobody at the address.
const UNUSABLE: u8 = 2;

/// As shells have it for a program that an interrupt has ended.
const KILLED: i32 = 130;

const ABOUT: &str = "\
Holds an implementation of the SUSTech Merch Store's openapi.yaml against the document, over HTTP alone.

It makes a few users, buys, changes and cancels, and leaves the catalogue as it found it, after Ctrl-C too: what it bought is cancelled, and its users are \
deactivated. A second Ctrl-C ends it at once.

On standard output is a table of every operation and every status that it declares, and each failure with a curl command to paste.";

const AFTER_HELP: &str = "\
Examples:
  merch-contract-tests --url http://127.0.0.1:8080
  merch-contract-tests --url https://staging.example/merch --only OrderManager --junit report.xml
  merch-contract-tests --url http://127.0.0.1:8080 --exhaust-stock --json > report.json

Exit codes: 0 all passed, 1 something failed or was not reached, 2 nothing was tested.";

/// `merch-contract-tests`
#[derive(Debug, Parser)]
#[command(name = "merch-contract-tests", version, about = "Holds a running store against openapi.yaml", long_about = ABOUT, after_help = AFTER_HELP, max_term_width = 120)]
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
                // A reader that has gone has read enough, and a failure is still one.
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
            ExitCode::from(UNUSABLE)
        }
    }
}

/// The report, and whether it got to standard output.
///
/// # Errors
/// Why nothing was tested, or its file cannot be written.
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
    // Before the run, which takes minutes: a report that cannot be written is noticed at once.
    let junit = match &output.junit {
        None => None,
        Some(path) => {
            let file = std::fs::File::create(path);
            Some((
                path,
                file.map_err(|error| {
                    format!(
                        "--junit {}: expected a file that can be written, but {error}",
                        path.display()
                    )
                })?,
            ))
        }
    };
    let signals = Signals::listen()
        .map_err(|error| format!("expected that Ctrl-C can be listened for, but {error}"))?;
    tokio::spawn(stop_on(signals, options.stop.clone()));
    let report = suite::run(options, Arc::new(document)).await;
    if let Some((path, mut file)) = junit {
        let written = file.write_all(report::junit(&report).as_bytes());
        written.map_err(|error| format!("--junit {}: {error}", path.display()))?;
    }
    if let (Some(why), false) = (&report.unusable, output.json) {
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
    match &report.unusable {
        Some(why) => Err(why.clone()),
        None => Ok((report, printed)),
    }
}

/// SIGINT (Ctrl-C) and SIGTERM.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// From now on none ends this program by itself.
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

/// Ctrl-C.
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

/// The first signal ends the run in good order, the second at once.
async fn stop_on(mut signals: Signals, stop: CancellationToken) {
    signals.next().await;
    stop.cancel();
    // On a thread of its own: a standard error that is a full pipe must not keep the second signal
    // from being seen.
    std::thread::spawn(|| {
        eprint_line("interrupted: cleaning up what is left in the store; once more, and it stays")
    });
    signals.next().await;
    std::process::exit(KILLED);
}

/// The run in one sentence.
fn summary(report: &Report) -> String {
    let (passed, failed, skipped) = report.counts();
    format!(
        "the suite has run, and cleaned up: {passed} cases passed, {failed} failed, {skipped} were skipped"
    )
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
    fn every_option_says_what_it_is_and_secrets_are_not_shown() {
        let command = Arguments::command();
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} has no help", argument.get_id());
        }
        let secret =
            command.get_arguments().find(|argument| argument.get_id() == "expired_token").unwrap();
        assert!(secret.is_hide_env_values_set());
    }

    #[test]
    fn the_command_line_has_the_defaults_of_the_library() {
        let parsed = Arguments::try_parse_from(["merch-contract-tests", "--url", "http://h:1"])
            .unwrap()
            .options;
        let ours = Options::new("http://h:1".parse().unwrap());
        assert_eq!((parsed.jobs, parsed.timeout, parsed.url), (ours.jobs, ours.timeout, ours.url));
        assert!(!parsed.exhaust_stock && !ours.exhaust_stock && parsed.only.is_empty());
    }
}
