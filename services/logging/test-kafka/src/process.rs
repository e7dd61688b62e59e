//! JVM processes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{command_output, root};

/// By default Java takes a quarter of the memory, and compiler and collector threads for each core.
const JVM_OPTIONS: [&str; 6] = [
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xshare:auto",
];

#[derive(Clone, Debug)]
pub(crate) struct Java {
    jars: PathBuf,
}

impl Java {
    pub(crate) fn new(version: &str) -> Self {
        Self {
            jars: command_output(Command::new(root().join("tools/kafka-home")).arg(version)).into(),
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(JVM_OPTIONS).args([
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            // Loggers of the startup messages.
            "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
            "-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.NIOServerCnxnFactory=info",
            // It would need another port.
            "-Dzookeeper.admin.enableServer=false",
        ]);
        command.arg("-cp").arg(self.jars.join("*")).args(arguments).stdin(Stdio::null());
        // The environment must not affect the brokers.
        for variable in ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"] {
            command.env_remove(variable);
        }
        command
    }

    /// Output goes to `home/log`, the id to `home/pid`, for the reaper.
    pub(crate) fn run(&self, home: &Path, arguments: &[&str]) -> Jvm {
        let java = self.command(arguments);
        let log = home.join("log");
        let output = File::create(&log).unwrap();
        // The shell writes its process id and then execs Java, so the reaper finds every process.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ >"$0" && exec "$@""#])
            .arg(home.join("pid"))
            .arg(java.get_program())
            .args(java.get_args());
        for (variable, value) in java.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Jvm { child, log, pid_file: home.join("pid") }
    }
}

#[derive(Debug)]
pub(crate) struct Jvm {
    child: Child,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Jvm {
    /// Returns the end of the log if `text` does not appear.
    pub(crate) fn wait_for(&mut self, text: &str, timeout: Duration) -> Result<(), String> {
        let deadline = Instant::now() + timeout;
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains(text) {
                return Ok(());
            }
            let problem = match self.child.try_wait().unwrap() {
                Some(status) => format!("it ended with {status}"),
                None if Instant::now() >= deadline => format!("it was not up after {timeout:?}"),
                None => {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            let lines: Vec<&str> = log.lines().collect();
            return Err(format!(
                "{problem}; its last output: {}",
                lines[lines.len().saturating_sub(15)..].join("\n")
            ));
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {signal} {} failed", self.child.id());
    }

    pub(crate) fn kill(mut self) {
        // The id may be reused after the wait.
        drop(fs::remove_file(&self.pid_file));
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
