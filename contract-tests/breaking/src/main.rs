//! `contract-breaking check`, `release` and `replace`: what tools/breaking and
//! tools/release-contract call.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use command_output::{OutputError, eprint_line, parsed, print, print_done};
use contract_breaking::{
    gate::Gate,
    release::{self, Baseline},
};

/// Refuses a change of the contracts that breaks their last release, and makes the next release.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The checkout.
    #[arg(long, global = true, default_value = ".")]
    root: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Fails if the contracts break the last release and `info.version` does not say so.
    Check(Tools),
    /// Makes the contracts as they are the last release, and writes the entry in
    /// docs/contract-changelog.md.
    Release {
        #[command(flatten)]
        tools: Tools,
        /// The day of the release in UTC: 2026-11-22.
        #[arg(long)]
        date: String,
    },
    /// Makes the contracts as they are the baseline without a release. Only for what nobody has
    /// been given yet.
    Replace,
}

#[derive(Args)]
struct Tools {
    /// The program `redocly`.
    #[arg(long)]
    redocly: PathBuf,
    /// The program `buf`.
    #[arg(long)]
    buf: PathBuf,
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
    // They run in other folders.
    let program = |path: PathBuf| {
        path.canonicalize()
            .map_err(|error| format!("{}: {error}; tools/install brings it", path.display()))
    };
    let gate = |Tools { redocly, buf }: Tools| {
        Ok::<Gate, String>(Gate {
            root: root.clone(),
            redocly: program(redocly)?,
            buf: program(buf)?,
        })
    };
    match command {
        Command::Check(tools) => {
            let report = gate(tools)?.examine()?;
            if report.refused() {
                return Err(report.to_string().into());
            }
            print(report)?;
        }
        Command::Release { tools, date } => {
            let report = gate(tools)?.examine()?;
            let released = release::release(&root, &report, &date)?;
            let done = format!(
                "released {released}; the entry in {} may be made better by hand",
                release::CHANGELOG
            );
            print_done(&done, format_args!("{report}\n{done}"))?;
        }
        Command::Replace => {
            let done = format!(
                "contract-tests/released/ is now the contracts of this checkout, {}",
                Baseline::replace(&root)?
            );
            print_done(&done, &done)?;
        }
    }
    Ok(())
}
