//! Tests the command: output, diagnostics and exit status.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

fn command(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_poem-contract"))
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // The command may exit without reading its input.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the command exits")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn module_is_written_to_stdout() {
    let output = command(&["minimal.yaml"], "");
    assert!(output.status.success() && output.stderr.is_empty());
    let generated =
        poem_contract::generate(include_str!("golden/minimal.yaml")).expect("a supported document");
    let expected = generated.replace("openapi.yaml", "minimal.yaml");
    assert_eq!(text(&output.stdout), expected);
    assert!(expected.starts_with(
        "// @generated from minimal.yaml by poem-contract. Do not edit: change minimal.yaml and \
         run `poem-contract minimal.yaml > server.rs`."
    ));
    assert_eq!(text(&command(&["-"], include_str!("golden/minimal.yaml")).stdout), generated);
}

#[test]
fn diagnostics_go_to_stderr_with_exit_status_1() {
    let invalid = include_str!("golden/minimal.yaml")
        .replace("operationId: ping", "operationId: '1'")
        .replace("tags: [All]", "tags: []");
    let output = command(&["-"], &invalid);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let lines: Vec<&str> = text(&output.stderr).lines().collect();
    assert_eq!(lines[0], "cannot compile -:");
    assert!(
        lines[1..].iter().any(|line| line.starts_with("/paths/~1ping/post/tags: ")),
        "{lines:?}"
    );

    let output = command(
        &["-"],
        &include_str!("golden/minimal.yaml").replace("operationId: ping", "operationId: 1"),
    );
    let shown = text(&output.stderr);
    assert!(
        shown.contains(
            "\n/paths/~1ping/post/operationId: invalid OpenAPI 3.0: invalid type: integer `1`"
        ),
        "{shown}"
    );

    let output = command(&["nowhere.yaml"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("cannot read nowhere.yaml: "));
}

#[test]
fn output_file_is_unchanged_after_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("server.rs");
    let path = file.to_str().expect("text");
    assert!(command(&["minimal.yaml", "--output", path], "").status.success());
    let before = std::fs::read(&file).expect("the output file exists");
    assert_eq!(command(&["-", "--output", path], "openapi: 3.1.0").status.code(), Some(1));
    assert_eq!(std::fs::read(&file).expect("the output file still exists"), before);
}

#[test]
#[cfg(target_os = "linux")]
fn full_device_is_an_error_and_closed_pipe_is_not() {
    let run = |arguments: &[&str], out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_poem-contract"));
        command
            .args(arguments)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
        command.stdin(Stdio::null()).stdout(out).output().expect("the command exits")
    };
    for arguments in [&["minimal.yaml"][..], &["--help"], &["--version"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
        let output = run(arguments, full.into());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            text(&output.stderr).starts_with(
                "error: the output cannot be written to standard output: No space left"
            ),
            "{arguments:?}"
        );
        let output = run(arguments, std::io::pipe().expect("a pipe").1.into());
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{arguments:?}");
    }
}
