//! The check itself: it lets right answers pass, and notices each way to be wrong.

use reqwest::header::HeaderValue;
use serde_json::json;

use super::*;

const ID: &str = "0198c0de-7e57-7000-8000-000000000002";

fn order() -> Value {
    json!({
        "id": ID, "user_id": ID, "product_id": 1, "quantity": 2, "unit_price_cents": 4999, "total_price_cents": 9998, "currency": "CNY",
        "status": "placed", "created_at": "2026-11-22T08:00:00.000000Z", "cancelled_at": null
    })
}

fn problem() -> Value {
    json!({
        "type": "/problems#out_of_stock", "title": "Not enough pieces are left", "status": 409, "detail": "Nothing was sold.", "instance": "/orders",
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

/// The faults of an answer, without noting it as exercised.
fn faults(method: &str, path: &str, status: u16, headers: &HeaderMap, body: &str) -> Vec<String> {
    let mut faults = Vec::new();
    DOCUMENT.check(&Exchange { method, path, status, headers, body: body.as_bytes() }, &mut faults);
    faults
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
fn right_answers_pass() {
    let none = Vec::<String>::new();
    assert_eq!(faults("POST", "/orders", 201, &headers(&PLACED), &order().to_string()), none);
    assert_eq!(faults("POST", "/orders", 409, &headers(&[PROBLEM]), &problem().to_string()), none);
    assert_eq!(faults("POST", "/logout", 204, &headers(&[]), ""), none);
    assert_eq!(faults("HEAD", "/orders/x", 200, &headers(&[JSON, ("etag", "\"1\"")]), ""), none);
}

#[test]
fn every_wrong_status_header_and_type_is_noticed() {
    let body = order().to_string();
    for (what, status, headers) in [
        ("an undeclared status", 200, headers(&PLACED)),
        ("no etag", 201, headers(&[JSON, ("location", "/orders/1")])),
        ("no location", 201, headers(&[JSON, ("etag", "\"1\"")])),
        ("a weak etag", 201, headers(&[JSON, ("location", "/orders/1"), ("etag", "W/\"1\"")])),
        ("two etags", 201, headers(&[JSON, ("location", "/orders/1"), ("etag", "\"1\""), ("etag", "\"2\"")])),
        ("another type", 201, headers(&[PROBLEM, ("location", "/orders/1"), ("etag", "\"1\"")])),
        ("no type", 201, headers(&PLACED[1..])),
        ("no request id", 201, {
            let mut headers = headers(&PLACED);
            headers.remove("x-request-id");
            headers
        }),
    ] {
        assert_ne!(faults("POST", "/orders", status, &headers, &body), Vec::<String>::new(), "{what} was not noticed");
    }
}

#[test]
fn every_wrong_body_is_noticed() {
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
        assert_ne!(faults("POST", "/orders", 201, &headers(&PLACED), &body), Vec::<String>::new(), "{member}: {to:?} was not noticed");
    }
    assert_ne!(faults("POST", "/orders", 201, &headers(&PLACED), "{"), Vec::<String>::new());
    assert_ne!(faults("POST", "/logout", 204, &headers(&[JSON]), "{}"), Vec::<String>::new(), "a body where none is declared");
}

#[test]
fn every_wrong_problem_is_noticed() {
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
        assert_ne!(faults("POST", "/orders", 409, &headers(&[PROBLEM]), &body), Vec::<String>::new(), "{member}: {to:?} was not noticed");
    }
    assert_ne!(faults("POST", "/orders", 409, &headers(&[JSON]), &problem().to_string()), Vec::<String>::new(), "the wrong type");
}

#[test]
fn what_belongs_to_no_operation_is_404_or_405_with_allow() {
    let problem = |status: u16, code: &str, path: &str| {
        json!({ "type": format!("/problems#{code}"), "title": "t", "status": status, "detail": "d", "instance": path, "code": code, "request_id": "r-1" })
            .to_string()
    };
    let none = Vec::<String>::new();
    assert_eq!(faults("GET", "/nowhere", 404, &headers(&[PROBLEM]), &problem(404, "route_not_found", "/nowhere")), none);
    assert_ne!(faults("GET", "/nowhere", 200, &headers(&[JSON]), "{}"), none);
    let refused = problem(405, "method_not_allowed", "/orders");
    assert_eq!(faults("DELETE", "/orders", 405, &headers(&[PROBLEM, ("allow", "GET, HEAD, POST")]), &refused), none);
    assert_ne!(faults("DELETE", "/orders", 405, &headers(&[PROBLEM, ("allow", "GET")]), &refused), none, "an Allow that is not complete");
    assert_ne!(faults("DELETE", "/orders", 405, &headers(&[PROBLEM]), &refused), none, "no Allow");
    assert_ne!(faults("DELETE", "/orders", 404, &headers(&[PROBLEM]), &problem(404, "route_not_found", "/orders")), none);
}

#[test]
fn the_document_declares_fourteen_operations() {
    let operations: BTreeSet<String> = declared().into_iter().map(|(id, _)| id).collect();
    assert_eq!(operations.len(), 14, "{operations:?}");
}
