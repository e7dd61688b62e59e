//! Replicas that are paused, killed and restarted under load, and the shutdown delay.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![allow(clippy::disallowed_macros, reason = "figures")]
#![cfg(unix)]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use support::{Running, TIMEOUT, http, merch, run, run_json, signal};

/// Sends a request on a new connection.
fn get(address: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits for a condition and returns how long it took.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

/// Replicas that a process sends calls to.
fn serving(process: &Running, service: &str) -> usize {
    let metrics = get(process.address("admin"), "/metrics");
    let name = format!("merch_replicas_serving{{service=\"{service}\"}} ");
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .map_or(0, |number| number.parse().unwrap())
}

/// A db service with its own database.
struct Db {
    running: Running,
    dir: TempDir,
    logging: String,
}

impl Db {
    fn start(logging: &str) -> Self {
        let dir = tempdir().unwrap();
        assert!(run(&["migrate", "--data-dir", dir.path().to_str().unwrap()]).status.success());
        let running = Self::run(dir.path(), "127.0.0.1:0", logging);
        Self { running, dir, logging: logging.to_owned() }
    }

    fn run(dir: &Path, listen: &str, logging: &str) -> Running {
        let mut command = merch(&[
            "db",
            "--data-dir",
            dir.to_str().unwrap(),
            "--db-listen",
            listen,
            "--admin-listen",
            "127.0.0.1:0",
        ]);
        Running::start(
            command.env("MERCH_LOGGING_ENDPOINT", logging).env("MERCH_SHUTDOWN_DELAY", "500ms"),
        )
    }

    fn address(&self) -> String {
        self.running.address("db").to_owned()
    }

    /// Restarts it on the same address.
    fn restart(self) -> Self {
        let Self { running, dir, logging } = self;
        let address = running.address("db").to_owned();
        assert_eq!(running.stop().code(), Some(0));
        Self { running: Self::run(dir.path(), &address, &logging), dir, logging }
    }

    /// [`Killed::start`] starts it again.
    fn kill(self) -> Killed {
        let Self { running, dir, logging } = self;
        let address = running.address("db").to_owned();
        signal(running.pid(), "-KILL");
        Killed { address, dir, logging }
    }
}

struct Killed {
    address: String,
    dir: TempDir,
    logging: String,
}

impl Killed {
    fn start(self) -> Db {
        Db {
            running: Db::run(self.dir.path(), &self.address, &self.logging),
            dir: self.dir,
            logging: self.logging,
        }
    }
}

/// Each thread returns its number of responses, failed statuses and longest duration.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(usize, Vec<u16>, Duration)>>,
}

