//! `merch-cli`: every operation of `openapi.yaml` as a subcommand, over the generated command line.
//!
//! What the generated code leaves open is decided here: where the store is, how a token and a
//! password get in, how an answer is shown, and exit codes: 0 done, 1 refused or not reached, 2 a
//! wrong command line.

mod arguments;
mod passwords;
mod report;

use std::{process::ExitCode, time::Duration};

use clap::ArgMatches;
use command_output::{eprint_line, parsed};
use merch_contract::{
    rest::{
        cli::{Cli, CliCommand},
        client::Client,
    },
    sdk::{RetryPolicy, StoreClient},
};

use crate::report::Report;

/// The longest a request may take. Hashing a password takes a moment, and a log-in may wait for its
/// turn.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let matches = match parsed(arguments::command().try_get_matches()) {
        Ok(matches) => matches,
        Err(exit_code) => return exit_code,
    };
    let Some((operation, matches_of_operation)) = arguments::operation(&matches) else {
        // clap insists on a subcommand, and there are no others.
        return ExitCode::from(2);
    };
    match run(&matches, operation, matches_of_operation).await {
        Ok(exit_code) => exit_code,
        Err(error) => {
            eprint_line(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(
    global: &ArgMatches,
    operation: CliCommand,
    matches: &ArgMatches,
) -> anyhow::Result<ExitCode> {
    let client = client(global)?;
    let matches = passwords::complete(operation, matches)?;
    let report = Report::new(operation, global.get_one("raw").cloned(), global.get_flag("verbose"));
    let cli = Cli::new(client, report.clone());
    match cli.execute(operation, &matches).await {
        // The report has told of it, in better words than the error's own.
        Err(error) if !report.told() => Err(error),
        _ if report.failed() => Ok(ExitCode::FAILURE),
        _ if let Some(error) = report.output_error() => Ok(error.report()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A client of the store at `--url` that sends `--token`, if there is one, with every request.
fn client(global: &ArgMatches) -> anyhow::Result<Client> {
    let url =
        global.get_one::<reqwest::Url>("url").ok_or_else(|| anyhow::anyhow!("no --url given"))?;
    let mut builder = StoreClient::builder(url.as_str())
        .user_agent(concat!("merch-cli/", env!("CARGO_PKG_VERSION")))
        .timeout(REQUEST_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        // Whoever types a command sees at once that the store is busy, and decides.
        .retries(RetryPolicy::NEVER);
    // An empty variable is as good as none: `export MERCH_TOKEN=` is how people forget a token.
    if let Some(token) = global
        .get_one::<String>("token")
        .map(|token| token.trim())
        .filter(|token| !token.is_empty())
    {
        builder = builder.token(token);
    }
    Ok(builder.build()?.into_client())
}
