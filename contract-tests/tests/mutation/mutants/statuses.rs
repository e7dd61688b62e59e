//! Wrong statuses.

use serde_json::json;

use super::{Mutant, edit_answers, handle, mutant};
use crate::exchange::Answer;

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("200 for a new order", &["place_order"], "placing an order returns 201", "returns 200",
            edit_answers(201, |_, answer| answer.set_status(200))),
        mutant("201 for a log-in", &["log_in"], "logging in returns 200", "returns 201",
            edit_answers(200, |_, answer| answer.set_status(201))),
        mutant("200 with a body for a log-out", &["log_out"], "logging out returns 204", "returns 200 with `{}`",
            edit_answers(204, |_, answer| {
                answer.set_status(200);
                answer.set("content-type", "application/json");
                answer.set_json(&json!({}));
            })),
        mutant("202 for a deactivation", &["deactivate_user"], "deactivating returns 204", "returns 202",
            edit_answers(204, |_, answer| answer.set_status(202))),
        mutant("403 for another user's order", &["get_order"], "any other id returns 404", "returns 403",
            edit_answers(404, |_, answer| answer.set_status(403))),
        mutant("400 for a taken name", &["register"], "a value of another user returns 409", "returns 400",
            edit_answers(409, |_, answer| answer.set_status(400))),
        mutant("409 for a reused key", &["place_order"], "a key with another body returns 422", "returns 409",
            edit_answers(422, |_, answer| answer.set_status(409))),
        mutant("403 for a missing token", &["list_orders"], "a missing token returns 401", "returns 403",
            edit_answers(401, |_, answer| answer.set_status(403))),
        mutant("409 for an outdated version", &["update_user"], "`If-Match` with another version returns 412", "returns 409, which is declared for another reason",
            edit_answers(412, |_, answer| answer.set_status(409))),
        mutant("400 for an unsupported media type", &["place_order"], "a body that is not declared as JSON returns 415", "returns 400",
            edit_answers(415, |_, answer| answer.set_status(400))),
        mutant("400 for a body that is too large", &["register"], "a body that is too large returns 413", "returns 400",
            edit_answers(413, |_, answer| answer.set_status(400))),
        mutant("422 for an invalid request", &["register"], "an invalid request returns 400", "returns 422",
            edit_answers(400, |_, answer| answer.set_status(422))),
        mutant("401 for a wrong current password", &["change_password"], "a wrong current password returns 403", "returns 401, with a challenge",
            edit_answers(403, |_, answer| {
                answer.set_status(401);
                answer.set("www-authenticate", "Bearer");
            })),
        mutant("400 for an unknown product", &["place_order"], "an unknown product returns 404", "returns 400",
            edit_answers(404, |_, answer| answer.set_status(400))),
        mutant("404 for an invalid id", &["get_order"], "an id that is not a UUID returns 400", "returns 404 `order_not_found`",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 400 { Answer::problem(&request, 404, "order_not_found") } else { answer }
            }))),
        mutant("404 for a product id below its minimum", &["get_product"], "`product_id` has the minimum 1; below, the status is 400", "returns 404 `product_not_found`",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 400 { Answer::problem(&request, 404, "product_not_found") } else { answer }
            }))),
        mutant("500 for another authorization scheme", &["get_user"], "a scheme other than Bearer returns 401", "returns 500 if `Authorization` does not begin with `Bearer `",
            handle(|upstream, request| Box::pin(async move {
                if request.header("authorization").is_some_and(|value| !value.starts_with("Bearer ")) {
                    return Answer::problem(&request, 500, "internal_error");
                }
                upstream.send(&request).await
            }))),
        mutant("500 for malformed JSON", &["place_order"], "malformed JSON returns 400", "returns 500",
            handle(|upstream, request| Box::pin(async move {
                if serde_json::from_slice::<serde_json::Value>(&request.body).is_err() {
                    return Answer::problem(&request, 500, "internal_error");
                }
                upstream.send(&request).await
            }))),
        mutant("500 for a taken name", &["update_user"], "a value of another user returns 409", "returns 500",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 409 { Answer::problem(&request, 500, "internal_error") } else { answer }
            }))),
        mutant("200 with a problem as its body", &["get_product"], "an unknown product returns 404", "returns 200 with the problem as its body",
            edit_answers(404, |_, answer| answer.status = 200)),
        mutant("a repeated cancel is refused", &["cancel_order"], "a repeated cancel returns the same order", "returns 404 the second time",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                let again = answer.status == 200 && !upstream.memory().marks.insert(request.id().to_owned());
                if again { Answer::problem(&request, 404, "order_not_found") } else { answer }
            }))),
        mutant("404 for an undeclared method", &["list_products"], "a method that the path does not declare returns 405", "returns 404 `route_not_found`",
            super::handle_all(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 405 { Answer::problem(&request, 404, "route_not_found") } else { answer }
            }))),
        mutant("200 for every path", &["greet"], "unknown paths return 404", "returns 200 with HTML",
            super::handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 404 && request.operation().is_none() {
                    answer.status = 200;
                    answer.set("content-type", "text/html");
                    answer.body = "<!doctype html><title>Store</title>".into();
                }
                answer
            }))),
    ]
}
