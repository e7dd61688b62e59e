//! A tool whose configuration was emptied finds nothing: the gate notices, and so do the linters'
//! own checks that each can fail.

use std::{fs, process::Command};

use contract_breaking::gate::GateError;

use crate::{
    breaking_edits,
    store::{Checkout, released, repository, tool},
};

/// A checkout with a break that both tools know.
fn broken() -> Checkout {
    let (_, after) = breaking_edits::of_openapi()
        .iter()
        .find(|edit| edit.name == "an operation is removed")
        .unwrap()
        .apply(released());
    Checkout::new(released(), &after)
}

fn blind(checkout: &Checkout) -> String {
    match checkout.gate().examine() {
        Err(GateError::Tool(error)) => error.to_string(),
        other => panic!("the gate did not notice that a tool is blind: {other:?}"),
    }
}

#[test]
fn without_diff_recommended_the_gate_says_that_redocly_is_blind() {
    let checkout = broken();
    fs::write(checkout.path().join("redocly-diff.yaml"), "extends:\n  - recommended-strict\n")
        .unwrap();
    let message = blind(&checkout);
    assert!(message.contains("diff-recommended"), "{message}");
}

#[test]
fn with_weaker_rules_the_gate_says_that_buf_is_blind() {
    let checkout = broken();
    let config = fs::read_to_string(checkout.path().join("buf.yaml")).unwrap();
    let weaker = config.replace("    - FILE", "    - WIRE");
    assert_ne!(config, weaker);
    fs::write(checkout.path().join("buf.yaml"), weaker).unwrap();
    let message = blind(&checkout);
    assert!(message.contains("FILE"), "{message}");
}

#[test]
fn a_baseline_that_was_edited_by_hand_is_refused() {
    let checkout = broken();
    fs::copy(
        checkout.path().join("openapi.yaml"),
        checkout.path().join("contract-tests/released/openapi.yaml"),
    )
    .unwrap();
    let error = checkout.gate().examine().unwrap_err().to_string();
    assert!(error.contains("contract-tests/released/ was edited"), "{error}");
}

#[test]
fn a_version_that_goes_back_is_refused() {
    let checkout = Checkout::new(released(), &crate::store::in_version(released(), "0.9.0"));
    let error = checkout.gate().examine().unwrap_err().to_string();
    assert!(error.contains("versions only grow"), "{error}");
}

/// Runs a linter as tools/lint does, on a copy of the contracts that a function may break; whether
/// it found nothing to say.
fn lints(program: &str, arguments: &[&str], change: impl Fn(&str) -> String, file: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    released().write(folder.path()).unwrap();
    for config in ["redocly.yaml", "buf.yaml"] {
        fs::copy(repository().join(config), folder.path().join(config)).unwrap();
    }
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, change(&text)).unwrap();
    let output = Command::new(tool(program))
        .args(arguments)
        .current_dir(folder.path())
        .env("REDOCLY_TELEMETRY", "off")
        .output()
        .unwrap();
    output.status.success()
}

/// Whether a linter passes the contracts as they were released, and not when `from` in a file is
/// `to`.
fn can_fail(program: &str, arguments: &[&str], file: &str, from: &str, to: &str) {
    assert!(
        lints(program, arguments, str::to_owned, file),
        "{program} {arguments:?} refuses what was released"
    );
    let broken = |text: &str| {
        assert!(text.contains(from), "{file} does not have: {from}");
        text.replacen(from, to, 1)
    };
    assert!(
        !lints(program, arguments, broken, file),
        "{program} {arguments:?} passes {file} with {to:?}"
    );
}

#[test]
fn redocly_lint_can_fail() {
    can_fail(
        "redocly",
        &["lint", "openapi.yaml"],
        "openapi.yaml",
        "summary: Place an order",
        "summary: 7",
    );
    // What `recommended` only warns of is an error here.
    can_fail(
        "redocly",
        &["lint", "openapi.yaml"],
        "openapi.yaml",
        "      operationId: place_order\n",
        "",
    );
}

#[test]
fn buf_lint_can_fail() {
    can_fail(
        "buf",
        &["lint"],
        "proto/merch/logging/v1/logging.proto",
        "  string request_id = 9;",
        "  string requestId = 9;",
    );
    // COMMENTS: each part has one.
    can_fail(
        "buf",
        &["lint"],
        "proto/merch/assistant/v1/assistant.proto",
        "  // How many, 1 to 3.\n",
        "",
    );
}

#[test]
fn buf_format_can_fail() {
    let arguments = ["format", "--diff", "--exit-code"];
    can_fail(
        "buf",
        &arguments,
        "proto/merch/assistant/v1/assistant.proto",
        "  int32 stock = 8;",
        "    int32 stock = 8;",
    );
}
