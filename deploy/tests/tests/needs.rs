//! `tools/needs` names missing tools, and `make test` skips the suites that need them.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use merch_deploy_tests::directories::root;
use tempfile::TempDir;

/// A directory with links to the programs of `PATH`, except some.
fn path_without(programs: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for directory in std::env::split_paths(&std::env::var_os("PATH").expect("a path")) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !programs.contains(&name.to_string_lossy().as_ref()) {
                // The first directory of `PATH` takes precedence.
                drop(symlink(entry.path(), dir.path().join(name)));
            }
        }
    }
    dir
}

/// Returns whether `tools/needs` succeeds, its output, and the contents of its file.
fn needs(path: &Path, variables: &[(&str, &str)]) -> (bool, String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("missing");
    let mut command = Command::new("bash");
    command.arg(root().join("tools/needs")).arg(&file).env("PATH", path).stdin(Stdio::null());
    for name in ["CI", "REQUIRE_ALL", "CHROMIUM", "PGBOUNCER"] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().expect("bash starts");
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), printed, fs::read_to_string(file).unwrap_or_default())
}

#[test]
fn missing_tool_fails_only_in_ci() {
    let path = path_without(&["go", "mvn", "curl"]);
    let (success, printed, missing) = needs(path.path(), &[]);
    assert!(success, "{printed}");
    for (tool, reason) in [
        ("go", "go: not found. Install Go"),
        ("java", "mvn: not found. Install a JDK"),
        ("curl", "curl: not found."),
    ] {
        assert!(
            missing.lines().any(|line| line.starts_with(&format!("{tool}\t{reason}"))),
            "{tool}: {missing}"
        );
    }
    for variables in [[("CI", "true")], [("REQUIRE_ALL", "1")]] {
        let (success, printed, _) = needs(path.path(), &variables);
        assert!(
            !success && printed.contains("go: not found") && printed.contains("mvn: not found"),
            "{variables:?}: {printed}"
        );
    }
}

#[test]
fn missing_required_tool_always_fails() {
    let (success, printed, _) = needs(path_without(&["npm", "make"]).path(), &[]);
    assert!(
        !success && printed.contains("npm: not found") && printed.contains("make: not found"),
        "{printed}"
    );
}

/// Collects the names in `mod needs_…` below a directory.
fn modules(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if !["target", ".git", "node_modules", "gen"].contains(&name.to_string_lossy().as_ref())
            {
                modules(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a text");
            found.extend(text.lines().filter_map(|line| {
                Some(
                    line.trim()
                        .strip_prefix("mod needs_")?
                        .trim_end_matches([' ', '{', ';'])
                        .to_owned(),
                )
            }));
        }
    }
}

#[test]
fn needs_modules_match_the_optional_tools() {
    let table = fs::read_to_string(root().join("tools/lib.sh")).expect("a text");
    let (_, table) = table.split_once("OPTIONAL_SUITES='\n").expect("the table");
    let tools: BTreeSet<String> = table
        .lines()
        .take_while(|line| *line != "'")
        .filter_map(|line| Some(line.split_once('|')?.0.trim().to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    modules(root(), &mut found);
    assert_eq!(found, tools);
}
