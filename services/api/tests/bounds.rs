//! The cost of a request is bounded by the server. Tests the whole service, from the socket to the
//! log line, under a counting allocator.
//!
//! `HOSTILE_REQUESTS=100000` sets the number of random requests, `HOSTILE_SEED=7` their seed.

#![allow(clippy::unwrap_used)] // in tests a failure is a panic
#![allow(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "the greatest figures, shown with --nocapture"
)]

#[path = "../../../codegen/tests/hostile/mod.rs"]
mod hostile;
mod support;

use std::{
    env,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use peak_alloc::PeakAlloc;
use serde_json::Value;
use uuid::Uuid;

use hostile::{Bounds, Hostile, Operation, Random, corpus};
use support::Api;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The defaults of the service.
const BOUNDS: Bounds = Bounds { body: 64 * 1024, head: 16 * 1024 };
/// Maximum length of a response with its headers.
const ANSWER: usize = 16 * 1024;
/// Maximum length of a log line.
const LINE: usize = 4 * 1024;
/// Maximum time of a request. Linear work takes milliseconds, quadratic work minutes.
const MILLISECONDS: u128 = 2_000;
/// Runs of a slow request. The shortest counts, so that a stall of the machine is not a failure.
const RUNS: usize = 3;

const ID: &str = "{0198c0de-7e57-7000-8000-000000000001}";

const OPERATIONS: [Operation; 10] = [
    operation("POST", "/login", &["username", "password"]),
    operation("POST", "/users", &["sid", "username", "email", "password"]),
    operation("PATCH", "/users/{0198c0de-7e57-7000-8000-000000000001}", &["username", "email"]),
    operation(
        "PUT",
        "/users/{0198c0de-7e57-7000-8000-000000000001}/password",
        &["current_password", "new_password"],
    ),
    operation("POST", "/orders", &["product_id", "quantity"]),
    operation("GET", "/orders", &[]),
    operation("GET", "/orders/{0198c0de-7e57-7000-8000-000000000001}", &[]),
    operation("GET", "/products", &[]),
    operation("GET", "/products/{1}", &[]),
    operation("POST", "/logout", &[]),
];

const fn operation(
    method: &'static str,
    path: &'static str,
    members: &'static [&'static str],
) -> Operation {
    Operation {
        method,
        path,
        members,
        query: &["limit", "page_token", "status", "category"],
        headers: &["If-Match", "If-None-Match", "Idempotency-Key"],
    }
}

