//! What a request costs is bounded by the server and not by the request: the golden library under
//! an allocator that counts.
//!
//! `HOSTILE_REQUESTS=100000` sends as many random requests instead of a few, and `HOSTILE_SEED=7`
//! begins with another one.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "the greatest figures, shown with --nocapture"
)]

mod hostile;
mod library;

use std::{env, sync::Arc, time::Instant};

use peak_alloc::PeakAlloc;
use poem::{
    Endpoint, Request,
    http::{HeaderName, HeaderValue, Method, Uri, header},
};
use poem_contract_runtime::Limits;

use hostile::{Bounds, Hostile, Operation, Random, corpus};
use library::{Library, Shown, server};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const BOUNDS: Bounds = Bounds { body: 64 * 1024, head: 16 * 1024 };
/// What an answer may be long.
const ANSWER: usize = 16 * 1024;
/// What a request may take: linear work takes milliseconds, work that grows by the square minutes.
const MILLISECONDS: u128 = 2_000;
/// A request that takes longer is sent again, up to this number of runs. Its shortest run counts,
/// so that a stall of the machine is no failure.
const RUNS: usize = 3;

const OPERATIONS: [Operation; 4] = [
    Operation {
        method: "GET",
        path: "/books",
        members: &[],
        query: &["limit", "since", "shelf", "genre", "sort", "type", "available"],
        headers: &[],
    },
    Operation {
        method: "POST",
        path: "/books",
        members: &["title", "shelf", "genre", "type", "link"],
        query: &[],
        headers: &[],
    },
    Operation {
        method: "GET",
        path: "/books/{01234567-89ab-7cde-8f01-23456789abcd}",
        members: &[],
        query: &[],
        headers: &["If-None-Match"],
    },
    Operation {
        method: "PUT",
        path: "/shelves/{1}/{prose}/loans",
        members: &[
            "days", "pin", "note", "to", "weight", "due", "silent", "email", "cards", "tags",
        ],
        query: &["reader"],
        headers: &["X-Desk", "Receipt-Key"],
    },
];

/// The request as the server gets it; `None` if HTTP cannot carry it.
fn request(hostile: &Hostile) -> Option<Request> {
    let uri: Uri = hostile.target.parse().ok()?;
    let method = Method::from_bytes(hostile.method.as_bytes()).ok()?;
    let mut request = Request::builder().method(method).uri(uri).body(hostile.body.clone());
    let headers = request.headers_mut();
    if !hostile.has("authorization") {
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer card"));
    }
    if !hostile.has("content-type") {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &hostile.headers {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).ok()?,
            HeaderValue::from_str(value).ok()?,
        );
    }
    Some(request)
}

/// The greatest cost of any request so far.
#[derive(Default)]
struct Greatest {
    memory: (usize, String),
    answer: (usize, String),
    milliseconds: (u128, String),
}

fn note<T: PartialOrd>(greatest: &mut (T, String), value: T, what: &str) {
    if value > greatest.0 {
        *greatest = (value, what.to_owned());
    }
}

async fn send(endpoint: &impl Endpoint, hostile: &Hostile, greatest: &mut Greatest) {
    let what = &hostile.what;
    let mut least = u128::MAX;
    for _ in 0..RUNS {
        let Some(request) = request(hostile) else { return };
        let begun = Instant::now();
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let mut response = endpoint.get_response(request).await;
        let answer = response.take_body().into_vec().await.expect("a body");
        let memory = MEMORY.peak_usage().saturating_sub(before);
        least = least.min(begun.elapsed().as_millis());

        let status = response.status();
        assert!(!status.is_server_error(), "{what}: {status}");
        assert!(memory <= 16 * BOUNDS.body, "{what}: {memory} bytes of memory");
        assert!(answer.len() <= ANSWER, "{what}: {} bytes of answer", answer.len());
        note(&mut greatest.memory, memory, what);
        note(&mut greatest.answer, answer.len(), what);
        if least < MILLISECONDS {
            break;
        }
    }
    note(&mut greatest.milliseconds, least, what);
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// In one test: what runs beside it would be counted, too.
#[test]
fn no_request_costs_more_than_its_bound() {
    let endpoint = {
        let library = Arc::new(Library::default());
        server::api(library, Arc::new(Shown), Limits { body_bytes: BOUNDS.body })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut greatest = Greatest::default();
    runtime.block_on(async {
        let corpus = corpus(&OPERATIONS, BOUNDS);
        assert!(corpus.len() > 500, "{}", corpus.len());
        for hostile in corpus {
            send(&endpoint, &hostile, &mut greatest).await;
        }
        let (seed, count) =
            (number("HOSTILE_SEED").unwrap_or(0), number("HOSTILE_REQUESTS").unwrap_or(500));
        let mut random = Random::new(seed, &OPERATIONS, BOUNDS);
        for index in 0..count {
            let mut hostile = random.request();
            hostile.what = format!("request {index} of seed {seed}");
            send(&endpoint, &hostile, &mut greatest).await;
        }
    });
    assert!(
        greatest.milliseconds.0 < MILLISECONDS,
        "{} ms: {}",
        greatest.milliseconds.0,
        greatest.milliseconds.1
    );
    println!("most memory: {} bytes, {}", greatest.memory.0, greatest.memory.1);
    println!("longest answer: {} bytes, {}", greatest.answer.0, greatest.answer.1);
    println!("most time: {} ms, {}", greatest.milliseconds.0, greatest.milliseconds.1);
}
