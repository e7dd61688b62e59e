//! The runner: parallel cases, serial cases, cleanup.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal as _, Write as _},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use hyper_util::client::proxy::matcher::Matcher;
use merch_contract::loopback::is_loopback;
use reqwest::Url;
use tokio::task::JoinSet;

use super::{Case, Context, Failure, Requirement, cleanup};
use crate::{
    document::Document,
    http::Transport,
    options::Options,
    report::{CaseOutcome, CaseResult, Cell, Outcome, Report, TestedOperation},
};

/// Limit of a case; it mostly waits for rate limits.
const CASE_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs these cases against an implementation and cleans up.
pub async fn run_cases(options: Options, document: Arc<Document>, cases: Vec<Case>) -> Report {
    let (title, version) = document.title();
    let (url, title) = (options.url.to_string(), format!("{title} {version}"));
    let prepared = async {
        let selected = options.selected(&document)?;
        let transport = Transport::new(options.url.clone(), options.timeout)?;
        transport.check_reachable(&document).await?;
        Ok::<_, String>((selected, transport))
    };
    let (selected, transport) = match prepared.await {
        Ok(prepared) => prepared,
        Err(why) => return Report::not_tested(url, title, why),
    };
    let began = Instant::now();
    let context = Context::new(Arc::clone(&document), transport, options.clone());
    // Setup responses fill no cell.
    let before = context.for_cleanup().products().await;

    let mut runner = Runner {
        context: context.clone(),
        results: Vec::new(),
        progress: Progress::new(options.progress),
    };
    let wanted = cases.into_iter().filter(|case| {
        selected.contains(&case.operation) || document.operation(&case.operation).is_none()
    });
    let (alone, together) = runner.runnable(wanted.collect());
    runner.progress.total = alone.len() + together.len();
    runner.run(together, options.jobs).await;
    runner.run(alone, 1).await;
    runner.progress.print("cleaning up");
    let mut warnings = cleanup::clean(&context).await;
    warnings.extend(cleanup::compare(before, &context).await);
    runner.progress.clear();

    let ledger = context.ledger();
    let mut cases = runner.results;
    cases.extend(
        ledger
            .incidents()
            .into_iter()
            .filter(|incident| selected.contains(&incident.operation))
            .map(|incident| CaseResult {
                name: "an answer that prepares other cases".to_owned(),
                operation: incident.operation,
                status: incident.status,
                outcome: CaseOutcome::Failed(incident.failure),
                duration: Duration::ZERO,
            }),
    );
    let operations =
        document.operations().iter().filter(|operation| selected.contains(&operation.id));
    Report {
        url,
        document: title,
        not_tested: None,
        cells: cells(&document, &selected, &cases, &context),
        operations: operations
            .map(|operation| TestedOperation {
                id: operation.id.clone(),
                tag: operation.tag.clone(),
                method: operation.method.clone(),
                path: operation.path.clone(),
            })
            .collect(),
        cases,
        warnings,
        interrupted: options.stop.is_cancelled(),
        requests: context.run().requests.load(Ordering::Relaxed),
        users: ledger.accounts().len(),
        orders: ledger.placed(),
        duration: began.elapsed(),
    }
}

struct Runner {
    context: Context,
    results: Vec<CaseResult>,
    progress: Progress,
}

impl Runner {
    /// Splits the cases into serial and parallel ones; records the skipped ones.
    fn runnable(&mut self, cases: Vec<Case>) -> (Vec<Case>, Vec<Case>) {
        let options = &self.context.run().options;
        let (exhaust, expired) = (options.exhaust_stock, options.expired_token.is_some());
        let plain = options.url.scheme() == "http" && !goes_through_proxy(&options.url);
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for case in cases {
            let missing = match case.requires {
                _ if self.context.document().operation(&case.operation).is_none() => {
                    Some(format!("the document has no operation {}", case.operation))
                }
                Requirement::ExhaustStock if !exhaust => Some("needs --exhaust-stock".to_owned()),
                Requirement::ExpiredToken if !expired => Some("needs --expired-token".to_owned()),
                Requirement::PlainHttp if !plain => {
                    Some("needs plain http without a proxy, for a raw connection".to_owned())
                }
                Requirement::None
                | Requirement::ExhaustStock
                | Requirement::ExpiredToken
                | Requirement::PlainHttp => None,
            };
            match missing {
                Some(why) => self.results.push(CaseResult {
                    name: case.name,
                    operation: case.operation,
                    status: case.status,
                    outcome: CaseOutcome::Skipped(why),
                    duration: Duration::ZERO,
                }),
                None if case.serial => alone.push(case),
                None => together.push(case),
            }
        }
        (alone, together)
    }