impl Load {
    fn start(api: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..3).map(|_| {
            let (api, stop) = (api.to_owned(), Arc::clone(&stop));
            thread::spawn(move || {
                let (mut answers, mut bad, mut longest) = (0, Vec::new(), Duration::ZERO);
                while !stop.load(Ordering::SeqCst) {
                    let begun = Instant::now();
                    let (status, _) = http(&api, "GET", "/products", None, None);
                    longest = longest.max(begun.elapsed());
                    answers += 1;
                    if status != 200 {
                        bad.push(status);
                    }
                }
                (answers, bad, longest)
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// Asserts that no request failed.
    fn end(self) -> (usize, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        let (mut all, mut latest) = (0, Duration::ZERO);
        for thread in self.threads {
            let (answers, bad, longest) = thread.join().unwrap();
            assert!(bad.is_empty(), "of {answers} requests failed: {bad:?}");
            (all, latest) = (all + answers, latest.max(longest));
        }
        (all, latest)
    }
}

#[test]
fn reads_survive_db_pause_kill_and_restart() {
    // Provides the logging service and the signing key.
    let lender = tempdir().unwrap();
    let store = Running::store(lender.path());
    let logging = run_json(lender.path())["logging"].as_str().unwrap().to_owned();
    let (mut one, mut other) = (Db::start(&logging), Db::start(&logging));
    let dir = tempdir().unwrap();
    let api = Running::start(
        merch(&[
            "api",
            "--data-dir",
            dir.path().to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .env("MERCH_DB_ENDPOINT", format!("http://{},http://{}", one.address(), other.address()))
        .env("MERCH_LOGGING_ENDPOINT", &logging)
        .env("MERCH_JWT_KEY_FILE", lender.path().join("jwt.key")),
    );
    wait_until("both serve", || serving(&api, "db") == 2);
    let load = Load::start(api.address("api"));

    signal(one.running.pid(), "-STOP");
    let paused = wait_until("the paused one is out", || serving(&api, "db") == 1);
    assert!(get(api.address("admin"), "/readyz").starts_with("HTTP/1.1 200"), "one is enough");
    signal(one.running.pid(), "-CONT");
    let back = wait_until("it is back", || serving(&api, "db") == 2);

    let gone = one.kill();
    let killed = wait_until("the killed one is out", || serving(&api, "db") == 1);
    one = gone.start();
    wait_until("it is back", || serving(&api, "db") == 2);

    for _ in 0..2 {
        one = one.restart();
        wait_until("both serve", || serving(&api, "db") == 2);
        other = other.restart();
        wait_until("both serve", || serving(&api, "db") == 2);
    }
    let (answers, longest) = load.end();
    println!(
        "paused: out after {paused:?}, back after {back:?}; killed: out after {killed:?}; \
         {answers} answers, the longest {longest:?}"
    );
    // The limits are 1 s and 2 s; a busy machine polls late.
    assert!(
        paused < Duration::from_secs(2) && killed < Duration::from_secs(1),
        "{paused:?} {killed:?}"
    );
    assert!(longest < Duration::from_secs(4), "{longest:?}");
    for role in [api, one.running, other.running, store] {
        assert_eq!(role.stop().code(), Some(0));
    }
}

#[test]
fn events_bypass_a_paused_logging_service() {
    let lender = tempdir().unwrap();
    let store = Running::store(lender.path());
    let kafka = run_json(lender.path())["kafka"].as_str().unwrap().to_owned();
    let logging = || {
        Running::start(
            merch(&["logging", "--logging-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
                .env("MERCH_KAFKA_BROKERS", &kafka),
        )
    };
    let loggings = [logging(), logging()];
    let both = format!(
        "http://{},http://{}",
        loggings[0].address("logging"),
        loggings[1].address("logging")
    );
    let db = Db::start(&both);
    let dir = tempdir().unwrap();
    let api = Running::start(
        merch(&[
            "api",
            "--data-dir",
            dir.path().to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .env("MERCH_HASH_COST", "10")
        .env("MERCH_DB_ENDPOINT", format!("http://{}", db.address()))
        .env("MERCH_LOGGING_ENDPOINT", &both)
        .env("MERCH_JWT_KEY_FILE", lender.path().join("jwt.key")),
    );
    wait_until("both serve", || serving(&db.running, "logging") == 2);
    // Either may have the stream.
    for (index, paused) in loggings.iter().enumerate() {
        signal(paused.pid(), "-STOP");
        let name = format!("user-{index}");
        let user = json!({ "sid": index.to_string(), "username": name, "email": format!("{name}@example.com"), "password": "correct horse" });
        let (status, user) = http(api.address("api"), "POST", "/users", None, Some(&user));
        assert_eq!(status, 201, "{user}");
        let id = user["id"].as_str().unwrap();
        wait_until("the event arrives", || {
            let logs = run(&["logs", "--json", "--kafka-brokers", &kafka]);
            assert!(logs.status.success(), "{logs:?}");
            String::from_utf8(logs.stdout).unwrap().contains(id)
        });
        // Without the stream, the event arrives before the pause is detected.
        wait_until("the paused one is out", || serving(&db.running, "logging") == 1);
        signal(paused.pid(), "-CONT");
        wait_until("both serve", || serving(&db.running, "logging") == 2);
    }
    for role in [api, db.running].into_iter().chain(loggings).chain([store]) {
        assert_eq!(role.stop().code(), Some(0));
    }
}

#[test]
fn shutdown_delay_keeps_serving_while_not_ready() {
    const DELAY: Duration = Duration::from_secs(2);
    let dir = tempdir().unwrap();
    let mut command =
        merch(&["--data-dir", dir.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let store = Running::start(command.env("MERCH_SHUTDOWN_DELAY", "2s"));
    let (api, admin) = (store.address("api").to_owned(), store.address("admin").to_owned());
    let mut kept = TcpStream::connect(&api).unwrap();
    let head = ask(&mut kept, "/products");
    assert!(
        head.starts_with("HTTP/1.1 200")
            && !head.to_ascii_lowercase().contains("connection: close"),
        "{head}"
    );

    let stopped_at = Instant::now();
    signal(store.pid(), "-TERM");
    wait_until("it says that it is not ready", || {
        get(&admin, "/readyz").starts_with("HTTP/1.1 503")
    });
    assert!(get(&admin, "/readyz").contains("shutting down"));
    // Each response closes its connection.
    let (status, products) = http(&api, "GET", "/products", None, None);
    assert_eq!((status, products["items"].as_array().map(Vec::len)), (200, Some(3)), "{products}");
    let head = ask(&mut kept, "/products");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.to_ascii_lowercase().contains("connection: close"),
        "{head}"
    );
    assert!(
        stopped_at.elapsed() < DELAY,
        "the machine was too slow for this test: {:?}",
        stopped_at.elapsed()
    );
    assert_eq!(store.ended().code(), Some(0));
    assert!(stopped_at.elapsed() >= DELAY, "{:?}", stopped_at.elapsed());
}

#[test]
fn second_signal_ends_the_shutdown_delay() {
    let dir = tempdir().unwrap();
    let mut command =
        merch(&["--data-dir", dir.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let store = Running::start(command.env("MERCH_SHUTDOWN_DELAY", "1h"));
    let admin = store.address("admin").to_owned();
    signal(store.pid(), "-TERM");
    wait_until("it says that it is not ready", || {
        get(&admin, "/readyz").starts_with("HTTP/1.1 503")
    });
    signal(store.pid(), "-TERM");
    assert_eq!(store.ended().code(), Some(130));
}

/// Sends a request on a persistent connection.
fn ask(connection: &mut TcpStream, path: &str) -> String {
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nhost: store\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    // The whole body, so that the next response starts cleanly.
    loop {
        let length = connection.read(&mut bytes).unwrap();
        assert!(length > 0, "closed without a whole answer: {}", String::from_utf8_lossy(&answer));
        answer.extend(&bytes[..length]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
        });
        if body.len() >= wanted.expect("a body of known length").parse().unwrap() {
            serde_json::from_str::<Value>(body).unwrap();
            return head.to_owned();
        }
    }
}
