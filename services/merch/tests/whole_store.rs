//! The whole store in one process, with default settings.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

mod support;

use std::{
    fs,
    io::{BufRead as _, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::tempdir;

use support::{
    Running, TIMEOUT, finish, http, merch, metric, run, run_json, signal, startup_error, wait_until,
};

/// Sends requests over one connection.
fn send_requests(api: &str, times: usize) {
    let mut connection = std::io::BufReader::new(std::net::TcpStream::connect(api).unwrap());
    connection.get_ref().set_read_timeout(Some(TIMEOUT)).unwrap();
    for _ in 0..times {
        connection.get_mut().write_all(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(
                connection.read_line(&mut head).unwrap(),
                0,
                "the connection ended after {head}"
            );
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
}

/// The image runs the whole store by default.
#[test]
fn image_settings_start_the_whole_store() {
    let dockerfile = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Dockerfile");
    let dockerfile = fs::read_to_string(dockerfile).unwrap();
    let words = dockerfile.split_whitespace().filter_map(|word| word.split_once('='));
    let of_image: Vec<_> = words
        .filter(|(name, value)| {
            name.starts_with("MERCH_") && !value.is_empty() && !value.contains('$')
        })
        .filter(|(name, _)| name.ends_with("_LISTEN") || *name == "MERCH_DATA_DIR")
        .collect();
    assert!(of_image.iter().any(|(name, _)| *name == "MERCH_LISTEN"), "{of_image:?}");
    let dir = tempdir().unwrap();
    let mut command = merch(&[]);
    for (name, value) in of_image {
        match value.rsplit_once(':') {
            // The image's addresses, on any port.
            Some((host, _)) => command.env(name, format!("{host}:0")),
            None => command.env(name, dir.path()),
        };
    }
    assert_eq!(Running::start(&mut command).stop().code(), Some(0));
}

#[test]
fn stalled_log_reader_only_loses_log_lines() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let mut store = merch(&["--data-dir", data_dir, "--listen", "127.0.0.1:0"]).spawn().unwrap();
    // The pipe, which is not read yet, is full after 64 KiB.
    let mut stderr = store.stderr.take().unwrap();
    wait_until("the store is ready", || dir.path().join("run.json").exists());
    let addresses = run_json(dir.path());
    let address =
        |name: &str| addresses[name].as_str().unwrap().trim_start_matches("http://").to_owned();
    let (api, admin) = (address("api"), address("admin"));
    send_requests(&api, 12_000);
    let dropped =
        metric(&admin, "merch_log_lines_dropped_total").expect("the store counts dropped lines");
    assert!(
        dropped > 1000.0,
        "expected most of 12,000 access log lines to be dropped, got {dropped}"
    );
    // The store exits and writes the rest once its reader continues.
    signal(store.id(), "-TERM");
    wait_until("the store ends on SIGTERM", || store.try_wait().unwrap().is_some());
    let status = store.wait().unwrap();
    assert!(status.success(), "{status}");
    let mut log = Vec::new();
    stderr.read_to_end(&mut log).unwrap();
    assert!(log.len() >= 32 * 1024, "the pipe was full: {} bytes", log.len());
}

#[test]
fn dropped_log_lines_are_reported() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let mut store = merch(&["--data-dir", data_dir, "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let stderr = store.stderr.take().unwrap();
    wait_until("the store is ready", || dir.path().join("run.json").exists());
    let addresses = run_json(dir.path());
    send_requests(addresses["api"].as_str().unwrap().trim_start_matches("http://"), 12_000);
    let (found, warning) = std::sync::mpsc::channel();
    let reading = thread::spawn(move || {
        let mut lines = std::io::BufReader::new(stderr).lines().map(Result::unwrap);
        let _ = found.send(lines.find(|line| line.contains("log lines were dropped")));
        lines.collect::<Vec<_>>()
    });
    let warning = warning.recv_timeout(TIMEOUT).unwrap().unwrap();
    assert!(warning.contains("WARN") && warning.contains("dropped="), "{warning}");
    // Log lines are written again from here to the last one.
    signal(store.id(), "-TERM");
    assert!(finish(store).status.success());
    let rest = reading.join().unwrap();
    assert!(rest.iter().any(|line| line.contains("shutting down")), "{rest:?}");
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn store_starts_takes_orders_and_stops() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let store = Running::store(&data_dir);

    let addresses = run_json(&data_dir);
    let names: Vec<_> = addresses.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["api", "admin", "db", "logging", "kafka"]);
    for (name, address) in addresses.as_object().unwrap() {
        assert!(
            store.printed.contains(address.as_str().unwrap()),
            "{name} {address} is not in: {}",
            store.printed
        );
    }
    assert!(
        store.printed.contains(&format!("{}/docs", addresses["api"].as_str().unwrap())),
        "{}",
        store.printed
    );
    assert!(
        store
            .printed
            .contains("(embedded; no authentication: every program on this machine can read"),
        "{}",
        store.printed
    );
    assert_eq!(mode(&data_dir), 0o700);
    for secret in ["jwt.key", "merch.db", "merch.db-wal", "merch.db-shm"] {
        assert_eq!(mode(&data_dir.join(secret)), 0o600, "{secret}");
    }

    let api = store.address("api").to_owned();
    let (status, greeting) = http(&api, "GET", "/", None, None);
    assert_eq!(status, 200, "{greeting}");
    let health = run(&["health", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(health.status.success(), "{health:?}");
    assert!(String::from_utf8(health.stdout).unwrap().starts_with("ready"));

    let user = json!({ "sid": "12110304", "username": "alice", "email": "alice@example.com", "password": "correct horse" });
    assert_eq!(http(&api, "POST", "/users", None, Some(&user)).0, 201);
    let (status, token) = http(
        &api,
        "POST",
        "/login",
        None,
        Some(&json!({ "username": "alice", "password": "correct horse" })),
    );
    assert_eq!(status, 200, "{token}");
    let token = token["access_token"].as_str().unwrap().to_owned();
    let (status, order) = http(
        &api,
        "POST",
        "/orders",
        Some(&token),
        Some(&json!({ "product_id": 1, "quantity": 2 })),
    );
    assert_eq!(status, 201, "{order}");
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let logs = run(&["logs", "--json", "--data-dir", data_dir.to_str().unwrap()]);
        assert!(logs.status.success(), "{logs:?}");
        let events: Vec<Value> = String::from_utf8(logs.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if events.iter().any(|event| event.to_string().contains(order["id"].as_str().unwrap())) {
            assert!(
                !events.iter().any(|event| event.to_string().contains("correct horse")),
                "a password is on the topic"
            );
            break;
        }
        assert!(Instant::now() < deadline, "the order's event did not arrive: {events:?}");
        thread::sleep(Duration::from_millis(50));
    }
    let human = run(&["logs", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(String::from_utf8(human.stdout).unwrap().contains(order["id"].as_str().unwrap()));

    let second = run(&["--data-dir", data_dir.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(startup_error(&second).contains("is in use by another merch"));
    assert_eq!(http(&api, "GET", "/products", None, None).0, 200);

    let key = fs::read(data_dir.join("jwt.key")).unwrap();
    assert_eq!(store.stop().code(), Some(0));
    assert!(!data_dir.join("run.json").exists());
    let health = run(&["health", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(startup_error(&health).starts_with("no store runs with the data directory"));

    let store = Running::store(&data_dir);
    assert_eq!(fs::read(data_dir.join("jwt.key")).unwrap(), key);
    let path = format!("/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(http(store.address("api"), "GET", &path, Some(&token), None), (200, order));
    assert_eq!(store.stop().code(), Some(0));
}

#[test]
fn ctrl_c_stops_like_sigterm() {
    let dir = tempdir().unwrap();
    let store = Running::store(dir.path());
    signal(store.pid(), "-INT");
    assert_eq!(store.ended().code(), Some(0));
    assert!(!dir.path().join("run.json").exists());
}

#[test]
fn killed_store_restarts() {
    let dir = tempdir().unwrap();
    let store = Running::store(dir.path());
    signal(store.pid(), "-KILL");
    drop(store);
    assert!(dir.path().join("run.json").exists());
    let store = Running::store(dir.path());
    assert_eq!(http(store.address("api"), "GET", "/", None, None).0, 200);
    assert_eq!(store.stop().code(), Some(0));
}

#[test]
fn logs_follow_shows_new_events() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempdir().unwrap();
    let store = Running::store(dir.path());
    let mut follower =
        merch(&["logs", "--follow", "--json", "--data-dir", dir.path().to_str().unwrap()])
            .spawn()
            .unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    let user = json!({ "sid": "1", "username": "bob", "email": "bob@example.com", "password": "correct horse" });
    let (status, user) = http(store.address("api"), "POST", "/users", None, Some(&user));
    assert_eq!(status, 201, "{user}");
    loop {
        let line = receiver.recv_timeout(TIMEOUT).expect("the event arrives");
        if line.contains(user["id"].as_str().unwrap()) {
            break;
        }
    }
    signal(follower.id(), "-TERM");
    assert_eq!(finish(follower).status.code(), Some(0));
    assert_eq!(store.stop().code(), Some(0));
}

#[test]
fn internal_error_cause_is_logged_with_request_id() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let log = dir.path().join("log");
    let store = Running::start_with_stderr(
        &mut merch(&[
            "--data-dir",
            data_dir.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ]),
        fs::File::create(&log).unwrap(),
    );
    let user = json!({ "sid": "1", "username": "bob", "email": "bob@example.com", "password": "correct horse" });
    assert_eq!(http(store.address("api"), "POST", "/users", None, Some(&user)).0, 201);
    let (status, token) = http(
        store.address("api"),
        "POST",
        "/login",
        None,
        Some(&json!({ "username": "bob", "password": "correct horse" })),
    );
    assert_eq!(status, 200, "{token}");
    let token = token["access_token"].as_str().unwrap();

    let broken = run(&[
        "sql",
        "--write",
        "--data-dir",
        data_dir.to_str().unwrap(),
        "ALTER TABLE orders RENAME TO lost",
    ]);
    assert!(broken.status.success(), "{broken:?}");
    let order = json!({ "product_id": 1, "quantity": 1 });
    for (method, path, body) in [("GET", "/orders", None), ("POST", "/orders", Some(&order))] {
        let (status, problem) = http(store.address("api"), method, path, Some(token), body);
        assert_eq!((status, &problem["code"]), (500, &json!("internal_error")), "{problem}");
        let id = problem["request_id"].as_str().unwrap();
        let cause = |line: &Value| {
            line["level"] == "ERROR"
                && line["target"] == "merch_db::failure"
                && line["span"]["request_id"] == id
                && line["span"]["trace_id"].is_string()
        };
        // A separate thread writes log lines, possibly after the response.
        wait_until(&format!("the cause is logged under {id}"), || {
            fs::read_to_string(&log)
                .unwrap()
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .any(|line| cause(&line))
        });
    }
    assert_eq!(store.stop().code(), Some(0));
}

#[cfg(target_os = "linux")]
fn listening(pid: u32) -> std::collections::BTreeSet<u16> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| {
            Some(
                fs::read_link(entry.ok()?.path())
                    .ok()?
                    .to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let mut ports = std::collections::BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        for line in fs::read_to_string(format!("/proc/{pid}/net/{table}"))
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]) {
                ports.insert(
                    u16::from_str_radix(fields[1].rsplit(':').next().unwrap(), 16).unwrap(),
                );
            }
        }
    }
    ports
}

#[cfg(target_os = "linux")]
#[test]
fn roles_use_private_sockets_and_no_ports() {
    use std::os::unix::fs::FileTypeExt as _;
    let dir = tempdir().unwrap();
    // Needs escapes in a URL and exceeds the limit of a socket.
    let data_dir = dir.path().join("a b,c").join("x".repeat(120));
    let store = Running::store(&data_dir);
    let addresses = run_json(&data_dir);
    let port = |name: &str| {
        addresses[name].as_str().unwrap().rsplit(':').next().unwrap().parse::<u16>().unwrap()
    };
    assert_eq!(listening(store.pid()), ["api", "admin", "kafka"].map(port).into());
    for name in ["db", "logging"] {
        let socket = data_dir.join(format!("{name}.sock"));
        assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
        assert_eq!(mode(&socket), 0o600);
    }
    let admin =
        run(&["admin", "restock", "1", "--add", "5", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(admin.status.success(), "{admin:?}");
    let top = run(&["top", "--once", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(
        top.status.success() && String::from_utf8_lossy(&top.stdout).contains("505"),
        "{top:?}"
    );

    // SIGKILL leaves the sockets; the next start replaces them; SIGTERM removes them.
    signal(store.pid(), "-KILL");
    drop(store);
    assert!(data_dir.join("db.sock").exists());
    let store = Running::store(&data_dir);
    assert_eq!(http(store.address("api"), "GET", "/products", None, None).0, 200);
    assert_eq!(store.stop().code(), Some(0));
    assert!(!data_dir.join("db.sock").exists() && !data_dir.join("logging.sock").exists());
}

#[test]
fn additional_port_is_opened_on_request() {
    let (dir, lines) = (tempdir().unwrap(), tempdir().unwrap());
    let lines = lines.path().join("stderr");
    let mut command = merch(&[
        "--data-dir",
        dir.path().to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--db-listen",
        "127.0.0.1:0",
    ]);
    let store = Running::start_with_stderr(&mut command, fs::File::create(&lines).unwrap());
    let addresses = run_json(dir.path());
    let url = addresses["db_listen"].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let open = "(plaintext, no authentication: every program on this machine can call it)";
    assert!(store.printed.contains(&format!(" and {url} {open}\n")), "{url}: {}", store.printed);
    let logged = fs::read_to_string(&lines).unwrap();
    let warned = logged.lines().any(|line| {
        line.contains("WARN") && line.contains("--db-listen") && line.contains("can call it")
    });
    assert!(warned, "{logged}");
    let key = dir.path().join("admin.key");
    for db in [url, addresses["db"].as_str().unwrap()] {
        let admin = run(&[
            "admin",
            "list-users",
            "--db-endpoint",
            db,
            "--admin-token-file",
            key.to_str().unwrap(),
        ]);
        assert!(admin.status.success(), "{db}: {admin:?}");
    }
    assert_eq!(store.stop().code(), Some(0));
}

#[test]
fn store_is_degraded_without_kafka() {
    let dir = tempdir().unwrap();
    let closed_address =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let data_dir = dir.path().to_str().unwrap();
    let mut command = merch(&[
        "--data-dir",
        data_dir,
        "--listen",
        "127.0.0.1:0",
        "--kafka-brokers",
        &closed_address,
    ]);
    let store =
        Running::start(command.env("MERCH_EVENT_AGE_LIMIT", "1s").env("MERCH_DRAIN_TIMEOUT", "1s"));
    assert!(
        !store.printed.contains("no authentication"),
        "expected no warning about the embedded broker: {}",
        store.printed
    );
    let (api, admin) = (store.address("api").to_owned(), store.address("admin").to_owned());
    assert_eq!(http(&api, "GET", "/orders", None, None).0, 401);
    let deadline = Instant::now() + TIMEOUT;
    let reasons = loop {
        let (status, body) = http(&admin, "GET", "/readyz", None, None);
        assert_eq!(status, 200, "the balancer must keep sending requests: {body}");
        let reasons = body["reasons"].to_string();
        if body["status"] == "degraded"
            && reasons.contains("has waited for")
            && reasons.contains("does not answer")
        {
            break reasons;
        }
        assert!(Instant::now() < deadline, "{body}");
        thread::sleep(Duration::from_millis(50));
    };
    assert!(reasons.contains("\"events\"") && reasons.contains("\"kafka\""), "{reasons}");
    let health = run(&["health", "--data-dir", data_dir]);
    assert!(health.status.success(), "{health:?}");
    let health = String::from_utf8(health.stdout).unwrap();
    assert!(
        health.starts_with("ready, but degraded at ") && health.contains("has waited for"),
        "{health}"
    );
    assert_eq!(http(&api, "GET", "/products", None, None).0, 200);
    assert_eq!(store.stop().code(), Some(0));
}
