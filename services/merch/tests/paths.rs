//! Paths with special characters for URLs, shells or SQLite, and exclusive use of a database file.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

mod support;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::tempdir;

use support::{Running, TIMEOUT, finish, http, merch, run, run_json, sqlite_url, startup_error};

const NAMES: [&str; 13] = [
    "what?now",
    "shop%41",
    "shopA",
    "a#b",
    "a b",
    "it's \"so\"",
    "line\nbreak",
    "店",
    "-dash",
    "file:x?mode=ro",
    ":memory:",
    "a?mode=memory",
    "$(touch x)`",
];

fn run_in(dir: &Path, arguments: &[&str]) -> Output {
    finish(merch(arguments).current_dir(dir).spawn().unwrap())
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn special_directory_names_are_separate_stores() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("stores");
    fs::create_dir(&dir).unwrap();
    for (index, name) in NAMES.into_iter().enumerate() {
        // As an option's value, because the name may start with a dash.
        let data = format!("--data-dir={name}");
        done(&run_in(&dir, &["migrate", &data]));
        let number = index + 1;
        done(&run_in(
            &dir,
            &["sql", "--write", &data, &format!("UPDATE products SET stock = {number}")],
        ));
        done(&run_in(&dir, &["backup", &data, "--", &format!("{name}.tar")]));
        done(&run_in(
            &dir,
            &["restore", &format!("--data-dir={name}-restored"), "--", &format!("{name}.tar")],
        ));
        assert!(dir.join(name).join("merch.db").is_file(), "{name:?}");
        assert!(dir.join(format!("{name}-restored")).join("merch.db").is_file(), "{name:?}");
    }
    let expected: BTreeSet<String> = NAMES
        .into_iter()
        .flat_map(|name| [name.to_owned(), format!("{name}.tar"), format!("{name}-restored")])
        .collect();
    assert_eq!(names_in(&dir), expected, "nothing is created under another name");
    assert_eq!(names_in(parent.path()), BTreeSet::from(["stores".to_owned()]));
    for (index, name) in NAMES.into_iter().enumerate() {
        let stock = format!("{{\"stock\":{}}}\n", index + 1);
        let absolute = dir.join(name);
        for data in [
            format!("--data-dir={name}"),
            format!("--data-dir={}", absolute.display()),
            format!("--data-dir={name}-restored"),
            format!("--database-url={}", sqlite_url(&absolute.join("merch.db"))),
        ] {
            let found = done(&run_in(
                &dir,
                &["sql", "--json", &data, "SELECT stock FROM products WHERE id = 1"],
            ));
            assert_eq!(found, stock, "{data:?}");
        }
    }
}

#[test]
fn printed_command_works_for_special_directory_names() {
    let dir = tempdir().unwrap();
    for name in ["what?now #1 %41", "it's\na 店"] {
        let data = dir.path().join(name);
        let store = Running::store(&data);
        let user = json!({ "sid": "1", "username": "ada", "email": "ada@example.com", "password": "correct horse" });
        assert_eq!(http(store.address("api"), "POST", "/users", None, Some(&user)).0, 201);
        let line = store
            .printed
            .split("The events: merch ")
            .nth(1)
            .unwrap()
            .split("\nStop it")
            .next()
            .unwrap()
            .replace(" --follow", "");
        let script = format!("exec \"$0\" {line} --event user_registered --json");
        let deadline = Instant::now() + TIMEOUT;
        while !done(
            &Command::new("sh")
                .args(["-c", &script, env!("CARGO_BIN_EXE_merch")])
                .output()
                .unwrap(),
        )
        .contains("user_registered")
        {
            assert!(Instant::now() < deadline, "the event does not arrive: {line}");
            thread::sleep(Duration::from_millis(50));
        }
        assert!(data.join("merch.db").is_file() && run_json(&data)["api"].is_string());
        assert_eq!(store.stop().code(), Some(0));
    }
    assert_eq!(names_in(dir.path()).len(), 2);
}

