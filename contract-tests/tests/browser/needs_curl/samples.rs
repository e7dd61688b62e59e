//! Runs the curl samples of the document (`x-codeSamples`) in one shell, one after another, as a
//! reader would paste them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use contract_tests::document::{Document, Operation};
use merch_test_store::{Database, TestStore};
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::script::finished;

/// The origin in the document, which readers replace with their own.
const DOCUMENT_ORIGIN: &str = "http://127.0.0.1:8080";

struct Sample {
    operation: String,
    method: String,
    /// The path with its parameters in braces.
    path: String,
    source: String,
}

/// Returns the samples of the document, in its order.
///
/// # Panics
/// If an operation has no sample, or one that is not for curl and a shell.
fn samples() -> Vec<Sample> {
    let document = Document::embedded();
    let sample_of = |operation: &Operation| {
        let Operation { id, method, path, .. } = operation;
        let item = &document.root()["paths"][path][method.as_str().to_lowercase()];
        let [sample] = item["x-codeSamples"].as_array().map_or(&[][..], Vec::as_slice) else {
            panic!("{id} has to have one sample in `x-codeSamples`");
        };
        assert_eq!(
            (sample["lang"].as_str(), sample["label"].as_str()),
            (Some("Shell"), Some("curl")),
            "{id}"
        );
        let source = sample["source"].as_str().unwrap().to_owned();
        assert!(
            source.contains(DOCUMENT_ORIGIN),
            "the sample of {id} has no {DOCUMENT_ORIGIN}, which pages replace by their own address"
        );
        Sample { operation: id.clone(), method: method.to_string(), path: path.clone(), source }
    };
    document.operations().iter().map(sample_of).collect()
}

/// The result of one call of curl.
#[derive(Debug)]
struct Call {
    sample: String,
    exit: i32,
    status: u16,
    method: String,
    path: String,
}

impl Call {
    /// Parses a line that the function `curl` of [`session`] has written.
    fn read(line: &str) -> Self {
        let ["call", sample, exit, status, method, url] = line.split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("unexpected line `{line}`")
        };
        let path = url.splitn(4, '/').nth(3).unwrap_or_default().split('?').next().unwrap();
        Self {
            sample: sample.to_owned(),
            exit: exit.parse().unwrap(),
            status: status.parse().unwrap(),
            method: method.to_owned(),
            path: format!("/{path}"),
        }
    }

    fn is_of(&self, sample: &Sample) -> bool {
        let (of_template, of_call) = (sample.path.split('/'), self.path.split('/'));
        let same_path = of_template.clone().count() == of_call.clone().count()
            && of_template.zip(of_call).all(|(wanted, got)| {
                if wanted.starts_with('{') { !got.is_empty() } else { wanted == got }
            });
        self.sample == sample.operation && self.method == sample.method && same_path
    }
}

/// Returns a script of all samples. It writes the result and the errors of each curl call to a
/// file; the samples themselves are unchanged.
fn session(samples: &[Sample], origin: &str) -> String {
    let mut script = String::from(
        r#"curl() {
  command curl -w "%{stderr}call $SAMPLE %{exitcode} %{http_code} %{method} %{url}\n" "$@" 2>>"$NOTES"
}
"#,
    );
    for sample in samples {
        script.push_str(&format!(
            "SAMPLE={}\n{}\n",
            sample.operation,
            sample.source.replace(DOCUMENT_ORIGIN, origin)
        ));
    }
    script
}

/// Runs samples in a shell. Returns the result of each call and the shell's output.
async fn paste(shell: &str, samples: &[Sample], origin: &str) -> (Vec<Call>, String) {
    let (script, notes) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
    std::fs::write(script.path(), session(samples, origin)).unwrap();
    let mut command = Command::new(shell);
    command
        .arg(script.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("NOTES", notes.path());
    let output = finished(command).await;
    let noted = std::fs::read_to_string(notes.path()).unwrap();
    let printed = format!(
        "{}{}{noted}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (noted.lines().filter(|line| line.starts_with("call ")).map(Call::read).collect(), printed)
}

/// Returns why samples do not work; empty if they do.
fn faults(samples: &[Sample], calls: &[Call]) -> Vec<String> {
    let mut faults: Vec<String> = calls
        .iter()
        .filter(|call| call.exit != 0 || !(200..300).contains(&call.status))
        .map(|call| format!("{call:?}"))
        .collect();
    for sample in samples {
        if !calls.iter().any(|call| call.is_of(sample)) {
            faults.push(format!(
                "the sample of {} does not call {} {}",
                sample.operation, sample.method, sample.path
            ));
        }
    }
    faults
}

/// Waits for the next second of the clock, because the names in the samples contain the time in
/// seconds.
async fn next_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    tokio::time::sleep(Duration::from_secs(now.as_secs() + 1).saturating_sub(now)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_has_a_sample_that_works_when_pasted() {
    let samples = samples();
    assert_eq!(samples.len(), 14);
    // The shells that people paste into, and the one with the fewest features.
    for shell in ["bash", "sh"] {
        let store = TestStore::start(Database::Sqlite).await;
        for round in ["the first time", "again"] {
            let (calls, printed) = paste(shell, &samples, store.url()).await;
            let faults = faults(&samples, &calls);
            assert!(faults.is_empty(), "in {shell}, {round}:\n{}\n{printed}", faults.join("\n"));
            next_second().await;
        }
        store.finish_unchecked().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_samples_are_detected() {
    let store = TestStore::start(Database::Sqlite).await;
    let broken = [
        ("get_product", "/products/{product_id}", "/products/999"),
        ("list_products", "/products", "/products/1"),
        ("greet", "/", ":1"),
    ];
    for (operation, path, called) in broken {
        let sample = Sample {
            operation: operation.to_owned(),
            method: "GET".to_owned(),
            path: path.to_owned(),
            source: format!("curl --fail-with-body -sS {DOCUMENT_ORIGIN}{called}"),
        };
        let samples = [sample];
        let (calls, _) = paste("bash", &samples, store.url()).await;
        assert!(!faults(&samples, &calls).is_empty(), "{operation}: {calls:?}");
    }
    // A sample that needs another one first says so, and makes no call.
    let orders: Vec<Sample> =
        samples().into_iter().filter(|sample| sample.operation == "list_orders").collect();
    let (calls, printed) = paste("bash", &orders, store.url()).await;
    assert!(calls.is_empty() && printed.contains("TOKEN: log in first"), "{calls:?} {printed}");
    store.finish_unchecked().await;
}
