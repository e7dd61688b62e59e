//! Headers that are missing, wrong or repeated, and bodies where none is allowed.

use hyper::Method;

use super::{Mutant, edit_answers, edit_requests, handle_all, mutant};
use crate::exchange::{Answer, Framing};

fn drop_header(answer: &mut Answer, name: &str) {
    answer.headers.remove(name);
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("no `ETag`", &["get_user"], "a single user has an `ETag`", "drops the header",
            edit_answers(200, |_, answer| drop_header(answer, "etag"))),
        mutant("no `ETag` with 304", &["get_order"], "304 has `ETag`", "drops the header",
            edit_answers(304, |_, answer| drop_header(answer, "etag"))),
        mutant("a weak `ETag`", &["get_product"], "`ETag` matches `^\"[0-9]+\"$`", "prefixes it with `W/`",
            edit_answers(200, |_, answer| {
                let tag = format!("W/{}", answer.header("etag").unwrap_or_default());
                answer.set("etag", &tag);
            })),
        mutant("an `ETag` that never changes", &["update_user"], "the `ETag` is made from the version", "sends `\"1\"`",
            edit_answers(200, |_, answer| answer.set("etag", "\"1\""))),
        mutant("no `Location`", &["register"], "201 has `Location`", "drops the header",
            edit_answers(201, |_, answer| drop_header(answer, "location"))),
        mutant("a `Location` of an unknown resource", &["place_order"], "`Location` is the URL of the new order", "sends an unknown id",
            edit_answers(201, |_, answer| answer.set("location", &format!("/orders/{}", uuid::Uuid::now_v7())))),
        mutant("a `Location` of another resource", &["register"], "`Location` is the URL of the new user", "sends the path of the product list",
            edit_answers(201, |_, answer| answer.set("location", "/products"))),
        mutant("no `WWW-Authenticate`", &["cancel_order"], "401 has `WWW-Authenticate`", "drops the header",
            edit_answers(401, |_, answer| drop_header(answer, "www-authenticate"))),
        mutant("no `WWW-Authenticate` at log-in", &["log_in"], "401 has `WWW-Authenticate`", "drops the header",
            edit_answers(401, |_, answer| drop_header(answer, "www-authenticate"))),
        mutant("a challenge of another scheme", &["list_orders"], "the challenge is `Bearer`", "sends `Basic`",
            edit_answers(401, |_, answer| answer.set("www-authenticate", "Basic realm=\"store\""))),
        mutant("no `Retry-After` with 429", &["log_in"], "429 has `Retry-After`", "drops the header",
            edit_answers(429, |_, answer| drop_header(answer, "retry-after"))),
        mutant("a `Retry-After` of zero", &["log_in"], "`Retry-After` has the minimum 1", "sends 0",
            edit_answers(429, |_, answer| answer.set("retry-after", "0"))),
        mutant("no `Allow`", &["place_order"], "405 has `Allow`", "drops the header",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 405 {
                    drop_header(&mut answer, "allow");
                }
                answer
            }))),
        mutant("an `Allow` with too few methods", &["place_order"], "`Allow` lists the path's methods", "lists only the first one",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if let Some(first) = answer.header("allow").and_then(|allow| allow.split(',').next()).map(str::to_owned) {
                    answer.set("allow", &first);
                }
                answer
            }))),
        mutant("no `X-Request-Id`", &["greet"], "every response has `X-Request-Id`", "drops the header",
            edit_answers(0, |_, answer| drop_header(answer, "x-request-id"))),
        mutant("no `X-Request-Id` with a refusal", &["log_out"], "every response has `X-Request-Id`", "drops the header of 401",
            edit_answers(401, |_, answer| drop_header(answer, "x-request-id"))),
        mutant("a valid `X-Request-Id` is replaced", &["get_product"], "a valid `X-Request-Id` is used", "drops it",
            edit_requests(|request| drop(request.headers.remove("x-request-id")))),
        mutant("the same `X-Request-Id` for all requests", &["greet"], "without `X-Request-Id`, the server generates one", "always sends `1`, unless one was sent",
            edit_answers(0, |request, answer| {
                if request.header("x-request-id").is_none() {
                    answer.set("x-request-id", "1");
                }
            })),
        mutant("an invalid `X-Request-Id` is used", &["greet"], "an `X-Request-Id` with other characters is replaced", "sends it back",
            edit_answers(200, |request, answer| {
                if let Some(id) = request.headers.get("x-request-id") {
                    answer.headers.insert("x-request-id", id.clone());
                }
            })),
        mutant("a problem as plain JSON", &["get_product"], "errors are `application/problem+json`", "sends `application/json`",
            edit_answers(404, |_, answer| answer.set("content-type", "application/json"))),
        mutant("a refusal as plain JSON", &["log_out"], "errors are `application/problem+json`", "sends `application/json` with 401",
            edit_answers(401, |_, answer| answer.set("content-type", "application/json"))),
        mutant("a greeting as HTML", &["greet"], "the greeting is `application/json`", "sends `text/html`",
            edit_answers(200, |_, answer| answer.set("content-type", "text/html; charset=utf-8"))),
        mutant("no `Content-Type`", &["list_products"], "the response is `application/json`", "drops the header",
            edit_answers(200, |_, answer| drop_header(answer, "content-type"))),
        mutant("two `Content-Type`s", &["get_user"], "a header that is not a list occurs once", "adds `text/plain`",
            edit_answers(200, |_, answer| answer.add("content-type", "text/plain"))),
        mutant("two `ETag`s", &["get_product"], "a header that is not a list occurs once", "adds a second one",
            edit_answers(200, |_, answer| answer.add("etag", "\"0\""))),
        mutant("304 with a body", &["get_product"], "304 has no body", "sends the product",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if request.operation() == Some("get_product") && answer.status == 304 {
                    answer.body = "{\"id\":1}".into();
                    answer.set("content-type", "application/json");
                    answer.framing = Framing::ForcedBody;
                }
                answer
            }))),
        mutant("HEAD with a body", &["get_product"], "HEAD returns the headers of GET without a body", "sends GET's body",
            handle_all(|upstream, mut request| Box::pin(async move {
                let head = request.method == Method::HEAD && request.operation() == Some("get_product");
                if head {
                    request.method = Method::GET;
                }
                let mut answer = upstream.send(&request).await;
                if head && !answer.body.is_empty() {
                    answer.framing = Framing::ForcedBody;
                }
                answer
            }))),
    ]
}
