use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use merch_test_store::{Database, TestStore};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::spawn_blocking};

use crate::report::{self, Report};

/// Any fixed number.
const SEED: &str = "20261122";
/// Time of a run. Another run follows if the earlier ones have not reached everything, for example
/// on a slow machine.
const SECONDS: &str = "45";
const RUNS: u64 = 4;
/// More than a fuzzer can buy.
const STOCK: i32 = 1_000_000_000;

const USERNAME: &str = "schemathesis";
const PASSWORD: &str = "the fuzzers own pass phrase";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is a directory of the workspace")
        .to_owned()
}

fn program() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo makes the directory `tmp` in its target directory");
    let program = target.join("tools/python/schemathesis/bin/schemathesis");
    assert!(program.exists(), "expected Schemathesis at {}: run tools/install", program.display());
    program
}

struct Outcome {
    success: bool,
    text: String,
    report: Report,
}

/// Runs phases against a URL as the user `user_id`.
async fn schemathesis(url: &str, user_id: &str, seed: u64, arguments: &[&str]) -> Outcome {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let events = dir.path().join("events.ndjson");
    let here = root().join("contract-tests/tests/schemathesis");
    let mut command = Command::new(program());
    command
        .arg("--config-file")
        .arg(here.join("schemathesis.toml"))
        .args(["--no-color", "run", "--url", url, "--report", "ndjson", "--report-ndjson-path"])
        .arg(&events)
        .args(["--seed", &seed.to_string()])
        .args(arguments)
        .arg(root().join("openapi.yaml"))
        .current_dir(dir.path())
        .env("MERCH_SCHEMATHESIS_HOOKS", here.join("hooks.py"))
        .env("MERCH_SCHEMATHESIS_URL", url)
        .env("MERCH_SCHEMATHESIS_USERNAME", USERNAME)
        .env("MERCH_SCHEMATHESIS_PASSWORD", PASSWORD)
        .env("MERCH_SCHEMATHESIS_USER_ID", user_id)
        .stdin(Stdio::null());
    let output = spawn_blocking(move || command.output()).await.expect("nothing in it panics");
    let output = output.unwrap_or_else(|error| panic!("failed to start Schemathesis: {error}"));
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let report = std::fs::read_to_string(&events).unwrap_or_default();
    let report = Report::read(&report)
        .unwrap_or_else(|error| panic!("failed to read Schemathesis's report: {error}\n{text}"));
    Outcome { success: output.status.success(), text, report }
}

fn setting(name: &str, default: &str) -> u64 {
    let text = env::var(name).unwrap_or_else(|_| default.to_owned());
    text.parse().unwrap_or_else(|_| panic!("{name}: expected a whole number, got {text:?}"))
}

/// Runs phases against new stores until nothing is `missing`; compares orders with the stock each
/// time.
async fn fuzz(database: Database, phases: &str, missing: impl Fn(&Report) -> Vec<String>) {
    let seconds = setting("MERCH_FUZZ_SECONDS", SECONDS).to_string();
    let seed = setting("MERCH_FUZZ_SEED", SEED);
    let mut seen = Report::default();
    for run in 0..RUNS {
        let store = TestStore::start(database).await;
        for product in 1..=3 {
            store.set_stock(product, STOCK).await;
        }
        let user = serde_json::json!({ "sid": "fuzz", "username": USERNAME, "email": "fuzz@mail.example.com", "password": PASSWORD });
        let user = store.post("/users").json(&user).await.expect(201).json();
        let arguments = [
            "--phases",
            phases,
            "--max-time",
            &seconds,
            "--max-examples",
            "10",
            "--request-timeout",
            "20",
        ];
        let outcome = schemathesis(
            store.url(),
            user["id"].as_str().expect("an id is text"),
            seed + run,
            &arguments,
        )
        .await;
        println!("{}", outcome.text);
        for product in 1..=3 {
            let sold = format!(
                "SELECT COALESCE(SUM(quantity), 0) FROM orders WHERE product_id = {product} AND \
                 status = 'placed'"
            );
            let left = format!("SELECT stock FROM products WHERE id = {product}");
            let (sold, left) = (store.sql_integer(&sold).await, store.sql_integer(&left).await);
            assert_eq!(
                sold + left,
                i64::from(STOCK),
                "product {product}: {sold} sold and {left} left"
            );
        }
        store.finish_unchecked().await;
        assert!(
            outcome.success,
            "Schemathesis found a violation; its output above has the command to repeat it"
        );
        seen.add(outcome.report);
        if missing(&seen).is_empty() {
            return;
        }
    }
    panic!(
        "expected a success of each within {RUNS} runs of {seconds} s, got none for:\n{}",
        missing(&seen).join("\n")
    );
}

/// Single requests: examples, bounds and random values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_passes() {
    let operations = report::operations();
    fuzz(Database::Sqlite, "examples,coverage,fuzzing", |report| {
        report.without_success(&operations)
    })
    .await;
}

/// Sequences of requests, along links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linked_operations_pass() {
    let links = report::links();
    fuzz(Database::Postgres, "stateful", |report| report.not_followed(&links)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_violations_are_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it listens"));
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("the next connection");
            // Always a greeting without its links.
            let body = r#"{"greeting":"hello","version":"1.0.0"}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            );
            // The client may have closed the connection.
            drop(stream.write_all(answer.as_bytes()).await);
            drop(stream.shutdown().await);
        }
    });
    let outcome = schemathesis(
        &url,
        "unused",
        1,
        &["--phases", "examples,coverage,fuzzing", "--include-operation-id", "greet", "-n", "1"],
    )
    .await;
    server.abort();
    assert!(!outcome.success, "{}", outcome.text);
    assert!(outcome.text.contains("Response violates schema"), "{}", outcome.text);
}
