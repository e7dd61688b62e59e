//! `contract-breaking check` as tools/breaking runs it.

use std::process::{Command, Output};

use crate::{
    breaking_edits,
    checkout::{Checkout, in_version, npm_tool, released},
    edits::Edit,
};

/// Runs `check`, with oasdiff or without.
fn check(checkout: &Checkout, oasdiff: Option<&std::path::Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contract-breaking"));
    command.args(["check", "--buf"]).arg(npm_tool("buf")).arg("--root").arg(checkout.path());
    if let Some(oasdiff) = oasdiff {
        command.arg("--oasdiff").arg(oasdiff);
    }
    command.output().unwrap()
}

fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Returns `count` edits, spread over the list.
fn sample(edits: Vec<Edit>, count: usize) -> Vec<Edit> {
    let step = edits.len().div_ceil(count).max(1);
    let sample: Vec<Edit> = edits.into_iter().skip(step / 2).step_by(step).collect();
    assert!(sample.len() + 1 >= count, "{} edits are fewer than {count}", sample.len());
    sample
}

/// Returns the refusal of an edit that expects a raised major, or nothing if the edit passed.
fn refusal(edit: &Edit, oasdiff: Option<&std::path::Path>) -> Option<String> {
    let (version, (before, after)) = (released().version().unwrap(), edit.apply(released()));
    let minor = format!("{}.{}.0", version.major, version.minor + 1);
    let output = check(&Checkout::new(&before, &in_version(&after, &minor)), oasdiff);
    let expected =
        [format!("break release {version}"), format!("from {minor} to {}.0.0", version.major + 1)];
    let text = printed(&output);
    (!output.status.success() && expected.iter().all(|words| text.contains(words))).then_some(text)
}

#[test]
fn breaks_are_refused_without_oasdiff() {
    let edits = breaking_edits::of_proto();
    for name in ["method removed", "topic enum value added"] {
        let edit = edits.iter().find(|edit| edit.name == name).unwrap();
        assert!(refusal(edit, None).is_some(), "{name}");
    }
    let edits = breaking_edits::of_openapi();
    let edit = edits.iter().find(|edit| edit.name == "link removed").unwrap();
    assert!(refusal(edit, None).is_some());
}

#[test]
fn unreadable_contracts_are_an_error() {
    let checkout = Checkout::new(released(), released());
    std::fs::write(
        checkout.path().join("proto/merch/logging/v1/logging.proto"),
        "syntax = \"proto3\";\nmessage {",
    )
    .unwrap();
    let output = check(&checkout, None);
    assert!(!output.status.success());
    assert!(printed(&output).contains("does not compile"), "{}", printed(&output));
}

#[test]
#[cfg(target_os = "linux")]
fn write_error_fails_but_closed_pipe_does_not() {
    let checkout = Checkout::new(released(), released());
    let run = |arguments: &[&str], out: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contract-breaking"));
        command
            .args(arguments)
            .arg("--root")
            .arg(checkout.path())
            .stdout(out)
            .stderr(std::process::Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    };
    for (arguments, expected) in [
        (&["--help"][..], "the output cannot be written"),
        (&["--version"], "the output cannot be written"),
        (&["replace"], "Done: replaced contract-tests/released/"),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run(arguments, full.into());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(printed(&output).contains(expected), "{arguments:?}: {}", printed(&output));
        let output = run(arguments, std::io::pipe().unwrap().1.into());
        assert_eq!(
            (output.status.code(), printed(&output).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

mod needs_go {
    use super::{check, printed, refusal, sample};
    use crate::{
        breaking_edits,
        checkout::{Checkout, in_parallel, in_version, oasdiff, released},
        compatible_edits,
    };

    #[test]
    fn breaks_are_refused_until_the_major_grows() {
        let edits =
            [sample(breaking_edits::of_openapi(), 11), sample(breaking_edits::of_proto(), 5)]
                .concat();
        assert!(edits.len() >= 15);
        let oasdiff = oasdiff();
        let major = format!("{}.0.0", released().version().unwrap().major + 1);
        let faults = in_parallel(&edits, |edit| {
            if refusal(edit, Some(&oasdiff)).is_none() {
                return Some(format!("{}: expected a refusal that names {major}", edit.name));
            }
            let (before, after) = edit.apply(released());
            let output =
                check(&Checkout::new(&before, &in_version(&after, &major)), Some(&oasdiff));
            let passed = output.status.success() && printed(&output).contains("as info.version");
            (!passed).then(|| format!("{}: expected {major} to pass", edit.name))
        });
        let faults: Vec<String> = faults.into_iter().flatten().collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn compatible_edits_pass_in_the_released_version() {
        let edits =
            [sample(compatible_edits::of_openapi(), 8), sample(compatible_edits::of_proto(), 3)]
                .concat();
        assert!(edits.len() >= 10);
        let oasdiff = oasdiff();
        let faults = in_parallel(&edits, |edit| {
            let (before, after) = edit.apply(released());
            let output = check(&Checkout::new(&before, &after), Some(&oasdiff));
            (!output.status.success()).then(|| format!("{}: {}", edit.name, printed(&output)))
        });
        let faults: Vec<String> = faults.into_iter().flatten().collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
