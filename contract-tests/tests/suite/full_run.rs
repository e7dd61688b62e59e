//! The full suite against this repository's store: everything is reached, passes and is cleaned up.

use contract_tests::document::Document;

use crate::program::{expired_token, remaining, run, stderr, stdout, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_passes_and_cleans_up() {
    let store = store().await;
    let token = expired_token(&store).await;
    let before = remaining(&store).await;
    assert_eq!((before.0, before.1), (0, 0));
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("report.xml");

    let output = run(&[
        "--url",
        store.url(),
        "--exhaust-stock",
        "--expired-token",
        &token,
        "--junit",
        junit.to_str().unwrap(),
    ])
    .await;
    let table = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{table}{}", stderr(&output));
    assert_eq!(stderr(&output), "", "no progress without a terminal");
    assert!(!table.contains("warning:") && !table.contains("not reached"), "{table}");
    assert!(
        table.ends_with(
            "The implementation conforms to the document, as far as this run tested it.\n"
        ),
        "{table}"
    );
    assert!(!table.contains('\x1b'), "no colours without a terminal");
    let widest = table.lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= 100, "{widest}");
    for (operation, status) in Document::embedded().declared() {
        let outcome = outcome_of(table, &operation, status);
        // Depends on the speed of the server.
        let by_chance = status == 429
            && !["register", "log_in", "change_password"].contains(&operation.as_str());
        let expected = if matches!(status, 500 | 503) { "not reachable" } else { "passed" };
        assert!(
            outcome == expected || (by_chance && outcome == "not reachable"),
            "{operation} {status}:\n{table}"
        );
    }
    assert_eq!(remaining(&store).await, before);

    let xml = std::fs::read_to_string(&junit).unwrap();
    let tree = roxmltree::Document::parse(&xml).unwrap();
    let root = tree.root_element();
    let count = |name: &str| tree.descendants().filter(|node| node.has_tag_name(name)).count();
    assert_eq!(root.attribute("tests").unwrap().parse(), Ok(count("testcase")));
    assert_eq!(
        (root.attribute("failures"), count("failure"), root.attribute("skipped"), count("skipped")),
        (Some("0"), 0, Some("0"), 0)
    );
    assert_eq!(count("testsuite"), 14, "one suite per operation");

    store.finish_unchecked().await;
}

fn outcome_of<'t>(table: &'t str, operation: &str, status: u16) -> &'t str {
    let mut of = "";
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with(' ') {
            of = words.first().unwrap_or(&"");
        }
        let Some(at) = words.iter().position(|word| *word == status.to_string()) else { continue };
        if of == operation && at == usize::from(!line.starts_with(' ')) {
            return ["passed", "failed", "not reachable", "not reached"]
                .into_iter()
                .find(|outcome| words[at + 1..].join(" ").starts_with(outcome))
                .unwrap_or_default();
        }
    }
    ""
}
