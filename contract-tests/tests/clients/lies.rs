//! Each driver can fail: it notices a journey that expects something else, and a store that lies,
//! and says at which step.

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
    journey::Journey,
    travel::drive,
};

/// The last step before somebody registers: all before it only read the catalogue.
const READING: &str = "a product id below its minimum";

/// Changes of a step that a right store cannot meet: the step, where, what, and what the driver has
/// to say.
fn changes() -> Vec<(&'static str, &'static str, Value, &'static [&'static str])> {
    vec![
        ("one product", "/expect/status", json!(201), &["expected status 201, came 200"]),
        (
            "a product that is not there",
            "/expect/status",
            json!(403),
            &["expected status 403, came 404", "product_not_found"],
        ),
        (
            "a product that is not there",
            "/expect/code",
            json!("order_not_found"),
            &["order_not_found", "product_not_found"],
        ),
        (
            "the product has not changed since",
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
            "the catalogue piece by piece is the same",
            "/expect/body",
            json!({ "/ids": [1] }),
            &["/ids"],
        ),
    ]
}

/// Changes that make no sense to a driver, with a word that it has to say.
fn nonsense() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        ("one product", "/then", json!("another member"), "then"),
        ("one product", "/expect/member", json!("another member"), "member"),
        ("one product", "/operation", json!("get_everything"), "get_everything"),
        ("one product", "/query", json!({ "limit": 1 }), "limit"),
        ("one product", "/path", json!({ "product_id": "${nobody_set_it}" }), "nobody_set_it"),
        ("one product", "/path", json!({}), "product_id"),
        ("one product", "/keep", json!({ "product": "/id" }), "product"),
    ]
}

/// An answer on its way to the client.
struct Answer {
    headers: HeaderMap,
    body: Value,
}

/// What a store might answer instead: the step that has to notice, what the lie does to the answer
/// to a target, and what the driver has to say.
type Lie = (&'static str, fn(target: &str, answer: &mut Answer), &'static [&'static str]);

const LIES: [Lie; 5] = [
    // A page is left out.
    (
        "the catalogue piece by piece is the same",
        |target, answer| {
            if target.contains("page_token=") {
                answer.body["next_page"] = Value::Null;
            }
        },
        &["ids"],
    ),
    // A page has more than was asked for.
    (
        "the catalogue piece by piece is the same",
        |target, answer| {
            if target.contains("limit=1") && !target.contains("limit=100") {
                let items = answer.body["items"].as_array_mut().unwrap();
                let again = items[0].clone();
                items.push(again);
            }
        },
        &["at most 1"],
    ),
    // There is more than one page of everything.
    (
        "the catalogue piece by piece is the same",
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
        "a product that is not there",
        |_, answer| {
            if answer.body["code"] == "product_not_found" {
                answer.body["status"] = json!(409);
            }
        },
        &["409"],
    ),
];

async fn notices(language: &'static str) {
    let store = store().await;
    let folder = tempfile::tempdir().unwrap();
    let driver = Driver::of(language).await;
    let journey = Journey::read().until(READING);

    let run = drive(&driver, &journey, store.url(), folder.path()).await;
    assert_eq!(run.code, Some(0), "the journey as it is: {run}");
    let reason = "a reason of more than twenty letters";
    let skipping = journey
        .clone()
        .with("a product that is not there", "/expect/status", json!(200))
        .with("a product that is not there", "/not_in", json!({ language: reason }));
    let run = drive(&driver, &skipping, store.url(), folder.path()).await;
    assert_eq!(run.code, Some(0), "a step that is not in the language is skipped: {run}");
    let skipped = (1..).zip(skipping.steps()).filter_map(|(number, step)| {
        Some(format!("{number} {} {}", step.operation(), step.not_in(language)?))
    });
    assert_eq!(run.lines("skipped").collect::<Vec<_>>(), skipped.collect::<Vec<_>>());

    for (name, pointer, value, words) in changes() {
        let what = format!("{name}: {pointer} {value}");
        let run =
            drive(&driver, &journey.clone().with(name, pointer, value), store.url(), folder.path())
                .await;
        run.expect_failure(&what, 1, &[&format!("step {}, ", journey.number(name)), name]);
        run.expect_failure(&what, 1, words);
    }
    for (name, pointer, value, word) in nonsense() {
        let what = format!("{name}: {pointer} {value}");
        let run =
            drive(&driver, &journey.clone().with(name, pointer, value), store.url(), folder.path())
                .await;
        run.expect_failure(&what, 2, &[word]);
    }
    // The walk itself shall notice, and not the step before it.
    let trusting =
        journey.clone().with("the catalogue on one page", "/expect", json!({ "status": 200 }));
    for (number, (name, lie, words)) in LIES.into_iter().enumerate() {
        let liar = Liar::start(store.url(), lie).await;
        let run = drive(&driver, &trusting, &liar.url, folder.path()).await;
        let what = format!("lie {number}, at {name}");
        run.expect_failure(&what, 1, &[&format!("step {}, ", journey.number(name)), name]);
        run.expect_failure(&what, 1, words);
    }
    store.finish().await;
}

/// A store that lies: a proxy for requests without bodies.
struct Liar {
    url: String,
    _task: JoinSet<()>,
}

impl Liar {
    async fn start(store: &str, lie: fn(&str, &mut Answer)) -> Self {
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
                    answer(http.clone(), format!("{store}{}", request.uri()), request, lie)
                });
                // Clients may end a connection as they like.
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
    lie: fn(&str, &mut Answer),
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let target = request.uri().to_string();
    let mut headers = request.headers().clone();
    headers.remove(HOST);
    headers.remove(CONNECTION);
    let came = http.request(request.method().clone(), url).headers(headers).send().await.unwrap();
    let (status, headers) = (came.status(), came.headers().clone());
    let body = came.bytes().await.unwrap();
    let mut answer = Answer { headers, body: serde_json::from_slice(&body).unwrap_or_default() };
    lie(&target, &mut answer);
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        answer.headers.remove(name);
    }
    // Where there was no body, there is none still.
    let body = if body.is_empty() { body } else { answer.body.to_string().into() };
    let mut response = hyper::Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

each_language!(crate::lies::notices);
