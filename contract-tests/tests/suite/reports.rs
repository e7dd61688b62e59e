use merch_test_store::{Database, TestStore};
use serde_json::Value;

use crate::program::{remaining, run, stderr, stdout};

/// The schema in docs/contract-tests.md.
fn assert_shape(report: &Value) {
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = [
        "url",
        "document",
        "passed",
        "interrupted",
        "unusable",
        "counts",
        "requests",
        "users",
        "orders",
        "seconds",
        "cells",
        "cases",
        "warnings",
    ];
    assert_eq!(members(report), expected);
    for cell in report["cells"].as_array().unwrap() {
        assert_eq!(
            members(cell),
            ["operation", "status", "outcome", "reason", "passed", "failed", "not_run", "answers"]
        );
        let outcome = cell["outcome"].as_str().unwrap();
        assert!(["passed", "failed", "not_reachable", "not_reached"].contains(&outcome), "{cell}");
        assert_eq!(cell["reason"].is_string(), outcome.starts_with("not_"), "{cell}");
    }
    for case in report["cases"].as_array().unwrap() {
        assert_eq!(
            members(case),
            ["name", "operation", "status", "outcome", "message", "exchanges", "seconds"]
        );
        let outcome = case["outcome"].as_str().unwrap();
        assert!(["passed", "failed", "not_run"].contains(&outcome), "{case}");
        assert_eq!(case["message"].is_string(), outcome != "passed", "{case}");
        for exchange in case["exchanges"].as_array().unwrap() {
            assert_eq!(members(exchange), ["curl", "answer"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_selects_tags_and_operations() {
    let store = TestStore::start(Database::Sqlite).await;
    let before = remaining(&store).await;
    let output =
        run(&["--url", store.url(), "--only", "ProductManager", "--only", "get_order", "--json"])
            .await;
    let report: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report:#}{}", stderr(&output));
    assert_shape(&report);
    assert_eq!(report["passed"], true);
    for list in ["cells", "cases"] {
        let mut operations: Vec<&str> = report[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["operation"].as_str().unwrap())
            .collect();
        operations.sort_unstable();
        operations.dedup();
        assert_eq!(operations, ["get_order", "get_product", "list_products"], "{list}");
    }
    assert_eq!(remaining(&store).await, before);
    store.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_include_a_curl_command() {
    let store = TestStore::start(Database::Sqlite).await;
    // The database accepts it, the document does not.
    store.sql("UPDATE products SET currency = 'cny' WHERE id = 2").await;
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("report.xml");
    let output =
        run(&["--url", store.url(), "--only", "list_products", "--junit", junit.to_str().unwrap()])
            .await;
    let table = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{table}{}", stderr(&output));
    assert!(table.contains("list_products     200  failed"), "{table}");
    assert!(
        table.contains(&format!("    curl -sS -i --globoff '{}/products", store.url())),
        "{table}"
    );
    assert!(table.contains("    HTTP/1.1 200 OK\n"), "{table}");
    assert!(table.contains("currency"), "{table}");
    assert!(table.ends_with("The implementation does not conform to the document.\n"), "{table}");
    let xml = std::fs::read_to_string(&junit).unwrap();
    let tree = roxmltree::Document::parse(&xml).unwrap();
    let failure = tree.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    assert!(
        failure.attribute("message").unwrap().contains("does not conform to the document"),
        "{xml}"
    );
    assert!(failure.text().unwrap().contains("curl -sS"), "{xml}");
    store.finish_unchecked().await;
}
