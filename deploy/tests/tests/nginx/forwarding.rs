//! The client address, request id and path that NGINX forwards to the api and logs.

use std::net::Ipv4Addr;

use crate::{
    client::{send, send_from},
    mock_api::{MockReplicas, Reply},
    proxy::Proxy,
};

const SPOOFED: &str = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.10\r\n\
                       X-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n\
                       X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n";
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn forged_forwarding_headers_are_ignored() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for (method, path) in
        [("GET", "/products"), ("POST", "/orders"), ("POST", "/login"), ("GET", "/docs")]
    {
        assert_eq!(send_from(CLIENT, proxy.port, method, path, SPOOFED, "").await.status, 200);
        let request = replicas.take_one();
        assert_eq!(request.header("x-forwarded-for"), "127.0.0.77");
        assert_eq!(request.header("x-forwarded-proto"), "http");
        assert_eq!(request.header("x-forwarded-host"), "shop.example");
        assert_eq!(
            (request.all("x-real-ip").len(), request.all("forwarded").len()),
            (0, 0),
            "{request:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn only_configured_proxies_are_trusted() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(
        &replicas,
        &[("MERCH_EDGE_TRUSTED_PROXIES", "127.0.0.1, 198.51.100.0/24,2001:db8::/32")],
    )
    .await;
    let sent = "X-Forwarded-For: 192.0.2.66, 203.0.113.9, 198.51.100.7\r\n\
                X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example:444\r\n";
    send(proxy.port, "GET", "/products", sent, "").await;
    let request = replicas.take_one();
    // The last address that is not a trusted proxy; clients can forge those before it.
    assert_eq!(request.header("x-forwarded-for"), "203.0.113.9");
    assert_eq!(
        (request.header("x-forwarded-proto"), request.header("x-forwarded-host")),
        ("https", "shop.example:444")
    );
    let hostile = "X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a\"b\r\n";
    send(proxy.port, "GET", "/products", hostile, "").await;
    let request = replicas.take_one();
    assert_eq!(
        (request.header("x-forwarded-proto"), request.header("x-forwarded-host")),
        ("http", "shop.example")
    );
    send_from(CLIENT, proxy.port, "GET", "/products", sent, "").await;
    let request = replicas.take_one();
    assert_eq!(
        (request.header("x-forwarded-for"), request.header("x-forwarded-proto")),
        ("127.0.0.77", "http")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn valid_request_ids_are_kept_others_replaced() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    let longest = "x".repeat(128);
    for good in ["a", "A-1_b.c:d", longest.as_str()] {
        send(proxy.port, "GET", "/products", &format!("X-Request-Id: {good}\r\n"), "").await;
        assert_eq!(replicas.take_one().id(), good);
    }
    let too_long = format!("X-Request-Id: {longest}x\r\n");
    for headers in [
        "",
        "X-Request-Id:\r\n",
        "X-Request-Id: a b\r\n",
        "X-Request-Id: a\"b\r\n",
        "X-Request-Id: a\r\nX-Request-Id: b\r\n",
        &too_long,
    ] {
        send(proxy.port, "POST", "/orders", headers, "{}").await;
        let request = replicas.take_one();
        assert!(
            request.id().len() == 32 && request.id().bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{headers:?}: {}",
            request.id()
        );
    }
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    send(proxy.port, "GET", "/products", &format!("Traceparent: {trace}\r\n"), "").await;
    assert_eq!(replicas.take_one().header("traceparent"), trace);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn paths_are_forwarded_unchanged() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for target in [
        "/",
        "//x/",
        "/a%2Fb/%c3%A9?x=%20&y",
        "/a/../login",
        "/orders/./1",
        "/a|b\"c\\d{e}?q=\"",
        "/x#y",
        "/products?",
    ] {
        for method in ["GET", "POST"] {
            assert_eq!(send(proxy.port, method, target, "", "").await.status, 200, "{target}");
            assert_eq!(replicas.take_one().target, target);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn access_log_is_json_without_secrets() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    let headers = "X-Request-Id: logged-1\r\nAuthorization: Bearer hush-hush\r\n\
                   User-Agent: \"hush-hush\"\r\nReferer: /?hush-hush\r\n";
    send_from(CLIENT, proxy.port, "POST", "/orders?token=hush-hush", headers, "hush-hush").await;
    let line = proxy.access_log_line("logged-1").await;
    assert_eq!(line["path"], "/orders");
    assert_eq!(
        (&line["method"], &line["status"], &line["client_address"]),
        (&"POST".into(), &200.into(), &"127.0.0.77".into())
    );
    assert_eq!(line["upstream_status"], "200");
    assert!(
        line["seconds"].is_number()
            && line["upstream"].as_str().unwrap().ends_with(&format!(":{}", replicas.port)),
        "{line}"
    );
    send(proxy.port, "GET", "/\u{e9}\"\\?hush-hush", "X-Request-Id: logged-2\r\n", "").await;
    assert_eq!(proxy.access_log_line("logged-2").await["path"], "/");
    send(proxy.port, "POST", "/.problem/400?hush-hush", "X-Request-Id: logged-3\r\n", "").await;
    let line = proxy.access_log_line("logged-3").await;
    assert_eq!(
        (&line["method"], &line["status"], &line["path"]),
        (&"POST".into(), &404.into(), &"/.problem/400".into())
    );
    assert!(!proxy.log().contains("hush-hush"), "{}", proxy.log());
}
