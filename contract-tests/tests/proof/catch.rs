//! The suite against each mutant, which it has to notice, and against each control, which it may
//! not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use contract_tests::{cases, document::Document, report::Report, suite};

use crate::{
    mutants::{self, CATALOGUE, Control, Given, Mutant},
    proxy::{Proxy, Upstream},
    stores::{SuiteStore, expect_no_complaint, options, run},
    table,
};

/// Stores that are used at the same time, each by one run of the suite.
const STORES: usize = 3;

/// A mutant that makes the suite wait for ever has got away.
const LONGEST_RUN: Duration = Duration::from_secs(120);

/// So many cases are tried at once while it is not known which of them notices a mutant.
const AT_ONCE: usize = 16;

/// How a run of the suite noticed a mutant: `operation status: case`, of the mutant's operations.
fn noticed(mutant: &Mutant, report: &Report) -> BTreeSet<String> {
    // An answer that does not come says that something is broken, and not what. Nor is a fault of
    // the suite a finding.
    let told = |message: &str| {
        !message.starts_with("expected an answer, got none")
            && !message.contains("a fault of this program")
    };
    let failures = report.failures().filter(|(case, failure)| {
        mutant.operations.contains(&case.operation.as_str()) && told(failure.message())
    });
    failures.map(|(case, _)| described(&case.operation, case.status, &case.name)).collect()
}

fn described(operation: &str, status: u16, case: &str) -> String {
    format!("`{operation}` {status}: {case}")
}

/// One mutant, and the suite before it.
struct Trial<'t> {
    mutant: &'t Mutant,
    store: &'t SuiteStore,
    document: &'t Arc<Document>,
}

impl Trial<'_> {
    /// Which cases notice it: the one that `docs/mutants.md` names alone, if it still does, or else
    /// the first that are found.
    async fn go(&self, named: Option<&str>) -> Result<BTreeSet<String>, String> {
        self.store.stock_up().await;
        if let Some(named) = named {
            let noticed = self.run(&[named.to_owned()].into()).await?;
            if !noticed.is_empty() {
                return Ok(noticed);
            }
        }
        // Those of the domain first: they are fewer, and each sees more.
        let domain = cases::domain::cases(self.document)
            .into_iter()
            .chain(cases::derived::cases(self.document));
        let concerned =
            domain.filter(|case| self.mutant.operations.contains(&case.operation.as_str()));
        let all: Vec<String> =
            concerned.map(|case| described(&case.operation, case.status, &case.name)).collect();
        for some in all.chunks(AT_ONCE) {
            let noticed = self.run(&some.iter().cloned().collect()).await?;
            if !noticed.is_empty() {
                return Ok(noticed);
            }
        }
        Err(format!("none of {} cases noticed it", all.len()))
    }

    /// Runs these cases against the mutant, which is as good as new.
    async fn run(&self, these: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
        let given = self.mutant.given;
        let expired = if given == Given::ExpiredToken {
            Some(self.store.expired_token().await)
        } else {
            None
        };
        let proxy =
            Proxy::start(Upstream::new(self.store.store.url()), self.mutant.act.clone()).await;
        let options =
            options(proxy.url(), self.mutant.operations, expired, given == Given::ExhaustStock);
        let mut chosen = cases::all(self.document);
        chosen.retain(|case| these.contains(&described(&case.operation, case.status, &case.name)));
        let run = suite::run_cases(options, self.document.clone(), chosen);
        let report = tokio::time::timeout(LONGEST_RUN, run)
            .await
            .map_err(|_| format!("the suite has not ended after {LONGEST_RUN:?}"))?;
        match report.unusable {
            Some(why) => Err(format!("the suite did not begin: {why}")),
            None => Ok(noticed(self.mutant, &report)),
        }
    }
}

/// The value of a variable, for trying some mutants or one control by hand.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_notices_every_mutant() {
    let document = Arc::new(Document::embedded());
    let all = mutants::all();
    let mut names = BTreeSet::new();
    for mutant in &all {
        assert!(names.insert(mutant.name), "two mutants are called {:?}", mutant.name);
    }
    let committed = table::committed();
    let named = table::cases(&committed);
    let wanted = variable("MUTANT");

    let chosen: Vec<_> = all
        .iter()
        .filter(|mutant| wanted.as_ref().is_none_or(|part| mutant.name.contains(part.as_str())))
        .collect();
    assert!(
        !chosen.is_empty(),
        "no mutant's name has the words {wanted:?} of MUTANT in it; docs/mutants.md has the names"
    );
    let jobs = Mutex::new(chosen.into_iter());
    let outcomes = Mutex::new(BTreeMap::new());
    let worker = || async {
        let store = SuiteStore::start().await;
        loop {
            let Some(mutant) = jobs.lock().unwrap().next() else { break };
            let began = Instant::now();
            let trial = Trial { mutant, store: &store, document: &document };
            let outcome = trial.go(named.get(mutant.name).copied()).await;
            if wanted.is_some() {
                eprintln!("{:>7.1} s  {}: {outcome:?}", began.elapsed().as_secs_f32(), mutant.name);
            }
            outcomes.lock().unwrap().insert(mutant.name, outcome);
        }
        store.store.finish_whatever_came().await;
    };
    futures_util::future::join_all((0..STORES).map(|_| worker())).await;

    let outcomes = outcomes.into_inner().unwrap();
    let missed: Vec<String> = outcomes
        .iter()
        .filter_map(|(name, outcome)| outcome.as_ref().err().map(|why| format!("{name}: {why}")))
        .collect();
    assert!(
        missed.is_empty(),
        "{} of {} mutants got away:\n- {}",
        missed.len(),
        outcomes.len(),
        missed.join("\n- ")
    );
    if outcomes.len() == all.len() {
        let noticed = outcomes
            .into_iter()
            .filter_map(|(name, outcome)| Some((name, outcome.ok()?)))
            .collect();
        table::compare(&committed, &all, &mutants::controls(), &noticed);
    }
}

/// The trial can fail: what breaks nothing is noticed by no case, whichever case a table names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutant_that_breaks_nothing_gets_away() {
    let document = Arc::new(Document::embedded());
    let store = SuiteStore::start().await;
    let mutant = Mutant {
        name: "",
        operations: &["greet"],
        breaks: "",
        how: "",
        act: mutants::nothing(),
        given: Given::Nothing,
    };
    let trial = Trial { mutant: &mutant, store: &store, document: &document };
    let outcome = trial.go(Some("`greet` 200: the version is the document's")).await;
    assert!(outcome.as_ref().is_err_and(|why| why.starts_with("none of ")), "{outcome:?}");
    store.store.finish_whatever_came().await;
}

/// That the suite passes with a proxy that changes nothing is part of the ratchet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_allows_what_the_contract_allows() {
    let mut controls: Vec<Control> = mutants::controls();
    if let Some(part) = variable("CONTROL") {
        controls.retain(|control| control.name.contains(&part));
        assert!(
            !controls.is_empty(),
            "no control's name has the words {part:?} of CONTROL in it; docs/mutants.md has the names"
        );
    }
    let store = SuiteStore::start().await;
    store.stock_up().await;
    let proxy = Proxy::start(Upstream::new(store.store.url()), mutants::together(controls)).await;
    let report = run(
        proxy.url(),
        &[],
        Some(store.expired_token().await),
        true,
        &Arc::new(Document::embedded()),
    )
    .await;
    // CONTROL=words tries one change alone.
    expect_no_complaint(&report);
    store.store.finish_whatever_came().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_learns_the_catalogue() {
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
    expect_no_complaint(&report);
    store.store.finish_whatever_came().await;
}
