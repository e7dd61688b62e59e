//! `make release-contract`, in a copy: what it refuses, what it asks of the version, and what it
//! writes.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use contract_breaking::{
    Contracts,
    release::{Baseline, CHANGELOG},
};

use crate::{
    breaking_edits, compatible_edits,
    edits::Edit,
    store::{Checkout, in_version, released, repository, tool},
};

fn edit(edits: Vec<Edit>, name: &str) -> Contracts {
    edits
        .iter()
        .find(|edit| edit.name == name)
        .unwrap_or_else(|| panic!("there is no edit \"{name}\""))
        .apply(released())
        .1
}

/// A checkout whose changelog tells of the last release.
fn checkout(after: &Contracts) -> Checkout {
    let checkout = Checkout::new(released(), after);
    let path = checkout.path().join(CHANGELOG);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(repository().join(CHANGELOG), path).unwrap();
    checkout
}

fn release(checkout: &Checkout, date: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contract-breaking"));
    command
        .args(["release", "--date", date, "--redocly"])
        .arg(tool("redocly"))
        .arg("--buf")
        .arg(tool("buf"))
        .arg("--root")
        .arg(checkout.path());
    command.output().unwrap()
}

/// Expects a refusal that says something, and that nothing was written.
fn refuses(checkout: &Checkout, date: &str, words: &str) {
    let before = (
        fs::read_to_string(checkout.path().join(CHANGELOG)).unwrap(),
        Baseline::read(checkout.path()).unwrap().contracts.openapi_text,
    );
    let output = release(checkout, date);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains(words),
        "expected a refusal that says \"{words}\", came: {text}"
    );
    let after = (
        fs::read_to_string(checkout.path().join(CHANGELOG)).unwrap(),
        Baseline::read(checkout.path()).unwrap().contracts.openapi_text,
    );
    assert!(before == after, "the refused release was written all the same");
}

fn raised(contracts: &Contracts, level: usize) -> Contracts {
    let version = released().version().unwrap();
    let mut parts = [version.major, version.minor, version.patch];
    parts[level] += 1;
    parts[level + 1..].fill(0);
    in_version(contracts, &parts.map(|part| part.to_string()).join("."))
}

const DAY: &str = "2026-12-24";

#[test]
fn nothing_new_is_no_release() {
    refuses(&checkout(released()), DAY, "nothing to release");
    refuses(&checkout(&raised(released(), 1)), DAY, "nothing to release");
}

#[test]
fn the_version_has_to_grow_as_far_as_the_changes_need() {
    let addition = edit(compatible_edits::of_openapi(), "an optional query parameter is new");
    refuses(&checkout(&addition), DAY, "need a minor release");
    refuses(&checkout(&raised(&addition, 2)), DAY, "need a minor release");
    let words = edit(compatible_edits::of_openapi(), "a description is another");
    refuses(&checkout(&words), DAY, "need a patch release");
    let a_break = edit(breaking_edits::of_openapi(), "a header is removed");
    refuses(&checkout(&raised(&a_break, 1)), DAY, "need a major release");
    refuses(&checkout(&raised(&addition, 1)), "tomorrow", "expected a date");
}

#[test]
fn a_release_moves_the_baseline_and_tells_of_it() {
    let mut after = edit(compatible_edits::of_openapi(), "an optional query parameter is new");
    // A break that only buf and our rules see, in the same release.
    after.proto = edit(breaking_edits::of_proto(), "a method is removed").proto;
    let after = raised(&after, 0);
    let checkout = checkout(&after);
    let output = release(&checkout, DAY);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let baseline = Baseline::read(checkout.path()).unwrap();
    assert_eq!(
        (baseline.version, &baseline.contracts.openapi_text, &baseline.contracts.proto),
        (after.version().unwrap(), &after.openapi_text, &after.proto)
    );
    let changelog = fs::read_to_string(checkout.path().join(CHANGELOG)).unwrap();
    let entry = changelog.split("\n## ").nth(1).unwrap();
    assert!(entry.starts_with(&format!("{} ({DAY})\n", after.version().unwrap())), "{entry}");
    let (breaking, compatible) = entry.split_once("### Compatible").unwrap();
    assert!(
        breaking.contains("### Breaking")
            && breaking
                .contains("merch.assistant.v1.AssistantService.CancelOrder: the method is gone"),
        "{entry}"
    );
    assert!(
        compatible.contains("GET /products: the optional query parameter `max_price_cents` is new"),
        "{entry}"
    );
    // The entries before it are still there, and the new baseline is at peace with the contracts.
    assert!(
        changelog.contains(&format!("\n## {} (", released().version().unwrap())),
        "{changelog}"
    );
    refuses(&checkout, DAY, "nothing to release");
}

/// A repository of its own around a copy of what tools/release-contract needs, with everything
/// committed.
fn committed(checkout: &Checkout) {
    let tools = checkout.path().join("tools");
    fs::create_dir_all(&tools).unwrap();
    for script in ["lib.sh", "breaking", "release-contract"] {
        fs::copy(repository().join("tools").join(script), tools.join(script)).unwrap();
    }
    git(checkout.path(), &["init", "--quiet"]);
    git(checkout.path(), &["add", "--all"]);
    git(
        checkout.path(),
        &[
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.com",
            "-c",
            "commit.gpgsign=false",
            "commit",
            "--quiet",
            "--message",
            "All of it",
        ],
    );
}

fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_script_refuses_contracts_that_are_not_committed() {
    let checkout = checkout(&raised(
        &edit(compatible_edits::of_openapi(), "an optional query parameter is new"),
        1,
    ));
    committed(&checkout);
    let run = || {
        Command::new("bash")
            .arg(checkout.path().join("tools/release-contract"))
            .arg(DAY)
            .env("CARGO_TARGET_DIR", checkout.path().join("target"))
            .output()
            .unwrap()
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    // Committed, it gets past git, and then lacks the tools, which are not installed there.
    assert!(text(&run()).contains("redocly is not installed"), "{}", text(&run()));

    let path = checkout.path().join("openapi.yaml");
    let committed = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{committed}\n")).unwrap();
    assert!(text(&run()).contains("differ from the last commit"), "{}", text(&run()));
    fs::write(&path, committed).unwrap();
    fs::write(checkout.path().join("proto/new.proto"), "syntax = \"proto3\";\n").unwrap();
    assert!(text(&run()).contains("?? proto/new.proto"), "{}", text(&run()));
}
