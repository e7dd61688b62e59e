//! SIGINT and SIGTERM: the suite cancels its orders; a second signal exits immediately.

use std::{process::Command, time::Duration};

use merch_test_store::TIMEOUT;
use tokio::{net::TcpListener, process::Child, time::Instant};

use crate::program::{program, remaining, stderr, stdout, store, wait};

fn signal(child: &Child, name: &str) {
    let id = child.id().expect("the program has not exited").to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

async fn interrupted_by(name: &str) {
    let store = store().await;
    let before = remaining(&store).await;
    let child = program(&["--url", store.url(), "--jobs", "2"]).spawn().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while store.sql_integer("SELECT COUNT(*) FROM orders WHERE status = 'placed'").await == 0 {
        assert!(Instant::now() < deadline, "the suite has placed no order after {TIMEOUT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    signal(&child, name);
    let output = wait(child).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted: cleaning up"), "{}", stderr(&output));
    assert!(stdout(&output).ends_with("Interrupted before the end.\n"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("warning:"), "{}", stdout(&output));
    assert_eq!(remaining(&store).await, before);
    store.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_cleans_up() {
    interrupted_by("INT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_cleans_up() {
    interrupted_by("TERM").await;
}

#[tokio::test]
async fn second_signal_exits_immediately() {
    // Accepts connections without answering.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut child = program(&["--url", &url, "--timeout", "600"]).spawn().unwrap();
    let _connection = tokio::time::timeout(TIMEOUT, listener.accept())
        .await
        .expect("the program connects")
        .unwrap();
    signal(&child, "INT");
    // Send the second signal only after the program has handled the first.
    let mut reader = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    tokio::time::timeout(TIMEOUT, tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line))
        .await
        .expect("the program reports the interrupt")
        .unwrap();
    assert!(line.contains("interrupt again to exit immediately"), "{line}");
    signal(&child, "INT");
    let output = wait(child).await;
    assert_eq!(output.status.code(), Some(130));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn stalled_stderr_does_not_block_the_second_signal() {
    use std::{
        fs::File,
        io::Write as _,
        os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    };
    const NONBLOCK: i32 = 0o4000;
    let (_reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut filler = File::options().write(true).custom_flags(NONBLOCK).open(path).unwrap();
    while filler.write(&[b'x'; 4096]).is_ok() {}
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut child = program(&["--url", &url, "--timeout", "600"]).stderr(writer).spawn().unwrap();
    let _connection = tokio::time::timeout(TIMEOUT, listener.accept())
        .await
        .expect("the program connects")
        .unwrap();
    // The test cannot observe when the program handles the first signal, so it repeats the signal.
    let deadline = Instant::now() + TIMEOUT;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the program has not exited");
        if let Some(id) = child.id() {
            assert!(
                Command::new("kill")
                    .args(["-s", "INT", &id.to_string()])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
}
