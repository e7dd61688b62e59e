//! Errors of NGINX itself are problems of the contract, valid for any request.

use std::{net::Ipv4Addr, sync::LazyLock};

use merch_deploy_tests::directories::root;
use serde_json::{Value, json};

use crate::{
    client::{Response, send, send_raw},
    mock_api::{MockReplicas, Reply},
    proxy::Proxy,
};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_norway::from_str(&std::fs::read_to_string(root().join("openapi.yaml")).unwrap()).unwrap()
});

/// The schema `Problem` of `openapi.yaml`.
static PROBLEM: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema =
        json!({"$ref": "#/components/schemas/Problem", "components": DOCUMENT["components"]});
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft4)
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
});

/// The source of the api's problems.
static TABLE: LazyLock<String> =
    LazyLock::new(|| std::fs::read_to_string(root().join("services/api/src/problem.rs")).unwrap());

/// Asserts a complete problem with this status and code, the api's texts, and the status's headers.
#[track_caller]
pub(crate) fn assert_problem(response: &Response, status: u16, code: &str, instance: &str) {
    assert_eq!(
        (response.status, response.header("content-type")),
        (status, Some("application/problem+json")),
        "{response:?}"
    );
    let problem = response.json();
    let faults: Vec<String> =
        PROBLEM.iter_errors(&problem).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?} in {problem}");
    assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()));
    assert_eq!(problem["type"], format!("/problems#{code}"));
    assert_eq!(problem["instance"], instance.split('?').next().unwrap());
    assert_eq!(problem["request_id"].as_str(), response.header("x-request-id"));
    assert_eq!(
        problem.get("errors").is_some_and(|faults| faults[0].is_object()),
        code == "invalid_request"
    );
    let declared = DOCUMENT["components"]["schemas"]["Problem"]["description"].as_str().unwrap();
    assert!(declared.contains(&format!("`{code}`")), "the document does not declare {code}");
    let title = format!("\"{}\"", problem["title"].as_str().unwrap());
    assert!(
        TABLE.contains(&format!("\"{code}\"")) && TABLE.contains(&title),
        "{title} is not a title of the api"
    );
    if !matches!(code, "invalid_request" | "body_too_large") {
        assert!(TABLE.contains(problem["detail"].as_str().unwrap()), "{problem}");
    }
    assert_eq!(
        response
            .header("retry-after")
            .is_some_and(|wait| wait.parse::<u32>().is_ok_and(|wait| wait > 0)),
        matches!(status, 429 | 503)
    );
    assert_eq!(response.header("allow").is_some(), status == 405);
    // The headers of the api's responses (services/api/tests/api/headers.rs).
    for (name, value) in [
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(response.header(name), Some(value), "{name}");
    }
    assert_eq!(response.header("server"), Some("nginx"), "without a version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn problems_escape_every_path() {
    let replicas = MockReplicas::start(0, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for (target, instance) in [
        (&b"/"[..], "/"),
        (b"/orders/0192f0c1?page_token=secret", "/orders/0192f0c1"),
        (b"/a~b!$&'()*+,;=:@-._", "/a~b!$&'()*+,;=:@-._"),
        (b"/caf%c3%A9", "/caf%c3%A9"),
        (b"/a\"b", "/a"),
        (b"/\",\"code\":\"x", "/"),
        (b"/a\\", "/a"),
        (b"/a\\u0022b", "/a"),
        (b"/caf\xc3\xa9", "/caf"),
        (b"/\xff\xfe", "/"),
        (b"/a<b>{c}|d^e`f[g]", "/a"),
        (b"/$request_id${id}", "/$request_id$"),
        (b"/a%22%5C%0a", "/a%22%5C%0a"),
        (b"/a/../b", "/a/../b"),
        (b"//evil.example/x", "/.//evil.example/x"),
        (b"/a#b", "/a"),
        (b"http://shop.example/orders?x", "/orders"),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let request = [
                method.as_bytes(),
                b" ",
                target,
                b" HTTP/1.1\r\nHost: x\r\nX-Request-Id: r-1\r\nConnection: close\r\n\r\n",
            ]
            .concat();
            let response = send_raw(Ipv4Addr::LOCALHOST, proxy.port, &request).await;
            assert_problem(&response, 503, "unavailable", instance);
            assert_eq!(response.header("x-request-id"), Some("r-1"));
        }
    }
    let head = send(proxy.port, "HEAD", "/orders", "", "").await;
    assert_eq!((head.status, head.header("content-type")), (503, Some("application/problem+json")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn invalid_http_is_answered_with_a_problem() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for (request, instance) in [
        (&b"nonsense\r\n\r\n"[..], "/"),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", "/"),
        (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "/"),
        (b"GET /a\x01b HTTP/1.1\r\nHost: x\r\n\r\n", "/"),
        (b"GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n", "/"),
        (b"GET /50%zz HTTP/1.1\r\nHost: x\r\n\r\n", "/"),
        (b"GET /../x HTTP/1.1\r\nHost: x\r\n\r\n", "/"),
        (b"GET /a HTTP/1.1\r\n\r\n", "/a"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "/a"),
        (b"GET /a HTTP/1.1\r\nHost: x y\"\r\n\r\n", "/a"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", "/a"),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "/a"),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "/a"),
        (b"GET /a HTTP/3.0\r\nHost: x\r\n\r\n", "/"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n", "/a"),
    ] {
        let response = send_raw(Ipv4Addr::LOCALHOST, proxy.port, request).await;
        assert_problem(&response, 400, "invalid_request", instance);
    }
    assert_eq!(replicas.take().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn internal_locations_are_not_reachable() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for path in ["/.problem/503", "/.problem/400", "/.problem/404"] {
        for method in ["GET", "POST"] {
            assert_problem(
                &send(proxy.port, method, path, "", "").await,
                404,
                "route_not_found",
                path,
            );
        }
    }
    for path in ["/livez", "/readyz", "/status", "/.problem/", "/.problem/x"] {
        proxy.get(path).await;
        assert_eq!(replicas.take_one().target, path, "it is the api's to response");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn refused_method_gets_the_allow_header() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let mut methods: Vec<String> = item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
            .map(|key| key.to_uppercase())
            .collect();
        if methods.iter().any(|method| method == "GET") {
            methods.push("HEAD".to_owned());
        }
        methods.sort_unstable();
        let path = path
            .replace("{product_id}", "1")
            .replace("{user_id}", "u-1")
            .replace("{order_id}", "o-1");
        let response = send(proxy.port, "TRACE", &path, "", "").await;
        assert_problem(&response, 405, "method_not_allowed", &path);
        assert_eq!(response.header("allow"), Some(methods.join(", ").as_str()), "{path}");
    }
    assert_eq!(replicas.take().len(), 0);
}
