//! Opens `/docs`, `/reference` and `/problems` of two stores. The scripts in the parent directory
//! have the checks.

use std::collections::BTreeMap;

use merch_test_store::{Database, TestStore};
use serde::Deserialize;

use crate::script::{run, target};

#[derive(Deserialize)]
struct Report {
    faults: Vec<String>,
    seconds: BTreeMap<String, f64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_two_stores_are_readable_and_usable() {
    let (one, other) =
        tokio::join!(TestStore::start(Database::Sqlite), TestStore::start(Database::Sqlite));
    let Report { faults, seconds } = run("check.mjs", &[one.url(), other.url()]).await;
    for store in [one, other] {
        // The events of the requests that the pages sent.
        let words: Vec<String> =
            store.finish_unchecked().await.iter().map(|record| record.name().to_owned()).collect();
        for (word, times) in [
            ("user_registered", 1),
            ("user_logged_in", 1),
            ("order_placed", 2),
            ("user_logged_out", 1),
        ] {
            assert_eq!(
                words.iter().filter(|got| *got == word).count(),
                times,
                "{word} among {words:?}"
            );
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults; screenshots are in {}:\n{}",
        faults.len(),
        target().join("screenshots").display(),
        faults.join("\n")
    );
    assert_eq!(seconds.len(), 6, "expected three pages of two stores: {seconds:?}");
}

/// The fault that the checks must report for each page of `self-test.mjs`: it shows that each check
/// can fail.
const REPORTED: [(&str, &str); 17] = [
    ("foreign picture", "a request to another host: http://cdn.example/picture.png"),
    ("foreign request", "a request to another host: http://telemetry.example/beat"),
    ("other port", "a request to another host: http://127.0.0.1:9/"),
    ("foreign socket", "a connection that is not a request: ws://agent.example/"),
    ("console error", "the console has the error \"broken\""),
    ("console warning", "the console has the warning \"deprecated\""),
    ("exception", "an uncaught exception: uncaught"),
    ("inline script", "the console has the error \"Executing inline script violates"),
    ("missing file", "the console has the error \"Failed to load resource"),
    ("no policy", "expected the Content-Security-Policy"),
    ("wider policy", "expected the Content-Security-Policy"),
    ("not found", "expected 200, got 404"),
    ("too wide", "px wide in a window of 390 px"),
    ("small letters", "too small to read: <p class=\"\"> \"small print\" in letters of 9 px"),
    ("tiny button", "too small to hit: <button class=\"\"> \"x\" of 10 × 10 px"),
    ("low contrast", "(color-contrast)"),
    ("nameless control", "(select-name)"),
];

#[tokio::test]
async fn known_faults_are_reported() {
    let reported: BTreeMap<String, Vec<String>> = run("self-test.mjs", &[]).await;
    assert_eq!(
        reported.get("good").map(Vec::as_slice),
        Some(&[][..]),
        "a page without faults has none"
    );
    assert_eq!(
        reported.len(),
        REPORTED.len() + 1,
        "each page has its line above: {:?}",
        reported.keys()
    );
    for (page, fault) in REPORTED {
        let got = &reported[page];
        assert!(
            got.iter().any(|text| text.contains(fault)),
            "{page}: expected a fault with `{fault}`, got {got:#?}"
        );
    }
}
