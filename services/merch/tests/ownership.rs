//! Data folders of another user, seen by root: what is refused, and what the operator's commands
//! reach.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing")]
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

use support::{Running, failed_start, merch, run};

/// Any user but root.
const SERVICE: u32 = 65_534;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder within one that every user can enter; `None` if this user cannot give it to another.
fn folder_of(user: u32, mode: u32) -> Option<TempDir> {
    let folder = tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    chown(folder.path(), Some(user), Some(user)).ok().map(|()| folder)
}

/// Starts the whole store as [`SERVICE`], from a folder that this user can enter: the build's may
/// be below a private one.
fn store(folder: &Path, stderr: fs::File) -> (Running, TempDir) {
    let place = folder_of(0, 0o755).unwrap();
    let (built, program) = (env!("CARGO_BIN_EXE_merch"), place.path().join("merch"));
    fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
    let arguments = merch(&["--data-dir", text(folder), "--listen", "127.0.0.1:0"]);
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
fn root_runs_commands_on_the_store_of_a_services_user_and_no_store_of_its_own() {
    let Some(folder) = folder_of(SERVICE, 0o700) else { return };
    let data_dir = text(folder.path());
    let (store, _program) = store(folder.path(), tempfile::tempfile().unwrap());
    let listed = run(&["admin", "list-users", "--data-dir", data_dir]);
    assert!(listed.status.success(), "{listed:?}");

    for command in [&["--listen", "127.0.0.1:0"][..], &["migrate"], &["restore", "/nowhere"]] {
        let sentence = failed_start(&run(&[command, &["--data-dir", data_dir]].concat()));
        let refused = sentence.contains("the data folder ")
            && sentence.contains("it belongs to the user 65534");
        assert!(refused, "{command:?}: {sentence}");
    }

    // A key of root's that the service's user linked into its folder would be sent to its store.
    let (key, secret) = (folder.path().join("admin.key"), folder.path().join("secret"));
    fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    fs::remove_file(&key).unwrap();
    fs::hard_link(&secret, &key).unwrap();
    let sentence = failed_start(&run(&["admin", "list-users", "--data-dir", data_dir]));
    assert!(sentence.contains("it is a hard link to a file of the user 0"), "{sentence}");
    fs::remove_file(&key).unwrap();
    std::os::unix::fs::symlink(&secret, &key).unwrap();
    let sentence = failed_start(&run(&["admin", "list-users", "--data-dir", data_dir]));
    assert!(
        sentence.contains("it belongs to the user") || sentence.contains("it is a symbolic link"),
        "{sentence}"
    );
    assert_eq!(store.stop().code(), Some(0));
}

#[test]
fn a_store_that_another_user_put_into_a_shared_folder_of_root_gets_no_credential() {
    let Some(folder) = folder_of(0, 0o777) else { return };
    let data_dir = text(folder.path());
    let log = tempfile::NamedTempFile::new().unwrap();
    let (store, _program) = store(folder.path(), log.reopen().unwrap());
    support::until("it warns that others may write", || {
        let log = fs::read_to_string(log.path()).unwrap();
        log.contains("other users of this machine may write to the data folder")
    });
    let sentence = failed_start(&run(&["admin", "list-users", "--data-dir", data_dir]));
    assert!(
        sentence.contains("run.json cannot be read: it belongs to the user 65534"),
        "{sentence}"
    );
    let endpoint = format!("unix:{data_dir}/db.sock");
    let mut asked = admin(&["--db-endpoint", &endpoint]);
    let asked =
        asked.env("MERCH_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef").output().unwrap();
    let sentence = failed_start(&asked);
    // A store that had seen the credential would have refused it.
    assert!(sentence.starts_with("no answer from the db service at "), "{sentence}");
    assert_eq!(store.stop().code(), Some(0));
}
