//! Runs the suite against each mutant, which it must detect, and each control, which it must
//! accept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use contract_tests::{cases, document::Document, report::Report, suite};

use crate::{
    mutants::{self, CATALOGUE, Control, Mutant, SuiteInput},
    mutants_page,
    proxy::{Proxy, Upstream},
    suite_store::{SuiteStore, assert_passed, options, run},
};

/// Stores used in parallel, each by one run.
const STORES: usize = 3;

/// A mutant that hangs the suite counts as missed.
const MAX_RUN: Duration = Duration::from_secs(120);

/// Cases per run while searching for one that detects the mutant.
const CASES_PER_RUN: usize = 16;

/// The cases that detected a mutant: `operation status: case`.
fn detected_by(mutant: &Mutant, report: &Report) -> BTreeSet<String> {
    // A missing response does not identify the fault; a fault of the suite does not count.
    let is_specific = |message: &str| {
        !message.starts_with("expected an answer, got none")
            && !message.contains("a bug of this program")
    };
    let failures = report.failures().filter(|(case, failure)| {
        mutant.operations.contains(&case.operation.as_str()) && is_specific(failure.message())
    });
    failures.map(|(case, _)| described(&case.operation, case.status, &case.name)).collect()
}

fn described(operation: &str, status: u16, case: &str) -> String {
    format!("`{operation}` {status}: {case}")
}

struct Trial<'t> {
    mutant: &'t Mutant,
    store: &'t SuiteStore,
    document: &'t Arc<Document>,
}

impl Trial<'_> {
    /// Returns the cases that detect it: the case in `docs/mutants.md`, if it still does, or else
    /// the first found.
    async fn detect(&self, named: Option<&str>) -> Result<BTreeSet<String>, String> {
        self.store.restock().await;
        if let Some(named) = named {
            let detected = self.run(&[named.to_owned()].into()).await?;
            if !detected.is_empty() {
                return Ok(detected);
            }
        }
        // Domain cases first: they are fewer and broader.
        let domain = cases::domain::cases(self.document)
            .into_iter()
            .chain(cases::derived::cases(self.document));
        let concerned =
            domain.filter(|case| self.mutant.operations.contains(&case.operation.as_str()));
        let all: Vec<String> =
            concerned.map(|case| described(&case.operation, case.status, &case.name)).collect();
        for some in all.chunks(CASES_PER_RUN) {
            let detected = self.run(&some.iter().cloned().collect()).await?;
            if !detected.is_empty() {
                return Ok(detected);
            }
        }
        Err(format!("none of {} cases detected it", all.len()))
    }

    async fn run(&self, these: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
        let given = self.mutant.given;
        let expired = if given == SuiteInput::ExpiredToken {
            Some(self.store.expired_token().await)
        } else {
            None
        };
        let proxy =
            Proxy::start(Upstream::new(self.store.store.url()), self.mutant.behavior.clone()).await;
        let options = options(
            proxy.url(),
            self.mutant.operations,
            expired,
            given == SuiteInput::ExhaustStock,
        );
        let mut chosen = cases::all(self.document);
        chosen.retain(|case| these.contains(&described(&case.operation, case.status, &case.name)));
        let run = suite::run_cases(options, self.document.clone(), chosen);
        let report = tokio::time::timeout(MAX_RUN, run)
            .await
            .map_err(|_| format!("the suite has not ended after {MAX_RUN:?}"))?;
        match report.not_tested {
            Some(why) => Err(format!("the suite did not start: {why}")),
            None => Ok(detected_by(self.mutant, &report)),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_detects_every_mutant() {
    let document = Arc::new(Document::embedded());
    let all = mutants::all();
    let mut names = BTreeSet::new();
    for mutant in &all {
        assert!(names.insert(mutant.name), "two mutants are called {:?}", mutant.name);
    }
    let committed = mutants_page::committed();
    let named = mutants_page::cases(&committed);
    let wanted = variable("MUTANT");

    let chosen: Vec<_> = all
        .iter()
        .filter(|mutant| wanted.as_ref().is_none_or(|part| mutant.name.contains(part.as_str())))
        .collect();
    assert!(
        !chosen.is_empty(),
        "no mutant's name contains {wanted:?} (MUTANT); docs/mutants.md lists the names"
    );
    let jobs = Mutex::new(chosen.into_iter());
    let outcomes = Mutex::new(BTreeMap::new());
    let worker = || async {
        let store = SuiteStore::start().await;
        loop {
            let Some(mutant) = jobs.lock().unwrap().next() else { break };
            let began = Instant::now();
            let trial = Trial { mutant, store: &store, document: &document };
            let outcome = trial.detect(named.get(mutant.name).copied()).await;
            if wanted.is_some() {
                eprintln!("{:>7.1} s  {}: {outcome:?}", began.elapsed().as_secs_f32(), mutant.name);
            }
            outcomes.lock().unwrap().insert(mutant.name, outcome);
        }
        store.store.finish_unchecked().await;
    };
    futures_util::future::join_all((0..STORES).map(|_| worker())).await;

    let outcomes = outcomes.into_inner().unwrap();
    let missed: Vec<String> = outcomes
        .iter()
        .filter_map(|(name, outcome)| outcome.as_ref().err().map(|why| format!("{name}: {why}")))
        .collect();
    assert!(
        missed.is_empty(),
        "expected the suite to detect every mutant, missed {} of {}:\n- {}",
        missed.len(),
        outcomes.len(),
        missed.join("\n- ")
    );
    if outcomes.len() == all.len() {
        let detected = outcomes
            .into_iter()
            .filter_map(|(name, outcome)| Some((name, outcome.ok()?)))
            .collect();
        mutants_page::compare(&committed, &all, &mutants::controls(), &detected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn harmless_mutants_are_not_detected() {
    let document = Arc::new(Document::embedded());
    let store = SuiteStore::start().await;
    let mutant = Mutant {
        name: "",
        operations: &["greet"],
        breaks: "",
        how: "",
        behavior: mutants::pass_through(),
        given: SuiteInput::Nothing,
    };
    let trial = Trial { mutant: &mutant, store: &store, document: &document };
    let outcome = trial.detect(Some("`greet` 200: the version equals the document's")).await;
    assert!(outcome.as_ref().is_err_and(|why| why.starts_with("none of ")), "{outcome:?}");
    store.store.finish_unchecked().await;
}

/// `coverage.rs` runs the suite through a proxy that changes nothing. `CONTROL=words` selects
/// controls by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controls_pass() {
    let mut controls: Vec<Control> = mutants::controls();
    if let Some(part) = variable("CONTROL") {
        controls.retain(|control| control.name.contains(&part));
        assert!(
            !controls.is_empty(),
            "no control's name contains {part:?} (CONTROL); docs/mutants.md lists the names"
        );
    }
    let store = SuiteStore::start().await;
    store.restock().await;
    let proxy = Proxy::start(Upstream::new(store.store.url()), mutants::combined(controls)).await;
    let report = run(
        proxy.url(),
        &[],
        Some(store.expired_token().await),
        true,
        &Arc::new(Document::embedded()),
    )
    .await;
    assert_passed(&report);
    store.store.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_accepts_another_catalogue() {
    let store = SuiteStore::start().await;
    store.store.sql(CATALOGUE).await;
    let report = run(
        store.store.url(),
        &["ProductManager", "OrderManager"],
        None,
        false,
        &Arc::new(Document::embedded()),
    )
    .await;
    assert_passed(&report);
    store.store.finish_unchecked().await;
}
