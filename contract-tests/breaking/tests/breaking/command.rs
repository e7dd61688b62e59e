//! The command as tools/breaking runs it, end to end, on a selection of edits: what it says and how
//! it ends.

use std::process::{Command, Output};

use crate::{
    breaking_edits, compatible_edits,
    edits::Edit,
    store::{Checkout, in_parallel, in_version, released, tool},
};

fn check(checkout: &Checkout) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contract-breaking"));
    command
        .args(["check", "--redocly"])
        .arg(tool("redocly"))
        .arg("--buf")
        .arg(tool("buf"))
        .arg("--root")
        .arg(checkout.path());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// So many edits, spread over the list.
fn some(edits: Vec<Edit>, count: usize) -> Vec<Edit> {
    let step = edits.len().div_ceil(count).max(1);
    let some: Vec<Edit> = edits.into_iter().skip(step / 2).step_by(step).collect();
    assert!(some.len() + 1 >= count, "{} edits are fewer than {count}", some.len());
    some
}

#[test]
fn breaks_are_refused_until_the_major_grows() {
    let edits =
        [some(breaking_edits::of_openapi(), 11), some(breaking_edits::of_proto(), 5)].concat();
    assert!(edits.len() >= 15);
    let version = released().version().unwrap();
    let (minor, major) = (
        format!("{}.{}.0", version.major, version.minor + 1),
        format!("{}.0.0", version.major + 1),
    );
    // That every other one passes as well is shown in this process, by `rules`.
    let raised: Vec<&str> = edits.iter().step_by(3).map(|edit| edit.name).collect();
    let faults = in_parallel(&edits, |edit| {
        let (before, after) = edit.apply(released());
        let refused = check(&Checkout::new(&before, &in_version(&after, &minor)));
        let (text, wanted) = (
            said(&refused),
            [format!("break release {version}"), format!("from {minor} to {major}")],
        );
        if refused.status.success() || !wanted.iter().all(|words| text.contains(words)) {
            return Some(format!(
                "{}: expected a refusal that says {wanted:?}, came\n{text}",
                edit.name
            ));
        }
        if !raised.contains(&edit.name) {
            return None;
        }
        let passed = check(&Checkout::new(&before, &in_version(&after, &major)));
        (!passed.status.success()).then(|| {
            format!("{}: expected it to pass in {major}, came\n{}", edit.name, said(&passed))
        })
    });
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_is_compatible_passes_in_the_released_version() {
    let edits =
        [some(compatible_edits::of_openapi(), 8), some(compatible_edits::of_proto(), 3)].concat();
    assert!(edits.len() >= 10);
    let faults = in_parallel(&edits, |edit| {
        let (before, after) = edit.apply(released());
        let passed = check(&Checkout::new(&before, &after));
        (!passed.status.success()).then(|| format!("{}: {}", edit.name, said(&passed)))
    });
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_contract_that_cannot_be_read_is_an_error() {
    let checkout = Checkout::new(released(), released());
    std::fs::write(
        checkout.path().join("proto/merch/logging/v1/logging.proto"),
        "syntax = \"proto3\";\nmessage {",
    )
    .unwrap();
    let output = check(&checkout);
    assert!(!output.status.success());
    assert!(said(&output).contains("does not compile"), "{}", said(&output));
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_is_lost_is_an_error_and_a_reader_that_has_gone_is_none() {
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
        (&["replace"], "Done: contract-tests/released/ is now the contracts of this checkout"),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run(arguments, full.into());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
        let output = run(arguments, std::io::pipe().unwrap().1.into());
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""), "{arguments:?}");
    }
}
