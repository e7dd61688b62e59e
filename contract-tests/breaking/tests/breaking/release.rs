//! `make release-contract`, in a copy of the checkout.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use contract_breaking::{CHANGELOG, Contracts};

use crate::{
    checkout::{Checkout, in_version, released, repository},
    compatible_edits,
    edits::Edit,
};

const DAY: &str = "2026-12-24";

fn edited(edits: Vec<Edit>, name: &str) -> Contracts {
    edits
        .iter()
        .find(|edit| edit.name == name)
        .unwrap_or_else(|| panic!("no edit is called \"{name}\""))
        .apply(released())
        .1
}

/// Returns a checkout with the changelog of the last release.
fn checkout(after: &Contracts) -> Checkout {
    let checkout = Checkout::new(released(), after);
    let path = checkout.path().join(CHANGELOG);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(repository().join(CHANGELOG), path).unwrap();
    checkout
}

/// Raises the major (0), the minor (1) or the patch (2) of the released version.
fn raised(contracts: &Contracts, level: usize) -> Contracts {
    let version = released().version().unwrap();
    let mut parts = [version.major, version.minor, version.patch];
    parts[level] += 1;
    parts[level + 1..].fill(0);
    in_version(contracts, &parts.map(|part| part.to_string()).join("."))
}

mod needs_go {
    use std::{
        fs,
        process::{Command, Output},
    };

    use contract_breaking::{Baseline, CHANGELOG};

    use super::{DAY, checkout, edited, raised};
    use crate::{
        breaking_edits,
        checkout::{Checkout, npm_tool, oasdiff, released},
        compatible_edits,
    };

    fn release(checkout: &Checkout, date: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contract-breaking"));
        command
            .args(["release", "--date", date, "--oasdiff"])
            .arg(oasdiff())
            .arg("--buf")
            .arg(npm_tool("buf"))
            .arg("--root")
            .arg(checkout.path());
        command.output().unwrap()
    }

    /// Asserts that a release fails with a message and writes nothing.
    fn refuses(checkout: &Checkout, date: &str, words: &str) {
        let files = || {
            (
                fs::read_to_string(checkout.path().join(CHANGELOG)).unwrap(),
                Baseline::read(checkout.path()).unwrap().contracts.openapi_text,
            )
        };
        let before = files();
        let output = release(checkout, date);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && text.contains(words),
            "expected an error with \"{words}\", got: {text}"
        );
        assert!(before == files(), "the refused release has written files");
    }

    #[test]
    fn unchanged_contracts_are_not_released() {
        refuses(&checkout(released()), DAY, "nothing to release");
        refuses(&checkout(&raised(released(), 1)), DAY, "nothing to release");
    }

    #[test]
    fn version_must_grow_with_the_changes() {
        let addition = edited(compatible_edits::of_openapi(), "optional query parameter added");
        refuses(&checkout(&addition), DAY, "need a minor release");
        refuses(&checkout(&raised(&addition, 2)), DAY, "need a minor release");
        let prose = edited(compatible_edits::of_openapi(), "description changed");
        refuses(&checkout(&prose), DAY, "need a patch release");
        let breaking = edited(breaking_edits::of_openapi(), "response header removed");
        refuses(&checkout(&raised(&breaking, 1)), DAY, "need a major release");
        refuses(&checkout(&raised(&addition, 1)), "tomorrow", "expected a date");
    }

    #[test]
    fn release_replaces_the_baseline_and_adds_an_entry() {
        let mut after = edited(compatible_edits::of_openapi(), "optional query parameter added");
        after.proto = edited(breaking_edits::of_proto(), "method removed").proto;
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
            breaking.contains("### Breaking") && breaking.contains("\"CancelOrder\""),
            "{entry}"
        );
        assert!(
            compatible.contains(
                "GET /products: added the new optional `query` request parameter `max_price_cents`"
            ),
            "{entry}"
        );
        // Older entries stay, and the new baseline equals the contracts.
        let last = released().version().unwrap();
        assert!(changelog.contains(&format!("\n## {last} (")), "{changelog}");
        refuses(&checkout, DAY, "nothing to release");
    }
}

/// Commits a checkout with the scripts of tools/release-contract to a repository of its own.
fn commit(checkout: &Checkout) {
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
            "Add the contracts",
        ],
    );
}

fn git(directory: &Path, arguments: &[&str]) {
    let output = Command::new("git").arg("-C").arg(directory).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn script_refuses_uncommitted_contracts() {
    let checkout = checkout(&raised(
        &edited(compatible_edits::of_openapi(), "optional query parameter added"),
        1,
    ));
    commit(&checkout);
    let run = || {
        Command::new("bash")
            .arg(checkout.path().join("tools/release-contract"))
            .arg(DAY)
            .env("CARGO_TARGET_DIR", checkout.path().join("target"))
            .output()
            .unwrap()
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    // Committed contracts pass the check of git; then the script needs the tools, which are not
    // installed there.
    assert!(text(&run()).contains("buf is not installed"), "{}", text(&run()));

    let path = checkout.path().join("openapi.yaml");
    let committed = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{committed}\n")).unwrap();
    assert!(text(&run()).contains("differ from the last commit"), "{}", text(&run()));
    fs::write(&path, committed).unwrap();
    fs::write(checkout.path().join("proto/new.proto"), "syntax = \"proto3\";\n").unwrap();
    assert!(text(&run()).contains("?? proto/new.proto"), "{}", text(&run()));
}
