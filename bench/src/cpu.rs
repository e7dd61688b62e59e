//! CPU time and memory of processes, from `/proc`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use chaos::process::processes_in;

/// Processes that are measured together.
#[derive(Clone, Debug)]
pub(crate) enum Processes {
    One(u32),
    /// All with this working directory, such as PostgreSQL's.
    WorkingDirectory(PathBuf),
    /// This program, and children such as pgbench that have ended.
    Own,
}

/// Named groups of processes.
pub(crate) type Groups = Vec<(&'static str, Processes)>;

/// CPU time in seconds since the start of the processes, and memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) cpu: BTreeMap<String, f64>,
    /// Resident memory, in MiB.
    pub(crate) memory: BTreeMap<String, f64>,
    /// CPU time of all processes of the machine.
    pub(crate) machine: f64,
}

impl Sample {
    /// # Errors
    /// If a process has ended.
    pub(crate) fn of(groups: &Groups) -> Result<Self> {
        let mut sample = Self::default();
        for (name, processes) in groups {
            let pids = match processes {
                Processes::One(pid) => vec![*pid],
                Processes::Own => vec![std::process::id()],
                Processes::WorkingDirectory(directory) => {
                    let pids = processes_in(directory).into_iter();
                    pids.filter_map(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()).collect()
                }
            };
            let (mut cpu, mut memory) = (0.0, 0.0);
            for pid in pids {
                let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
                    // A backend may end at any time; its parent then has its CPU time.
                    anyhow::ensure!(
                        matches!(processes, Processes::WorkingDirectory(_)),
                        "the process {pid} of {name} has ended; its log says why"
                    );
                    continue;
                };
                let stat = Stat::parse(&stat).with_context(|| format!("/proc/{pid}/stat"))?;
                cpu += stat.own;
                if !matches!(processes, Processes::One(_)) {
                    cpu += stat.children;
                }
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                // PostgreSQL's processes share most of their resident memory.
                let is_shared = matches!(processes, Processes::WorkingDirectory(_));
                let line = if is_shared { "RssAnon:" } else { "VmRSS:" };
                memory += mebibytes(&status, line).unwrap_or(0.0);
            }
            sample.cpu.insert((*name).to_owned(), cpu);
            sample.memory.insert((*name).to_owned(), memory);
        }
        let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        sample.machine = machine_cpu(&stat).context("/proc/stat: no line `cpu`")?;
        Ok(sample)
    }

    /// Returns the CPU time of each group since `earlier`, in seconds.
    pub(crate) fn since(&self, earlier: &Self) -> BTreeMap<String, f64> {
        let difference = |(name, now): (&String, &f64)| {
            (name.clone(), (now - earlier.cpu.get(name).unwrap_or(now)).max(0.0))
        };
        self.cpu.iter().map(difference).collect()
    }

    /// Returns the CPU time of all other processes since `earlier`, in seconds.
    pub(crate) fn others_since(&self, earlier: &Self) -> f64 {
        let own: f64 = self.since(earlier).values().sum();
        (self.machine - earlier.machine - own).max(0.0)
    }
}

/// Parts of `/proc/PID/stat` (proc(5)).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) parent: u32,
    /// CPU time of all its threads, in seconds.
    own: f64,
    /// CPU time of children that have ended and were waited for.
    children: f64,
}

impl Stat {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once(" (")?;
        // The name can contain anything.
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second();
        Some(Self {
            name: name.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(ticks(11)? + ticks(12)?),
            children: seconds(ticks(13)? + ticks(14)?),
        })
    }
}

/// Returns the children of this program with this name, such as `java`.
pub(crate) fn children_named(name: &str) -> Vec<u32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        Stat::parse(&stat).is_some_and(|stat| stat.parent == own && stat.name == name)
    })
    .collect()
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Returns a line of `/proc/PID/status` in MiB.
fn mebibytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

/// Returns the time in which the processors were not idle, in seconds.
fn machine_cpu(stat: &str) -> Option<f64> {
    let fields = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = fields.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    // user nice system idle iowait irq softirq; what follows is other machines' and guests' time.
    let busy = [0, 1, 2, 5, 6].map(|index| ticks.get(index).copied().unwrap_or(0.0));
    Some(busy.iter().sum::<f64>() / ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_after_any_name() {
        let hz = ticks_per_second();
        let text = "42 (a (b) c) S 7 42 42 0 -1 4194304 100 0 3 0 250 50 30 20 20 0 4 0 100 1 2";
        let expected =
            Stat { name: "a (b) c".to_owned(), parent: 7, own: 300.0 / hz, children: 50.0 / hz };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("42 (cut) S 7"), None);
    }

    #[test]
    fn machine_cpu_excludes_idle_and_stolen_time() {
        let stat = "cpu  100 10 50 9000 800 5 15 70 0 0\ncpu0 1 2 3\n";
        assert_eq!(machine_cpu(stat), Some(180.0 / ticks_per_second()));
        assert_eq!(machine_cpu("intr 1"), None);
    }

    #[test]
    fn memory_is_read_in_mebibytes() {
        let status = "VmRSS:\t9216 kB\nRssAnon:\t    2048 kB\n";
        assert_eq!(mebibytes(status, "RssAnon:"), Some(2.0));
        assert_eq!(mebibytes(status, "VmRSS:"), Some(9.0));
    }

    #[test]
    fn time_of_others_is_the_rest() {
        let sample = |own: f64, machine| Sample {
            cpu: BTreeMap::from([("api".to_owned(), own)]),
            machine,
            ..Sample::default()
        };
        let (before, after) = (sample(1.0, 10.0), sample(3.0, 12.5));
        assert_eq!(after.since(&before)["api"], 2.0);
        assert_eq!(after.others_since(&before), 0.5);
    }

    #[test]
    fn own_process_can_be_sampled() {
        let sample = Sample::of(&vec![("bench", Processes::Own)]).unwrap();
        assert!(sample.memory["bench"] > 0.0);
        assert!(sample.machine >= sample.cpu["bench"]);
    }
}
