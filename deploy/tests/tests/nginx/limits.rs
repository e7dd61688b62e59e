//! Limits of size, rate and concurrency, and compression.

use std::{net::Ipv4Addr, time::Duration};

use crate::{
    client::{send, send_from, send_raw},
    mock_api::{MockReplicas, Reply, Request},
    problems::assert_problem,
    proxy::Proxy,
};

/// The default of MERCH_BODY_LIMIT.
const BODY: usize = 65_536;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn body_and_header_limits_match_the_api() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for (path, headers) in
        [("/orders", ""), ("/orders", "Idempotency-Key: k\r\n"), ("/login", ""), ("/a\"b", "")]
    {
        let largest = "x".repeat(BODY);
        assert_eq!(send(proxy.port, "POST", path, headers, &largest).await.status, 200);
        assert_eq!(replicas.take_one().body.len(), BODY);
        let response = send(proxy.port, "POST", path, headers, &format!("{largest}x")).await;
        assert_problem(&response, 413, "body_too_large", path.trim_end_matches("\"b"));
        assert!(response.json()["detail"].as_str().unwrap().contains(&BODY.to_string()));
        assert_eq!(replicas.take().len(), 0);
        // Also without `Content-Length`.
        let chunks = format!("10000\r\n{largest}\r\n1\r\nx\r\n0\r\n\r\n");
        let chunked = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
             {headers}\r\n{chunks}"
        );
        let response = send_raw(Ipv4Addr::LOCALHOST, proxy.port, chunked.as_bytes()).await;
        assert_problem(&response, 413, "body_too_large", path.trim_end_matches("\"b"));
        assert_eq!(replicas.take().len(), 0, "no replica received a complete request");
    }
    let (one, half) = ("x".repeat(17_000), "x".repeat(8_500));
    for (target, headers) in [
        ("/orders".to_owned(), format!("X-Large: {one}\r\n")),
        ("/orders".to_owned(), format!("X-Large: {half}\r\nX-Larger: {half}\r\n")),
        (format!("/orders?{one}"), String::new()),
    ] {
        let response = send(proxy.port, "GET", &target, &headers, "").await;
        // A request line that exceeds the limit is not parsed.
        let instance = response.json()["instance"].as_str().unwrap().to_owned();
        assert!(["/", "/orders"].contains(&instance.as_str()), "{instance}");
        assert_problem(&response, 431, "headers_too_large", &instance);
    }
    assert_eq!(replicas.take().len(), 0);
    for (target, headers) in [
        ("/orders".to_owned(), format!("X-Large: {}\r\n", "x".repeat(16_200))),
        ("/orders".to_owned(), "X-Large: 123456789012345\r\n".repeat(600)),
        (format!("/orders?{}", "x".repeat(16_200)), String::new()),
    ] {
        assert_eq!(send(proxy.port, "GET", &target, &headers, "").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn log_ins_are_limited_per_address() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let settings =
        [("MERCH_LOG_IN_ADDRESS_RATE", "3"), ("MERCH_EDGE_TRUSTED_PROXIES", "127.0.0.1")];
    let proxy = Proxy::start(&replicas, &settings).await;
    let by = async |address: &str, path: &str| {
        send(proxy.port, "POST", path, &format!("X-Forwarded-For: {address}\r\n"), "{}").await
    };
    // All these paths are `/login` for the api.
    for path in ["/login", "/%6cogin", "/login?x"] {
        assert_eq!(by("192.0.2.1", path).await.status, 200);
    }
    let refused = by("192.0.2.1", "/login").await;
    assert_problem(&refused, 429, "too_many_attempts", "/login");
    assert_eq!(refused.header("retry-after"), Some("20"));
    assert_eq!(replicas.take().len(), 3);
    // Other clients and other operations are not limited.
    assert_eq!(by("192.0.2.2", "/login").await.status, 200);
    assert_eq!(by("192.0.2.1", "/users").await.status, 200);
    assert_eq!(
        send(proxy.port, "GET", "/login", "X-Forwarded-For: 192.0.2.1\r\n", "").await.status,
        200
    );
    assert_eq!(
        send_from(
            Ipv4Addr::new(127, 0, 0, 77),
            proxy.port,
            "POST",
            "/login",
            "X-Forwarded-For: 192.0.2.1\r\n",
            "{}"
        )
        .await
        .status,
        200
    );
    // IPv6 clients are limited per /64.
    for address in ["2001:db8::1", "2001:db8::a:b:c:d", "2001:db8:0:0:1::"] {
        assert_eq!(by(address, "/login").await.status, 200);
    }
    assert_problem(&by("2001:db8::ffff", "/login").await, 429, "too_many_attempts", "/login");
    for other in ["2001:db8:0:1::1", "2001:db9::1", "2001:db8:1::1"] {
        assert_eq!(by(other, "/login").await.status, 200, "{other}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn connections_are_limited_per_address() {
    let rule =
        |request: &Request| if request.target == "/hang" { Reply::Hang } else { Reply::ok() };
    let replicas = MockReplicas::start(1, rule).await;
    let proxy = Proxy::start(&replicas, &[("MERCH_CONNECTIONS_PER_ADDRESS", "2")]).await;
    let port = proxy.port;
    let hanging =
        [(); 2].map(|()| tokio::spawn(async move { send(port, "GET", "/hang", "", "").await }));
    let mut arrived = 0;
    while arrived < 2 {
        arrived += replicas.take().len();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = proxy.get("/products").await;
    assert_problem(&refused, 503, "unavailable", "/products");
    let other = send_from(Ipv4Addr::new(127, 0, 0, 77), port, "GET", "/products", "", "").await;
    assert_eq!((other.status, replicas.take().len()), (200, 1));
    for request in hanging {
        request.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn documents_in_progress_are_limited_per_address() {
    let rule = |request: &Request| match request.target.as_str() {
        "/docs" => Reply::Hang,
        _ => Reply::ok(),
    };
    let replicas = MockReplicas::start(1, rule).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    let port = proxy.port;
    let hanging =
        [(); 16].map(|()| tokio::spawn(async move { send(port, "GET", "/docs", "", "").await }));
    let mut arrived = 0;
    while arrived < 16 {
        arrived += replicas.take().len();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_problem(&proxy.get("/problems").await, 503, "unavailable", "/problems");
    let other = send_from(Ipv4Addr::new(127, 0, 0, 77), port, "GET", "/problems", "", "").await;
    assert_eq!((other.status, proxy.get("/products").await.status), (200, 200));
    for request in hanging {
        request.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn own_responses_have_cors_headers() {
    let replicas = MockReplicas::start(0, |_| Reply::ok()).await;
    let (shop, other) = ("https://shop.example", "https://other.example");
    for (setting, origin, allowed, vary) in [
        ("", shop, None, None),
        ("https://Shop.example:443, http://a", shop, Some(shop), Some("Origin")),
        ("https://shop.example", other, None, Some("Origin")),
        ("*", other, Some("*"), None),
    ] {
        let proxy = Proxy::start(&replicas, &[("MERCH_CORS_ORIGINS", setting)]).await;
        for (method, status, code) in
            [("GET", 503, "unavailable"), ("TRACE", 405, "method_not_allowed")]
        {
            let response =
                send(proxy.port, method, "/orders", &format!("Origin: {origin}\r\n"), "").await;
            assert_problem(&response, status, code, "/orders");
            assert_eq!(response.header("access-control-allow-origin"), allowed, "{setting}");
            assert_eq!(response.header("vary"), vary, "{setting}");
            let exposed = allowed.map(|_| "ETag, Location, Retry-After, X-Request-Id");
            assert_eq!(response.header("access-control-expose-headers"), exposed, "{setting}");
            let credentials = allowed.filter(|allowed| *allowed != "*").map(|_| "true");
            assert_eq!(
                response.header("access-control-allow-credentials"),
                credentials,
                "{setting}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn only_documents_are_compressed() {
    let replicas = MockReplicas::start(1, |_| {
        Reply::Respond("Content-Type: application/json\r\nETag: \"1\"\r\n", vec![b' '; 5000])
    })
    .await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for (path, coding) in [
        ("/openapi.json", Some("gzip")),
        ("/problems", Some("gzip")),
        ("/docs", Some("gzip")),
        ("/orders", None),
        ("/problemsx", None),
    ] {
        let response = send(proxy.port, "GET", path, "Accept-Encoding: gzip\r\n", "").await;
        assert_eq!(response.header("content-encoding"), coding, "{path}");
        assert_eq!(
            response.header("etag"),
            Some(if coding.is_some() { "W/\"1\"" } else { "\"1\"" })
        );
        assert!(
            coding.is_none()
                || response
                    .header("vary")
                    .is_some_and(|vary| vary.eq_ignore_ascii_case("accept-encoding"))
        );
        assert_eq!(proxy.get(path).await.body.len(), 5000);
    }
}
