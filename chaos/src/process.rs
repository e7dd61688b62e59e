//! Signals all processes of a server, and kills them when the runner ends.
//!
//! PostgreSQL's processes are each in a session of their own, so a process group does not contain
//! them. They have the same working directory, and it identifies them here.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const SIGNAL_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the processes with this working directory; `dir` is canonical.
#[must_use]
pub fn processes_in(dir: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // The kernel's name of a removed directory.
    let removed = PathBuf::from(format!("{} (deleted)", dir.display()));
    // The link of a zombie cannot be read.
    let cwd = |pid| fs::read_link(format!("/proc/{pid}/cwd"));
    pids.filter(|pid: &i32| cwd(*pid).is_ok_and(|cwd| cwd == dir || cwd == removed))
        .filter_map(Pid::from_raw)
        .collect()
}

/// Kills all processes in `dir` with SIGKILL, frozen ones too, and waits for their ends.
///
/// # Errors
/// If they do not end.
pub fn kill_all(dir: &Path) -> Result<()> {
    signal_until(dir, Signal::KILL, |_| false)
}

/// Stops all processes in `dir` with SIGSTOP.
///
/// # Errors
/// If they do not stop.
pub fn freeze_all(dir: &Path) -> Result<()> {
    signal_until(dir, Signal::STOP, is_frozen)
}

/// Continues all processes in `dir` after [`freeze_all`].
pub fn thaw_all(dir: &Path) {
    for pid in processes_in(dir) {
        // It may have ended just now.
        let _ = kill_process(pid, Signal::CONT);
    }
}

/// Repeats the signal, because a process can fork before it gets it.
fn signal_until(dir: &Path, signal: Signal, is_done: fn(Pid) -> bool) -> Result<()> {
    let deadline = Instant::now() + SIGNAL_TIMEOUT;
    loop {
        let mut left = processes_in(dir);
        left.retain(|pid| !is_done(*pid));
        if left.is_empty() {
            return Ok(());
        }
        for pid in &left {
            let _ = kill_process(*pid, signal);
        }
        if Instant::now() >= deadline {
            bail!("{left:?} in {} ignored {signal:?} for {SIGNAL_TIMEOUT:?}", dir.display());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_frozen(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // "PID (NAME) STATE …"; the name can contain anything.
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}

/// Returns the last lines of a log.
#[must_use]
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Kills the processes in its directories when it is dropped, and when the runner ends, even by
/// SIGKILL.
#[derive(Debug)]
pub struct Reaper(Child);

const REAPER: &str = r#"
trap '' HUP INT TERM
read -r _
for round in $(seq 100); do
  found=$(for dir; do
    find /proc/[0-9]*/cwd -maxdepth 0 '(' -lname "$dir" -o -lname "$dir (deleted)" ')'
  done 2>/dev/null)
  [ -n "$found" ] || exit 0
  for link in $found; do
    pid=${link#/proc/}
    kill -9 "${pid%/cwd}" 2>/dev/null
  done
  sleep 0.05
done
"#;

impl Reaper {
    /// Starts a reaper for processes with one of these working directories, which are canonical.
    ///
    /// # Errors
    /// If the shell cannot be started.
    pub fn of(directories: &[PathBuf]) -> Result<Self> {
        // The pipe closes when the runner ends. A group of its own is spared by a signal to the
        // runner's.
        let child = Command::new("sh")
            .args(["-c", REAPER, "reaper"])
            .args(directories)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("sh cannot be started; it kills the servers when the runner ends")?;
        Ok(Self(child))
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn reaper_kills_frozen_processes_of_its_directory_only() {
        let (watched, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = [&watched, &other].map(|dir| dir.path().canonicalize().unwrap());
        let reaper = Reaper::of(&paths[..1]).unwrap();
        let [mut killed, mut spared] = paths
            .clone()
            .map(|dir| Command::new("sleep").arg("600").current_dir(dir).spawn().unwrap());
        freeze_all(&paths[0]).unwrap();
        drop(reaper);
        assert_eq!(killed.wait().unwrap().signal(), Some(9));
        assert_eq!(spared.try_wait().unwrap(), None);
        kill_all(&paths[1]).unwrap();
        assert_eq!(spared.wait().unwrap().signal(), Some(9));
    }
}
