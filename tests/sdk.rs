//! Tests the requests that the SDK sends: retries, delays, idempotency keys and pages.

// Tests panic to fail.
#![allow(clippy::unwrap_used)]

use std::{
    error::Error as _,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::TryStreamExt as _;
use merch_contract::{
    rest::client::types::{OrderId, OrderStatus, ProductId},
    sdk::{Code, Error, RetryPolicy, StoreClient},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::Instant,
};

const ORDER: &str = r#"{"id":"0198c0de-7e57-7000-8000-000000000002","user_id":"0198c0de-7e57-7000-8000-000000000001","product_id":1,"quantity":2,
    "unit_price_cents":4999,"total_price_cents":9998,"currency":"CNY","status":"placed","created_at":"2026-11-22T08:00:00.000000Z","cancelled_at":null}"#;

/// What the server does with a connection.
enum Reply {
    Answer {
        status: u16,
        headers: &'static str,
        body: String,
    },
    /// Closes the connection without a response.
    HangUp,
}

fn problem(status: u16, code: &str, headers: &'static str) -> Reply {
    let body = format!(
        r#"{{"type":"/problems#{code}","title":"t","status":{status},"detail":"Why.","instance":"/orders","code":"{code}","request_id":"r-1"}}"#
    );
    Reply::Answer { status, headers, body }
}

fn answer(status: u16, body: impl Into<String>) -> Reply {
    Reply::Answer { status, headers: "ETag: \"1\"\r\nLocation: /orders/1\r\n", body: body.into() }
}

/// A server that sends one reply per connection, in order, and records the requests.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Server {
    async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            for reply in replies {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = Vec::new();
                while !is_complete(&text) {
                    let mut buffer = [0; 4096];
                    let read = stream.read(&mut buffer).await.unwrap();
                    assert_ne!(read, 0, "the request is incomplete");
                    text.extend_from_slice(&buffer[..read]);
                }
                seen.lock().unwrap().push((Instant::now(), String::from_utf8(text).unwrap()));
                if let Reply::Answer { status, headers, body } = reply {
                    let media_type =
                        if status < 400 { "application/json" } else { "application/problem+json" };
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 {status} x\r\nContent-Type: {media_type}\r\n\
                         Content-Length: {length}\r\n{headers}Connection: close\r\n\r\n{body}"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { url, requests }
    }

    fn store(&self) -> StoreClient {
        StoreClient::builder(&self.url).token("the.token").retries(QUICK).build().unwrap()
    }

    fn requests(&self) -> Vec<(Instant, String)> {
        self.requests.lock().unwrap().clone()
    }
}

fn hoodie() -> ProductId {
    ProductId(NonZeroU32::MIN)
}

const QUICK: RetryPolicy = RetryPolicy {
    max_attempts: 3,
    max_delay: Duration::from_secs(2),
    initial_delay: Duration::from_millis(1),
};

