//! Measures memory, time and response size of hostile requests to the golden library, with a
//! counting allocator.
//!
//! `HOSTILE_REQUESTS=100000` sets the number of random requests, and `HOSTILE_SEED=7` their seed.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "the measured maxima, shown with --nocapture"
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
use library::{DebugRejections, Library, server};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const BOUNDS: Bounds = Bounds { body: 64 * 1024, head: 16 * 1024 };
/// Maximum length of a response, in bytes.
const ANSWER: usize = 16 * 1024;
/// Maximum time of a request. Linear work takes milliseconds, quadratic work minutes.
const MILLISECONDS: u128 = 2_000;
/// A slower request is repeated up to this number of runs, and the fastest run counts, so a stall
/// of the machine does not fail the test.
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

/// Returns the request, or `None` if HTTP cannot carry it.
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

/// The highest cost so far, with the request.
#[derive(Default)]
struct Maxima {
    memory: (usize, String),
    answer: (usize, String),
    milliseconds: (u128, String),
}

fn note<T: PartialOrd>(maxima: &mut (T, String), value: T, what: &str) {
    if value > maxima.0 {
        *maxima = (value, what.to_owned());
    }
}

async fn send(endpoint: &impl Endpoint, hostile: &Hostile, maxima: &mut Maxima) {
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
        assert!(answer.len() <= ANSWER, "{what}: {} bytes of response", answer.len());
        note(&mut maxima.memory, memory, what);
        note(&mut maxima.answer, answer.len(), what);
        if least < MILLISECONDS {
            break;
        }
    }
    note(&mut maxima.milliseconds, least, what);
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// One test, because the allocator would also count tests that run in parallel.
#[test]
fn every_request_stays_within_its_cost_limits() {
    let endpoint = {
        let library = Arc::new(Library::default());
        server::api(library, Arc::new(DebugRejections), Limits { body_bytes: BOUNDS.body })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut maxima = Maxima::default();
    runtime.block_on(async {
        let corpus = corpus(&OPERATIONS, BOUNDS);
        assert!(corpus.len() > 500, "{}", corpus.len());
        for hostile in corpus {
            send(&endpoint, &hostile, &mut maxima).await;
        }
        let (seed, count) =
            (number("HOSTILE_SEED").unwrap_or(0), number("HOSTILE_REQUESTS").unwrap_or(500));
        let mut random = Random::new(seed, &OPERATIONS, BOUNDS);
        for index in 0..count {
            let mut hostile = random.request();
            hostile.what = format!("request {index} of seed {seed}");
            send(&endpoint, &hostile, &mut maxima).await;
        }
    });
    assert!(
        maxima.milliseconds.0 < MILLISECONDS,
        "{} ms: {}",
        maxima.milliseconds.0,
        maxima.milliseconds.1
    );
    println!("most memory: {} bytes, {}", maxima.memory.0, maxima.memory.1);
    println!("longest response: {} bytes, {}", maxima.answer.0, maxima.answer.1);
    println!("most time: {} ms, {}", maxima.milliseconds.0, maxima.milliseconds.1);
}
