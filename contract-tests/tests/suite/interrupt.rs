//! Ctrl-C and SIGTERM: what the suite has bought is cancelled all the same; the second one ends it
//! at once.

use std::{process::Command, time::Duration};

use merch_test_store::PATIENCE;
use tokio::{net::TcpListener, process::Child, time::Instant};

use crate::program::{ended, left_in, program, stderr, stdout, store};

fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it has not ended").to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

async fn interrupted_by(name: &str) {
    let store = store().await;
    let before = left_in(&store).await;
    let child = program(&["--url", store.url(), "--jobs", "2"]).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while store.sql_integer("SELECT COUNT(*) FROM orders WHERE status = 'placed'").await == 0 {
        assert!(Instant::now() < deadline, "the suite has placed no order after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    signal(&child, name);
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted: cleaning up"), "{}", stderr(&output));
    assert!(stdout(&output).ends_with("Interrupted before the end.\n"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("warning:"), "{}", stdout(&output));
    assert_eq!(left_in(&store).await, before);
    store.finish_whatever_came().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_ctrl_c_nothing_is_left() {
    interrupted_by("INT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sigterm_nothing_is_left() {
    interrupted_by("TERM").await;
}

#[tokio::test]
async fn the_second_one_ends_it_at_once() {
    // Takes connections, and answers nothing: the program waits for that.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut child = program(&["--url", &url, "--timeout", "600"]).spawn().unwrap();
    let _connection = tokio::time::timeout(PATIENCE, listener.accept())
        .await
        .expect("the program connects")
        .unwrap();
    signal(&child, "INT");
    // A second signal before the first is seen would be one to the program.
    let mut told = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    tokio::time::timeout(PATIENCE, tokio::io::AsyncBufReadExt::read_line(&mut told, &mut line))
        .await
        .expect("it says so")
        .unwrap();
    assert!(line.contains("once more, and it stays"), "{line}");
    signal(&child, "INT");
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(130));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_stalled_standard_error_does_not_hide_the_second_one() {
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
    let _connection = tokio::time::timeout(PATIENCE, listener.accept())
        .await
        .expect("the program connects")
        .unwrap();
    // Nothing tells when the first one is seen, so there are more than two.
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it does not end");
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
