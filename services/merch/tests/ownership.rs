//! Data directories of another user, seen by root.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

mod support;

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
};

use tempfile::{TempDir, tempdir};

use support::{Running, merch, run, startup_error};

/// Any user but root.
const SERVICE: u32 = 65_534;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Below a directory that every user can enter; `None` if its owner cannot be changed.
fn dir_of(user: u32, mode: u32) -> Option<TempDir> {
    let dir = tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    chown(dir.path(), Some(user), Some(user)).ok().map(|()| dir)
}

/// Like [`SERVICE`], from a directory that this user can enter: the build directory may be private.
fn store(dir: &Path, stderr: fs::File) -> (Running, TempDir) {
    let place = dir_of(0, 0o755).unwrap();
    let (built, program) = (env!("CARGO_BIN_EXE_merch"), place.path().join("merch"));
    fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
    let arguments = merch(&["--data-dir", text(dir), "--listen", "127.0.0.1:0"]);
    let mut command = Command::new(program);
    command.args(arguments.get_args()).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
    for (name, _) in arguments.get_envs() {
        command.env_remove(name);
    }
    (Running::start_with_stderr(command.uid(SERVICE).gid(SERVICE), stderr), place)
}

fn admin(arguments: &[&str]) -> Command {
    merch(&[&["admin", "list-users"], arguments].concat())
}

#[test]
fn root_may_administer_but_not_run_a_service_users_store() {
    let Some(dir) = dir_of(SERVICE, 0o700) else { return };
    let data_dir = text(dir.path());
    let (store, _program) = store(dir.path(), tempfile::tempfile().unwrap());
    let listed = run(&["admin", "list-users", "--data-dir", data_dir]);
    assert!(listed.status.success(), "{listed:?}");

    for command in [&["--listen", "127.0.0.1:0"][..], &["migrate"], &["restore", "/nowhere"]] {
        let message = startup_error(&run(&[command, &["--data-dir", data_dir]].concat()));
        let refused = message.contains("the data directory ")
            && message.contains("it belongs to the user 65534");
        assert!(refused, "{command:?}: {message}");
    }

    // The service's user must not make root send one of its own keys.
    let (key, secret) = (dir.path().join("admin.key"), dir.path().join("secret"));
    fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    fs::remove_file(&key).unwrap();
    fs::hard_link(&secret, &key).unwrap();
    let message = startup_error(&run(&["admin", "list-users", "--data-dir", data_dir]));
    assert!(message.contains("it is a hard link to a file of the user 0"), "{message}");
    fs::remove_file(&key).unwrap();
    std::os::unix::fs::symlink(&secret, &key).unwrap();
    let message = startup_error(&run(&["admin", "list-users", "--data-dir", data_dir]));
    assert!(
        message.contains("it belongs to the user") || message.contains("it is a symbolic link"),
        "{message}"
    );
    assert_eq!(store.stop().code(), Some(0));
}

#[test]
fn foreign_store_in_a_shared_directory_gets_no_credential() {
    let Some(dir) = dir_of(0, 0o777) else { return };
    let data_dir = text(dir.path());
    let log = tempfile::NamedTempFile::new().unwrap();
    let (store, _program) = store(dir.path(), log.reopen().unwrap());
    support::wait_until("it warns that others may write", || {
        let log = fs::read_to_string(log.path()).unwrap();
        log.contains("other users can write to the data directory")
    });
    let message = startup_error(&run(&["admin", "list-users", "--data-dir", data_dir]));
    assert!(message.contains("run.json cannot be read: it belongs to the user 65534"), "{message}");
    let endpoint = format!("unix:{data_dir}/db.sock");
    let mut asked = admin(&["--db-endpoint", &endpoint]);
    let asked =
        asked.env("MERCH_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef").output().unwrap();
    let message = startup_error(&asked);
    // A store that had received the credential would have refused it.
    assert!(message.starts_with("no response from the db service at "), "{message}");
    assert_eq!(store.stop().code(), Some(0));
}
