//! One stack for all tests of a process, and one test at a time: what one of them kills, the others
//! would miss.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::{Mutex, OnceCell};

use crate::stack::{Replicas, Stack};

/// The stack, or why there is none; it is not tried twice.
static STACK: OnceCell<Result<Stack, String>> = OnceCell::const_new();
/// Who works on it.
static TURN: Mutex<()> = Mutex::const_new(());

/// Enough to lose one of each.
pub const REPLICAS: Replicas = Replicas { api: 3, db: 2, logging: 2 };

/// Runs `test` on the stack, alone and with everything healthy, and keeps all logs in
/// `target/compose-logs` if it fails.
///
/// `prepare` is done once, before the first test.
///
/// # Panics
/// When the test fails, or there is no stack.
pub async fn on_stack(
    name: &str,
    prepare: impl AsyncFnOnce(&Stack) -> Result<()>,
    test: impl AsyncFnOnce(&Stack) -> Result<()>,
) {
    let _turn = TURN.lock().await;
    let up = async || {
        let stack = Stack::up(REPLICAS, |_| {}).await.map_err(|error| format!("{error:#}"))?;
        figure("up", &format!("all of {REPLICAS:?} healthy within {}", seconds(stack.took())));
        match prepare(&stack).await {
            Ok(()) => Ok(stack),
            Err(error) => {
                Err(format!("{error:#}\nThe logs are in {}", stack.keep_logs("prepare").display()))
            }
        }
    };
    let stack = match STACK.get_or_init(up).await {
        Ok(stack) => stack,
        Err(why) => panic!("there is no stack: {why}"),
    };
    let kept = KeepLogs { stack, name };
    let began = Instant::now();
    let done = async {
        stack.settle().await?;
        test(stack).await
    };
    match done.await {
        Ok(()) => figure(name, &format!("done in {}", seconds(began.elapsed()))),
        Err(error) => panic!("{name}: {error:#}"),
    }
    drop(kept);
}

/// Keeps the logs when the test panics, by itself or by an assertion.
struct KeepLogs<'a> {
    stack: &'a Stack,
    name: &'a str,
}

impl Drop for KeepLogs<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            figure(
                self.name,
                &format!("FAILED; the logs are in {}", self.stack.keep_logs(self.name).display()),
            );
        }
    }
}

/// Tells what was measured, on standard error; seen with `--no-capture`.
pub fn figure(name: &str, text: &str) {
    eprintln!("    {name}: {text}");
}

/// A time as people read it.
#[must_use]
pub fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
