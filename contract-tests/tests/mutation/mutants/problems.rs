//! Problems with missing, excessive or wrong content.

use serde_json::{Value, json};

use super::{Mutant, edit_answers, edit_json_of, handle, handle_all, mutant};
use crate::exchange::Answer;

fn remove(body: &mut Value, member: &str) {
    body.as_object_mut().and_then(|members| members.shift_remove(member));
}

fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.values().for_each(|member| strings(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn append_detail(answer: &mut Answer, more: &str) {
    answer.edit_json(|body| {
        body["detail"] = format!("{} {more}", body["detail"].as_str().unwrap_or_default()).into()
    });
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("a problem without `request_id`", &["get_order"], "`Problem` requires `request_id`", "drops the member",
            edit_json_of(404, |body| remove(body, "request_id"))),
        mutant("a problem without `code`", &["place_order"], "`Problem` requires `code`", "drops the member of 404",
            edit_json_of(404, |body| remove(body, "code"))),
        mutant("a fault without `pointer`", &["place_order"], "`Fault` requires `pointer`", "drops the member of the first fault",
            edit_json_of(400, |body| remove(&mut body["errors"][0], "pointer"))),
        mutant("a `request_id` that differs from the header", &["get_order"], "`request_id` is the `X-Request-Id` of the request", "generates one",
            edit_json_of(404, |body| body["request_id"] = uuid::Uuid::now_v7().to_string().into())),
        mutant("a `status` that differs from the response's", &["get_order"], "`status` is the response's status code", "writes 400 in the body of 404",
            edit_json_of(404, |body| body["status"] = json!(400))),
        mutant("an undeclared `code`", &["get_product"], "`code` is one of those that the document lists", "writes `not_found`",
            edit_json_of(404, |body| {
                body["code"] = "not_found".into();
                body["type"] = "/problems#not_found".into();
            })),
        mutant("the `code` of another resource", &["get_order"], "`code` is `order_not_found`", "writes `product_not_found`",
            edit_json_of(404, |body| {
                body["code"] = "product_not_found".into();
                body["type"] = "/problems#product_not_found".into();
            })),
        mutant("the `code` of another field", &["register"], "`code` names the taken value", "always writes `sid_taken`",
            edit_json_of(409, |body| {
                body["code"] = "sid_taken".into();
                body["type"] = "/problems#sid_taken".into();
            })),
        mutant("`token_missing` for an invalid token", &["list_orders"], "`token_missing` is for a missing token, `token_invalid` for an invalid one", "always writes `token_missing`",
            edit_json_of(401, |body| {
                body["code"] = "token_missing".into();
                body["type"] = "/problems#token_missing".into();
            })),
        mutant("an `instance` that differs from the path", &["get_product"], "`instance` is the requested path", "sends `/`",
            edit_json_of(404, |body| body["instance"] = "/".into())),
        mutant("a `title` that varies", &["get_order"], "each `code` has one `title`", "adds the path",
            edit_json_of(404, |body| body["title"] = format!("Nothing at {}", body["instance"]).into())),
        mutant("no `errors`", &["list_orders"], "`errors` lists every fault", "drops the member",
            edit_json_of(400, |body| remove(body, "errors"))),
        mutant("only the first fault", &["register"], "a refusal lists all faults", "drops all faults but one",
            edit_json_of(400, |body| if let Some(errors) = body["errors"].as_array_mut() { errors.truncate(1) })),
        mutant("faults that point at the whole body", &["place_order"], "`pointer` is the position of the fault", "points at the whole body",
            edit_json_of(400, |body| for error in body["errors"].as_array_mut().into_iter().flatten() { error["pointer"] = "".into() })),
        mutant("faults in another part of the request", &["list_products"], "`in` is the part of the request with the fault", "writes `header`",
            edit_json_of(400, |body| for error in body["errors"].as_array_mut().into_iter().flatten() { error["in"] = "header".into() })),
        mutant("a password is echoed", &["register"], "a refusal never echoes the sent value", "writes the body's strings into the first fault",
            edit_answers(400, |request, answer| {
                let mut sent = Vec::new();
                strings(&request.json(), &mut sent);
                answer.edit_json(|body| {
                    let detail = format!("{} (got {})", body["errors"][0]["detail"].as_str().unwrap_or_default(), sent.join(", "));
                    body["errors"][0]["detail"] = detail.into();
                });
            })),
        mutant("a new password is echoed", &["change_password"], "a refusal never echoes the sent value", "writes the body's strings into `detail`",
            edit_answers(400, |request, answer| {
                let mut sent = Vec::new();
                strings(&request.json(), &mut sent);
                append_detail(answer, &sent.join(", "));
            })),
        mutant("a parameter is echoed", &["list_orders"], "a refusal never echoes the sent value", "writes the query into `detail`",
            edit_answers(400, |request, answer| {
                let query = request.query().into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(", ");
                append_detail(answer, &query);
            })),
        mutant("an unknown user differs from a wrong password", &["log_in"], "an unknown username and a wrong password get the same response", "adds a sentence for names that never logged in",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                let name = request.json()["username"].as_str().unwrap_or_default().to_owned();
                if answer.status == 401 && upstream.memory().login_of_name(&name).is_none() {
                    append_detail(&mut answer, "Who is that?");
                }
                answer
            }))),
        mutant("a deactivated user differs from a wrong password", &["log_in", "deactivate_user"], "a deactivated user and a wrong password get the same response", "adds a sentence for names that were deactivated",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                let mut memory = upstream.memory();
                match (request.operation(), answer.status) {
                    (Some("deactivate_user"), 204) => {
                        if let Some(login) = memory.login(request.id()) {
                            memory.marks.insert(login.username);
                        }
                    }
                    (Some("log_in"), 401) if request.json()["username"].as_str().is_some_and(|name| memory.marks.contains(name)) => {
                        append_detail(&mut answer, "This account was deactivated.");
                    }
                    _ => {}
                }
                drop(memory);
                answer
            }))),
        mutant("another user's order differs from an unknown one", &["get_order"], "a resource of another user gets the same response as an unknown one", "adds a sentence for orders that exist",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 404 && upstream.memory().order(request.id()).is_some() {
                    append_detail(&mut answer, "It belongs to another user.");
                }
                answer
            }))),
        mutant("another user differs from an unknown one", &["get_user"], "a resource of another user gets the same response as an unknown one", "adds a sentence for users that exist",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 404 && upstream.memory().login(request.id()).is_some() {
                    append_detail(&mut answer, "It is another user.");
                }
                answer
            }))),
    ]
}
