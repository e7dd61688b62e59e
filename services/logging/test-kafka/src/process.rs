//! One JVM: started with bounded memory, waited for by what it writes, ended by its id.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{printed_by, root};

/// Bounds of a JVM. A test broker holds a few megabytes; by itself Java would take a quarter of the
/// machine, and a compiler and collector thread for each core.
const BOUNDS: [&str; 6] = [
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xshare:auto",
];

/// Java with the jars of one Kafka.
#[derive(Clone, Debug)]
pub(crate) struct Java {
    jars: PathBuf,
}

impl Java {
    pub(crate) fn new(version: &str) -> Self {
        Self { jars: printed_by(Command::new(root().join("tools/kafka-home")).arg(version)).into() }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(BOUNDS).args([
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            // These say that they are up.
            "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
            "-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.NIOServerCnxnFactory=info",
            // It would want a port of its own.
            "-Dzookeeper.admin.enableServer=false",
        ]);
        command.arg("-cp").arg(self.jars.join("*")).args(arguments).stdin(Stdio::null());
        // What somebody set for other programs in Java is not for these.
        for variable in ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"] {
            command.env_remove(variable);
        }
        command
    }

    /// Starts a JVM that writes to `home/log`, and its id to `home/pid`, where the keeper finds it.
    pub(crate) fn run(&self, home: &Path, arguments: &[&str]) -> Running {
        let java = self.command(arguments);
        let log = home.join("log");
        let output = File::create(&log).unwrap();
        // The shell writes its own id, and becomes Java: nothing runs that the keeper does not know
        // of.
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
        Running { child, log, pid_file: home.join("pid") }
    }
}

/// A JVM that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Running {
    /// Waits until its log has `text`. `Err` has the end of that log.
    pub(crate) fn wait_for(&mut self, text: &str, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains(text) {
                return Ok(());
            }
            let problem = match self.child.try_wait().unwrap() {
                Some(status) => format!("it ended with {status}"),
                None if Instant::now() >= deadline => format!("it was not up after {patience:?}"),
                None => {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            let lines: Vec<&str> = log.lines().collect();
            return Err(format!(
                "{problem}; its last words: {}",
                lines[lines.len().saturating_sub(15)..].join("\n")
            ));
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {signal} {} failed", self.child.id());
    }

    /// Ends it at once.
    pub(crate) fn kill(mut self) {
        // Its id is another's as soon as it is waited for.
        drop(fs::remove_file(&self.pid_file));
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
