//! The ratchet: every operation with every status that it declares is brought about by a test, in
//! this process, on a real store.

use std::{collections::BTreeSet, sync::Arc};

use contract_tests::{document::Document, report::Outcome};

use crate::{
    failures,
    mutants::nothing,
    proxy::{Act, Proxy, Upstream},
    stores::{SuiteStore, complaints, expect_no_complaint, run},
};

/// An operation and a status.
type Cell = (String, u16);

/// What need not be brought about: nothing. The length is part of the type, so that who adds
/// something has to change it here, where it says that it may never grow: a status that an
/// operation cannot reach it does not declare.
const EXCEPTIONS: [(&str, u16); 0] = [];

/// A sentence for each cell that is declared and was not brought about.
fn missing(declared: &BTreeSet<Cell>, exercised: &BTreeSet<Cell>) -> Vec<String> {
    let excepted = |operation: &str, status: u16| EXCEPTIONS.contains(&(operation, status));
    let left =
        declared.difference(exercised).filter(|(operation, status)| !excepted(operation, *status));
    left.map(|(operation, status)| {
        format!(
            "{operation} declares {status}, and no test brings it about: write a case for it in contract-tests/src/cases/; \
             if the operation cannot answer it, take it out of openapi.yaml"
        )
    })
    .collect()
}

/// The document, held against more strictly than foreign implementations are: our store answers
/// with no member that it does not know.
fn strict() -> Arc<Document> {
    Arc::new(Document::ours())
}

/// `openapi.yaml` with one status more.
fn with_a_teapot() -> Arc<Document> {
    let greeting = "        '200':\n          description: The greeting.\n";
    assert_eq!(
        merch_contract::OPENAPI_YAML.matches(greeting).count(),
        1,
        "greet stands there as this test knows it"
    );
    let text = merch_contract::OPENAPI_YAML.replace(
        greeting,
        &format!("        '418':\n          description: A teapot.\n{greeting}"),
    );
    Arc::new(Document::read(&text).unwrap())
}

/// Answers every greeting as a teapot would.
fn teapot() -> Act {
    Arc::new(|upstream, request| {
        Box::pin(async move {
            let mut answer = upstream.send(&request).await;
            if request.operation() == Some("greet") {
                answer.status = 418;
            }
            answer
        })
    })
}

/// The whole suite goes through a proxy that changes nothing, which is the first control of the
/// mutants as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_declared_status_of_every_operation_is_brought_about() {
    let document = strict();
    let store = SuiteStore::start().await;
    let mut exercised = failures::exercise(&store.store, &document).await;

    store.stock_up().await;
    let proxy = Proxy::start(Upstream::new(store.store.url()), nothing()).await;
    let report = run(proxy.url(), &[], Some(store.expired_token().await), true, &document).await;
    expect_no_complaint(&report);
    assert_eq!(report.warnings, Vec::<String>::new(), "the suite leaves the store as it found it");
    exercised.extend(
        report
            .cells
            .into_iter()
            .filter(|(_, cell)| cell.outcome == Outcome::Passed)
            .map(|(cell, _)| cell),
    );

    let declared = document.declared();
    let undeclared: Vec<&Cell> = exercised.difference(&declared).collect();
    assert!(undeclared.is_empty(), "brought about and not declared: {undeclared:?}");
    let missing = missing(&declared, &exercised);
    assert!(
        missing.is_empty(),
        "{} of {} cells are missing:\n- {}",
        missing.len(),
        declared.len(),
        missing.join("\n- ")
    );
    store.store.finish_whatever_came().await;
}

/// The ratchet can fail: a status that is declared and never comes is named, by the suite and by
/// the ratchet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_nothing_brings_about_is_named() {
    let document = with_a_teapot();
    let store = SuiteStore::start().await;
    let report = run(store.store.url(), &["greet"], None, false, &document).await;
    assert!(report.failed());
    assert_eq!(complaints(&report), ["greet 418 was not reached"]);
    let exercised = report
        .cells
        .iter()
        .filter(|(_, cell)| cell.outcome == Outcome::Passed)
        .map(|(cell, _)| cell.clone())
        .collect();
    let declared =
        document.declared().into_iter().filter(|(operation, _)| operation == "greet").collect();
    let missing = missing(&declared, &exercised);
    assert!(
        missing.len() == 1
            && missing[0].starts_with("greet declares 418, and no test brings it about"),
        "{missing:?}"
    );
    store.store.finish_whatever_came().await;
}

/// And the other way round: a status that comes and is not declared is a failure, and the same one
/// that is declared is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_is_not_declared_is_a_failure() {
    let store = SuiteStore::start().await;
    let proxy = Proxy::start(Upstream::new(store.store.url()), teapot()).await;
    let report = run(proxy.url(), &["greet"], None, false, &Arc::new(Document::embedded())).await;
    assert!(
        complaints(&report).iter().any(|complaint| complaint.contains("greet declares no 418")),
        "{:?}",
        complaints(&report)
    );
    let report = run(proxy.url(), &["greet"], None, false, &with_a_teapot()).await;
    assert!(
        !complaints(&report).iter().any(|complaint| complaint.contains("greet declares no 418")),
        "{:?}",
        complaints(&report)
    );
    store.store.finish_whatever_came().await;
}