    /// Runs up to `jobs` cases in parallel. After an interrupt, no case starts.
    async fn run(&mut self, cases: Vec<Case>, jobs: usize) {
        let stop = self.context.run().options.stop.clone();
        let mut waiting = cases.into_iter();
        let mut running = JoinSet::new();
        let mut names = BTreeMap::new();
        loop {
            while running.len() < jobs && !stop.is_cancelled() {
                let Some(case) = waiting.next() else { break };
                let context = self.context.for_case();
                let described = (
                    case.name.clone(),
                    case.operation.clone(),
                    case.status,
                    Instant::now(),
                    context.clone(),
                );
                // A task, so that a panic ends only this case.
                let handle = running.spawn(async move {
                    let outcome = tokio::time::timeout(CASE_TIMEOUT, case.start(context)).await;
                    outcome.unwrap_or_else(|_| {
                        Err(Failure::new(format!(
                            "expected the case to end within {CASE_TIMEOUT:?}"
                        )))
                    })
                });
                names.insert(handle.id(), described);
            }
            let (id, outcome) = match running.join_next_with_id().await {
                Some(Ok((id, Ok(())))) => (id, CaseOutcome::Passed),
                Some(Ok((id, Err(failure)))) => (id, CaseOutcome::Failed(failure)),
                Some(Err(error)) => {
                    let id = error.id();
                    let why = error
                        .try_into_panic()
                        .map_or_else(|error| error.to_string(), |panic| message(&*panic));
                    (
                        id,
                        CaseOutcome::Failed(Failure::new(format!(
                            "the case panicked (a bug of this program): {why}"
                        ))),
                    )
                }
                None => break,
            };
            let Some((name, operation, status, began, context)) = names.remove(&id) else {
                continue;
            };
            let outcome = match outcome {
                // A failure after the interrupt is a consequence of it.
                CaseOutcome::Failed(_) if stop.is_cancelled() => {
                    CaseOutcome::Skipped("interrupted".to_owned())
                }
                CaseOutcome::Failed(failure) => {
                    CaseOutcome::Failed(failure.with_fallback_exchanges(context.last()))
                }
                other => other,
            };
            self.progress.done(&name, matches!(outcome, CaseOutcome::Failed(_)));
            self.results.push(CaseResult {
                name,
                operation,
                status,
                outcome,
                duration: began.elapsed(),
            });
        }
        for case in waiting {
            let (name, operation, status) = (case.name, case.operation, case.status);
            let outcome = CaseOutcome::Skipped("interrupted".to_owned());
            self.results.push(CaseResult {
                name,
                operation,
                status,
                outcome,
                duration: Duration::ZERO,
            });
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no message".to_owned())
}

fn cells(
    document: &Document,
    selected: &BTreeSet<String>,
    cases: &[CaseResult],
    context: &Context,
) -> BTreeMap<(String, u16), Cell> {
    let tally = context.ledger().tally();
    let declared =
        document.declared().into_iter().filter(|(operation, _)| selected.contains(operation));
    declared
        .map(|key| {
            let (operation, status) = &key;
            let here: Vec<&CaseResult> = cases
                .iter()
                .filter(|case| case.operation == *operation && case.status == *status)
                .collect();
            let count =
                |is: fn(&CaseOutcome) -> bool| here.iter().filter(|case| is(&case.outcome)).count();
            let passed = count(|outcome| matches!(outcome, CaseOutcome::Passed));
            let failed = count(|outcome| matches!(outcome, CaseOutcome::Failed(_)));
            let skipped = here.iter().find_map(|case| match &case.outcome {
                CaseOutcome::Skipped(why) => Some(why.clone()),
                CaseOutcome::Passed | CaseOutcome::Failed(_) => None,
            });
            let answers = tally.get(&key).copied().unwrap_or_default();
            let outcome = if failed > 0 || answers.faulty > 0 {
                Outcome::Failed
            } else if answers.fine > 0 {
                // A case without a response is not enough: some cases check only the document.
                Outcome::Passed
            } else if let Some(why) = skipped {
                Outcome::Unreachable(why)
            } else if matches!(status, 500 | 503) {
                Outcome::Unreachable("no client can cause it".to_owned())
            } else if *status == 429
                && document.operation(operation).is_some_and(|operation| operation.secured)
            {
                Outcome::Unreachable("a fast server may not reach the limit".to_owned())
            } else {
                Outcome::NotReached
            };
            let skipped = count(|outcome| matches!(outcome, CaseOutcome::Skipped(_)));
            (key, Cell { outcome, passed, failed, skipped, answers: answers.fine })
        })
        .collect()
}

struct Progress {
    shown: bool,
    total: usize,
    done: usize,
    failed: usize,
}

impl Progress {
    fn new(shown: bool) -> Self {
        Self { shown: shown && std::io::stderr().is_terminal(), total: 0, done: 0, failed: 0 }
    }

    fn done(&mut self, name: &str, failed: bool) {
        self.done += 1;
        self.failed += usize::from(failed);
        self.print(&format!(
            "{} of {} cases, {} failed: {name}",
            self.done, self.total, self.failed
        ));
    }

    fn print(&self, text: &str) {
        if self.shown {
            let line: String =
                text.chars().filter(|character| !character.is_control()).take(78).collect();
            // A closed stderr is ignored.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{line}");
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// Whether requests to `url` use the proxy of the environment.
fn goes_through_proxy(url: &Url) -> bool {
    !is_loopback(url)
        && url.as_str().parse().is_ok_and(|uri| Matcher::from_system().intercept(&uri).is_some())
}
