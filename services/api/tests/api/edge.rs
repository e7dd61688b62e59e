//! What holds for every answer: ids, limits, routes, headers, the drain.

use std::time::Duration;

use merch_contract::grpc::assistant::v1 as proto;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use uuid::Uuid;

use crate::support::{Answer, Api, eventually, product, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_carries_the_request_id() {
    let api = Api::start_with(|config| config.body_limit = 100).await;
    api.db.get_product.answers(|_| Ok(proto::GetProductResponse { product: Some(product(1)) }));
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
        let mine = Answer::of(request.try_clone().unwrap().header("x-request-id", &id)).await;
        assert_eq!((mine.status, mine.request_id()), (status, id.as_str()));
        let made = Answer::of(request.header("x-request-id", "not an id!")).await;
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
        let answer = Answer::of(api.request(method.clone(), path)).await;
        answer.assert_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instance_of_a_problem_is_a_uri_reference() {
    let api = Api::start().await;
    let answer = api.get("//evil.example/x").await;
    answer.assert_problem(404, "route_not_found");
    assert_eq!(answer.json()["instance"], "/.//evil.example/x");
    let answer = api.get("/no|where/%").await;
    answer.assert_problem(404, "route_not_found");
    assert_eq!(answer.json()["instance"], "/no%7Cwhere/%25");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_body_is_not_taken() {
    let api = Api::start().await;
    let body = json!({"username": "alice", "password": "correct horse"});
    let answer = Answer::of(
        api.request(Method::POST, "/login").header("content-encoding", "gzip").json(&body),
    )
    .await;
    answer.assert_problem(415, "unsupported_media_type");
    assert_eq!(answer.header("accept-encoding"), Some("identity"));
    assert_eq!(answer.json()["detail"], "Send the body as it is, without `Content-Encoding`.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_named_and_no_value_repeated() {
    let api = Api::start().await;
    let secret = "hunter2 hunter2";
    let body = json!({"sid": "no spaces please", "username": "a", "email": 7, "password": secret, "colour": "red"});
    let answer = Answer::of(api.request(Method::POST, "/users").json(&body)).await;
    answer.assert_problem(400, "invalid_request");
    let pointers: Vec<String> = answer.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap().to_owned())
        .collect();
    for pointer in ["/sid", "/username", "/email", "/colour"] {
        assert!(pointers.iter().any(|found| found == pointer), "{pointer} in {pointers:?}");
    }
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        !text.contains("hunter2") && !text.contains("no spaces please") && !text.contains("red"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_is_read_up_to_its_limit() {
    let api = Api::start().await;
    let body = |length: usize| {
        let text = json!({"username": "alice", "password": "wrong"}).to_string();
        format!("{text}{}", " ".repeat(length - text.len()))
    };
    let send = |text: String| {
        Answer::of(
            api.request(Method::POST, "/login")
                .header("content-type", "application/json")
                .body(text),
        )
    };
    api.db.knows(Uuid::now_v7(), "right");
    send(body(65_536)).await.assert_problem(401, "invalid_credentials");
    let large = send(body(65_537)).await;
    large.assert_problem(413, "body_too_large");
    assert!(large.json()["detail"].as_str().unwrap().contains("65536"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_far_too_large_is_answered_all_the_same() {
    let api = Api::start().await;
    for framing in ["content-length: 20000000", "transfer-encoding: chunked"].repeat(10) {
        let stream = TcpStream::connect(api.address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let sending = tokio::spawn(async move {
            let head = format!(
                "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
            );
            writing.write_all(head.as_bytes()).await?;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            for _ in 0..300 {
                // The server may have answered and closed already.
                writing.write_all(chunk.as_bytes()).await?;
            }
            std::io::Result::Ok(())
        });
        assert!(head(&mut reading).await.starts_with("HTTP/1.1 413 "), "{framing}");
        sending.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_headers_are_taken_up_to_their_limit() {
    let api = Api::start_with(|config| config.header_limit = 2000).await;
    let with = |length: usize| {
        Answer::of(api.request(Method::GET, "/").header("x-large", "x".repeat(length)))
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
    Answer::of(many).await.assert_problem(431, "headers_too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_never_end_close_the_connection() {
    let api = Api::start_with(|config| config.header_timeout = Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let mut rest = Vec::new();
    // An end or an error, in time: either way the connection is gone.
    let _ = within("the connection is closed", stream.read_to_end(&mut rest)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_is_disconnected() {
    let api = Api::start_with(|config| config.write_timeout = Duration::from_millis(300)).await;
    let mut greedy = TcpStream::connect(api.address).await.unwrap();
    // Far more than the system's buffers hold on both sides.
    let requests = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    greedy.write_all(requests.as_bytes()).await.unwrap();
    let gone = || {
        greedy.try_write(b"x").is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    };
    assert_eq!(api.get("/docs/swagger-ui-bundle.js").await.status, 200);
    eventually("the connection is reset", gone).await;
    assert_eq!(api.get("/docs").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_past_the_bound_wait_for_one_to_close() {
    const ASK: &[u8] = b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n";
    let api = Api::start_with(|config| config.connections = 2).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        open.push(stream);
    }
    let mut waiting = TcpStream::connect(api.address).await.unwrap();
    waiting.write_all(ASK).await.unwrap();
    for _ in 0..20 {
        for stream in &mut open {
            stream.write_all(ASK).await.unwrap();
            assert!(head(stream).await.starts_with("HTTP/1.1 200 "));
        }
    }
    assert_eq!(waiting.try_read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(open.pop());
    assert!(head(&mut waiting).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_what_is_under_way_and_ends() {
    let api = Api::start().await;
    eventually("it is ready", || api.readiness.check().is_ok()).await;
    let idle = TcpStream::connect(api.address).await.unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    api.db.get_product.answers(move |_| {
        released.lock().unwrap().recv().unwrap();
        Ok(proto::GetProductResponse { product: Some(product(1)) })
    });
    let answer = tokio::spawn(Answer::of(api.request(Method::GET, "/products/1")));
    eventually("the request is under way", || api.db.get_product.calls() == 1).await;
    api.shutdown.cancel();
    until_refused(&api).await;
    assert!(!api.serving.is_finished());
    release.send(()).unwrap();
    assert_eq!(within("the answer", answer).await.unwrap().status, 200);
    within("the drain", api.serving).await.unwrap();
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_does_not_wait_for_ever() {
    let api = Api::start_with(|config| config.drain_timeout = Duration::from_millis(200)).await;
    api.db.get_product.hangs();
    let request = api.request(Method::GET, "/products/1");
    let cut_off = tokio::spawn(request.send());
    eventually("the request is under way", || api.db.get_product.calls() == 1).await;
    api.shutdown.cancel();
    within("the drain", api.serving).await.unwrap();
    assert!(cut_off.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_logged_is_shipped_before_the_end() {
    let api = Api::start_with(|config| config.ship_timeout = Duration::from_secs(10)).await;
    let ids: Vec<String> = (0..20).map(|index| format!("last-words-{index}")).collect();
    for id in &ids {
        Answer::of(api.request(Method::GET, "/orders").header("x-request-id", id))
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
    crate::support::until("nobody is accepted", async || {
        TcpStream::connect(api.address).await.is_err()
    })
    .await;
}

/// The status line and the headers of a raw answer.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if within("an answer", stream.read_buf(&mut bytes)).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
