//! Coverage: a test causes every declared status of every operation, on a real store.

use std::{collections::BTreeSet, sync::Arc};

use contract_tests::{
    document::Document,
    report::{self, Outcome, Report},
};

use crate::{
    backend_failures,
    mutants::pass_through,
    proxy::{Behavior, Proxy, Upstream},
    suite_store::{SuiteStore, assert_passed, run},
};

/// An operation and a status.
type Cell = (String, u16);

/// No exceptions. The length is part of the type, so an addition needs a change here: operations
/// must not declare unreachable statuses.
const EXCEPTIONS: [(&str, u16); 0] = [];

fn missing(declared: &BTreeSet<Cell>, exercised: &BTreeSet<Cell>) -> Vec<String> {
    let excepted = |operation: &str, status: u16| EXCEPTIONS.contains(&(operation, status));
    let left =
        declared.difference(exercised).filter(|(operation, status)| !excepted(operation, *status));
    left.map(|(operation, status)| {
        format!(
            "{operation} declares {status}, but no test gets it: write a case in \
             contract-tests/src/cases/; if the operation cannot send it, remove it from \
             openapi.yaml"
        )
    })
    .collect()
}

/// The document, with undeclared members forbidden.
fn strict() -> Arc<Document> {
    Arc::new(Document::strict())
}

/// `openapi.yaml` with an additional status.
fn with_extra_status() -> Arc<Document> {
    let greeting = "        '200':\n          description: The greeting.\n";
    assert_eq!(
        merch_contract::OPENAPI_YAML.matches(greeting).count(),
        1,
        "expected the response 200 of greet in openapi.yaml"
    );
    let text = merch_contract::OPENAPI_YAML.replace(
        greeting,
        &format!("        '418':\n          description: A teapot.\n{greeting}"),
    );
    Arc::new(Document::read(&text).unwrap())
}

fn teapot() -> Behavior {
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

/// Also the control of a proxy that changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_declared_status_is_covered() {
    let document = strict();
    let store = SuiteStore::start().await;
    let mut exercised = backend_failures::exercise(&store.store, &document).await;

    store.restock().await;
    let proxy = Proxy::start(Upstream::new(store.store.url()), pass_through()).await;
    let report = run(proxy.url(), &[], Some(store.expired_token().await), true, &document).await;
    assert_passed(&report);
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
    assert!(undeclared.is_empty(), "covered but not declared: {undeclared:?}");
    let missing = missing(&declared, &exercised);
    assert!(
        missing.is_empty(),
        "{} of {} cells are missing:\n- {}",
        missing.len(),
        declared.len(),
        missing.join("\n- ")
    );
    store.store.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_statuses_are_reported() {
    let document = with_extra_status();
    let store = SuiteStore::start().await;
    let report = run(store.store.url(), &["greet"], None, false, &document).await;
    assert!(report.failed());
    assert_eq!(report.failures().count(), 0);
    assert_eq!(report.not_reached().collect::<Vec<_>>(), [&("greet".to_owned(), 418)]);
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
        missing.len() == 1 && missing[0].starts_with("greet declares 418, but no test gets it"),
        "{missing:?}"
    );
    store.store.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undeclared_statuses_are_failures() {
    let store = SuiteStore::start().await;
    let proxy = Proxy::start(Upstream::new(store.store.url()), teapot()).await;
    let report = run(proxy.url(), &["greet"], None, false, &Arc::new(Document::embedded())).await;
    let undeclared = |report: &Report| {
        report.failures().any(|(_, failure)| failure.message().contains("greet declares no 418"))
    };
    assert!(undeclared(&report), "{}", report::table(&report, false));
    let report = run(proxy.url(), &["greet"], None, false, &with_extra_status()).await;
    assert!(!undeclared(&report), "{}", report::table(&report, false));
    store.store.finish_unchecked().await;
}
