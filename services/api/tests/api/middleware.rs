//! Behaviour of all responses: ids, limits, routes, headers, and the drain.

use std::time::Duration;

use merch_contract::grpc::assistant::v1 as proto;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use uuid::Uuid;

use crate::support::{Api, TestResponse, eventually, product, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_carry_the_request_id() {
    let api = Api::start_with(|config| config.body_limit = 100).await;
    api.db.get_product.returns(|_| Ok(proto::GetProductResponse { product: Some(product(1)) }));
    let large = json!({"username": "alice", "password": "x".repeat(100)});
    let kinds = [
        (api.request(Method::GET, "/"), 200),
        (api.request(Method::GET, "/docs"), 200),
        (api.request(Method::GET, "/products/1").header("if-none-match", "*"), 304),
        (api.request(Method::HEAD, "/products/1"), 200),
        (api.request(Method::GET, "/products/zero"), 400),
        (api.request(Method::GET, "/orders"), 401),
        (api.request(Method::GET, "/nowhere"), 404),
        (api.request(Method::DELETE, "/products/1"), 405),
        (api.request(Method::POST, "/docs"), 405),
        (api.request(Method::POST, "/login").json(&large), 413),
        (api.request(Method::POST, "/login").body("x"), 415),
        (api.request(Method::GET, "/").header("x-large", "x".repeat(20_000)), 431),
        (api.request(Method::GET, "/products"), 500),
    ];
    for (index, (request, status)) in kinds.into_iter().enumerate() {
        let id = format!("kind-{index}");
        let mine = TestResponse::of(request.try_clone().unwrap().header("x-request-id", &id)).await;
        assert_eq!((mine.status, mine.request_id()), (status, id.as_str()));
        let made = TestResponse::of(request.header("x-request-id", "not an id!")).await;
        assert_eq!(made.request_id().parse::<Uuid>().unwrap().get_version_num(), 7, "{status}");
        assert_eq!(made.header("x-content-type-options"), Some("nosniff"));
        assert!(made.header("cache-control").is_some(), "{status}");
        if status >= 400 {
            made.assert_problem(status, &made.code());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_paths_and_methods_are_problems() {
    let api = Api::start().await;
    for path in ["/nowhere", "/orders/", "/users/x/y/z", "/docs/nothing", "//", "/openapi"] {
        api.get(path).await.assert_problem(404, "route_not_found");
    }
    for (method, path, allow) in [
        (Method::PUT, "/orders", "GET, HEAD, POST"),
        (Method::GET, "/login", "POST"),
        (Method::OPTIONS, "/products", "GET, HEAD"),
        (Method::DELETE, "/docs/", "GET, HEAD"),
        (Method::PATCH, "/openapi.yaml", "GET, HEAD"),
        (Method::TRACE, "/", "GET, HEAD"),
    ] {
        let response = TestResponse::of(api.request(method.clone(), path)).await;
        response.assert_problem(405, "method_not_allowed");
        assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn problem_instance_is_a_uri_reference() {
    let api = Api::start().await;
    let response = api.get("//evil.example/x").await;
    response.assert_problem(404, "route_not_found");
    assert_eq!(response.json()["instance"], "/.//evil.example/x");
    let response = api.get("/no|where/%").await;
    response.assert_problem(404, "route_not_found");
    assert_eq!(response.json()["instance"], "/no%7Cwhere/%25");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_bodies_are_refused() {
    let api = Api::start().await;
    let body = json!({"username": "alice", "password": "correct horse"});
    let response = TestResponse::of(
        api.request(Method::POST, "/login").header("content-encoding", "gzip").json(&body),
    )
    .await;
    response.assert_problem(415, "unsupported_media_type");
    assert_eq!(response.header("accept-encoding"), Some("identity"));
    assert_eq!(response.json()["detail"], "Send the body without `Content-Encoding`.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_listed_without_values() {
    let api = Api::start().await;
    let secret = "hunter2 hunter2";
    let body = json!({"sid": "no spaces please", "username": "a", "email": 7, "password": secret, "colour": "red"});
    let response = TestResponse::of(api.request(Method::POST, "/users").json(&body)).await;
    response.assert_problem(400, "invalid_request");
    let pointers: Vec<String> = response.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap().to_owned())
        .collect();
    for pointer in ["/sid", "/username", "/email", "/colour"] {
        assert!(pointers.iter().any(|found| found == pointer), "{pointer} in {pointers:?}");
    }
    let text = String::from_utf8(response.body).unwrap();
    assert!(
        !text.contains("hunter2") && !text.contains("no spaces please") && !text.contains("red"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_above_the_limit_get_413() {
    let api = Api::start().await;
    let body = |length: usize| {
        let text = json!({"username": "alice", "password": "wrong"}).to_string();
        format!("{text}{}", " ".repeat(length - text.len()))
    };
    let send = |text: String| {
        TestResponse::of(
            api.request(Method::POST, "/login")
                .header("content-type", "application/json")
                .body(text),
        )
    };
    api.db.has_user(Uuid::now_v7(), "right");
    send(body(65_536)).await.assert_problem(401, "invalid_credentials");
    let large = send(body(65_537)).await;
    large.assert_problem(413, "body_too_large");
    assert!(large.json()["detail"].as_str().unwrap().contains("65536"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_far_above_the_limit_get_413() {
    let api = Api::start().await;
    for framing in ["content-length: 20000000", "transfer-encoding: chunked"].repeat(10) {
        let stream = TcpStream::connect(api.address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let sending = tokio::spawn(async move {
            let head = format!(
                "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: \
                 application/json\r\n{framing}\r\n\r\n"
            );
            writing.write_all(head.as_bytes()).await?;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            for _ in 0..300 {
                // The server may have closed the connection already.
                writing.write_all(chunk.as_bytes()).await?;
            }
            std::io::Result::Ok(())
        });
        assert!(head(&mut reading).await.starts_with("HTTP/1.1 413 "), "{framing}");
        sending.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_above_the_limit_get_431() {
    let api = Api::start_with(|config| config.header_limit = 2000).await;
    let with = |length: usize| {
        TestResponse::of(api.request(Method::GET, "/").header("x-large", "x".repeat(length)))
    };
    assert_eq!(with(1500).await.status, 200);
    let large = with(2000).await;
    large.assert_problem(431, "headers_too_large");
    assert!(large.json()["detail"].as_str().unwrap().contains("2000"));
    api.get(&format!("/?{}", "x".repeat(3000))).await.assert_problem(431, "headers_too_large");
    let mut many = api.request(Method::GET, "/");
    for index in 0..200 {
        many = many.header(format!("x-{index}"), "12345");
    }
    TestResponse::of(many).await.assert_problem(431, "headers_too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_headers_close_the_connection() {
    let api = Api::start_with(|config| config.header_timeout = Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let mut rest = Vec::new();
    // EOF or an error: the connection is closed.
    let _ = within("the connection is closed", stream.read_to_end(&mut rest)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_never_reads_is_disconnected() {
    let api = Api::start_with(|config| config.write_timeout = Duration::from_millis(300)).await;
    let mut greedy = TcpStream::connect(api.address).await.unwrap();
    // More than the buffers of both systems hold.
    let requests = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    greedy.write_all(requests.as_bytes()).await.unwrap();
    let is_reset = || {
        greedy.try_write(b"x").is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    };
    assert_eq!(api.get("/docs/swagger-ui-bundle.js").await.status, 200);
    eventually("the connection is reset", is_reset).await;
    assert_eq!(api.get("/docs").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_past_the_limit_wait() {
    const HEAD_REQUEST: &[u8] = b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n";
    let api = Api::start_with(|config| config.connections = 2).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        stream.write_all(HEAD_REQUEST).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        open.push(stream);
    }
    let mut waiting = TcpStream::connect(api.address).await.unwrap();
    waiting.write_all(HEAD_REQUEST).await.unwrap();
    for _ in 0..20 {
        for stream in &mut open {
            stream.write_all(HEAD_REQUEST).await.unwrap();
            assert!(head(stream).await.starts_with("HTTP/1.1 200 "));
        }
    }
    assert_eq!(waiting.try_read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(open.pop());
    assert!(head(&mut waiting).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_finishes_requests_in_flight() {
    let api = Api::start().await;
    eventually("the service is ready", || api.readiness.check().is_ok()).await;
    let idle = TcpStream::connect(api.address).await.unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    api.db.get_product.returns(move |_| {
        released.lock().unwrap().recv().unwrap();
        Ok(proto::GetProductResponse { product: Some(product(1)) })
    });
    let response = tokio::spawn(TestResponse::of(api.request(Method::GET, "/products/1")));
    eventually("the request is in flight", || api.db.get_product.calls() == 1).await;
    api.shutdown.cancel();
    until_refused(&api).await;
    assert!(!api.serving.is_finished());
    release.send(()).unwrap();
    assert_eq!(within("the response", response).await.unwrap().status, 200);
    within("the drain", api.serving).await.unwrap();
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_ends_at_its_timeout() {
    let api = Api::start_with(|config| config.drain_timeout = Duration::from_millis(200)).await;
    api.db.get_product.hangs();
    let request = api.request(Method::GET, "/products/1");
    let cut_off = tokio::spawn(request.send());
    eventually("the request is in flight", || api.db.get_product.calls() == 1).await;
    api.shutdown.cancel();
    within("the drain", api.serving).await.unwrap();
    assert!(cut_off.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ships_the_journal() {
    let api = Api::start_with(|config| config.ship_timeout = Duration::from_secs(10)).await;
    let ids: Vec<String> = (0..20).map(|index| format!("last-words-{index}")).collect();
    for id in &ids {
        TestResponse::of(api.request(Method::GET, "/orders").header("x-request-id", id))
            .await
            .assert_problem(401, "token_missing");
    }
    api.shutdown.cancel();
    within("the drain", api.serving).await.unwrap();
    let received: Vec<String> =
        api.received.events().into_iter().map(|event| event.request_id).collect();
    assert!(ids.iter().all(|id| received.contains(id)), "{received:?}");
}

async fn until_refused(api: &Api) {
    crate::support::until("no connection is accepted", async || {
        TcpStream::connect(api.address).await.is_err()
    })
    .await;
}

/// Reads the head of a raw response.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if within("a response", stream.read_buf(&mut bytes)).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
