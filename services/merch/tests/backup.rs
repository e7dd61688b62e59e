//! Backups of running stores, and restores after a kill.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Output,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::tempdir;

use support::{Running, TIMEOUT, http, merch, run, signal, sqlite_url, startup_error, wait_until};

fn store(data_dir: &Path) -> Running {
    let command =
        &mut merch(&["--data-dir", data_dir.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    Running::start(
        command
            .env("MERCH_HASH_COST", "10")
            .env("MERCH_LOG_IN_RATE", "100000")
            .env("MERCH_LOG_IN_ADDRESS_RATE", "100000")
            .env("MERCH_REGISTRATION_ADDRESS_RATE", "100000"),
    )
}

fn log_in(api: &str, name: &str, password: &str) -> (u16, Value) {
    http(api, "POST", "/login", None, Some(&json!({ "username": name, "password": password })))
}

fn token(api: &str, name: &str) -> String {
    let (status, token) = log_in(api, name, "correct horse");
    assert_eq!(status, 200, "{token}");
    token["access_token"].as_str().unwrap().to_owned()
}

fn register(api: &str, name: &str) -> String {
    let user = json!({ "sid": name, "username": name, "email": format!("{name}@example.com"), "password": "correct horse" });
    let (status, user) = http(api, "POST", "/users", None, Some(&user));
    assert_eq!(status, 201, "{user}");
    token(api, name)
}

/// `None` if the store is gone.
fn order(api: &str, token: &str, key: &str, product: i64, quantity: i64) -> Option<Value> {
    use std::io::{Read as _, Write as _};
    let body = json!({ "product_id": product, "quantity": quantity }).to_string();
    let mut connection = std::net::TcpStream::connect(api).ok()?;
    connection.set_read_timeout(Some(TIMEOUT)).ok()?;
    write!(
        connection,
        "POST /orders HTTP/1.0\r\nhost: {api}\r\nauthorization: Bearer {token}\r\n\
         idempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n\
         {body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 201 ").then(|| serde_json::from_str(body).ok())?
}

fn objects(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn sql(data_dir: &str, statement: &str) -> Vec<Value> {
    objects(&run(&["sql", "--json", "--data-dir", data_dir, statement]))
}

fn events(data_dir: &str) -> BTreeMap<String, Value> {
    let events = objects(&run(&["logs", "--json", "--data-dir", data_dir]));
    events.into_iter().map(|event| (event["id"].as_str().unwrap().to_owned(), event)).collect()
}

#[test]
fn backup_under_load_restores_consistently() {
    let (dir, second) = (tempdir().unwrap(), tempdir().unwrap());
    let data_dir = dir.path().join("data");
    let (file, restored) = (dir.path().join("backup.tar"), second.path().to_str().unwrap());
    let running = store(&data_dir);
    let api = running.address("api").to_owned();
    let tokens: Vec<String> = (0..4).map(|n| register(&api, &format!("buyer{n}"))).collect();
    // Their events are only in the api's journal.
    for _ in 0..3 {
        assert_eq!(log_in(&api, "buyer0", "wrong horse").0, 401);
    }

    // More than can be sold during the test.
    for product in ["1", "2", "3"] {
        let restocked = run(&[
            "admin",
            "restock",
            product,
            "--set",
            "1000000",
            "--data-dir",
            data_dir.to_str().unwrap(),
        ]);
        assert!(restocked.status.success(), "{restocked:?}");
    }

    // Those confirmed before the backup are marked.
    let (begun, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let confirmed: Mutex<BTreeMap<String, (Value, bool)>> = Mutex::default();
    thread::scope(|scope| {
        for (n, token) in tokens.iter().enumerate() {
            let (api, begun, stop, confirmed) = (&api, &begun, &stop, &confirmed);
            scope.spawn(move || {
                for round in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let key = format!("k-{n}-{round}");
                    let (product, quantity) = (1 + round % 3, 1 + round % 2);
                    if let Some(order) = order(api, token, &key, product, quantity) {
                        let before = !begun.load(Ordering::SeqCst);
                        confirmed.lock().unwrap().insert(key, (order, before));
                    }
                }
            });
        }
        let deadline = Instant::now() + TIMEOUT;
        while confirmed.lock().unwrap().len() < 40 {
            assert!(Instant::now() < deadline, "no orders are placed");
            thread::sleep(Duration::from_millis(5));
        }
        begun.store(true, Ordering::SeqCst);
        let backup =
            run(&["backup", file.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()]);
        assert!(backup.status.success(), "{backup:?}");
        let at_backup = confirmed.lock().unwrap().len();
        while confirmed.lock().unwrap().len() < at_backup + 20 {
            assert!(Instant::now() < deadline, "no orders are placed after the backup");
            thread::sleep(Duration::from_millis(5));
        }
        signal(running.pid(), "-KILL");
        stop.store(true, Ordering::SeqCst);
    });
    drop(running);
    let confirmed = confirmed.into_inner().unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left beside it: {names:?}");

    // Before a store changes the tables.
    let restoring = run(&["restore", file.to_str().unwrap(), "--data-dir", restored]);
    assert!(restoring.status.success(), "{restoring:?}");
    assert_eq!(
        fs::metadata(second.path().join("merch.db")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let orders =
        sql(restored, "SELECT id, product_id, quantity FROM orders WHERE status = 'placed'");
    let ids: BTreeSet<&str> = orders.iter().map(|order| order["id"].as_str().unwrap()).collect();
    for (key, (order, before)) in &confirmed {
        assert!(
            !before || ids.contains(order["id"].as_str().unwrap()),
            "{key} was confirmed before the backup but is not in it"
        );
    }
    assert!(ids.len() < confirmed.len(), "the backup is from the middle");
    let keys = sql(restored, "SELECT key, order_id FROM idempotency_keys");
    let of_keys: BTreeSet<&str> =
        keys.iter().map(|key| key["order_id"].as_str().unwrap()).collect();
    assert_eq!(of_keys, ids, "each order has its key, and no key is without its order");
    for product in 1..=3 {
        let sold: i64 = orders
            .iter()
            .filter(|order| order["product_id"] == product)
            .map(|order| order["quantity"].as_i64().unwrap())
            .sum();
        let stock = sql(restored, &format!("SELECT stock FROM products WHERE id = {product}"));
        assert_eq!(stock[0]["stock"], 1_000_000 - sold, "product {product}");
    }

    // Every event of the outbox and the journal, and no others.
    let running = store(second.path());
    let api = running.address("api").to_owned();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let events = events(restored);
        let of = |word: &str| -> Vec<&Value> {
            events.values().filter(|event| event["event"] == word).collect()
        };
        let placed: BTreeSet<&str> = of("order_placed")
            .iter()
            .map(|event| event["subject"].as_str().unwrap().trim_start_matches("order:"))
            .collect();
        if placed == ids && of("log_in_failed").len() == 3 && of("store_restored").len() == 1 {
            assert_eq!(of("user_registered").len(), 4);
            break;
        }
        assert!(placed.is_subset(&ids), "an event of an order that is not there");
        assert!(Instant::now() < deadline, "{} of {} events arrived", placed.len(), ids.len());
        thread::sleep(Duration::from_millis(100));
    }

    // Repeated keys return the first orders and sell nothing.
    assert_eq!(http(&api, "GET", "/orders", Some(&tokens[0]), None).0, 401);
    let tokens: Vec<String> = (0..4).map(|n| token(&api, &format!("buyer{n}"))).collect();
    let before = http(&api, "GET", "/products/1", None, None).1["stock"].clone();
    for key in &keys {
        let key_text = key["key"].as_str().unwrap();
        let parts: Vec<i64> =
            key_text.split('-').skip(1).map(|part| part.parse().unwrap()).collect();
        let (buyer, round) = (usize::try_from(parts[0]).unwrap(), parts[1]);
        let again = order(&api, &tokens[buyer], key_text, 1 + round % 3, 1 + round % 2)
            .expect("the first order is answered again");
        assert_eq!(again["id"], key["order_id"], "{key_text}");
    }
    assert_eq!(http(&api, "GET", "/products/1", None, None).1["stock"], before);
    assert_eq!(running.stop().code(), Some(0));
}

#[test]
fn restore_needs_replace_and_keeps_old_files() {
    let (dir, second) = (tempdir().unwrap(), tempdir().unwrap());
    let (data_dir, file) = (dir.path().to_str().unwrap(), second.path().join("backup.tar"));
    let running = store(dir.path());
    let api = running.address("api").to_owned();
    register(&api, "ada");
    let file = file.to_str().unwrap();
    assert!(run(&["backup", file, "--data-dir", data_dir]).status.success());
    assert!(
        startup_error(&run(&["backup", file, "--data-dir", data_dir]))
            .contains("backups are not overwritten")
    );
    let late = register(&api, "bob");
    assert_eq!(log_in(&api, "ada", "wrong horse").0, 401);
    let key = fs::read(dir.path().join("jwt.key")).unwrap();

    let restore =
        |arguments: &[&str]| run(&[&["restore", "--data-dir", data_dir], arguments].concat());
    assert!(startup_error(&restore(&[file, "--replace"])).contains("is in use by another merch"));
    assert_eq!(running.stop().code(), Some(0));
    assert!(startup_error(&restore(&[file])).contains("already contains a store"));

    let whole = fs::read(file).unwrap();
    let damaged = second.path().join("damaged.tar");
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    for content in [&bytes[..], &whole[..whole.len() / 2], b"nonsense"] {
        fs::write(&damaged, content).unwrap();
        let message = startup_error(&restore(&[damaged.to_str().unwrap(), "--replace"]));
        assert!(
            message.contains("cannot be restored") && message.contains("nothing was changed"),
            "{message}"
        );
    }
    assert_eq!(sql(data_dir, "SELECT count(*) AS n FROM users"), [json!({ "n": 2 })]);
    assert!(!dir.path().join("restore-unfinished").exists());

    let output = restore(&[file, "--replace"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("The previous files are in"));
    let aside: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("replaced-"))
        .collect();
    assert_eq!(aside.len(), 1);
    let url = sqlite_url(&aside[0].join("merch.db"));
    let before = merch(&["sql", "--json", "SELECT count(*) AS n FROM users"])
        .env("MERCH_DATABASE_URL", url)
        .output()
        .unwrap();
    assert_eq!(objects(&before), [json!({ "n": 2 })]);
    assert!(!aside[0].join("journal").exists());
    assert_eq!(fs::read(dir.path().join("jwt.key")).unwrap(), key);
    assert_eq!(sql(data_dir, "SELECT username FROM users"), [json!({ "username": "ada" })]);

    fs::write(dir.path().join("restore-unfinished"), "").unwrap();
    let started = run(&["--data-dir", data_dir, "--listen", "127.0.0.1:0"]);
    assert!(
        startup_error(&started)
            .contains("was interrupted; run `merch restore FILE --replace` again")
    );
    assert!(restore(&[file, "--replace"]).status.success());
    let running = store(dir.path());
    let api = running.address("api").to_owned();
    assert_eq!(
        http(&api, "GET", "/orders", Some(&late), None).0,
        401,
        "a token from after the backup, signed with the same key"
    );
    // The wrong password of ada was refused after the backup.
    wait_until("the refusals from before the restore are on the topic", || {
        events(data_dir).values().any(|event| event["event"] == "log_in_failed")
    });
    token(&api, "ada");
    assert_eq!(log_in(&api, "bob", "correct horse").0, 401);
    assert_eq!(running.stop().code(), Some(0));

    let postgres = merch(&["restore", file])
        .env("MERCH_DATABASE_URL", "postgres://merch:hush-hush@h/merch")
        .output()
        .unwrap();
    let message = startup_error(&postgres);
    assert!(message.contains("use pg_restore") && !message.contains("hush"), "{message}");
}

#[test]
fn restore_refuses_symlinks() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    let (data, disk, file) = (text("data"), text("disk"), text("backup.tar"));
    assert!(run(&["migrate", "--data-dir", &disk]).status.success());
    assert!(run(&["backup", &file, "--data-dir", &disk]).status.success());
    fs::create_dir(&data).unwrap();
    fs::create_dir(at("disk/journal")).unwrap();
    let restore =
        |arguments: &[&str]| run(&[&["restore", &file, "--data-dir", &data], arguments].concat());
    let names = || -> BTreeSet<_> {
        fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let absolute = text("disk/merch.db");
    for (name, target) in [
        ("merch.db", "../disk/merch.db"),
        ("merch.db", &absolute),
        ("merch.db", "../disk/missing"),
        ("merch.db-wal", "../disk/missing"),
        ("merch.db-shm", "../disk/missing"),
        ("journal", "../disk/journal"),
    ] {
        let link = at("data").join(name);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let before = names();
        for arguments in [&["--replace"][..], &[]] {
            let message = startup_error(&restore(arguments));
            assert!(
                message.starts_with(&format!("{} is a symbolic link to ", link.display())),
                "{message}"
            );
            let dir = fs::canonicalize(&disk).unwrap();
            // A dangling link cannot be canonicalized.
            let named = [format!("stays in {}", dir.display()), format!("stays in {data}/../disk")];
            assert!(named.iter().any(|named| message.ends_with(named)), "{message}");
            assert_eq!(names(), before, "{name} -> {target}");
            assert_eq!(fs::read_link(&link).unwrap().to_str(), Some(target));
        }
        fs::remove_file(&link).unwrap();
    }
    // As the error states, the restore works without the link, and the link's target is unchanged.
    let stayed = fs::read(at("disk/merch.db")).unwrap();
    assert!(restore(&["--replace"]).status.success());
    assert!(at("data/merch.db").is_file());
    assert_eq!(fs::read(at("disk/merch.db")).unwrap(), stayed);
}
