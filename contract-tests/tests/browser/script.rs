//! Runs the Node programs in this directory.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::{process::Command, time::timeout};

/// Far more than a script takes on a busy machine.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Cargo's target directory, which contains the installed tools and the screenshots.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo makes the directory `tmp` in its target directory")
}

/// Runs a script and parses the JSON that it prints.
///
/// # Panics
/// If the script cannot be run, fails, or takes too long; the message contains its output.
pub(crate) async fn run<T: DeserializeOwned>(name: &str, arguments: &[&str]) -> T {
    let node_tools = target().join("tools/node");
    assert!(
        node_tools.join("node_modules/playwright-core").is_dir(),
        "expected playwright-core in {}; run tools/install, or `make test`, which does",
        node_tools.display()
    );
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/browser", name].iter().collect();
    let mut command = Command::new("node");
    command
        .arg(script)
        .args(arguments)
        .env("NODE_TOOLS", node_tools)
        .env("SCREENSHOTS", target().join("screenshots"));
    let output = finished(command).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{name} ended with {}:\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{name} has to print JSON ({error}); it printed:\n{text}"))
}

/// Runs a program until it exits.
///
/// # Panics
/// If the program cannot be started, or takes too long; it is then killed.
pub(crate) async fn finished(mut command: Command) -> Output {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = timeout(SCRIPT_TIMEOUT, command.output())
        .await
        .unwrap_or_else(|_| panic!("{program} did not exit within {SCRIPT_TIMEOUT:?}"));
    output.unwrap_or_else(|error| {
        panic!(
            "{program} could not be run ({error}); tools/needs says what this machine has to have"
        )
    })
}
