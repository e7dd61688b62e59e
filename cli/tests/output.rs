//! `merch-cli` with a standard output that is full, closed, or a pipe without a reader.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(target_os = "linux")] // /dev/full

use std::{
    fs::File,
    process::{Command, Output, Stdio},
};

use httpmock::MockServer;
use serde_json::json;

const USER: &str = "0192f0c1-7b5e-7c3a-9d2e-1f6a5b4c3d2e";

/// Runs the command with `>/dev/full`, `| true` and `>&-`, in this order.
fn run_with_lost_output(url: &str, arguments: &[&str]) -> [Output; 3] {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let unread = || Stdio::from(std::io::pipe().unwrap().1);
    [("exec \"$@\"", full()), ("exec \"$@\"", unread()), ("exec \"$@\" >&-", Stdio::null())].map(
        |(script, out)| {
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_merch-cli")]).args(arguments);
            command
                .env("MERCH_URL", url)
                .env("MERCH_TOKEN", "the.token")
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(Stdio::piped());
            command.output().unwrap()
        },
    )
}

fn check(url: &str, arguments: &[&str], expected: &str) {
    let [full, unread, closed] = run_with_lost_output(url, arguments);
    let message = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{arguments:?}: {message}");
    assert!(
        message.starts_with("error: ")
            && message.contains("No space left on device")
            && message.contains(expected),
        "{message}"
    );
    for quiet in [unread, closed] {
        assert_eq!(
            (quiet.status.code(), String::from_utf8_lossy(&quiet.stderr).as_ref()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

fn order() -> serde_json::Value {
    json!({
        "id": USER, "user_id": USER, "product_id": 1, "quantity": 2, "unit_price_cents": 4999, "total_price_cents": 9998, "currency": "CNY",
        "status": "placed", "created_at": "2026-01-01T00:00:00Z", "cancelled_at": null
    })
}

#[test]
fn lost_output_still_reports_the_placed_order() {
    let server = MockServer::start();
    let mock = server.mock(|when, then| {
        when.method("POST").path("/orders");
        then.status(201).json_body(order());
    });
    let arguments = ["place-order", "--product-id", "1", "--quantity", "2"];
    check(
        &server.base_url(),
        &arguments,
        "carried out, but its output cannot be written to standard output",
    );
    check(
        &server.base_url(),
        &arguments,
        "do not run it again. Done: the order was placed; `merch-cli list-orders` shows it",
    );
    mock.assert_calls(6);
}

#[test]
fn lost_output_of_reads_suggests_a_retry() {
    let server = MockServer::start();
    server.mock(|when, then| {
        when.method("GET").path("/orders");
        then.status(200).json_body(json!({ "items": [order(), order()], "next_page": null }));
    });
    check(&server.base_url(), &["list-orders"], "run the command again");
    check(&server.base_url(), &["list-orders", "--raw", "id"], "run the command again");
    for help in [&["--help"][..], &["--version"], &["help"], &["place-order", "--help"]] {
        check(&server.base_url(), help, "run the command again");
    }
}

#[test]
fn failures_keep_their_exit_code() {
    for output in run_with_lost_output("http://127.0.0.1:1", &["greet"]) {
        assert_eq!(output.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&output.stderr).starts_with("error: the store is unreachable")
        );
    }
    for output in run_with_lost_output("http://127.0.0.1:1", &["nonsense"]) {
        assert_eq!(output.status.code(), Some(2));
    }
}
