//! Invalid requests that are accepted.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use super::{Mutant, edit_requests, handle, mutant};
use crate::exchange::Request;

fn strip(request: &mut Request, known: &[&str]) {
    request.edit_json(|body| {
        if let Some(members) = body.as_object_mut() {
            members.retain(|name, _| known.contains(&name.as_str()));
        }
    });
}

fn replace_invalid(
    request: &mut Request,
    member: &str,
    broken: impl FnOnce(&str) -> bool,
    valid: impl FnOnce() -> String,
) {
    request.edit_json(|body| {
        if body[member].as_str().is_some_and(broken) {
            body[member] = valid().into();
        }
    });
}

fn fresh_email() -> String {
    format!("{}@mail.example.com", merch_test_store::fresh_name())
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("a member that is not declared", &["place_order"], "members that are not declared are refused", "drops it",
            edit_requests(|request| strip(request, &["product_id", "quantity"]))),
        mutant("a member that is not declared, in a change", &["update_user"], "members that are not declared are refused", "drops it",
            edit_requests(|request| strip(request, &["username", "email"]))),
        mutant("a member that is repeated", &["register"], "repeated members are refused", "takes the last one",
            edit_requests(Request::rewrite_json)),
        mutant("a member that is repeated, in an order", &["place_order"], "repeated members are refused", "takes the last one",
            edit_requests(Request::rewrite_json)),
        mutant("a parameter that is repeated", &["list_products"], "repeated parameters are refused", "takes the first one",
            edit_requests(|request| {
                let mut seen = std::collections::HashSet::new();
                request.retain_query(|name, _| seen.insert(name.to_owned()));
            })),
        mutant("a parameter that is not declared", &["list_orders"], "other query parameters are refused, where an operation has any", "drops it",
            edit_requests(|request| request.retain_query(|name, _| matches!(name, "limit" | "page_token" | "status")))),
        mutant("four pieces", &["place_order"], "`quantity` has the maximum 3", "takes 4 for 3",
            edit_requests(|request| request.edit_json(|body| if body["quantity"] == 4 { body["quantity"] = 3.into() }))),
        mutant("no piece", &["place_order"], "`quantity` has the minimum 1", "takes 0 for 1",
            edit_requests(|request| request.edit_json(|body| if body["quantity"] == 0 { body["quantity"] = 1.into() }))),
        mutant("a product with the id 0", &["place_order"], "`product_id` has the minimum 1", "answers as for one that does not exist",
            edit_requests(|request| request.edit_json(|body| if body["product_id"] == 0 { body["product_id"] = 2_000_000_000.into() }))),
        mutant("a number as a string", &["place_order"], "`quantity` is an integer", "reads the digits",
            edit_requests(|request| request.edit_json(|body| if let Some(number) = body["quantity"].as_str().and_then(|text| text.parse::<i64>().ok()) { body["quantity"] = number.into() }))),
        mutant("a part of a piece", &["place_order"], "`quantity` is an integer", "drops the fraction",
            edit_requests(|request| request.edit_json(|body| if let (true, Some(number)) = (body["quantity"].is_f64(), body["quantity"].as_f64()) {
                let below = if number >= 3.0 { 3 } else if number >= 2.0 { 2 } else { 1 };
                body["quantity"] = below.into();
            }))),
        mutant("a quantity that is left out", &["place_order"], "`Purchase` requires `quantity`", "takes 1",
            edit_requests(|request| request.edit_json(|body| if body.get("quantity").is_none() { body["quantity"] = 1.into() }))),
        mutant("an email that is left out", &["register"], "`Registration` requires `email`", "makes one up",
            edit_requests(|request| request.edit_json(|body| if body.get("email").is_none() { body["email"] = fresh_email().into() }))),
        mutant("null for an absent member", &["update_user"], "`email` is not nullable", "drops it",
            edit_requests(|request| request.edit_json(|body| if let Some(members) = body.as_object_mut() { members.retain(|_, value| *value != Value::Null) }))),
        mutant("a sid of sixteen characters", &["register"], "`sid` has at most 15 characters", "makes up a shorter one",
            edit_requests(|request| replace_invalid(request, "sid", |sid| sid.len() > 15, merch_test_store::fresh_name))),
        mutant("an empty sid", &["register"], "`sid` has at least 1 character", "makes one up",
            edit_requests(|request| replace_invalid(request, "sid", str::is_empty, merch_test_store::fresh_name))),
        mutant("a username of two characters", &["register"], "`username` has at least 3 characters", "makes up a longer one",
            edit_requests(|request| replace_invalid(request, "username", |name| name.len() < 3, merch_test_store::fresh_name))),
        mutant("a username of other characters", &["register"], "`username` is of letters, digits, `_`, `.` and `-`", "makes one up",
            edit_requests(|request| replace_invalid(request, "username", |name| name.len() >= 3 && !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)), merch_test_store::fresh_name))),
        mutant("an email that is none", &["register"], "`email` has the format email", "makes one up",
            edit_requests(|request| replace_invalid(request, "email", |email| !email.contains('@'), fresh_email))),
        mutant("an email with a space", &["update_user"], "`email` has no spaces or control characters", "makes one up",
            edit_requests(|request| replace_invalid(request, "email", |email| email.bytes().any(|byte| byte <= b' '), fresh_email))),
        mutant("an email of 256 characters", &["register"], "`email` has at most 255 characters", "makes one up",
            edit_requests(|request| replace_invalid(request, "email", |email| email.len() > 255, fresh_email))),
        mutant("a password of seven characters", &["register"], "`password` has at least 8 characters", "pads it",
            edit_requests(|request| replace_invalid(request, "password", |password| password.len() < 8, || "pass word".to_owned()))),
        mutant("a new password of 129 characters", &["change_password"], "`new_password` has at most 128 characters", "cuts it off",
            edit_requests(|request| replace_invalid(request, "new_password", |password| password.chars().count() > 128, || "x".repeat(128)))),
        mutant("a password with U+0000", &["register"], "`password` has any character but U+0000", "drops it",
            edit_requests(|request| replace_invalid(request, "password", |password| password.contains('\0'), || "pass word".to_owned()))),
        mutant("any media type", &["update_user"], "a body that is not declared as JSON answers 415", "declares it",
            edit_requests(|request| { request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json")); })),
        mutant("no media type", &["log_in"], "a body that is not declared as JSON answers 415", "declares it where nothing is declared",
            edit_requests(|request| { request.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json")); })),
        mutant("any number of bytes", &["place_order"], "a body that is larger than the server takes answers 413", "shortens what is long in it",
            edit_requests(|request| if request.body.len() > 60_000 {
                request.edit_json(|body| for value in body.as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
                    if value.as_str().is_some_and(|text| text.len() > 1000) { *value = "short".into() }
                });
            })),
        mutant("a body that is no JSON at all", &["update_user"], "malformed JSON answers 400", "takes it for `{}`",
            edit_requests(|request| if serde_json::from_slice::<Value>(&request.body).is_err() { request.body = "{}".into() })),
        mutant("any word is an order's id", &["cancel_order"], "`order_id` has the format uuid; else the answer is 400", "takes one that nothing has",
            edit_requests(|request| if uuid::Uuid::try_parse(request.id()).is_err() {
                request.target = format!("/orders/{}/cancel", uuid::Uuid::now_v7());
            })),
        mutant("a product id that is no number", &["get_product"], "`product_id` is an integer; else the answer is 400", "takes the product 1",
            handle(|upstream, mut request| Box::pin(async move {
                if request.id().parse::<i64>().is_err() { request.target = "/products/1".to_owned() }
                let mut answer = upstream.send(&request).await;
                if answer.status >= 400 { answer.edit_json(|problem| problem["instance"] = request.path().into()) }
                answer
            }))),
    ]
}
