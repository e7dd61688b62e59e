//! Allocations of each operation stay within `budget.json`. Unlike times, they do not depend on the
//! machine.
//!
//! Takes about 3 s. A change that lowers a number by a tenth or more lowers its budget, too.

#![allow(clippy::unwrap_used)] // in tests a failure is a panic

use std::{
    alloc::System,
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use merch_api::{SigningKey, fuzzing::AccessTokens};
use merch_test_store::{Database, TestStore};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use uuid::Uuid;

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests before the measured ones: caches fill, and connections open.
const WARM_UP: usize = 30;
/// Requests of a round. All rounds are less than the writes of one user in a minute.
const REQUESTS: usize = 50;
/// Timers of the services allocate, too. The round with the fewest allocations counts.
const ROUNDS: usize = 5;
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/budget.json");

/// Returns the allocations of one call.
fn allocations(mut call: impl FnMut()) -> f64 {
    for _ in 0..WARM_UP {
        call();
    }
    let rounds = (0..ROUNDS).map(|_| {
        let region = Region::new(MEMORY);
        for _ in 0..REQUESTS {
            call();
        }
        let change = region.change();
        change.allocations + change.reallocations
    });
    rounds.min().unwrap() as f64 / REQUESTS as f64
}

/// A client that allocates nothing.
struct Connection(TcpStream);

impl Connection {
    fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends a request and reads the response, which must have this status.
    fn send(&mut self, request: &[u8], status: &[u8]) {
        self.0.write_all(request).unwrap();
        let mut buffer = [0; 32 * 1024];
        let mut length = 0;
        loop {
            let read = self.0.read(&mut buffer[length..]).unwrap();
            assert!(read > 0, "the store closed the connection");
            length += read;
            if let Some(whole) = whole_length(&buffer[..length])
                && length >= whole
            {
                break;
            }
        }
        assert_eq!(&buffer[9..12], status, "{}", String::from_utf8_lossy(&buffer[..length]));
    }
}

/// Returns the length of head and body, once the head is there.
fn whole_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let name = b"content-length: ";
    let has_name = |it: &[u8]| it.eq_ignore_ascii_case(name);
    let start = bytes[..head].windows(name.len()).position(has_name)? + name.len();
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(head + digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// Returns the allocations of each operation.
async fn measured() -> BTreeMap<&'static str, f64> {
    let mut found = BTreeMap::new();
    let key = SigningKey::new(*b"0123456789abcdef0123456789abcdef").unwrap();
    let tokens = AccessTokens::new(&key, &[]);
    let token = tokens.issue(Uuid::now_v7(), 1);
    found.insert("verify a token", allocations(|| assert!(tokens.verify(&token).is_ok())));

    let store = TestStore::start(Database::Sqlite).await;
    let user = store.user().await;
    let url = store.url().to_owned();
    let body = r#"{"product_id":1,"quantity":1}"#;
    let order = format!(
        "POST /orders HTTP/1.1\r\nHost: store\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        user.token,
        body.len()
    );
    let requests = [
        ("GET /", "GET / HTTP/1.1\r\nHost: store\r\n\r\n".to_owned(), b"200"),
        ("list products", "GET /products HTTP/1.1\r\nHost: store\r\n\r\n".to_owned(), b"200"),
        ("get a product", "GET /products/1 HTTP/1.1\r\nHost: store\r\n\r\n".to_owned(), b"200"),
        ("place an order", order, b"201"),
    ];
    store.expect_event_count("order_placed", WARM_UP + ROUNDS * REQUESTS);
    let requests = tokio::task::spawn_blocking(move || {
        let mut connection = Connection::open(&url);
        requests.map(|(name, request, status)| {
            (name, allocations(|| connection.send(request.as_bytes(), status)))
        })
    });
    found.extend(requests.await.unwrap());
    store.finish().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allocations_stay_within_their_budget() {
    let budget: BTreeMap<String, f64> =
        serde_json::from_str(&fs::read_to_string(FILE).unwrap()).unwrap();
    let mut faults = Vec::new();
    let found = measured().await;
    for (name, found) in &found {
        let Some(budget) = budget.get(*name) else {
            faults.push(format!("{name}: {found:.0} allocations; add it to {FILE}"));
            continue;
        };
        if found > budget {
            faults.push(format!("{name}: expected at most {budget} allocations, found {found:.1}"));
        } else if *found < budget * 0.9 {
            faults.push(format!("{name}: found {found:.1} allocations; lower its budget {budget}"));
        }
    }
    let unknown = budget.keys().filter(|name| !found.contains_key(name.as_str()));
    faults.extend(unknown.map(|name| format!("{name}: remove it from {FILE}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
