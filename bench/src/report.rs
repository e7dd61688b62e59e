//! The results of a run: JSON, a table for the terminal, and a page with plots.

mod compare;
mod html;
mod plots;
mod table;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

pub(crate) use self::compare::compare;
use crate::{
    database::Counters,
    load::Latency,
    numbers::{Spread, ratios},
    rush,
};

/// The version of the JSON.
const FORMAT: u32 = 1;
/// More CPU time of other processes than this part of the machine makes a measurement noisy.
const NOISE: f64 = 0.05;

/// The results of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    /// RFC 3339.
    pub(crate) started: String,
    pub(crate) commit: String,
    pub(crate) machine: Machine,
    pub(crate) seconds: f64,
    pub(crate) repeats: usize,
    pub(crate) hash_cost: u8,
    pub(crate) scenarios: Vec<Scenario>,
}

/// Where the run took place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// The load average of the last minute before the run.
    pub(crate) load: f64,
    /// Whether the data is in memory, where fsync does nothing.
    pub(crate) data_in_memory: bool,
}

impl Machine {
    /// Reads what the machine is; `directory` is where the data will be.
    pub(crate) fn read(directory: &Path) -> Self {
        let text = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let after_colon = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?.split_once(':')?.1;
            Some(line.trim().to_owned())
        };
        let memory = after_colon(&text("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok());
        let load = text("/proc/loadavg");
        const TMPFS_MAGIC: i64 = 0x0102_1994;
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: after_colon(&text("/proc/cpuinfo"), "model name").unwrap_or_default(),
            memory_mib: memory.unwrap_or(0) / 1024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            data_in_memory: rustix::fs::statfs(directory)
                .is_ok_and(|found| found.f_type == TMPFS_MAGIC),
        }
    }

    /// Returns what makes absolute figures of this run doubtful.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.load > self.cores as f64 * 0.25 {
            doubts.push(format!(
                "The machine was busy: its load average was {} before the run.",
                self.load
            ));
        }
        if self.data_in_memory {
            doubts.push("The data is in memory, so fsync costs nothing.".to_owned());
        }
        doubts
    }
}

/// The results of a scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) findings: Vec<Finding>,
    pub(crate) measurements: Vec<Measurement>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rushes: Vec<rush::Outcome>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// A ratio of two cases, or another value that does not depend on the speed of the machine alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    /// Empty for ratios.
    pub(crate) unit: String,
    pub(crate) spread: Spread,
    /// One of each repeat.
    pub(crate) values: Vec<f64>,
    pub(crate) goal: Goal,
    pub(crate) target: Option<f64>,
}

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Goal {
    More,
    Less,
}

impl Finding {
    /// Returns whether the median meets the target.
    pub(crate) fn meets_target(&self) -> Option<bool> {
        let target = self.target?;
        Some(match self.goal {
            Goal::More => self.spread.median >= target,
            Goal::Less => self.spread.median <= target,
        })
    }

    pub(crate) fn target_text(&self) -> String {
        let sign = if self.goal == Goal::More { '≥' } else { '≤' };
        self.target.map_or_else(String::new, |target| format!("{sign} {target}"))
    }
}

/// One case, measured once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) case: String,
    pub(crate) connections: usize,
    pub(crate) repeat: usize,
    /// Operations per second that were due; `None` in the closed model.
    pub(crate) offered: Option<f64>,
    pub(crate) operations: u64,
    /// Until the last response.
    pub(crate) seconds: f64,
    /// From the last response until all events were on the topic.
    pub(crate) drain_seconds: Option<f64>,
    /// Operations per second, with the time until their events were on the topic.
    pub(crate) rate: f64,
    pub(crate) unexpected: BTreeMap<u16, u64>,
    pub(crate) latency: Latency,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) steps: BTreeMap<String, Latency>,
    /// The 99th percentile of the time from when an operation was due to its start, in
    /// milliseconds.
    pub(crate) start_delay: Option<f64>,
    /// By process, in microseconds per operation.
    pub(crate) cpu: BTreeMap<String, f64>,
    /// By process, in MiB, at the end.
    pub(crate) memory: BTreeMap<String, f64>,
    /// Processors that other processes of the machine used.
    pub(crate) other_cores: f64,
    /// Bytes per operation.
    pub(crate) sent: f64,
    pub(crate) received: f64,
    /// Per operation.
    pub(crate) database: Option<Counters>,
}

impl Measurement {
    /// Returns what distinguishes it from others of its repeat.
    pub(crate) fn key(&self) -> String {
        match self.offered {
            Some(rate) => format!("{} at {rate:.0}/s", self.case),
            None => format!("{} @{}", self.case, self.connections),
        }
    }

    /// Returns the CPU time of an operation in these processes, in microseconds.
    pub(crate) fn cpu_of(&self, processes: &[&str]) -> f64 {
        processes.iter().filter_map(|process| self.cpu.get(*process)).sum()
    }

    pub(crate) fn is_noisy(&self, cores: usize) -> bool {
        self.other_cores > cores as f64 * NOISE
    }
}

