//! `chaos`: see `make chaos`.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use chaos::{
    books::Deployment,
    run::{Options, check_again, run},
    soak,
    store::{Machine, Store},
};
use clap::Parser;

/// Runs the built store under random faults of processes, networks, disks and clocks, and checks
/// its promises.
#[derive(Debug, Parser)]
struct Arguments {
    /// The seed of the plan of faults and of the clients
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long a run lasts
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// The number of runs, with this seed and the following ones
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// The store
    #[arg(long, value_enum, default_value = "roles")]
    store: Deployment,
    /// The program `merch`
    #[arg(long, default_value = "target/release/merch")]
    merch: PathBuf,
    /// The library libfaketime, for clock faults
    #[arg(long)]
    faketime: Option<PathBuf>,
    /// Where logs and books of the runs are written
    #[arg(long, default_value = "target/chaos")]
    directory: PathBuf,
    /// Runs without faults at half the peak rate, and checks that nothing grows
    #[arg(long)]
    soak: bool,
    /// Orders a second of a run with `--soak`; without it, half of the measured peak
    #[arg(long)]
    rate: Option<f64>,
    /// Checks the books in this directory again, and runs nothing
    #[arg(long)]
    check: Option<PathBuf>,
}

impl Arguments {
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    fn machine(&self, directory: PathBuf) -> Machine {
        Machine {
            merch: self.merch.clone(),
            faketime: self.faketime.clone().filter(|_| !self.soak),
            small_disks: !self.soak,
            directory,
        }
    }
}

fn say(line: &str) {
    command_output::eprint_line(line);
}

// One thread, because a proxy and the clients need little time, and the store needs the rest.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match command_output::parsed(Arguments::try_parse()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match start(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all promises were kept.
async fn start(arguments: Arguments) -> Result<bool> {
    if let Some(directory) = &arguments.check {
        let verdict = check_again(directory)?;
        command_output::print(format!("{}\n", verdict.text))?;
        return Ok(verdict.is_kept);
    }
    ensure!(
        arguments.merch.is_file(),
        "{}: expected the program merch; run: cargo build --release",
        arguments.merch.display()
    );
    let name = format!("{:?}", arguments.store).to_lowercase();
    if arguments.soak {
        return run_soak(&arguments, &name).await;
    }
    let mut broken = Vec::new();
    for seed in arguments.seed..arguments.seed + arguments.runs {
        let directory = arguments.directory.join(format!("{name}-{seed}"));
        say(&format!(
            "{name}, seed {seed}, {} minutes; books: {}",
            arguments.minutes,
            directory.display()
        ));
        let options = Options {
            seed,
            length: arguments.length(),
            deployment: arguments.store,
            machine: arguments.machine(directory),
            say,
        };
        match run(options).await {
            Ok(verdict) => {
                command_output::print(format!("{name}, seed {seed}: {}\n", verdict.text))?;
                if !verdict.is_kept {
                    broken.push(seed);
                }
            }
            Err(error) => {
                command_output::print(format!("{name}, seed {seed}: the run failed: {error:#}\n"))?;
                broken.push(seed);
            }
        }
    }
    if !broken.is_empty() {
        say(&format!("seeds that broke a promise: {broken:?}"));
    }
    Ok(broken.is_empty())
}

async fn run_soak(arguments: &Arguments, name: &str) -> Result<bool> {
    let directory = arguments.directory.join(format!("soak-{name}"));
    std::fs::create_dir_all(&directory)?;
    say(&format!("{name}, {} minutes; plots: {}", arguments.minutes, directory.display()));
    let machine = arguments.machine(directory.clone());
    let store = Arc::new(Store::start(arguments.store, machine).await?);
    let options =
        soak::Options { length: arguments.length(), rate: arguments.rate, directory, say };
    let (text, flat) = soak::soak(&store, &options).await?;
    store.keep_logs().await?;
    command_output::print(text)?;
    Ok(flat)
}
