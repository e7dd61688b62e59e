//! Each driver detects a changed journey and a faulty store, and names the step.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, header::CONTENT_LENGTH, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use reqwest::header::{CONNECTION, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    driver::{Driver, store},
    journey::drive,
    journey_file::Journey,
};

const LAST_READ_STEP: &str = "a product id below its minimum";

/// Changed expectations that a correct store cannot meet: step, pointer, value, and the expected
/// message.
fn changed_expectations() -> Vec<(&'static str, &'static str, Value, &'static [&'static str])> {
    vec![
        ("one product", "/expect/status", json!(201), &["expected status 201, got 200"]),
        (
            "an unknown product",
            "/expect/status",
            json!(403),
            &["expected status 403, got 404", "product_not_found"],
        ),
        (
            "an unknown product",
            "/expect/code",
            json!("order_not_found"),
            &["order_not_found", "product_not_found"],
        ),
        (
            "the product has not changed",
            "/expect/headers",
            json!({ "ETag": "\"0\"" }),
            &["ETag", "\\\"0\\\""],
        ),
        (
            "one product",
            "/expect/body",
            json!({ "/category": "of another kind" }),
            &["/category", "of another kind"],
        ),
        ("one product", "/expect/body", json!({ "/nothing": 1 }), &["/nothing", "nothing"]),
        ("one product", "/expect/body", json!({ "/id": { "$sum": ["${product}", 1] } }), &["/id"]),
        (
            "one product",
            "/expect/body",
            json!({ "/price_cents": { "$product": ["${price}", 2] } }),
            &["/price_cents"],
        ),
        (
            "one product",
            "/expect/body",
            json!({ "/name": { "$type": "integer" } }),
            &["/name", "integer"],
        ),
        ("one product", "/keep", json!({ "nothing": "/nothing" }), &["/nothing"]),
        ("one product", "/keep", json!({ "nothing": "X-Nothing" }), &["X-Nothing"]),
        (
            "a limit over its maximum",
            "/expect/body",
            json!({ "/errors/0/in": "body" }),
            &["/errors/0/in", "query"],
        ),
        (
            "the catalogue page by page is the same",
            "/expect/body",
            json!({ "/ids": [1] }),
            &["/ids"],
        ),
    ]
}

/// Invalid steps, with a word of the expected message.
fn invalid_steps() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        ("one product", "/then", json!("another member"), "then"),
        ("one product", "/expect/member", json!("another member"), "member"),
        ("one product", "/operation", json!("get_everything"), "get_everything"),
        ("one product", "/query", json!({ "limit": 1 }), "limit"),
        ("one product", "/path", json!({ "product_id": "${unset_variable}" }), "unset_variable"),
        ("one product", "/path", json!({}), "product_id"),
        ("one product", "/keep", json!({ "product": "/id" }), "product"),
    ]
}

struct Answer {
    headers: HeaderMap,
    body: Value,
}

