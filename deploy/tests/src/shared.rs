//! One stack for all tests of a process; a lock runs one test at a time.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::{Mutex, OnceCell};

use crate::stack::{ReplicaCounts, Stack};

/// The stack or the error of its start, which is not repeated.
static STACK: OnceCell<Result<Stack, String>> = OnceCell::const_new();
/// Held by the running test.
static STACK_LOCK: Mutex<()> = Mutex::const_new(());

/// Enough replicas to lose one of each role.
pub const REPLICAS: ReplicaCounts = ReplicaCounts { api: 3, db: 2, logging: 2 };

/// Runs `test` alone on the healthy stack, and saves all logs in `target/compose-logs` if it fails.
///
/// `prepare` runs once, before the first test.
pub async fn with_stack(
    name: &str,
    prepare: impl AsyncFnOnce(&Stack) -> Result<()>,
    test: impl AsyncFnOnce(&Stack) -> Result<()>,
) {
    let _guard = STACK_LOCK.lock().await;
    let up = async || {
        let stack = Stack::up(REPLICAS, |_| {}).await.map_err(|error| format!("{error:#}"))?;
        progress(
            "up",
            &format!(
                "all of {REPLICAS:?} healthy within {}",
                format_duration(stack.startup_time())
            ),
        );
        match prepare(&stack).await {
            Ok(()) => Ok(stack),
            Err(error) => {
                Err(format!("{error:#}\nThe logs are in {}", stack.save_logs("prepare").display()))
            }
        }
    };
    let stack = match STACK.get_or_init(up).await {
        Ok(stack) => stack,
        Err(why) => panic!("the stack failed to start: {why}"),
    };
    let kept = SaveLogs { stack, name };
    let began = Instant::now();
    let done = async {
        stack.wait_healthy().await?;
        test(stack).await
    };
    match done.await {
        Ok(()) => progress(name, &format!("done in {}", format_duration(began.elapsed()))),
        Err(error) => panic!("{name}: {error:#}"),
    }
    drop(kept);
}

/// Saves the logs when the test panics.
struct SaveLogs<'a> {
    stack: &'a Stack,
    name: &'a str,
}

impl Drop for SaveLogs<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            progress(
                self.name,
                &format!("FAILED; the logs are in {}", self.stack.save_logs(self.name).display()),
            );
        }
    }
}

/// Prints a measurement on standard error; shown with `--no-capture`.
pub fn progress(name: &str, text: &str) {
    eprintln!("    {name}: {text}");
}

#[must_use]
pub fn format_duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
