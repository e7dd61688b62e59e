//! The commands behind tools/breaking and tools/release-contract.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use command_output::{OutputError, eprint_line, parsed, print, print_done};
use contract_breaking::{Baseline, CHANGELOG, Gate, release};

/// Refuses changes of the contracts that break their last release, and releases the contracts.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Directory of the checkout
    #[arg(long, global = true, default_value = ".")]
    root: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Fail if the contracts break the last release and the major of info.version has not grown
    Check {
        /// Path of oasdiff; without it, only the own rules check openapi.yaml
        #[arg(long)]
        oasdiff: Option<PathBuf>,
        /// Path of buf
        #[arg(long)]
        buf: PathBuf,
    },
    /// Release the contracts: replace the baseline and add an entry to docs/contract-changelog.md
    Release {
        /// Path of oasdiff
        #[arg(long)]
        oasdiff: PathBuf,
        /// Path of buf
        #[arg(long)]
        buf: PathBuf,
        /// Date of the release in UTC, such as 2026-11-22
        #[arg(long)]
        date: String,
    },
    /// Replace the baseline without a release; only for versions that were never published
    Replace,
}

fn main() -> ExitCode {
    let arguments = match parsed(Arguments::try_parse()) {
        Ok(arguments) => arguments,
        Err(exit_code) => return exit_code,
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<OutputError>() {
            Some(error) => error.report(),
            None => {
                eprint_line(error);
                ExitCode::FAILURE
            }
        },
    }
}

fn run(Arguments { command, root }: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    // Absolute, because the programs run in other directories.
    let program = |path: PathBuf| {
        path.canonicalize()
            .map_err(|error| format!("{}: {error}; run tools/install", path.display()))
    };
    match command {
        Command::Check { oasdiff, buf } => {
            let oasdiff = oasdiff.map(program).transpose()?;
            let report = Gate { root, oasdiff, buf: program(buf)? }.check()?;
            if report.is_refused() {
                return Err(report.to_string().into());
            }
            print(report)?;
        }
        Command::Release { oasdiff, buf, date } => {
            let (oasdiff, buf) = (Some(program(oasdiff)?), program(buf)?);
            let report = Gate { root: root.clone(), oasdiff, buf }.check()?;
            let released = release(&root, &report, &date)?;
            let done = format!("released {released}; you may improve the entry in {CHANGELOG}");
            print_done(&done, format_args!("{report}\n{done}"))?;
        }
        Command::Replace => {
            let done = format!(
                "replaced contract-tests/released/ with the contracts of this checkout, {}",
                Baseline::replace(&root)?
            );
            print_done(&done, &done)?;
        }
    }
    Ok(())
}