/// The longest log line in bytes, and the number of panics.
static LONGEST_LINE: AtomicUsize = AtomicUsize::new(0);
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Receives one whole line per call from `tracing_subscriber`.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LONGEST_LINE.fetch_max(line.len(), Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Encodes a request; `None` if HTTP/1.1 cannot carry it.
fn bytes(hostile: &Hostile, token: Option<&str>) -> Option<Vec<u8>> {
    // Non-ASCII is not escaped, as hyper accepts it.
    if hostile.target.bytes().any(|byte| byte <= b' ') {
        return None;
    }
    let mut head = format!("{} {} HTTP/1.1\r\n", hostile.method, hostile.target);
    let mut header = |name: &str, value: &str| {
        if !hostile.has(name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    };
    header("host", "shop.example");
    header("connection", "close");
    header("content-length", &hostile.body.len().to_string());
    header("content-type", "application/json");
    if let Some(token) = token {
        header("authorization", &format!("Bearer {token}"));
    }
    for (name, value) in &hostile.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    Some([head.as_bytes(), &hostile.body].concat())
}

/// Sends a request and reads the response into `answer`; returns its length.
fn exchange(address: SocketAddr, request: &[u8], response: &mut [u8]) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may respond and close before it has read everything.
    let _ = stream.write_all(request);
    let mut length = 0;
    while length < response.len() {
        match stream.read(&mut response[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    length
}

/// The maxima of all requests so far.
#[derive(Default)]
struct Greatest {
    memory: (usize, String),
    response: (usize, String),
    milliseconds: (u128, String),
}

fn note<T: PartialOrd>(greatest: &mut (T, String), value: T, what: &str) {
    if value > greatest.0 {
        *greatest = (value, what.to_owned());
    }
}

struct Driver {
    address: SocketAddr,
    token: String,
    response: Vec<u8>,
    greatest: Greatest,
}

impl Driver {
    fn send(&mut self, hostile: &Hostile, with_token: bool) {
        let Some(request) = bytes(hostile, with_token.then_some(self.token.as_str())) else {
            return;
        };
        let what = &hostile.what;
        let mut least = u128::MAX;
        for _ in 0..RUNS {
            LONGEST_LINE.store(0, Ordering::Relaxed);
            let started = Instant::now();
            MEMORY.reset_peak_usage();
            let before = MEMORY.current_usage();
            let length = exchange(self.address, &request, &mut self.response);
            let memory = MEMORY.peak_usage().saturating_sub(before);
            least = least.min(started.elapsed().as_millis());

            assert!(memory <= 16 * BOUNDS.body, "{what}: {memory} bytes of memory");
            assert!(length < self.response.len(), "{what}: a response of more than {ANSWER} bytes");
            let line = LONGEST_LINE.load(Ordering::Relaxed);
            assert!(line <= LINE, "{what}: a log line of {line} bytes");
            assert_eq!(PANICS.load(Ordering::Relaxed), 0, "{what}: a panic");
            self.check(what, &self.response[..length]);
            note(&mut self.greatest.memory, memory, what);
            note(&mut self.greatest.response, length, what);
            if least < MILLISECONDS {
                break;
            }
        }
        note(&mut self.greatest.milliseconds, least, what);
    }

    /// Asserts that an error is a problem with complete texts and at most 32 faults.
    fn check(&self, what: &str, response: &[u8]) {
        let text = String::from_utf8_lossy(response);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            panic!("{what}: no response: {text}");
        };
        let status: u16 = head.split(' ').nth(1).unwrap_or_default().parse().unwrap();
        assert!(status != 503, "{what}: {text}");
        // hyper's own responses and responses to HEAD have no body.
        if status >= 400 && !body.is_empty() {
            let problem: Value =
                serde_json::from_str(body).unwrap_or_else(|_| panic!("{what}: {text}"));
            assert_eq!(problem["status"], status, "{what}");
            let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
            assert!(errors.len() <= 32 && errors.is_empty() == (status != 400), "{what}: {text}");
            assert!(
                errors.iter().all(|fault| fault["pointer"].as_str().unwrap().len() <= 256),
                "{what}"
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("expected a number in {name}")))
}

/// A single test, as the allocator counts the whole process.
#[test]
fn request_costs_are_bounded() {
    let subscriber = tracing_subscriber::fmt().json().with_writer(|| Lines);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let shown = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        shown(info);
    }));

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (api, token) = runtime.block_on(async {
        let api = Api::start_with(|config| {
            assert_eq!((config.body_limit, config.header_limit), (BOUNDS.body, BOUNDS.head));
        })
        .await;
        let token = api.token(ID.trim_matches(['{', '}']).parse::<Uuid>().unwrap()).await;
        (api, token)
    });
    let (address, response) = (api.address, vec![0; ANSWER + 1]);
    let mut driver = Driver { address, token, response, greatest: Greatest::default() };

    for hostile in corpus(&OPERATIONS, BOUNDS) {
        driver.send(&hostile, true);
    }
    // The response without a token does not depend on the rest of the request.
    for hostile in corpus(&OPERATIONS[4..5], BOUNDS).into_iter().step_by(10) {
        driver.send(&hostile, false);
    }
    let (seed, count) =
        (number("HOSTILE_SEED").unwrap_or(0), number("HOSTILE_REQUESTS").unwrap_or(500));
    let mut random = Random::new(seed, &OPERATIONS, BOUNDS);
    for index in 0..count {
        let mut hostile = random.request();
        hostile.what = format!("request {index} of seed {seed}");
        driver.send(&hostile, true);
    }

    let Greatest { memory, response, milliseconds } = driver.greatest;
    assert!(milliseconds.0 < MILLISECONDS, "{} ms: {}", milliseconds.0, milliseconds.1);
    println!("most memory: {} bytes, {}", memory.0, memory.1);
    println!("longest response: {} bytes, {}", response.0, response.1);
    println!("most time: {} ms, {}", milliseconds.0, milliseconds.1);
    runtime.shutdown_background();
}