#[test]
fn unusable_sqlite_path_is_explained() {
    let dir = tempdir().unwrap();
    let long = dir.path().join("x".repeat(200)).join("y".repeat(200)).join("z".repeat(200));
    let message =
        startup_error(&run(&["--listen", "127.0.0.1:0", "--data-dir", long.to_str().unwrap()]));
    assert!(
        message.contains("has a path that SQLite cannot open")
            && message.contains("expected at most 511"),
        "{message}"
    );
    let bytes: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"not-\xff-utf8");
    let mut command = merch(&["--listen", "127.0.0.1:0", "--data-dir"]);
    let message = startup_error(&finish(command.arg(dir.path().join(bytes)).spawn().unwrap()));
    assert!(message.contains("not UTF-8"), "{message}");

    // Before anything is created.
    for command in [&["db", "--db-listen", "127.0.0.1:0"][..], &["migrate"]] {
        let message =
            startup_error(&run(&[command, &["--data-dir", long.to_str().unwrap()]].concat()));
        assert!(message.contains("has a path that SQLite cannot open"), "{message}");
        let mut command = merch(command);
        let message = startup_error(&finish(
            command.arg("--data-dir").arg(dir.path().join(bytes)).spawn().unwrap(),
        ));
        assert!(message.contains("not UTF-8"), "{message}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is created");

    // A usable link to an unusable path.
    let (real, link) = (dir.path().join(bytes), dir.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let message =
        startup_error(&run(&["--listen", "127.0.0.1:0", "--data-dir", link.to_str().unwrap()]));
    assert!(message.contains("not UTF-8"), "{message}");
    assert!(
        !real.join("jwt.key").exists() && !real.join("admin.key").exists(),
        "no key is created"
    );
}

#[test]
fn unusable_backup_path_is_explained() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let data_dir = data.to_str().unwrap();
    done(&run(&["migrate", "--data-dir", data_dir]));
    let bytes: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"not-\xff-utf8");
    let odd = dir.path().join(bytes);
    let long = dir.path().join("x".repeat(200)).join("y".repeat(200)).join("z".repeat(90));
    for target in [&odd, &long] {
        fs::create_dir_all(target).unwrap();
        let file = target.join("x.tar");
        let mut command = merch(&["backup", "--data-dir", data_dir]);
        let message = startup_error(&finish(command.arg(&file).spawn().unwrap()));
        assert!(
            message.starts_with(&format!("the backup {} cannot be written: ", file.display())),
            "{message}"
        );
        assert!(!message.contains(".merch-backup-"), "{message}");
        assert_eq!(fs::read_dir(target).unwrap().count(), 0);
    }
    let mut command = merch(&["backup", "--data-dir", data_dir, "x.tar"]);
    let message = startup_error(&finish(command.current_dir(&odd).spawn().unwrap()));
    assert!(message.starts_with("the backup x.tar cannot be written: "), "{message}");
    // The file's own name may be arbitrary.
    let file = dir.path().join(bytes).with_extension("tar");
    done(&finish(merch(&["backup", "--data-dir", data_dir]).arg(&file).spawn().unwrap()));
    assert!(file.is_file());
}

#[test]
fn database_file_is_exclusive_under_every_name() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    let store = Running::store(&at("data"));
    let file = at("data/merch.db");
    let backup = text("backup.tar");
    assert!(
        run(&["backup", &backup, "--data-dir", &text("data")]).status.success(),
        "a backup is taken of a running store"
    );
    fs::hard_link(&file, at("hard.db")).unwrap();
    std::os::unix::fs::symlink(&file, at("symbolic.db")).unwrap();
    std::os::unix::fs::symlink(at("data"), at("directory")).unwrap();
    let urls: Vec<_> = ["data/merch.db", "hard.db", "symbolic.db", "directory/merch.db"]
        .map(|name| sqlite_url(&at(name)))
        .into();
    let whole = ["--listen", "127.0.0.1:0", "--data-dir"];
    let db = ["db", "--db-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"];
    let mut refused: Vec<Vec<String>> = Vec::new();
    for url in &urls {
        for command in
            [&whole[..], &db, &["migrate", "--restored", "2026-01-01T00:00:00Z", "--data-dir"]]
        {
            let mut arguments: Vec<String> =
                command.iter().map(|word| (*word).to_owned()).collect();
            arguments.extend([text("other"), "--database-url".to_owned(), url.clone()]);
            refused.push(arguments);
        }
    }
    refused.push(vec!["db".to_owned(), "--data-dir".to_owned(), text("data")]);
    refused.push(vec![
        "--listen".to_owned(),
        "127.0.0.1:0".to_owned(),
        "--data-dir".to_owned(),
        text("directory"),
    ]);
    refused.push(vec![
        "restore".to_owned(),
        backup.clone(),
        "--replace".to_owned(),
        "--data-dir".to_owned(),
        text("data"),
    ]);
    for arguments in &refused {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let message = startup_error(&run(&arguments));
        assert!(
            message.contains("is in use by another merch; stop it"),
            "{arguments:?}: {message}"
        );
    }
    assert!(run(&["migrate", "--data-dir", &text("data")]).status.success());
    assert!(run(&["migrate", "--status", "--database-url", &urls[3]]).status.success());
    // SQLite would not find the newest commits, which are next to the first name.
    for arguments in [&["sql", "--write", "SELECT 1"][..], &["backup", &text("stale.tar")]] {
        let message = startup_error(&run(&[arguments, &["--database-url", &urls[1]]].concat()));
        assert!(
            message.contains("is in use by another merch") && message.contains("hard links"),
            "{message}"
        );
    }
    fs::remove_file(at("hard.db")).unwrap();
    assert!(run(&["sql", "--database-url", &urls[2], "SELECT 1"]).status.success());
    assert_eq!(http(store.address("api"), "GET", "/products", None, None).0, 200);
    assert_eq!(store.stop().code(), Some(0));

    // Opened by its URL.
    let store = Running::start(&mut merch(
        &[&whole[..], &[&text("other"), "--database-url", &urls[0]]].concat(),
    ));
    let restore = ["restore", &backup, "--replace", "--data-dir", &text("data")];
    assert!(startup_error(&run(&restore)).contains("is in use by another merch; stop it"));
    let products: Value = http(store.address("api"), "GET", "/products", None, None).1;
    assert_eq!(products["items"].as_array().unwrap().len(), 3);
    assert_eq!(store.stop().code(), Some(0));
    assert!(run(&restore).status.success());

    let store = Running::store(&at("data"));
    support::signal(store.pid(), "-KILL");
    drop(store);
    assert_eq!(Running::store(&at("data")).stop().code(), Some(0));
}
