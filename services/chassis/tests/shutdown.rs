//! Tests signals by sending them to a child process that runs this test program.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]
#![allow(
    clippy::disallowed_macros,
    reason = "the child reports its state to the parent on standard output"
)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The child process: prints "ready", and "drained" after the first signal.
#[tokio::test]
#[ignore = "the child of the tests below"]
async fn child() {
    let token = merch_chassis::shutdown::on_signals().unwrap();
    println!("\nready");
    token.cancelled().await;
    println!("\ndrained");
    std::future::pending::<()>().await;
}

fn first_then_second(first: &str, second: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let kill = |signal: &str| {
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success())
    };
    assert!(lines.any(|line| line == "ready"), "the child was never ready");
    kill(first);
    assert!(lines.any(|line| line == "drained"), "the child did not see {first}");
    kill(second);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn second_sigterm_exits_immediately() {
    first_then_second("-TERM", "-TERM");
}

#[test]
fn second_ctrl_c_exits_immediately() {
    first_then_second("-INT", "-INT");
}

/// The child process: prints "ready" and blocks the task that waits for signals.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "the child of the test below"]
async fn stuck_child() {
    let _token = merch_chassis::shutdown::on_first_signal(|| 7).unwrap();
    println!("\nready");
    std::thread::park();
}

#[test]
fn blocked_command_exits_after_one_signal() {
    for signal in ["-TERM", "-INT"] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["stuck_child", "--exact", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "ready"), "the child was never ready");
        assert!(
            Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        let (ended, end) = mpsc::channel();
        let id = child.id().to_string();
        thread::spawn(move || ended.send(child.wait().unwrap()));
        let Ok(status) = end.recv_timeout(Duration::from_secs(60)) else {
            assert!(Command::new("kill").args(["-KILL", &id]).status().unwrap().success());
            panic!("{signal} does not end it");
        };
        assert_eq!(status.code(), Some(7), "{signal}");
    }
}
