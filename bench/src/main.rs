//! `bench`: measures the built store, and what it is built on, in one run. See
//! `docs/benchmarks.md`.

mod baseline;
mod clients;
mod cpu;
mod database;
mod events;
mod http;
mod load;
mod measure;
mod numbers;
mod progress;
mod report;
mod round_trips;
mod rush;
mod scenarios;
mod store;
mod tokens;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::{
    measure::{Bench, Options},
    report::{Machine, Report},
    scenarios::{BUYERS, Name},
    store::{Setup, Store},
};

/// Measures the built store beside bare PostgreSQL, Kafka and poem, and reports ratios.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares the results of two runs. The exit code is 1 if one became worse
    Compare {
        /// report.json of the earlier run
        old: PathBuf,
        /// report.json of the later run
        new: PathBuf,
    },
    /// The bare server of the scenario `catalogue`, which that starts itself
    #[command(hide = true)]
    Serve { address: SocketAddr },
}

#[derive(Debug, Args)]
struct Run {
    /// What is measured
    #[arg(value_enum, value_name = "SCENARIO")]
    scenarios: Vec<Name>,
    /// Connections of `orders`, such as 1,64,256. Other scenarios use 64, or the greatest of these
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256])]
    connections: Vec<usize>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often each case is measured
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Where report.json, report.html and logs are written
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// The program `merch`
    #[arg(long, default_value = "target/release/merch")]
    merch: PathBuf,
    /// The cost of password hashes, log2 of scrypt's N
    #[arg(long, default_value_t = 10)]
    hash_cost: u8,
    /// Orders that `growth` adds
    #[arg(long, default_value_t = 10_000_000)]
    rows: i64,
    /// Threads of the load generator [default: half of the processors]
    #[arg(long)]
    threads: Option<usize>,
    /// The parent of the data directories; a file system on a disk [default: the directory for
    /// temporary files]
    #[arg(long)]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match command_output::parsed(Arguments::try_parse()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match start(arguments) {
        Ok(code) => code,
        Err(error) => {
            command_output::eprint_line(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Some(Command::Compare { old, new }) => {
            let (text, none_worse) = report::compare(&Report::read(&old)?, &Report::read(&new)?);
            command_output::write(&text)?;
            Ok(if none_worse { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(Command::Serve { address }) => {
            // As the roles: a thread for each processor.
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(baseline::serve(address))?;
            Ok(ExitCode::SUCCESS)
        }
        None => run(arguments.run),
    }
}

fn run(run: Run) -> Result<ExitCode> {
    ensure!(!run.scenarios.is_empty(), "expected the name of a scenario; see --help");
    ensure!(
        run.merch.is_file(),
        "{}: expected the program merch; run: cargo build --release --package merch",
        run.merch.display()
    );
    ensure!(
        run.connections.iter().all(|connections| (1..=500).contains(connections)),
        "--connections: expected numbers from 1 to 500, the limit of PostgreSQL here"
    );
    ensure!(
        run.seconds > 0.0 && run.repeats > 0,
        "expected --seconds and --repeats to be greater than 0"
    );
    let scenarios = Name::expand(&run.scenarios);
    let files = rlimit::increase_nofile_limit(u64::MAX)?;
    ensure!(
        !scenarios.contains(&Name::Rush) || files > BUYERS as u64 + 500,
        "the rush needs {BUYERS} connections, and {files} open files are allowed; raise ulimit -n"
    );
    let cores = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(run.threads.unwrap_or(cores / 2).max(1))
        .enable_all()
        .build()?;
    runtime.block_on(measure(run, &scenarios))
}

async fn measure(run: Run, scenarios: &[Name]) -> Result<ExitCode> {
    let data = run.data.clone().unwrap_or_else(std::env::temp_dir);
    let machine = Machine::read(&data);
    for doubt in machine.doubts() {
        command_output::eprint_line(format!("warning: {doubt}"));
    }
    command_output::eprint_line("starting PostgreSQL, Kafka and the roles");
    let setup = Setup {
        merch: run.merch.clone(),
        hash_cost: run.hash_cost,
        directory: data,
        users: BUYERS,
    };
    let store = Store::start(setup).await.context("the store did not start")?;
    let options = Options {
        connections: run.connections.clone(),
        length: Duration::from_secs_f64(run.seconds),
        repeats: run.repeats,
        hash_cost: run.hash_cost,
        rows: run.rows,
    };
    std::fs::create_dir_all(&run.out)
        .with_context(|| format!("{} cannot be created", run.out.display()))?;
    let mut bench = Bench::new(store, options);
    let mut report = Report::new(machine, run.seconds, run.repeats, run.hash_cost);
    for name in scenarios {
        let measured = name.run(&mut bench).await;
        bench.store.keep_logs(&run.out)?;
        report.scenarios.push(measured.with_context(|| {
            format!("{name:?}; the logs of the roles are in {}", run.out.display())
        })?);
        // After each scenario: a later one may fail.
        report.write(&run.out)?;
    }
    command_output::write(&report.table())?;
    let page = run.out.join("report.html");
    command_output::eprint_line(format!("plots: {}", page.display()));
    Ok(ExitCode::SUCCESS)
}
