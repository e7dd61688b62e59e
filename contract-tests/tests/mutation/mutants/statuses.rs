//! Wrong statuses.

use serde_json::json;

use super::{Mutant, edit_answers, handle, mutant};
use crate::exchange::Answer;

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("an order placed with 200", &["place_order"], "placing an order answers 201", "says 200",
            edit_answers(201, |_, answer| answer.set_status(200))),
        mutant("a log-in with 201", &["log_in"], "logging in answers 200", "says 201",
            edit_answers(200, |_, answer| answer.set_status(201))),
        mutant("a log-out with 200 and a body", &["log_out"], "logging out answers 204", "says 200 with `{}`",
            edit_answers(204, |_, answer| {
                answer.set_status(200);
                answer.set("content-type", "application/json");
                answer.set_json(&json!({}));
            })),
        mutant("a deactivation with 202", &["deactivate_user"], "deactivating answers 204", "says 202",
            edit_answers(204, |_, answer| answer.set_status(202))),
        mutant("403 for another user's order", &["get_order"], "any other id answers 404", "says 403",
            edit_answers(404, |_, answer| answer.set_status(403))),
        mutant("400 for a name that is taken", &["register"], "a value that another user has answers 409", "says 400",
            edit_answers(409, |_, answer| answer.set_status(400))),
        mutant("409 for a key used again", &["place_order"], "a key with another body answers 422", "says 409",
            edit_answers(422, |_, answer| answer.set_status(409))),
        mutant("403 for no token", &["list_orders"], "no token answers 401", "says 403",
            edit_answers(401, |_, answer| answer.set_status(403))),
        mutant("409 for another version", &["update_user"], "`If-Match` with another version answers 412", "says 409, which is declared for something else",
            edit_answers(412, |_, answer| answer.set_status(409))),
        mutant("400 for another media type", &["place_order"], "a body that is not declared as JSON answers 415", "says 400",
            edit_answers(415, |_, answer| answer.set_status(400))),
        mutant("400 for a body that is too large", &["register"], "a body that is too large answers 413", "says 400",
            edit_answers(413, |_, answer| answer.set_status(400))),
        mutant("422 for a request that is not valid", &["register"], "a request that is not what the operation takes answers 400", "says 422",
            edit_answers(400, |_, answer| answer.set_status(422))),
        mutant("401 for a wrong current password", &["change_password"], "a wrong current password answers 403", "says 401, with a challenge",
            edit_answers(403, |_, answer| {
                answer.set_status(401);
                answer.set("www-authenticate", "Bearer");
            })),
        mutant("400 for a product that does not exist", &["place_order"], "an unknown product answers 404", "says 400",
            edit_answers(404, |_, answer| answer.set_status(400))),
        mutant("404 for an id that is none", &["get_order"], "an id that is no UUID answers 400", "says 404 `order_not_found`",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 400 { Answer::problem(&request, 404, "order_not_found") } else { answer }
            }))),
        mutant("404 for a product id past its bound", &["get_product"], "`product_id` has the minimum 1; below it the answer is 400", "says 404 `product_not_found`",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 400 { Answer::problem(&request, 404, "product_not_found") } else { answer }
            }))),
        mutant("500 for another scheme", &["get_user"], "another scheme than Bearer answers 401", "says 500 when `Authorization` does not begin with `Bearer `",
            handle(|upstream, request| Box::pin(async move {
                if request.header("authorization").is_some_and(|value| !value.starts_with("Bearer ")) {
                    return Answer::problem(&request, 500, "internal_error");
                }
                upstream.send(&request).await
            }))),
        mutant("500 for a body that is no JSON", &["place_order"], "malformed JSON answers 400", "says 500",
            handle(|upstream, request| Box::pin(async move {
                if serde_json::from_slice::<serde_json::Value>(&request.body).is_err() {
                    return Answer::problem(&request, 500, "internal_error");
                }
                upstream.send(&request).await
            }))),
        mutant("500 for a name that is taken", &["update_user"], "a value that another user has answers 409", "says 500",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 409 { Answer::problem(&request, 500, "internal_error") } else { answer }
            }))),
        mutant("200 with the error inside", &["get_product"], "an unknown product answers 404", "says 200 with the problem as its body",
            edit_answers(404, |_, answer| answer.status = 200)),
        mutant("cancelling again is refused", &["cancel_order"], "cancelling again returns the same order again", "says 404 the second time",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                let again = answer.status == 200 && !upstream.memory().marks.insert(request.id().to_owned());
                if again { Answer::problem(&request, 404, "order_not_found") } else { answer }
            }))),
        mutant("404 for a method that a path does not have", &["list_products"], "a method that a path does not have answers 405", "says 404 `route_not_found`",
            super::handle_all(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 405 { Answer::problem(&request, 404, "route_not_found") } else { answer }
            }))),
        mutant("a page for every path", &["greet"], "paths that do not exist answer 404", "says 200 with HTML",
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
