//! Runs programs (docker, make) with a time limit; errors contain their output.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{io::AsyncWriteExt as _, process};

/// Prefixes of variables that would select another Compose project.
const OWN_PREFIXES: [&str; 5] = ["MERCH_", "COMPOSE_", "POSTGRES_", "KAFKA_", "STORE"];

/// A program to run once. Errors contain its arguments, so these must not contain a secret.
#[derive(Debug)]
#[must_use = "a command does nothing before it is run"]
pub struct Command {
    process: process::Command,
    input: Option<String>,
    limit: Duration,
}

impl Command {
    /// Creates a command without the shell's variables that name another store.
    pub fn new(program: impl AsRef<std::ffi::OsStr>) -> Self {
        let mut process = process::Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| {
                OWN_PREFIXES.iter().any(|ours| name.starts_with(ours))
                    && !name.starts_with("MERCH_TEST_")
            }) {
                process.env_remove(name);
            }
        }
        process.kill_on_drop(true);
        Self { process, input: None, limit: Duration::from_secs(60) }
    }

    pub fn args<A: AsRef<std::ffi::OsStr>>(
        mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.process.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.process.env(name, value);
        self
    }

    pub fn in_dir(mut self, dir: &Path) -> Self {
        self.process.current_dir(dir);
        self
    }

    /// Sets the standard input; it is empty by default.
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Sets the time limit; the default is a minute.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn display(&self) -> String {
        let process = self.process.as_std();
        std::iter::once(process.get_program())
            .chain(process.get_args())
            .map(|part| part.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs the program to its end.
    pub async fn output(mut self) -> Result<Output> {
        let display = self.display();
        self.process.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.process.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child =
            self.process.spawn().with_context(|| format!("{display}: it cannot be started"))?;
        let run = async {
            if let (Some(input), Some(mut stdin)) = (self.input.take(), child.stdin.take()) {
                // A program that exits without reading explains itself on standard error.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        match tokio::time::timeout(self.limit, run).await {
            Ok(output) => output.with_context(|| display),
            Err(_) => bail!("{display}: expected it to end within {} s", self.limit.as_secs()),
        }
    }

    /// Runs the program and returns its trimmed standard output.
    pub async fn succeed(self) -> Result<String> {
        let display = self.display();
        let output = self.output().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!(
                "{display}: {}\n{}{}",
                output.status,
                text,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn command_reports_output_and_failure() {
        assert_eq!(Command::new("cat").input(" a\nb\n").succeed().await.unwrap(), "a\nb");
        let failed = Command::new("sh")
            .args(["-c", "echo out; echo why >&2; exit 3"])
            .succeed()
            .await
            .unwrap_err()
            .to_string();
        assert!(
            failed.contains("exit status: 3") && failed.contains("out") && failed.contains("why"),
            "{failed}"
        );
        assert!(
            Command::new("/nowhere/at/all")
                .succeed()
                .await
                .unwrap_err()
                .to_string()
                .contains("cannot be started")
        );
    }

    #[tokio::test]
    async fn command_is_killed_at_its_limit() {
        let started = std::time::Instant::now();
        let late = Command::new("sleep")
            .args(["60"])
            .limit(Duration::from_millis(50))
            .succeed()
            .await
            .unwrap_err()
            .to_string();
        assert!(late.contains("sleep 60: expected it to end"), "{late}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
