//! Implementations that answer garbage, disconnect, hang, or have a prefix: the suite must fail
//! cleanly or pass.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use contract_tests::{
    document::Document,
    options::Options,
    report::{Outcome, Report},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::program::store;

/// Handles each connection with `each`; returns the URL.
async fn server<F, Fut>(each: F) -> String
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(each(connection));
        }
    });
    url
}

/// Reads a request head and responds with these bytes.
async fn answer(mut connection: TcpStream, bytes: &'static [u8]) {
    let mut head = [0; 1024];
    if connection.read(&mut head).await.is_ok_and(|length| length > 0) {
        let _ = connection.write_all(bytes).await; // who has gone needs no answer
        let _ = connection.shutdown().await;
    }
}

async fn run(url: &str, only: &[&str]) -> Report {
    let mut options = Options::new(url.parse().unwrap());
    options.only = only.iter().map(|name| (*name).to_owned()).collect();
    options.timeout = Duration::from_secs(1);
    contract_tests::run(options, Arc::new(Document::embedded())).await
}

/// Expects failed cases, none of which is caused by a bug of the suite.
fn assert_failed(report: &Report) {
    assert!(report.failed() && report.not_tested.is_none(), "{report:?}");
    assert!(report.failures().next().is_some(), "{report:?}");
    for (case, failure) in report.failures() {
        assert!(!failure.message().contains("a bug of this program"), "{}: {failure}", case.name);
    }
    assert!(
        report.cells.values().all(|cell| cell.outcome != Outcome::Passed && cell.answers == 0),
        "{:?}",
        report.cells
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_responses_are_reported() {
    let html = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n\
                 <h1>It works!</h1>\xff\x00\x1b[2J";
    let report = run(&server(|connection| answer(connection, html)).await, &[]).await;
    assert_failed(&report);
    let table = contract_tests::report::table(&report, false);
    assert!(table.contains("content-type: expected"), "{table}");
    assert!(
        !table.contains('\x1b') && !table.contains('\0'),
        "a response must not control the terminal"
    );
    let xml = contract_tests::report::junit(&report);
    roxmltree::Document::parse(&xml).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_are_reported() {
    let half =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    let url = server(|connection| answer(connection, half)).await;
    let report = run(&url, &["greet"]).await;
    assert!(
        report.not_tested.as_ref().is_some_and(|why| why.contains("truncated body")),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_servers_time_out() {
    // Only the first response arrives.
    let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let url = server(move |connection| {
        let is_first = first.swap(false, std::sync::atomic::Ordering::SeqCst);
        async move {
            if is_first {
                answer(
                    connection,
                    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                )
                .await;
            } else {
                tokio::time::sleep(Duration::from_secs(600)).await;
                drop(connection);
            }
        }
    })
    .await;
    let report = run(&url, &["greet", "get_product"]).await;
    assert_failed(&report);
    assert!(report.failures().all(|(_, failure)| !failure.message().is_empty()));
    assert!(
        report
            .failures()
            .any(|(_, failure)| failure.message().starts_with("expected an answer, got none")),
        "{report:?}"
    );
}

/// A proxy that answers only below `/merch` and strips that prefix.
pub(crate) async fn behind_prefix(store: &str) -> String {
    let (store, http) = (
        store.to_owned(),
        reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap(),
    );
    let url = server(move |connection| {
        let (store, http) = (store.clone(), http.clone());
        async move {
            let service = service_fn(move |request| forward(store.clone(), http.clone(), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await; // the client may leave whenever it likes
        }
    })
    .await;
    format!("{url}/merch/")
}

async fn forward(
    store: String,
    http: reqwest::Client,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Some(path) =
        head.uri.path_and_query().and_then(|path| path.as_str().strip_prefix("/merch"))
    else {
        return Ok(Response::builder().status(418).body(Full::default()).unwrap());
    };
    let body = body.collect().await.unwrap().to_bytes();
    let mut headers = head.headers;
    for hop in ["host", "content-length", "transfer-encoding", "connection"] {
        headers.remove(hop);
    }
    let answer = http
        .request(head.method, format!("{store}{path}"))
        .headers(headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let mut forwarded = Response::new(Full::default());
    *forwarded.status_mut() = answer.status();
    *forwarded.headers_mut() = answer.headers().clone();
    *forwarded.body_mut() = Full::new(answer.bytes().await.unwrap());
    Ok(forwarded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn url_prefixes_are_supported() {
    let store = store().await;
    let url = behind_prefix(store.url()).await;
    let mut options = Options::new(url.parse().unwrap());
    options.only = vec!["OrderManager".to_owned(), "register".to_owned()];
    let report = contract_tests::run(options, Arc::new(Document::embedded())).await;
    // Only `--exhaust-stock` causes a sold-out product.
    assert!(!report.failed(), "{}", contract_tests::report::table(&report, false));
    store.finish_unchecked().await;
}
