//! `merch-cli`: every operation of `openapi.yaml` as a subcommand.
//!
//! Exit codes: 0 success, 1 refused or unreachable, 2 invalid command line.

mod arguments;
mod operations;
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

/// Hashing a password takes time, and a log-in may wait in the queue.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let matches = match parsed(arguments::command().try_get_matches()) {
        Ok(matches) => matches,
        Err(exit_code) => return exit_code,
    };
    let Some((operation, matches_of_operation)) = arguments::operation(&matches) else {
        // clap requires one of these subcommands.
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
        // The report has printed a better message.
        Err(error) if !report.reported() => Err(error),
        _ if report.failed() => Ok(ExitCode::FAILURE),
        _ if let Some(error) = report.output_error() => Ok(error.report()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn client(global: &ArgMatches) -> anyhow::Result<Client> {
    let url =
        global.get_one::<reqwest::Url>("url").ok_or_else(|| anyhow::anyhow!("--url is missing"))?;
    let mut builder = StoreClient::builder(url.as_str())
        .user_agent(concat!("merch-cli/", env!("CARGO_PKG_VERSION")))
        .timeout(REQUEST_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        // The user decides whether to retry when the store is busy.
        .retries(RetryPolicy::NEVER);
    // An empty variable counts as not set: `export MERCH_TOKEN=` removes a token.
    if let Some(token) = global
        .get_one::<String>("token")
        .map(|token| token.trim())
        .filter(|token| !token.is_empty())
    {
        builder = builder.token(token);
    }
    Ok(builder.build()?.into_client())
}
