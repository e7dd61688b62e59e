//! Problems that say too little, too much, or the wrong thing.

use serde_json::{Value, json};

use super::{Mutant, answers, everywhere, json_of, mutant, whole};
use crate::exchange::Answer;

fn remove(body: &mut Value, member: &str) {
    body.as_object_mut().and_then(|members| members.shift_remove(member));
}

/// Every string of a JSON value.
fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.values().for_each(|member| strings(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Adds something to what a problem tells people.
fn say_more(answer: &mut Answer, more: &str) {
    answer.edit_json(|body| {
        body["detail"] = format!("{} {more}", body["detail"].as_str().unwrap_or_default()).into()
    });
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("a problem without `request_id`", &["get_order"], "`Problem` requires `request_id`", "drops the member",
            json_of(404, |body| remove(body, "request_id"))),
        mutant("a problem without `code`", &["place_order"], "`Problem` requires `code`", "drops the member of 404",
            json_of(404, |body| remove(body, "code"))),
        mutant("a fault without `pointer`", &["place_order"], "`Fault` requires `pointer`", "drops the member of the first",
            json_of(400, |body| remove(&mut body["errors"][0], "pointer"))),
        mutant("another `request_id` than the header", &["get_order"], "`request_id` is the `X-Request-Id` of the request", "makes one up",
            json_of(404, |body| body["request_id"] = uuid::Uuid::now_v7().to_string().into())),
        mutant("another `status` than the answer's", &["get_order"], "`status` is the status code of the answer, again", "says 400 in the body of 404",
            json_of(404, |body| body["status"] = json!(400))),
        mutant("a `code` that nobody knows", &["get_product"], "`code` is one of those that the document lists", "says `not_found`",
            json_of(404, |body| {
                body["code"] = "not_found".into();
                body["type"] = "/problems#not_found".into();
            })),
        mutant("the `code` of another thing", &["get_order"], "`code` is `order_not_found`", "says `product_not_found`",
            json_of(404, |body| {
                body["code"] = "product_not_found".into();
                body["type"] = "/problems#product_not_found".into();
            })),
        mutant("the `code` of another name", &["register"], "`code` says which value is taken", "says `sid_taken` of each",
            json_of(409, |body| {
                body["code"] = "sid_taken".into();
                body["type"] = "/problems#sid_taken".into();
            })),
        mutant("a refused token that is called missing", &["list_orders"], "`token_missing` is for no token, `token_invalid` for one that is not valid", "says `token_missing` of each",
            json_of(401, |body| {
                body["code"] = "token_missing".into();
                body["type"] = "/problems#token_missing".into();
            })),
        mutant("another `instance` than the path", &["get_product"], "`instance` is the path that was asked for", "says `/`",
            json_of(404, |body| body["instance"] = "/".into())),
        mutant("a `title` that changes", &["get_order"], "`title` is always the same for one `code`", "adds the path",
            json_of(404, |body| body["title"] = format!("Nothing at {}", body["instance"]).into())),
        mutant("no `errors`", &["list_orders"], "`errors` has every fault", "drops the member",
            json_of(400, |body| remove(body, "errors"))),
        mutant("the first fault alone", &["register"], "a refusal names all faults", "drops all faults but one",
            json_of(400, |body| if let Some(errors) = body["errors"].as_array_mut() { errors.truncate(1) })),
        mutant("faults without their place", &["place_order"], "`pointer` says where the fault is", "points at the whole body",
            json_of(400, |body| for error in body["errors"].as_array_mut().into_iter().flatten() { error["pointer"] = "".into() })),
        mutant("faults of another part", &["list_products"], "`in` says in which part of the request the fault is", "says `header`",
            json_of(400, |body| for error in body["errors"].as_array_mut().into_iter().flatten() { error["in"] = "header".into() })),
        mutant("a password that comes back", &["register"], "a refusal never shows the value that was sent", "writes the body's strings into the first fault",
            answers(400, |request, answer| {
                let mut sent = Vec::new();
                strings(&request.json(), &mut sent);
                answer.edit_json(|body| {
                    let detail = format!("{} (got {})", body["errors"][0]["detail"].as_str().unwrap_or_default(), sent.join(", "));
                    body["errors"][0]["detail"] = detail.into();
                });
            })),
        mutant("a new password that comes back", &["change_password"], "a refusal never shows the value that was sent", "writes the body's strings into `detail`",
            answers(400, |request, answer| {
                let mut sent = Vec::new();
                strings(&request.json(), &mut sent);
                say_more(answer, &sent.join(", "));
            })),
        mutant("a parameter that comes back", &["list_orders"], "a refusal never shows the value that was sent", "writes the query into `detail`",
            answers(400, |request, answer| {
                let query = request.query().into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(", ");
                say_more(answer, &query);
            })),
        mutant("an unknown user told from a wrong password", &["log_in"], "an unknown username and a wrong password are one and the same answer", "adds a sentence for names that nobody logged in with",
            whole(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                let name = request.json()["username"].as_str().unwrap_or_default().to_owned();
                if answer.status == 401 && upstream.memory().login_of_name(&name).is_none() {
                    say_more(&mut answer, "Who is that?");
                }
                answer
            }))),
        mutant("a deactivated user told from a wrong password", &["log_in", "deactivate_user"], "a deactivated user and a wrong password are one and the same answer", "adds a sentence for names that were deactivated",
            everywhere(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                let mut memory = upstream.memory();
                match (request.operation(), answer.status) {
                    (Some("deactivate_user"), 204) => {
                        if let Some(login) = memory.login(request.id()) {
                            memory.marks.insert(login.username);
                        }
                    }
                    (Some("log_in"), 401) if request.json()["username"].as_str().is_some_and(|name| memory.marks.contains(name)) => {
                        say_more(&mut answer, "This account was deactivated.");
                    }
                    _ => {}
                }
                drop(memory);
                answer
            }))),
        mutant("somebody else's order told from one that does not exist", &["get_order"], "a resource of somebody else answers exactly as one that does not exist", "adds a sentence for orders that exist",
            whole(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 404 && upstream.memory().order(request.id()).is_some() {
                    say_more(&mut answer, "It is somebody else's.");
                }
                answer
            }))),
        mutant("somebody else's user told from one that does not exist", &["get_user"], "a resource of somebody else answers exactly as one that does not exist", "adds a sentence for users that exist",
            whole(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 404 && upstream.memory().login(request.id()).is_some() {
                    say_more(&mut answer, "It is somebody else.");
                }
                answer
            }))),
    ]
}
