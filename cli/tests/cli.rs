//! `merch-cli` against generated mocks: exit codes, passwords, problems, lists.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use httpmock::MockServer;
use merch_contract::rest::{client::types, mock::MockServerExt as _};
use serde_json::{Value, json};

const USER: &str = "0192f0c1-7b5e-7c3a-9d2e-1f6a5b4c3d2e";

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn merch_cli(url: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_merch-cli"))
        .env_remove("MERCH_TOKEN")
        .env("MERCH_URL", url)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that needs no password may exit before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn problem(status: u16, code: &str) -> types::Problem {
    from_json(json!({
        "type": "/problems/x", "title": "A title", "status": status, "detail": "What happened.", "instance": "/orders", "code": code, "request_id": "req-42"
    }))
}

fn order() -> types::Order {
    from_json(json!({
        "id": USER, "user_id": USER, "product_id": 1, "quantity": 2, "unit_price_cents": 4999, "total_price_cents": 9998, "currency": "CNY",
        "status": "placed", "created_at": "2026-01-01T00:00:00Z", "cancelled_at": null
    }))
}

#[test]
fn log_in_reads_password_from_standard_input() {
    let server = MockServer::start();
    let mock = server.log_in(|when, then| {
        when.body(&from_json(json!({ "username": "alice", "password": "correct horse" })));
        then.ok(&from_json(json!({ "access_token": "the.token", "token_type": "Bearer", "expires_in": 86400, "user_id": USER })));
    });
    for arguments in [
        &["log-in", "--username", "alice"][..],
        &["log-in", "--username", "alice", "--password", "-"],
        &["log-in", "--username", "alice", "--password", "correct horse"],
    ] {
        let output = merch_cli(&server.base_url(), arguments, "correct horse\n");
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(
            serde_json::from_str::<Value>(stdout(&output)).unwrap()["access_token"],
            "the.token"
        );
    }
    let output = merch_cli(
        &server.base_url(),
        &["--raw", "access_token", "log-in", "--username", "alice"],
        "correct horse\n",
    );
    assert_eq!(stdout(&output), "the.token\n");
    mock.assert_calls(4);
}

#[test]
fn change_password_reads_old_then_new_password() {
    let server = MockServer::start();
    let mock = server.change_password(|when, then| {
        when.body(&from_json(
            json!({ "current_password": "old-password", "new_password": "new-password" }),
        ));
        then.no_content();
    });
    let output = merch_cli(
        &server.base_url(),
        &["--token", "t", "change-password", "--user-id", USER],
        "old-password\nnew-password\n",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    mock.assert();
}

#[test]
fn invalid_password_is_never_shown() {
    let arguments = ["register", "--sid", "1", "--username", "alice", "--email", "a@example.com"];
    let output = merch_cli("http://127.0.0.1:1", &arguments, "hush\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("error: invalid value of --password:"),
        "{}",
        stderr(&output)
    );
    assert!(!stderr(&output).contains("hush"), "{}", stderr(&output));
    let output = merch_cli("http://127.0.0.1:1", &arguments, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("expected a line with the value of --password on standard input"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn problem_goes_to_standard_error() {
    let server = MockServer::start();
    let _mock = server.place_order(|when, then| {
        when.into_inner().header("authorization", "Bearer the.token");
        then.conflict(&problem(409, "out_of_stock"));
    });
    let output = merch_cli(
        &server.base_url(),
        &["--token", "the.token", "place-order", "--product-id", "1", "--quantity", "3"],
        "",
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    assert_eq!(
        stderr(&output),
        "error: What happened. (out_of_stock)\n  status 409, request id req-42\n"
    );
}

#[test]
fn list_is_one_json_array_over_all_pages() {
    let server = MockServer::start();
    let _second = server.mock(|when, then| {
        when.path("/orders").query_param("page_token", "p2");
        then.status(200).json_body(json!({ "items": [order()], "next_page": null }));
    });
    let _first = server.mock(|when, then| {
        when.path("/orders").query_param_missing("page_token");
        then.status(200).json_body(json!({ "items": [order(), order()], "next_page": "p2" }));
    });
    let output = merch_cli(&server.base_url(), &["--token", "t", "list-orders"], "");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(serde_json::from_str::<Vec<types::Order>>(stdout(&output)).unwrap().len(), 3);
    let output = merch_cli(
        &server.base_url(),
        &["--token", "t", "list-orders", "--limit", "2", "--raw", "status"],
        "",
    );
    assert_eq!(stdout(&output), "placed\nplaced\n");
}

#[test]
fn unreachable_store_is_reported_in_one_line() {
    let output = merch_cli("http://127.0.0.1:1", &["greet"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("error: the store is unreachable: "),
        "{}",
        stderr(&output)
    );
    assert_eq!(stderr(&output).lines().count(), 1);
}

#[test]
fn not_modified_exits_with_success() {
    let server = MockServer::start();
    let _mock = server.mock(|when, then| {
        when.path("/products/1").header("if-none-match", "\"7\"");
        then.status(304).header("etag", "\"7\"");
    });
    let output = merch_cli(
        &server.base_url(),
        &["-v", "get-product", "--product-id", "1", "--if-none-match", "\"7\""],
        "",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "status: 304 Not Modified\netag: \"7\"\nnot modified\n");
}

#[test]
fn invalid_command_line_exits_with_2() {
    assert_eq!(
        merch_cli("http://127.0.0.1:1", &["place-order", "--quantity", "many"], "").status.code(),
        Some(2)
    );
    assert_eq!(merch_cli("127.0.0.1:1", &["greet"], "").status.code(), Some(2));
    let output = merch_cli("http://127.0.0.1:1", &["place-order", "--json-body-template"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("templates are not supported"), "{}", stderr(&output));
}
