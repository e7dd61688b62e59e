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
        mutant("an undeclared member is accepted", &["place_order"], "undeclared members are refused", "drops it",
            edit_requests(|request| strip(request, &["product_id", "quantity"]))),
        mutant("an undeclared member in a change is accepted", &["update_user"], "undeclared members are refused", "drops it",
            edit_requests(|request| strip(request, &["username", "email"]))),
        mutant("a repeated member is accepted", &["register"], "repeated members are refused", "keeps the last one",
            edit_requests(Request::rewrite_json)),
        mutant("a repeated member in an order is accepted", &["place_order"], "repeated members are refused", "keeps the last one",
            edit_requests(Request::rewrite_json)),
        mutant("a repeated parameter is accepted", &["list_products"], "repeated parameters are refused", "keeps the first one",
            edit_requests(|request| {
                let mut seen = std::collections::HashSet::new();
                request.retain_query(|name, _| seen.insert(name.to_owned()));
            })),
        mutant("an undeclared parameter is accepted", &["list_orders"], "undeclared query parameters are refused if the operation declares any", "drops it",
            edit_requests(|request| request.retain_query(|name, _| matches!(name, "limit" | "page_token" | "status")))),
        mutant("an order for four pieces is accepted", &["place_order"], "`quantity` has the maximum 3", "sends 3 in place of 4",
            edit_requests(|request| request.edit_json(|body| if body["quantity"] == 4 { body["quantity"] = 3.into() }))),
        mutant("an order for no pieces is accepted", &["place_order"], "`quantity` has the minimum 1", "sends 1 in place of 0",
            edit_requests(|request| request.edit_json(|body| if body["quantity"] == 0 { body["quantity"] = 1.into() }))),
        mutant("a product id of 0 is accepted", &["place_order"], "`product_id` has the minimum 1", "returns 404, as for an unknown product",
            edit_requests(|request| request.edit_json(|body| if body["product_id"] == 0 { body["product_id"] = 2_000_000_000.into() }))),
        mutant("a number as a string is accepted", &["place_order"], "`quantity` is an integer", "parses the string",
            edit_requests(|request| request.edit_json(|body| if let Some(number) = body["quantity"].as_str().and_then(|text| text.parse::<i64>().ok()) { body["quantity"] = number.into() }))),
        mutant("a fractional quantity is accepted", &["place_order"], "`quantity` is an integer", "drops the fraction",
            edit_requests(|request| request.edit_json(|body| if let (true, Some(number)) = (body["quantity"].is_f64(), body["quantity"].as_f64()) {
                let below = if number >= 3.0 { 3 } else if number >= 2.0 { 2 } else { 1 };
                body["quantity"] = below.into();
            }))),
        mutant("an order without `quantity` is accepted", &["place_order"], "`Purchase` requires `quantity`", "sends 1",
            edit_requests(|request| request.edit_json(|body| if body.get("quantity").is_none() { body["quantity"] = 1.into() }))),
        mutant("a registration without `email` is accepted", &["register"], "`Registration` requires `email`", "generates one",
            edit_requests(|request| request.edit_json(|body| if body.get("email").is_none() { body["email"] = fresh_email().into() }))),
        mutant("null is accepted for a member that is not nullable", &["update_user"], "`email` is not nullable", "drops it",
            edit_requests(|request| request.edit_json(|body| if let Some(members) = body.as_object_mut() { members.retain(|_, value| *value != Value::Null) }))),
        mutant("a sid of sixteen characters is accepted", &["register"], "`sid` has at most 15 characters", "generates a shorter one",
            edit_requests(|request| replace_invalid(request, "sid", |sid| sid.len() > 15, merch_test_store::fresh_name))),
        mutant("an empty sid is accepted", &["register"], "`sid` has at least 1 character", "generates one",
            edit_requests(|request| replace_invalid(request, "sid", str::is_empty, merch_test_store::fresh_name))),
        mutant("a username of two characters is accepted", &["register"], "`username` has at least 3 characters", "generates a longer one",
            edit_requests(|request| replace_invalid(request, "username", |name| name.len() < 3, merch_test_store::fresh_name))),
        mutant("a username with other characters is accepted", &["register"], "`username` consists of letters, digits, `_`, `.` and `-`", "generates one",
            edit_requests(|request| replace_invalid(request, "username", |name| name.len() >= 3 && !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)), merch_test_store::fresh_name))),
        mutant("an invalid email is accepted", &["register"], "`email` has the format email", "generates one",
            edit_requests(|request| replace_invalid(request, "email", |email| !email.contains('@'), fresh_email))),
        mutant("an email with a space is accepted", &["update_user"], "`email` has no spaces or control characters", "generates one",
            edit_requests(|request| replace_invalid(request, "email", |email| email.bytes().any(|byte| byte <= b' '), fresh_email))),
        mutant("an email of 256 characters is accepted", &["register"], "`email` has at most 255 characters", "generates one",
            edit_requests(|request| replace_invalid(request, "email", |email| email.len() > 255, fresh_email))),
        mutant("a password of seven characters is accepted", &["register"], "`password` has at least 8 characters", "pads it",
            edit_requests(|request| replace_invalid(request, "password", |password| password.len() < 8, || "pass word".to_owned()))),
        mutant("a new password of 129 characters is accepted", &["change_password"], "`new_password` has at most 128 characters", "truncates it",
            edit_requests(|request| replace_invalid(request, "new_password", |password| password.chars().count() > 128, || "x".repeat(128)))),
        mutant("a password with U+0000 is accepted", &["register"], "`password` has any character but U+0000", "drops it",
            edit_requests(|request| replace_invalid(request, "password", |password| password.contains('\0'), || "pass word".to_owned()))),
        mutant("any media type is accepted", &["update_user"], "a body that is not declared as JSON returns 415", "declares it as JSON",
            edit_requests(|request| { request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json")); })),
        mutant("a body without a media type is accepted", &["log_in"], "a body that is not declared as JSON returns 415", "declares it as JSON",
            edit_requests(|request| { request.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json")); })),
        mutant("a body of any size is accepted", &["place_order"], "a body over the server's limit returns 413", "shortens its long strings",
            edit_requests(|request| if request.body.len() > 60_000 {
                request.edit_json(|body| for value in body.as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
                    if value.as_str().is_some_and(|text| text.len() > 1000) { *value = "short".into() }
                });
            })),
        mutant("malformed JSON is accepted", &["update_user"], "malformed JSON returns 400", "sends `{}`",
            edit_requests(|request| if serde_json::from_slice::<Value>(&request.body).is_err() { request.body = "{}".into() })),
        mutant("any text is accepted as an order id", &["cancel_order"], "`order_id` has the format uuid; otherwise, the status is 400", "sends an unknown id in place of it",
            edit_requests(|request| if uuid::Uuid::try_parse(request.id()).is_err() {
                request.target = format!("/orders/{}/cancel", uuid::Uuid::now_v7());
            })),
        mutant("a product id that is not a number is accepted", &["get_product"], "`product_id` is an integer; otherwise, the status is 400", "sends 1 in place of it",
            handle(|upstream, mut request| Box::pin(async move {
                if request.id().parse::<i64>().is_err() { request.target = "/products/1".to_owned() }
                let mut answer = upstream.send(&request).await;
                if answer.status >= 400 { answer.edit_json(|problem| problem["instance"] = request.path().into()) }
                answer
            }))),
    ]
}
