//! A process of the store: `merch api`, `merch db`, `merch logging`, or the whole store.

use std::{
    fmt,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::{books::Exit, process};

/// The longest time from the start of a role to its first "ready".
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Longer than the drain timeout of all its parts.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// What a process prints when it is ready.
const READY: [&str; 2] = [" is ready.", "Store is open."];

/// A role did not do in time what the store promises.
#[derive(Debug)]
pub struct NotRecovered(String);

impl fmt::Display for NotRecovered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for NotRecovered {}

/// A role with a fixed address. Dropping it kills its process, and so does the runner's end.
#[derive(Debug)]
pub struct Role {
    /// Its name, such as `db 1`.
    pub name: String,
    program: PathBuf,
    arguments: Vec<String>,
    envs: Vec<(String, String)>,
    admin: SocketAddr,
    /// Holds its log, its process id and its clock.
    directory: PathBuf,
    child: Option<Child>,
    /// The length of the log when the process started.
    started_at: u64,
    /// Whether the runner has sent a signal that ends the process.
    is_ended: AtomicBool,
    /// The processes that ended by themselves.
    exits: Vec<Exit>,
}

impl Role {
    /// Describes a role, which [`start`](Self::start) runs.
    pub fn new(
        name: &str,
        directory: &Path,
        program: &Path,
        arguments: &[&str],
        envs: Vec<(String, String)>,
        admin: SocketAddr,
    ) -> Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("{} cannot be created", directory.display()))?;
        Ok(Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            envs,
            admin,
            directory: directory.to_owned(),
            child: None,
            started_at: 0,
            is_ended: AtomicBool::new(false),
            exits: Vec::new(),
        })
    }

    /// Starts the process. It appends to the log of an earlier one.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        let started_at = log.metadata()?.len();
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MERCH_")) {
            command.env_remove(name);
        }
        let child = command
            .args(&self.arguments)
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .env("MERCH_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        let pid = child.id().context("a process that was just started")?;
        fs::write(self.directory.join("pid"), pid.to_string())?;
        self.child = Some(child);
        self.started_at = started_at;
        self.is_ended.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the file with its output.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Returns the id of the process, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Sends a signal to the process, if it runs.
    pub fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            if matches!(signal, Signal::KILL | Signal::TERM) {
                self.is_ended.store(true, Ordering::Relaxed);
            }
            // It may have ended just now.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills the process with SIGKILL and waits for its end.
    pub async fn kill(&mut self) -> Result<()> {
        self.exited();
        if let Some(mut child) = self.child.take() {
            child.kill().await.with_context(|| format!("{} cannot be killed", self.name))?;
        }
        Ok(())
    }

    /// Stops the process with SIGTERM.
    ///
    /// # Errors
    /// If it does not end in time, or with another exit code than 0.
    pub async fn stop(&mut self) -> Result<()> {
        if self.exited().is_some() {
            return Ok(());
        }
        self.signal(Signal::TERM);
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let Ok(status) = tokio::time::timeout(STOP_TIMEOUT, child.wait()).await else {
            child.kill().await?;
            let what = format!("{} did not end within {STOP_TIMEOUT:?} after SIGTERM", self.name);
            return Err(NotRecovered(what).into());
        };
        let status = status?;
        let what = || NotRecovered(format!("{} ended with {status} after SIGTERM", self.name));
        if status.success() { Ok(()) } else { Err(what().into()) }
    }

    /// Returns how the process ended, if it did so by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        if !self.is_ended.load(Ordering::Relaxed) {
            self.exits.push(Exit {
                role: self.name.clone(),
                status: status.to_string(),
                code: status.code(),
                was_ready: self.was_ready(),
            });
        }
        Some(status)
    }

    /// Returns the processes that ended although the runner did not end them.
    pub fn exits(&mut self) -> &[Exit] {
        self.exited();
        &self.exits
    }

    /// Returns whether the process was ready since its start.
    fn was_ready(&self) -> bool {
        let read = || {
            let mut log = File::open(self.log())?;
            log.seek(SeekFrom::Start(self.started_at))?;
            let mut text = Vec::new();
            log.read_to_end(&mut text)?;
            Ok::<Vec<u8>, std::io::Error>(text)
        };
        let text = read().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().any(|line| READY.iter().any(|ready| line.ends_with(ready)))
    }

    /// Waits until it is ready.
    pub async fn wait_ready(&self, http: &reqwest::Client) -> Result<()> {
        let url = format!("http://{}/readyz", self.admin);
        let end = Instant::now() + START_TIMEOUT;
        loop {
            let found = match http.get(&url).timeout(Duration::from_secs(2)).send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => response.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= end {
                let tail = process::tail(&self.log());
                let what = format!("was not ready within {START_TIMEOUT:?}: {found}\n{tail}");
                return Err(NotRecovered(format!("{} {what}", self.name)).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the sum of a metric over its labels.
    pub async fn metric(&self, http: &reqwest::Client, name: &str) -> Result<f64> {
        let url = format!("http://{}/metrics", self.admin);
        let text = http.get(&url).timeout(Duration::from_secs(5)).send().await?.text().await?;
        ensure!(text.contains(name), "{} has no metric {name}", self.name);
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with([' ', '{']) {
                return None;
            }
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        Ok(values.sum())
    }

    /// Returns the panics in its log.
    pub fn panics(&self) -> Result<Vec<String>> {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().filter(|line| line.contains("panicked at"));
        Ok(lines.map(|line| format!("{}: {line}", self.name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(directory: &Path, script: &str) -> Role {
        let (program, admin) = (Path::new("sh"), ([127, 0, 0, 1], 9).into());
        Role::new("db 0", directory, program, &["-c", script], Vec::new(), admin).unwrap()
    }

    async fn end_of(role: &mut Role) -> ExitStatus {
        loop {
            if let Some(status) = role.exited() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn exits_are_recorded_with_their_readiness() {
        let directory = tempfile::tempdir().unwrap();
        // Only the first process prints that it is ready.
        let mut role = role(
            directory.path(),
            "if [ -e \"$0.again\" ]; then exit 1; fi; echo 'merch db is ready.'; exit 3",
        );
        role.arguments.push(directory.path().join("state").display().to_string());
        role.start().unwrap();
        end_of(&mut role).await;
        fs::write(directory.path().join("state.again"), "").unwrap();
        role.start().unwrap();
        end_of(&mut role).await;
        let found: Vec<_> = role.exits().iter().map(|exit| (exit.code, exit.was_ready)).collect();
        assert_eq!(found, [(Some(3), true), (Some(1), false)]);
    }

    #[tokio::test]
    async fn ends_that_the_runner_causes_are_no_exits() {
        let directory = tempfile::tempdir().unwrap();
        let mut role = role(directory.path(), "exec sleep 600");
        role.start().unwrap();
        role.signal(Signal::KILL);
        end_of(&mut role).await;
        role.start().unwrap();
        role.kill().await.unwrap();
        assert_eq!(role.exits(), []);
    }
}
