//! The whole store in one process, as a stranger starts it.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing")]
#![cfg(unix)]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{PATIENCE, Running, failed_start, finish, http, merch, run, run_json, signal};
use tempfile::tempdir;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_opens_sells_reports_and_closes() {
    let folder = tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let store = Running::store(&data_dir);

    // What it prints and writes.
    let addresses = run_json(&data_dir);
    let names: Vec<_> = addresses.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["api", "admin", "db", "logging", "kafka"]);
    for (name, address) in addresses.as_object().unwrap() {
        assert!(store.printed.contains(address.as_str().unwrap()), "{name} {address} is not in: {}", store.printed);
    }
    assert!(store.printed.contains(&format!("{}/docs", addresses["api"].as_str().unwrap())), "{}", store.printed);
    assert_eq!(mode(&data_dir), 0o700);
    for secret in ["jwt.key", "merch.db", "merch.db-wal", "merch.db-shm"] {
        assert_eq!(mode(&data_dir.join(secret)), 0o600, "{secret}");
    }

    // It answers, and says that it is ready.
    let api = store.address("api").to_owned();
    let (status, greeting) = http(&api, "GET", "/", None, None);
    assert_eq!(status, 200, "{greeting}");
    let health = run(&["health", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(health.status.success(), "{health:?}");
    assert!(String::from_utf8(health.stdout).unwrap().starts_with("ready"));

    // An order, and its events on the topic.
    let user = json!({ "sid": "12110304", "username": "alice", "email": "alice@example.com", "password": "correct horse" });
    assert_eq!(http(&api, "POST", "/users", None, Some(&user)).0, 201);
    let (status, token) = http(&api, "POST", "/login", None, Some(&json!({ "username": "alice", "password": "correct horse" })));
    assert_eq!(status, 200, "{token}");
    let token = token["access_token"].as_str().unwrap().to_owned();
    let (status, order) = http(&api, "POST", "/orders", Some(&token), Some(&json!({ "product_id": 1, "quantity": 2 })));
    assert_eq!(status, 201, "{order}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let logs = run(&["logs", "--json", "--data-dir", data_dir.to_str().unwrap()]);
        assert!(logs.status.success(), "{logs:?}");
        let events: Vec<Value> = String::from_utf8(logs.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if events.iter().any(|event| event.to_string().contains(order["id"].as_str().unwrap())) {
            assert!(!events.iter().any(|event| event.to_string().contains("correct horse")), "a password is on the topic");
            break;
        }
        assert!(Instant::now() < deadline, "the order's event did not arrive: {events:?}");
        thread::sleep(Duration::from_millis(50));
    }
    let human = run(&["logs", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(String::from_utf8(human.stdout).unwrap().contains(order["id"].as_str().unwrap()));

    // A second one on the same folder is refused; the first goes on.
    let second = run(&["--data-dir", data_dir.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(failed_start(&second).contains("is in use by another merch"));
    assert_eq!(http(&api, "GET", "/products", None, None).0, 200);

    // SIGTERM: exit code 0, and nothing left that names dead addresses.
    let key = fs::read(data_dir.join("jwt.key")).unwrap();
    assert_eq!(store.stop().code(), Some(0));
    assert!(!data_dir.join("run.json").exists());
    let health = run(&["health", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(failed_start(&health).starts_with("no store runs with the data folder"));

    // The next start: the same key, so the token still holds, and the same order.
    let store = Running::store(&data_dir);
    assert_eq!(fs::read(data_dir.join("jwt.key")).unwrap(), key);
    let path = format!("/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(http(store.address("api"), "GET", &path, Some(&token), None), (200, order));
    assert_eq!(store.stop().code(), Some(0));
}

#[test]
fn ctrl_c_ends_it_as_sigterm_does() {
    let folder = tempdir().unwrap();
    let store = Running::store(folder.path());
    signal(store.pid(), "-INT");
    assert_eq!(store.ended().code(), Some(0));
    assert!(!folder.path().join("run.json").exists());
}

#[test]
fn a_killed_store_starts_again() {
    let folder = tempdir().unwrap();
    let store = Running::store(folder.path());
    signal(store.pid(), "-KILL");
    drop(store);
    assert!(folder.path().join("run.json").exists());
    let store = Running::store(folder.path());
    assert_eq!(http(store.address("api"), "GET", "/", None, None).0, 200);
    assert_eq!(store.stop().code(), Some(0));
}

#[test]
fn logs_follow_shows_events_as_they_come() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempdir().unwrap();
    let store = Running::store(folder.path());
    let mut follower = merch(&["logs", "--follow", "--json", "--data-dir", folder.path().to_str().unwrap()]).spawn().unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    let user = json!({ "sid": "1", "username": "bob", "email": "bob@example.com", "password": "correct horse" });
    let (status, user) = http(store.address("api"), "POST", "/users", None, Some(&user));
    assert_eq!(status, 201, "{user}");
    loop {
        let line = receiver.recv_timeout(PATIENCE).expect("the event arrives");
        if line.contains(user["id"].as_str().unwrap()) {
            break;
        }
    }
    signal(follower.id(), "-TERM");
    assert_eq!(finish(follower).status.code(), Some(0));
    assert_eq!(store.stop().code(), Some(0));
}
