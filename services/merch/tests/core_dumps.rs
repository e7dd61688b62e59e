//! Core dumps are disabled by default.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(target_os = "linux")]

mod support;

use std::{fs, os::unix::process::ExitStatusExt as _, process::Command};

use tempfile::tempdir;

use support::{Running, merch, signal};

/// Soft and hard limit.
fn limits(pid: u32) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

/// With the highest limit that this user may set. Returns both limits.
fn store(data_dir: &str, core_dumps: Option<&str>) -> (Running, Vec<String>) {
    let plain = merch(&["--data-dir", data_dir, "--listen", "127.0.0.1:0"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$@\"", "sh"]);
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(data_dir);
    for (name, _) in plain.get_envs() {
        command.env_remove(name);
    }
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    if let Some(value) = core_dumps {
        command.env("MERCH_CORE_DUMPS", value);
    }
    let hard = limits(std::process::id())[1].clone();
    (Running::start(&mut command), vec![hard.clone(), hard])
}

#[test]
fn core_dumps_are_off_by_default() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    for core_dumps in [None, Some("false")] {
        let (store, _) = store(data_dir, core_dumps);
        assert_eq!(limits(store.pid()), ["0", "0"], "{core_dumps:?}");
        signal(store.pid(), "-ABRT");
        let status = store.ended();
        assert_eq!((status.signal(), status.core_dumped()), (Some(6), false), "{core_dumps:?}");
    }
    let (store, inherited) = store(data_dir, Some("true"));
    assert_eq!(limits(store.pid()), inherited, "what the system grants");
    assert_eq!(store.stop().code(), Some(0));
}
