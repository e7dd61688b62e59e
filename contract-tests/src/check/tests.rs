use std::sync::LazyLock;

use reqwest::header::HeaderValue;
use serde_json::json;

use super::*;

static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::strict);

const ID: &str = "0198c0de-7e57-7000-8000-000000000002";

fn order() -> Value {
    json!({
        "id": ID, "user_id": ID, "product_id": 1, "quantity": 2, "unit_price_cents": 4999, "total_price_cents": 9998, "currency": "CNY",
        "status": "placed", "created_at": "2026-11-22T08:00:00.000000Z", "cancelled_at": null
    })
}

fn problem() -> Value {
    json!({
        "type": "/problems#out_of_stock", "title": "Out of stock", "status": 409, "detail": "Nothing was sold.", "instance": "/orders",
        "code": "out_of_stock", "request_id": "r-1"
    })
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", HeaderValue::from_static("r-1"));
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

const JSON: (&str, &str) = ("content-type", "application/json");
const PROBLEM: (&str, &str) = ("content-type", "application/problem+json");
const PLACED: [(&str, &str); 3] = [JSON, ("location", "/orders/1"), ("etag", "\"1\"")];

fn faults(method: &str, path: &str, status: u16, headers: &HeaderMap, body: &str) -> Vec<String> {
    DOCUMENT.check(&Exchange { method, path, status, headers, body: body.as_bytes() })
}

fn changed(mut value: Value, pointer: &str, to: Option<Value>) -> String {
    let members = value.as_object_mut().expect("an object");
    match to {
        Some(to) => drop(members.insert(pointer.to_owned(), to)),
        None => drop(members.remove(pointer)),
    }
    value.to_string()
}

#[test]
fn valid_answers_pass() {
    let none = Vec::<String>::new();
    assert_eq!(faults("POST", "/orders", 201, &headers(&PLACED), &order().to_string()), none);
    assert_eq!(faults("POST", "/orders", 409, &headers(&[PROBLEM]), &problem().to_string()), none);
    assert_eq!(faults("POST", "/logout", 204, &headers(&[]), ""), none);
    assert_eq!(faults("HEAD", "/orders/x", 200, &headers(&[JSON, ("etag", "\"1\"")]), ""), none);
}

#[test]
fn wrong_statuses_headers_and_types_are_detected() {
    let body = order().to_string();
    for (what, status, headers) in [
        ("an undeclared status", 200, headers(&PLACED)),
        ("no etag", 201, headers(&[JSON, ("location", "/orders/1")])),
        ("no location", 201, headers(&[JSON, ("etag", "\"1\"")])),
        ("a weak etag", 201, headers(&[JSON, ("location", "/orders/1"), ("etag", "W/\"1\"")])),
        (
            "two etags",
            201,
            headers(&[JSON, ("location", "/orders/1"), ("etag", "\"1\""), ("etag", "\"2\"")]),
        ),
        ("another type", 201, headers(&[PROBLEM, ("location", "/orders/1"), ("etag", "\"1\"")])),
        ("no type", 201, headers(&PLACED[1..])),
        ("no request id", 201, {
            let mut headers = headers(&PLACED);
            headers.remove("x-request-id");
            headers
        }),
    ] {
        assert_ne!(
            faults("POST", "/orders", status, &headers, &body),
            Vec::<String>::new(),
            "{what} was not detected"
        );
    }
}

#[test]
fn wrong_bodies_are_detected() {
    for (member, to) in [
        ("total_price_cents", None),
        ("cancelled_at", None),
        ("id", Some(json!("1"))),
        ("id", Some(json!(1))),
        ("quantity", Some(json!(4))),
        ("quantity", Some(json!("2"))),
        ("unit_price_cents", Some(json!(49.99))),
        ("product_id", Some(json!(2_147_483_648_i64))),
        ("currency", Some(json!("yuan"))),
        ("status", Some(json!("shipped"))),
        ("created_at", Some(json!("yesterday"))),
        ("created_at", Some(Value::Null)),
        ("colour", Some(json!("red"))),
    ] {
        let body = changed(order(), member, to.clone());
        assert_ne!(
            faults("POST", "/orders", 201, &headers(&PLACED), &body),
            Vec::<String>::new(),
            "{member}: {to:?} was not detected"
        );
    }
    assert_ne!(faults("POST", "/orders", 201, &headers(&PLACED), "{"), Vec::<String>::new());
    assert_ne!(
        faults("POST", "/logout", 204, &headers(&[JSON]), "{}"),
        Vec::<String>::new(),
        "a body where none is declared"
    );
}

#[test]
fn wrong_problems_are_detected() {
    for (member, to) in [
        ("status", Some(json!(404))),
        ("code", Some(json!("sold_out"))),
        ("code", Some(json!("invalid_request"))),
        ("type", Some(json!("about:blank"))),
        ("instance", Some(json!("/users"))),
        ("request_id", Some(json!("r-2"))),
        ("errors", Some(json!([{ "in": "body", "pointer": "", "detail": "x" }]))),
        ("title", None),
    ] {
        let body = changed(problem(), member, to.clone());
        assert_ne!(
            faults("POST", "/orders", 409, &headers(&[PROBLEM]), &body),
            Vec::<String>::new(),
            "{member}: {to:?} was not detected"
        );
    }
    assert_ne!(
        faults("POST", "/orders", 409, &headers(&[JSON]), &problem().to_string()),
        Vec::<String>::new(),
        "the wrong type"
    );
}

#[test]
fn undeclared_routes_are_404_or_405() {
    let problem = |status: u16, code: &str, path: &str| {
        json!({ "type": format!("/problems#{code}"), "title": "t", "status": status, "detail": "d", "instance": path, "code": code, "request_id": "r-1" })
            .to_string()
    };
    let none = Vec::<String>::new();
    assert_eq!(
        faults(
            "GET",
            "/nowhere",
            404,
            &headers(&[PROBLEM]),
            &problem(404, "route_not_found", "/nowhere")
        ),
        none
    );
    assert_ne!(faults("GET", "/nowhere", 200, &headers(&[JSON]), "{}"), none);
    let refused = problem(405, "method_not_allowed", "/orders");
    assert_eq!(
        faults(
            "DELETE",
            "/orders",
            405,
            &headers(&[PROBLEM, ("allow", "GET, HEAD, POST")]),
            &refused
        ),
        none
    );
    assert_ne!(
        faults("DELETE", "/orders", 405, &headers(&[PROBLEM, ("allow", "GET")]), &refused),
        none,
        "an Allow that is not complete"
    );
    assert_ne!(faults("DELETE", "/orders", 405, &headers(&[PROBLEM]), &refused), none, "no Allow");
    assert_ne!(
        faults(
            "DELETE",
            "/orders",
            404,
            &headers(&[PROBLEM]),
            &problem(404, "route_not_found", "/orders")
        ),
        none
    );
}

#[test]
fn document_declares_fourteen_operations() {
    let operations: BTreeSet<String> = DOCUMENT.declared().into_iter().map(|(id, _)| id).collect();
    assert_eq!(operations.len(), 14, "{operations:?}");
}

/// The document without this repository's stricter rules.
static OPEN: LazyLock<Document> = LazyLock::new(Document::embedded);

fn open_faults(
    path: &str,
    status: u16,
    headers: &HeaderMap,
    body: &str,
    sent: &RequestContext<'_>,
) -> Vec<String> {
    let method = if status == 201 || status == 409 { "POST" } else { "GET" };
    OPEN.check_with_request(
        &Exchange { method, path, status, headers, body: body.as_bytes() },
        sent,
    )
}

#[track_caller]
fn assert_one(faults: &[String], about: &str) {
    assert!(
        faults.len() == 1 && faults[0].contains(about),
        "expected one fault about {about:?}, got {faults:?}"
    );
}

#[test]
fn unspecified_details_are_allowed() {
    let sent = RequestContext::default();
    let mut order = order();
    order["colour"] = json!("red");
    order["created_at"] = json!("2026-11-22T08:00:00+00:00");
    let placed =
        headers(&[("content-type", "application/json; charset=utf-8"), PLACED[1], PLACED[2]]);
    assert_eq!(
        open_faults("/orders", 201, &placed, &order.to_string(), &sent),
        Vec::<String>::new()
    );
    let mut refused = problem();
    refused["hint"] = json!("x");
    refused["type"] = json!("https://errors.example/list#out_of_stock");
    let as_problem = headers(&[("content-type", "application/problem+json;charset=utf-8")]);
    assert_eq!(
        open_faults("/orders", 409, &as_problem, &refused.to_string(), &sent),
        Vec::<String>::new()
    );
}

#[test]
fn duplicate_members_are_detected() {
    let body = order().to_string().replace("\"quantity\":2", "\"quantity\":2,\"quantity\":2");
    assert_one(
        &faults("POST", "/orders", 201, &headers(&PLACED), &body),
        "body /quantity: expected once",
    );
    let page = json!({ "items": [order()], "next_page": null })
        .to_string()
        .replace("\"id\":", "\"id\":\"x\",\"id\":");
    assert_one(
        &faults("GET", "/orders", 200, &headers(&[JSON]), &page),
        "body /items/0/id: expected once",
    );
}

#[test]
fn float_notation_is_detected() {
    for written in ["4999.0", "4.999e3"] {
        let body = order()
            .to_string()
            .replace("\"unit_price_cents\":4999", &format!("\"unit_price_cents\":{written}"));
        assert_one(
            &faults("POST", "/orders", 201, &headers(&PLACED), &body),
            "body /unit_price_cents: 4999.0 is not of type \"integer\"",
        );
    }
    let page = json!({ "items": [order()], "next_page": null })
        .to_string()
        .replace("\"quantity\":2", "\"quantity\":2.0");
    assert_one(
        &faults("GET", "/orders", 200, &headers(&[JSON]), &page),
        "body /items/0/quantity: 2.0 is not of type \"integer\"",
    );
    let body = problem().to_string().replace("\"status\":409", "\"status\":409.0");
    assert!(!faults("POST", "/orders", 409, &headers(&[PROBLEM]), &body).is_empty());
}

#[test]
fn times_must_be_utc_and_ids_uuid_v7() {
    for (member, value, about) in [
        ("created_at", "2026-11-22T16:00:00+08:00", "expected a time in UTC"),
        ("id", "0b44c3b4-6d0e-4bd1-9f3c-0d3c5a5a5a5a", "expected a UUID of version 7"),
        ("id", "0198C0DE-7E57-7000-8000-000000000002", "in lower case"),
        ("user_id", "0198c0de-7e57-7000-0000-000000000002", "expected a UUID of version 7"),
    ] {
        let body = changed(order(), member, Some(json!(value)));
        assert_one(&faults("POST", "/orders", 201, &headers(&PLACED), &body), about);
        assert_one(
            &open_faults("/orders", 201, &headers(&PLACED), &body, &RequestContext::default()),
            about,
        );
    }
    let ours = changed(order(), "created_at", Some(json!("2026-11-22T08:00:00+00:00")));
    assert_one(&faults("POST", "/orders", 201, &headers(&PLACED), &ours), "with Z at its end");
}

#[test]
fn request_id_must_be_echoed() {
    let body = order().to_string();
    let sent = RequestContext { request_id: Some("r-1"), ..RequestContext::default() };
    assert_eq!(open_faults("/orders", 201, &headers(&PLACED), &body, &sent), Vec::<String>::new());
    let sent = RequestContext { request_id: Some("r-2"), ..RequestContext::default() };
    assert_one(
        &open_faults("/orders", 201, &headers(&PLACED), &body, &sent),
        "x-request-id: expected \"r-2\"",
    );
}

#[test]
fn malformed_requests_need_not_echo_id_or_path() {
    let mut body = problem();
    body["status"] = json!(400);
    body["type"] = json!("/problems#invalid_request");
    body["errors"] = json!([{ "in": "path", "pointer": "", "detail": "Not a path." }]);
    let body = changed(body, "code", Some(json!("invalid_request")));
    let refused = |malformed: bool| {
        let sent =
            RequestContext { request_id: Some("r-2"), malformed, ..RequestContext::default() };
        open_faults("/nowhere/%00", 400, &headers(&[PROBLEM]), &body, &sent)
    };
    assert!(
        refused(false).iter().any(|fault| fault.starts_with("x-request-id: expected")),
        "{:?}",
        refused(false)
    );
    assert_eq!(refused(true), Vec::<String>::new());
}

#[test]
fn refused_head_requests_have_no_body() {
    let malformed = RequestContext { malformed: true, ..RequestContext::default() };
    for (path, status, sent) in [
        ("/orders/x", 400, malformed),
        ("/orders/x", 431, RequestContext::default()),
        ("/nowhere", 404, RequestContext::default()),
    ] {
        let exchange =
            Exchange { method: "HEAD", path, status, headers: &headers(&[PROBLEM]), body: b"" };
        assert_eq!(DOCUMENT.check_with_request(&exchange, &sent), Vec::<String>::new(), "{path}");
        let with_body = Exchange { body: b"{}", ..exchange };
        assert_ne!(DOCUMENT.check_with_request(&with_body, &sent), Vec::<String>::new());
    }
}

#[test]
fn echoed_passwords_are_detected() {
    let secrets = ["correct horse".to_owned(), "x".to_owned(), "with \"quotes\"".to_owned()];
    let sent = RequestContext { secrets: &secrets, ..RequestContext::default() };
    assert_eq!(
        open_faults("/orders", 409, &headers(&[PROBLEM]), &problem().to_string(), &sent),
        Vec::<String>::new()
    );
    let body = changed(problem(), "detail", Some(json!("not \"correct horse\"")));
    assert_one(
        &open_faults("/orders", 409, &headers(&[PROBLEM]), &body, &sent),
        "no password or token",
    );
    let body = changed(problem(), "detail", Some(json!("not with \"quotes\" either")));
    assert_one(
        &open_faults("/orders", 409, &headers(&[PROBLEM]), &body, &sent),
        "no password or token",
    );
    let echoed = headers(&[PROBLEM, ("x-debug", "password=correct horse")]);
    assert_one(
        &open_faults("/orders", 409, &echoed, &problem().to_string(), &sent),
        "no password or token",
    );
}

#[test]
fn undeclared_codes_are_detected() {
    let mut other = problem();
    other["code"] = json!("email_taken");
    other["type"] = json!("/problems#email_taken");
    assert_one(
        &open_faults(
            "/orders",
            409,
            &headers(&[PROBLEM]),
            &other.to_string(),
            &RequestContext::default(),
        ),
        "expected out_of_stock",
    );
    other["type"] = json!("/problems#out_of_stock");
    other["code"] = json!("out_of_stock");
    assert_eq!(
        open_faults(
            "/orders",
            409,
            &headers(&[PROBLEM]),
            &other.to_string(),
            &RequestContext::default()
        ),
        Vec::<String>::new()
    );
}

#[test]
fn stack_traces_are_detected() {
    let trace = "Traceback (most recent call last):\n  File \"app.py\", line 1";
    let body = changed(problem(), "detail", Some(json!(trace)));
    assert_one(
        &open_faults("/orders", 409, &headers(&[PROBLEM]), &body, &RequestContext::default()),
        "no stack trace",
    );
    let body = changed(
        problem(),
        "detail",
        Some(json!("java.lang.NullPointerException\n\tat shop.Orders.place(Orders.java:12)")),
    );
    assert_one(
        &open_faults("/orders", 409, &headers(&[PROBLEM]), &body, &RequestContext::default()),
        "no stack trace",
    );
}

#[test]
fn instance_may_include_the_prefix() {
    let sent = RequestContext { prefix: "/merch", ..RequestContext::default() };
    for instance in ["/orders", "/merch/orders"] {
        let body = changed(problem(), "instance", Some(json!(instance)));
        assert_eq!(
            open_faults("/orders", 409, &headers(&[PROBLEM]), &body, &sent),
            Vec::<String>::new()
        );
    }
    let body = changed(problem(), "instance", Some(json!("/shop/orders")));
    assert_one(&open_faults("/orders", 409, &headers(&[PROBLEM]), &body, &sent), "body /instance");
}

#[test]
fn retry_after_and_challenge_are_validated() {
    let body = |status: u16, code: &str| {
        let mut body = problem();
        (body["status"], body["code"], body["type"]) =
            (json!(status), json!(code), json!(format!("/problems#{code}")));
        body.to_string()
    };
    let unavailable = body(503, "unavailable");
    for (value, right) in [
        ("1", true),
        ("0", false),
        ("-1", false),
        ("+5", false),
        ("1.5", false),
        ("soon", false),
        ("", false),
    ] {
        let faults = faults(
            "GET",
            "/orders",
            503,
            &headers(&[PROBLEM, ("retry-after", value)]),
            &unavailable,
        );
        assert_eq!(faults.is_empty(), right, "Retry-After {value:?}: {faults:?}");
    }
    assert!(
        !faults("GET", "/orders", 503, &headers(&[PROBLEM]), &unavailable).is_empty(),
        "no Retry-After"
    );
    let missing = body(401, "token_missing");
    for (value, right) in [
        ("Bearer", true),
        ("bearer realm=\"x\"", true),
        ("Basic realm=\"x\"", false),
        ("Bear", false),
    ] {
        let faults = faults(
            "GET",
            "/orders",
            401,
            &headers(&[PROBLEM, ("www-authenticate", value)]),
            &missing,
        );
        assert_eq!(faults.is_empty(), right, "WWW-Authenticate {value:?}: {faults:?}");
    }
    assert!(
        !faults("GET", "/orders", 401, &headers(&[PROBLEM]), &missing).is_empty(),
        "no challenge"
    );
}

#[test]
fn bodies_with_204_or_304_are_detected() {
    assert_one(
        &faults("POST", "/logout", 204, &headers(&[("content-length", "7")]), ""),
        "Content-Length",
    );
    assert_eq!(
        faults("POST", "/logout", 204, &headers(&[("content-length", "0")]), ""),
        Vec::<String>::new()
    );
    let not_modified = headers(&[("etag", "\"1\"")]);
    assert_eq!(faults("GET", "/products/1", 304, &not_modified, ""), Vec::<String>::new());
    assert_one(&faults("GET", "/products/1", 304, &not_modified, "{}"), "body: expected none");
    assert_one(&faults("GET", "/products/1", 304, &headers(&[]), ""), "ETag");
}

#[test]
fn allow_may_add_only_head_and_options() {
    let refused = json!({
        "type": "/problems#method_not_allowed", "title": "t", "status": 405, "detail": "d", "instance": "/orders", "code": "method_not_allowed",
        "request_id": "r-1"
    });
    let refused = refused.to_string();
    for (allow, right) in [
        ("GET, POST", true),
        ("POST,GET,HEAD,OPTIONS", true),
        ("GET", false),
        ("GET, POST, PUT", false),
        ("GET, POST, DELETE", false),
        ("", false),
    ] {
        let exchange = Exchange {
            method: "DELETE",
            path: "/orders",
            status: 405,
            headers: &headers(&[PROBLEM, ("allow", allow)]),
            body: refused.as_bytes(),
        };
        let faults = OPEN.check(&exchange);
        assert_eq!(faults.is_empty(), right, "Allow {allow:?}: {faults:?}");
    }
}
