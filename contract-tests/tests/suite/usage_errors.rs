//! Runs that test nothing: exit code 2 and one message.

use std::net::TcpListener;

use crate::program::{run, stderr, stdout};

fn unused_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn refused(arguments: &[&str], words: &[&str]) {
    let output = run(arguments).await;
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}{}", stdout(&output));
    assert!(message.starts_with("error: "), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: expected {word:?} in {message}");
    }
}

#[tokio::test]
async fn unreachable_stores_are_reported() {
    let url = unused_url();
    refused(&["--url", &url], &[&url, "expected a running store", "--url"]).await;
    let output = run(&["--url", &url, "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!((output.status.code(), &report["passed"]), (Some(2), &serde_json::json!(false)));
    assert!(report["unusable"].as_str().unwrap().contains("expected a running store"), "{report}");
}

#[tokio::test]
async fn junit_reports_that_nothing_was_tested() {
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("report.xml");
    refused(
        &["--url", &unused_url(), "--junit", junit.to_str().unwrap()],
        &["expected a running store"],
    )
    .await;
    let xml = std::fs::read_to_string(&junit).unwrap();
    let tree = roxmltree::Document::parse(&xml).unwrap();
    let error = tree.descendants().find(|node| node.has_tag_name("error")).unwrap();
    assert!(error.attribute("message").unwrap().contains("expected a running store"), "{xml}");
}

#[tokio::test]
async fn invalid_options_are_refused() {
    let url = unused_url();
    refused(&[], &["--url"]).await;
    refused(&["--url", "127.0.0.1:8080"], &["expected an address such as http://127.0.0.1:8080"])
        .await;
    refused(&["--url", "ftp://x"], &["expected an address such as"]).await;
    refused(
        &["--url", &url, "--only", "orders"],
        &["expected a tag (Dialog, OrderManager", "or an operation (greet, register"],
    )
    .await;
    refused(&["--url", &url, "--jobs", "0"], &["expected a whole number from 1 to 64"]).await;
    refused(&["--url", &url, "--timeout", "soon"], &["expected a whole number of seconds"]).await;
    refused(&["--url", &url, "--expired-token", ""], &["expected a token"]).await;
    refused(
        &["--url", &url, "--junit", "/nowhere/report.xml"],
        &["/nowhere/report.xml", "expected a writable file"],
    )
    .await;
}

#[tokio::test]
async fn invalid_documents_are_refused() {
    let (url, dir) = (unused_url(), tempfile::tempdir().unwrap());
    let file = dir.path().join("openapi.yaml");
    let path = file.to_str().unwrap();
    refused(&["--url", &url, "--spec", path], &[path, "expected a document"]).await;
    for (text, words) in [
        ("just words", &["expected an OpenAPI 3.0 document"][..]),
        ("{", &["expected YAML or JSON"]),
        ("openapi: 3.1.0", &["got one of version 3.1.0"]),
        ("openapi: 3.0.3\npaths: {}", &["/paths", "at least one operation"]),
        (
            "openapi: 3.0.3\npaths: \
             {/a: {get: {operationId: a, responses: {default: {description: d}}}}}",
            &["/paths/~1a/get/responses/default"],
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        refused(&["--url", &url, "--spec", path], words).await;
    }
}

#[tokio::test]
async fn help_and_version_are_printed() {
    let output = run(&["--help"]).await;
    assert_eq!(output.status.code(), Some(0));
    for option in [
        "--url",
        "--spec",
        "--only",
        "--junit",
        "--json",
        "--exhaust-stock",
        "--expired-token",
        "--jobs",
        "Exit codes:",
    ] {
        assert!(stdout(&output).contains(option), "{}", stdout(&output));
    }
    assert_eq!(
        stdout(&run(&["--version"]).await),
        format!("merch-contract-tests {}\n", env!("CARGO_PKG_VERSION"))
    );
}