/// Faulty responses: the step that must fail, the change by target, and the expected message.
type Fault = (&'static str, fn(target: &str, answer: &mut Answer), &'static [&'static str]);

const FAULTS: [Fault; 5] = [
    // Drops a page.
    (
        "the catalogue page by page is the same",
        |target, answer| {
            if target.contains("page_token=") {
                answer.body["next_page"] = Value::Null;
            }
        },
        &["ids"],
    ),
    // Exceeds the limit.
    (
        "the catalogue page by page is the same",
        |target, answer| {
            if target.contains("limit=1") && !target.contains("limit=100") {
                let items = answer.body["items"].as_array_mut().unwrap();
                let again = items[0].clone();
                items.push(again);
            }
        },
        &["at most 1"],
    ),
    // Splits the single page.
    (
        "the catalogue page by page is the same",
        |target, answer| {
            if target.contains("limit=100") {
                answer.body["next_page"] = json!("more");
            }
        },
        &["next"],
    ),
    (
        "a limit over its maximum",
        |target, answer| {
            if target.contains("limit=101") {
                answer.headers.insert("x-request-id", HeaderValue::from_static("another-request"));
            }
        },
        &["request_id"],
    ),
    (
        "an unknown product",
        |_, answer| {
            if answer.body["code"] == "product_not_found" {
                answer.body["status"] = json!(409);
            }
        },
        &["409"],
    ),
];

async fn detects(language: &'static str) {
    let store = store().await;
    let dir = tempfile::tempdir().unwrap();
    let driver = Driver::of(language).await;
    let journey = Journey::read().until(LAST_READ_STEP);

    let run = drive(&driver, &journey, store.url(), dir.path()).await;
    assert_eq!(run.code, Some(0), "the unmodified journey: {run}");
    let reason = "a reason of more than twenty letters";
    let skipping = journey.clone().with("an unknown product", "/expect/status", json!(200)).with(
        "an unknown product",
        "/not_in",
        json!({ language: reason }),
    );
    let run = drive(&driver, &skipping, store.url(), dir.path()).await;
    assert_eq!(run.code, Some(0), "unsupported steps are skipped: {run}");
    let skipped = (1..).zip(skipping.steps()).filter_map(|(number, step)| {
        Some(format!("{number} {} {}", step.operation(), step.not_in(language)?))
    });
    assert_eq!(run.lines("skipped").collect::<Vec<_>>(), skipped.collect::<Vec<_>>());

    for (name, pointer, value, words) in changed_expectations() {
        let what = format!("{name}: {pointer} {value}");
        let run =
            drive(&driver, &journey.clone().with(name, pointer, value), store.url(), dir.path())
                .await;
        run.expect_failure(&what, 1, &[&format!("step {}, ", journey.number(name)), name]);
        run.expect_failure(&what, 1, words);
    }
    for (name, pointer, value, word) in invalid_steps() {
        let what = format!("{name}: {pointer} {value}");
        let run =
            drive(&driver, &journey.clone().with(name, pointer, value), store.url(), dir.path())
                .await;
        run.expect_failure(&what, 2, &[word]);
    }
    // The walk itself must fail, not the step before.
    let trusting =
        journey.clone().with("the catalogue on one page", "/expect", json!({ "status": 200 }));
    for (number, (name, fault, words)) in FAULTS.into_iter().enumerate() {
        let server = FaultyServer::start(store.url(), fault).await;
        let run = drive(&driver, &trusting, &server.url, dir.path()).await;
        let what = format!("fault {number}, at {name}");
        run.expect_failure(&what, 1, &[&format!("step {}, ", journey.number(name)), name]);
        run.expect_failure(&what, 1, words);
    }
    store.finish().await;
}

/// A proxy that changes responses to requests without bodies.
struct FaultyServer {
    url: String,
    _task: JoinSet<()>,
}

impl FaultyServer {
    async fn start(store: &str, fault: fn(&str, &mut Answer)) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let store = store.to_owned();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Connections end with this task.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (http, store) = (http.clone(), store.clone());
                let service = service_fn(move |request| {
                    answer(http.clone(), format!("{store}{}", request.uri()), request, fault)
                });
                // Clients may close a connection at any time.
                connections.spawn(async move {
                    drop(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    )
                });
            }
        });
        Self { url, _task: task }
    }
}

async fn answer(
    http: reqwest::Client,
    url: String,
    request: hyper::Request<Incoming>,
    fault: fn(&str, &mut Answer),
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let target = request.uri().to_string();
    let mut headers = request.headers().clone();
    headers.remove(HOST);
    headers.remove(CONNECTION);
    let got = http.request(request.method().clone(), url).headers(headers).send().await.unwrap();
    let (status, headers) = (got.status(), got.headers().clone());
    let body = got.bytes().await.unwrap();
    let mut answer = Answer { headers, body: serde_json::from_slice(&body).unwrap_or_default() };
    fault(&target, &mut answer);
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        answer.headers.remove(name);
    }
    // Keeps an absent body absent.
    let body = if body.is_empty() { body } else { answer.body.to_string().into() };
    let mut response = hyper::Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

each_language!(crate::driver_faults::detects);