/// Whether a request is complete.
fn is_complete(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

fn header<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    request.lines().find_map(|line| {
        line.split_once(": ")
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

#[tokio::test]
async fn order_is_retried_with_the_same_key() {
    let server = Server::start(vec![
        problem(503, "unavailable", "Retry-After: 1\r\n"),
        Reply::HangUp,
        answer(201, ORDER),
    ])
    .await;
    let order = server.store().buy(&hoodie(), 2).await.unwrap();
    assert_eq!(order.total_price_cents, 9998);
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(
        requests[1].0 - requests[0].0 >= Duration::from_secs(1),
        "the SDK retried before `Retry-After` had passed"
    );
    let first = header(&requests[0].1, "idempotency-key").unwrap();
    for (_, request) in &requests {
        assert_eq!(header(request, "idempotency-key"), Some(first));
        assert_eq!(header(request, "authorization"), Some("Bearer the.token"));
        assert!(request.ends_with(r#"{"product_id":1,"quantity":2}"#), "{request}");
    }
}

#[tokio::test]
async fn non_idempotent_request_is_sent_once() {
    let server =
        Server::start(vec![problem(503, "unavailable", "Retry-After: 1\r\n"), answer(200, ORDER)])
            .await;
    let id: OrderId = serde_json::from_str(r#""0198c0de-7e57-7000-8000-000000000002""#).unwrap();
    let error = Error::from(server.store().cancel_order().order_id(id).send().await.unwrap_err());
    let Error::Problem(problem) = &error else { panic!("{error:?}") };
    assert_eq!(
        (&problem.code, problem.retry_after),
        (&Code::Unavailable, Some(Duration::from_secs(1)))
    );
    assert_eq!(error.to_string(), "Why. (unavailable, request r-1)");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn attempts_and_delays_are_limited() {
    let busy = || problem(503, "unavailable", "Retry-After: 0\r\n");
    let server = Server::start(vec![busy(), busy(), busy(), busy()]).await;
    let error = Error::from(server.store().list_orders().send().await.unwrap_err());
    assert_eq!(error.code(), Some(&Code::Unavailable));
    assert_eq!(server.requests().len(), 3);

    let server =
        Server::start(vec![problem(503, "unavailable", "Retry-After: 3\r\n"), busy()]).await;
    let error = Error::from(server.store().list_orders().send().await.unwrap_err());
    assert_eq!(error.code(), Some(&Code::Unavailable));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn pages_are_one_stream_and_each_is_retried() {
    let page = |next: &str| format!(r#"{{"items":[{ORDER}],"next_page":{next}}}"#);
    let busy = || problem(503, "unavailable", "Retry-After: 0\r\n");
    let server =
        Server::start(vec![answer(200, page(r#""p2""#)), busy(), answer(200, page("null"))]).await;
    let status = "placed".parse::<OrderStatus>().unwrap();
    let store = server.store();
    let orders: Vec<_> =
        store.list_orders().status(status).limit(1u32).stream().try_collect().await.unwrap();
    assert_eq!(orders.len(), 2);
    let lines: Vec<String> = server
        .requests()
        .iter()
        .map(|(_, request)| request.lines().next().unwrap().to_owned())
        .collect();
    assert!(lines[0].contains("status=placed") && lines[0].contains("limit=1"), "{lines:?}");
    assert!(
        lines[1..].iter().all(|line| line.contains("page_token=p2")
            && line.contains("limit=1")
            && !line.contains("status")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn failures_map_to_their_error_variant() {
    let store = |server: &Server| {
        StoreClient::builder(&server.url).retries(RetryPolicy::NEVER).build().unwrap()
    };
    let server = Server::start(vec![Reply::HangUp]).await;
    let error = Error::from(store(&server).list_products().send().await.unwrap_err());
    assert!(matches!(error, Error::Connection(_)) && error.source().is_some(), "{error:?}");

    let server = Server::start(vec![answer(200, r#"{"items":1}"#), problem(410, "gone", "")]).await;
    for _ in 0..2 {
        let error = Error::from(store(&server).list_products().send().await.unwrap_err());
        assert!(matches!(error, Error::UnexpectedResponse { .. }), "{error:?}");
    }

    let server = Server::start(vec![answer(304, "")]).await;
    let error = Error::from(
        store(&server)
            .get_product()
            .product_id(hoodie())
            .if_none_match("\"1\"")
            .send()
            .await
            .unwrap_err(),
    );
    assert!(matches!(error, Error::NotModified), "{error:?}");

    let server = Server::start(vec![problem(409, "on_holiday", "")]).await;
    let error = store(&server).buy(&hoodie(), 1).await.unwrap_err();
    assert_eq!(error.code(), Some(&Code::Unknown("on_holiday".to_owned())), "an unknown code");

    let error = store(&server).buy(&hoodie(), 0).await.unwrap_err();
    assert!(matches!(&error, Error::Request(reason) if reason.contains("quantity")), "{error:?}");
}

#[test]
fn debug_output_hides_passwords() {
    use merch_contract::rest::client::types::{Credentials, PasswordChange, Registration};
    let credentials = Credentials::builder().username("alice").password("hush-hush");
    let change =
        PasswordChange::builder().current_password("hush-hush").new_password("hush-hush-hush");
    let registration = Registration::builder()
        .sid("1")
        .username("alice")
        .email("a@example.com")
        .password("hush-hush");
    let builders = format!("{credentials:?} {change:?} {registration:?}");
    let values = format!(
        "{:?} {:?} {:?}",
        Credentials::try_from(credentials).unwrap(),
        PasswordChange::try_from(change).unwrap(),
        Registration::try_from(registration).unwrap()
    );
    for text in [builders, values] {
        assert!(
            text.contains("alice") && text.contains("Password(redacted)") && !text.contains("hush"),
            "{text}"
        );
    }
}