impl Scenario {
    /// Returns the measurements of each case, in the order of their first ones.
    pub(crate) fn cases(&self) -> Vec<(String, Vec<&Measurement>)> {
        let mut cases: Vec<(String, Vec<&Measurement>)> = Vec::new();
        for measurement in &self.measurements {
            let key = measurement.key();
            match cases.iter_mut().find(|(other, _)| *other == key) {
                Some((_, measurements)) => measurements.push(measurement),
                None => cases.push((key, vec![measurement])),
            }
        }
        cases
    }

    /// Returns a value of each repeat of a case.
    pub(crate) fn values(
        &self,
        case: &str,
        value: impl Fn(&Measurement) -> f64,
    ) -> Vec<(usize, f64)> {
        let of_case = self.measurements.iter().filter(|measurement| measurement.key() == case);
        of_case.map(|measurement| (measurement.repeat, value(measurement))).collect()
    }

    /// Adds the ratio of the rates of two cases.
    pub(crate) fn add_ratio(&mut self, above: &str, below: &str, target: Option<f64>) {
        let rate = |measurement: &Measurement| measurement.rate;
        let values = ratios(&self.values(above, rate), &self.values(below, rate));
        self.add(&format!("{above} ÷ {below}"), "", values, Goal::More, target);
    }

    /// Adds values of all repeats. Does nothing without values.
    pub(crate) fn add(
        &mut self,
        name: &str,
        unit: &str,
        values: Vec<f64>,
        goal: Goal,
        target: Option<f64>,
    ) {
        let Some(spread) = Spread::of(&values) else { return };
        let (name, unit) = (name.to_owned(), unit.to_owned());
        self.findings.push(Finding { name, unit, spread, values, goal, target });
    }
}

impl Report {
    pub(crate) fn new(machine: Machine, seconds: f64, repeats: usize, hash_cost: u8) -> Self {
        let started = time::OffsetDateTime::now_utc();
        let format =
            time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        Self {
            format: FORMAT,
            started: started.format(&format).unwrap_or_default(),
            commit: commit(),
            machine,
            seconds,
            repeats,
            hash_cost,
            scenarios: Vec::new(),
        }
    }

    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let report: Self = serde_json::from_str(&text).with_context(|| {
            format!("{}: expected the report.json of a run of bench", file.display())
        })?;
        ensure!(
            report.format == FORMAT,
            "{}: expected format {FORMAT}, got {}; run the benchmark again",
            file.display(),
            report.format
        );
        Ok(report)
    }

    /// Writes `report.json` and `report.html`.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        fs::write(directory.join("report.html"), html::page(self)?)?;
        Ok(())
    }

    /// Returns the table for the terminal.
    pub(crate) fn table(&self) -> String {
        table::of(self)
    }
}

/// Returns the revision of the working tree, if git is there.
fn commit() -> String {
    let output = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn measurement(
        case: &str,
        connections: usize,
        repeat: usize,
        rate: f64,
    ) -> Measurement {
        Measurement { case: case.to_owned(), connections, repeat, rate, ..Measurement::default() }
    }

    pub(crate) fn report(rates: &[(f64, f64)]) -> Report {
        let mut scenario = Scenario { name: "orders".to_owned(), ..Scenario::default() };
        for (repeat, (store, bare)) in rates.iter().enumerate() {
            scenario.measurements.push(measurement("store", 64, repeat, *store));
            scenario.measurements.push(measurement("bare", 64, repeat, *bare));
        }
        scenario.add_ratio("store @64", "bare @64", Some(8.0));
        let mut report = Report::new(Machine { cores: 2, ..Machine::default() }, 5.0, 3, 10);
        report.scenarios.push(scenario);
        report
    }

    #[test]
    fn ratio_is_that_of_each_repeat() {
        let report = report(&[(80.0, 10.0), (90.0, 9.0), (70.0, 10.0)]);
        let finding = &report.scenarios[0].findings[0];
        assert_eq!(finding.name, "store @64 ÷ bare @64");
        assert_eq!(finding.values, [8.0, 10.0, 7.0]);
        assert_eq!(finding.spread, Spread { median: 8.0, min: 7.0, max: 10.0 });
        assert_eq!(finding.meets_target(), Some(true));
        assert_eq!(report.scenarios[0].cases().len(), 2);
    }

    #[test]
    fn report_survives_json() {
        let directory = tempfile::tempdir().unwrap();
        let written = report(&[(80.0, 10.0)]);
        written.write(directory.path()).unwrap();
        let read = Report::read(&directory.path().join("report.json")).unwrap();
        assert_eq!(read.scenarios[0].findings, written.scenarios[0].findings);
        let page = fs::read_to_string(directory.path().join("report.html")).unwrap();
        assert!(page.contains("store @64 ÷ bare @64"), "{page}");
        assert!(written.table().contains("8.00 (8.00–8.00)"), "{}", written.table());
    }

    #[test]
    fn other_files_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{}").unwrap();
        let error = format!("{:#}", Report::read(file.path()).unwrap_err());
        assert!(error.contains("expected the report.json of a run of bench"), "{error}");
    }

    #[test]
    fn busy_machine_and_data_in_memory_are_doubts() {
        let machine = Machine { cores: 2, load: 0.4, ..Machine::default() };
        assert_eq!(machine.doubts(), [""; 0]);
        let machine = Machine { load: 3.0, data_in_memory: true, ..machine };
        assert_eq!(machine.doubts().len(), 2);
    }
}
