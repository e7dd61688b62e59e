//! Progress on standard error: a bar on a terminal, otherwise a line for each step.

use std::{io::IsTerminal as _, time::Instant};

const WIDTH: usize = 24;

/// How far a scenario is.
#[derive(Debug)]
pub(crate) struct Progress {
    scenario: String,
    done: usize,
    total: usize,
    began: Instant,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn new(scenario: &str, total: usize) -> Self {
        Self {
            scenario: scenario.to_owned(),
            done: 0,
            total,
            began: Instant::now(),
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Shows what begins now, and counts it.
    pub(crate) fn step(&mut self, what: &str) {
        let line =
            line(&self.scenario, self.done, self.total, self.began.elapsed().as_secs(), what);
        if self.is_terminal {
            command_output::prompt(format!("\r\x1b[K{line}"));
        } else {
            command_output::eprint_line(line);
        }
        self.done += 1;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            command_output::prompt("\r\x1b[K");
        }
    }
}

fn line(scenario: &str, done: usize, total: usize, seconds: u64, what: &str) -> String {
    let total = total.max(done + 1);
    let filled = done * WIDTH / total;
    let bar = "#".repeat(filled) + &"-".repeat(WIDTH - filled);
    let time = format!("{}:{:02}", seconds / 60, seconds % 60);
    format!("{scenario} [{bar}] {}/{total} {time} {what}", done + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_grows_with_steps() {
        assert_eq!(line("idle", 1, 2, 61, "wait"), "idle [############------------] 2/2 1:01 wait");
        assert_eq!(line("idle", 5, 2, 0, "x").matches('#').count(), 20);
    }
}
