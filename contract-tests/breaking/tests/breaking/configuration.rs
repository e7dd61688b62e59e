//! Emptied or weakened configurations are an error, and each linter of the contracts can fail.

use std::{fs, process::Command};

use contract_breaking::{Gate, GateError};

use crate::{
    breaking_edits,
    checkout::{Checkout, npm_tool, released, repository},
};

/// Returns a checkout with a removed operation.
fn broken() -> Checkout {
    let (_, after) = breaking_edits::of_openapi()
        .iter()
        .find(|edit| edit.name == "operation removed")
        .unwrap()
        .apply(released());
    Checkout::new(released(), &after)
}

fn tool_error(gate: &Gate) -> String {
    match gate.check() {
        Err(GateError::Tool(error)) => error.to_string(),
        other => panic!("expected an error of a tool, got {other:?}"),
    }
}

#[test]
fn weaker_buf_category_is_an_error() {
    let checkout = broken();
    let config = fs::read_to_string(checkout.path().join("buf.yaml")).unwrap();
    let weaker = config.replace("    - FILE", "    - WIRE");
    assert_ne!(config, weaker);
    fs::write(checkout.path().join("buf.yaml"), weaker).unwrap();
    let message = tool_error(&checkout.gate_without_oasdiff());
    assert!(message.contains("must have `FILE`"), "{message}");
}

#[test]
fn edited_baseline_is_refused() {
    let checkout = broken();
    fs::copy(
        checkout.path().join("openapi.yaml"),
        checkout.path().join("contract-tests/released/openapi.yaml"),
    )
    .unwrap();
    let error = checkout.gate_without_oasdiff().check().unwrap_err().to_string();
    assert!(error.contains("contract-tests/released/ was edited"), "{error}");
}

#[test]
fn lower_version_is_refused() {
    let checkout = Checkout::new(released(), &crate::checkout::in_version(released(), "0.9.0"));
    let error = checkout.gate_without_oasdiff().check().unwrap_err().to_string();
    assert!(error.contains("lower than the released"), "{error}");
}

mod needs_go {
    use std::fs;

    use super::{broken, tool_error};
    use crate::checkout::{Checkout, SEVERITY_LEVELS};

    /// Returns the error after a replacement in a configuration file.
    fn error_after(file: &str, from: &str, to: &str) -> String {
        let checkout: Checkout = broken();
        let path = checkout.path().join(file);
        let config = fs::read_to_string(&path).unwrap();
        assert!(config.contains(from), "{file}: {from}");
        fs::write(path, config.replace(from, to)).unwrap();
        tool_error(&checkout.gate())
    }

    #[test]
    fn missing_severity_levels_are_an_error() {
        let message = error_after(".oasdiff.yaml", "severity-levels:", "# severity-levels:");
        assert!(message.contains("must have `severity-levels: "), "{message}");
        let message = error_after(SEVERITY_LEVELS, "api-operation-id-removed err\n", "");
        assert!(message.contains("must have `severity-levels: "), "{message}");
    }

    #[test]
    fn disabled_check_is_an_error() {
        let check = "api-removed-with-deprecation err\n";
        let disabled = format!("{check}api-path-removed-without-deprecation none\n");
        let message = error_after(SEVERITY_LEVELS, check, &disabled);
        assert!(message.contains("does not report a removed path"), "{message}");
    }
}

/// Runs a linter as tools/lint does, on an edited copy of the contracts. Returns whether it passed.
fn lints(program: &str, arguments: &[&str], change: impl Fn(&str) -> String, file: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    released().write(directory.path()).unwrap();
    for config in ["redocly.yaml", "buf.yaml"] {
        fs::copy(repository().join(config), directory.path().join(config)).unwrap();
    }
    let path = directory.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, change(&text)).unwrap();
    let output = Command::new(npm_tool(program))
        .args(arguments)
        .current_dir(directory.path())
        .env("REDOCLY_TELEMETRY", "off")
        .output()
        .unwrap();
    output.status.success()
}

/// Asserts that a linter accepts the released contracts, and refuses them with `to` for `from`.
fn can_fail(program: &str, arguments: &[&str], file: &str, from: &str, to: &str) {
    assert!(
        lints(program, arguments, str::to_owned, file),
        "{program} {arguments:?} refuses the released contracts"
    );
    let broken = |text: &str| {
        assert!(text.contains(from), "{file} does not contain: {from}");
        text.replacen(from, to, 1)
    };
    assert!(
        !lints(program, arguments, broken, file),
        "{program} {arguments:?} accepts {file} with {to:?}"
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
    // A warning of `recommended` is an error here.
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
    // COMMENTS requires a comment for each field.
    can_fail(
        "buf",
        &["lint"],
        "proto/merch/assistant/v1/assistant.proto",
        "  // The number of pieces that can still be sold.\n",
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
        "  int32 stock = 8 [",
        "    int32 stock = 8 [",
    );
}
