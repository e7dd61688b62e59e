//! Users changed by others, partially, or not at all.

use hyper::Method;
use serde_json::Value;

use super::{
    Mutant, answer_304, edit_answers, edit_json_of, edit_requests, handle, handle_all, mutant,
};
use crate::{
    exchange::{Answer, Request},
    proxy::{AnswerFuture, Upstream},
};

/// Performs another user's request as the owner.
fn with_owners_token(upstream: Upstream, request: Request) -> AnswerFuture {
    Box::pin(async move {
        let answer = upstream.send(&request).await;
        let user = upstream.memory().login(request.id());
        match user {
            Some(user) if answer.status == 404 => {
                upstream.send(&request.with_token(&user.token)).await
            }
            _ => answer,
        }
    })
}

/// Registers under a free name on a conflict, and responds with the requested name.
fn register_despite_conflict(
    upstream: Upstream,
    mut request: Request,
    taken: fn(&Upstream, &Value) -> bool,
) -> AnswerFuture {
    Box::pin(async move {
        let answer = upstream.send(&request).await;
        let asked = request.json();
        if answer.status != 409 || !taken(&upstream, &asked) {
            return answer;
        }
        let name = merch_test_store::fresh_name();
        request.edit_json(|body| {
            body["sid"] = name.clone().into();
            body["username"] = name.clone().into();
            body["email"] = format!("{name}@mail.example.com").into();
        });
        let mut answer = upstream.send(&request).await;
        answer.edit_json(|user| {
            for member in ["sid", "username", "email"] {
                user[member] = asked[member].clone();
            }
        });
        answer
    })
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("another user is readable", &["get_user"], "reads the caller; any other id returns 404", "sends that user's token", handle(with_owners_token)),
        mutant("another user changes a user", &["update_user"], "any other user returns 404", "sends that user's token", handle(with_owners_token)),
        mutant("another user deactivates a user", &["deactivate_user"], "deactivates the caller; any other returns 404", "sends that user's token", handle(with_owners_token)),
        mutant("another user changes a password", &["change_password"], "replaces the user's own password; any other user returns 404", "sends that user's token and password",
            handle(|upstream, mut request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                let Some(user) = upstream.memory().login(request.id()).filter(|_| answer.status == 404) else { return answer };
                request.edit_json(|body| body["current_password"] = user.password.into());
                upstream.send(&request.with_token(&user.token)).await
            }))),
        mutant("a password is changed without the current one", &["change_password"], "the current password is required; a wrong one returns 403", "sends the right one",
            handle(|upstream, mut request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                let Some(user) = upstream.memory().login(request.id()).filter(|_| answer.status == 403) else { return answer };
                request.edit_json(|body| body["current_password"] = user.password.into());
                upstream.send(&request).await
            }))),
        mutant("a password is not changed", &["change_password"], "replaces the password", "logs out instead if the current password is right",
            handle(|upstream, request| Box::pin(async move {
                let body = request.json();
                let right = upstream.memory().login(request.id()).is_some_and(|user| body["current_password"] == *user.password);
                let valid = body["new_password"].as_str().is_some_and(|new| (8..=128).contains(&new.chars().count()) && !new.contains('\0'));
                if !right || !valid || body.as_object().is_none_or(|body| body.len() != 2) { return upstream.send(&request).await }
                let mut log_out = Request::new(Method::POST, "/logout");
                log_out.headers = request.headers.clone();
                let mut answer = upstream.send(&log_out).await;
                answer.edit_json(|problem| problem["instance"] = request.path().into());
                answer
            }))),
        mutant("`If-Match` is ignored", &["update_user"], "`If-Match` with an outdated version changes nothing", "drops it",
            edit_requests(|request| { request.headers.remove("if-match"); })),
        mutant("a refused change is made", &["update_user"], "`If-Match` with an outdated version changes nothing", "makes the change and returns 412",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 412 {
                    let mut again = request.clone();
                    again.headers.remove("if-match");
                    upstream.send(&again).await;
                }
                answer
            }))),
        mutant("`If-None-Match` is ignored by users", &["get_user"], "304 while nothing has changed", "drops it",
            edit_requests(|request| { request.headers.remove("if-none-match"); })),
        mutant("`If-None-Match` is ignored by products", &["get_product"], "304 while nothing has changed", "drops it",
            edit_requests(|request| { request.headers.remove("if-none-match"); })),
        mutant("`If-None-Match` with several tags", &["get_product"], "304 if one of the entity tags is current", "forwards only one tag",
            edit_requests(|request| if request.header("if-none-match").is_some_and(|tags| tags.contains(',')) { request.headers.remove("if-none-match"); })),
        mutant("`If-None-Match: *`", &["get_order"], "`*` stands for any version", "drops it",
            edit_requests(|request| if request.header("if-none-match") == Some("*") { request.headers.remove("if-none-match"); })),
        mutant("304 after a change", &["get_user"], "304 only while nothing has changed", "returns 304 to every `If-None-Match` if the user exists",
            edit_answers(200, answer_304)),
        mutant("a change of one member changes another", &["update_user"], "changes only the sent members", "generates an `email` if none was sent",
            edit_requests(|request| request.edit_json(|body| if body["username"].is_string() && body.get("email").is_none() {
                body["email"] = format!("{}@blank.example.com", merch_test_store::fresh_name()).into();
            }))),
        mutant("a change that blanks an absent member", &["update_user"], "changes only the sent members", "shows an empty `username` when none was sent",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 200 && request.json().get("username").is_none() {
                    answer.edit_json(|user| user["username"] = "".into());
                }
                answer
            }))),
        mutant("a change that is not stored", &["update_user"], "changes the sent members", "shows it in the response without forwarding it",
            handle(|upstream, mut request| Box::pin(async move {
                let sent = request.json();
                let answer = upstream.send(&Request { method: Method::GET, target: request.target.clone(), headers: request.headers.clone(), body: bytes::Bytes::new() }).await;
                let fine = sent.as_object().is_some_and(|members| !members.is_empty() && members.values().all(|value| value.as_str().is_some_and(|text| text.len() > 10)));
                if !fine || answer.status != 200 || request.header("if-match").is_some() { return upstream.send(&request).await }
                // Validates the request by performing and undoing it.
                let before = answer.json();
                let mut answer = upstream.send(&request).await;
                if answer.status == 200 {
                    request.edit_json(|body| for (member, value) in body.as_object_mut().into_iter().flatten() { *value = before[member].clone() });
                    let back = upstream.send(&request).await;
                    if let Some(tag) = back.header("etag") { answer.set("etag", tag) }
                }
                answer
            }))),
        mutant("an `updated_at` that never changes", &["update_user"], "`updated_at` is the time of the user's last change", "writes `created_at`",
            edit_json_of(200, |user| user["updated_at"] = user["created_at"].clone())),
        mutant("a new user that is inactive", &["register"], "`active` is false after deactivation", "writes false",
            edit_json_of(201, |user| user["active"] = false.into())),
        mutant("a user with another name than was registered", &["register"], "the response is the new user", "writes the username in capital letters",
            edit_json_of(201, |user| user["username"] = user["username"].as_str().map(str::to_uppercase).into())),
        mutant("names that differ only in case are accepted", &["register"], "names are unique without regard to case", "replaces a name that differs only in case",
            handle(|upstream, request| register_despite_conflict(upstream, request, |upstream, asked| {
                // The name exists in another case.
                let name = asked["username"].as_str().unwrap_or_default();
                upstream.memory().login_of_name(name).is_some_and(|login| login.username != name)
            }))),
        mutant("a taken sid is accepted", &["register"], "`sid` is unique", "replaces a taken sid if the username is new",
            handle(|upstream, request| Box::pin(async move {
                let taken = upstream.send(&request).await;
                if taken.json()["code"] != "sid_taken" { return taken }
                register_despite_conflict(upstream, request, |_, _| true).await
            }))),
        mutant("a name of a deactivated user is accepted", &["register"], "names of deactivated users stay taken", "replaces a deactivated user's names",
            handle_all(|upstream, request| Box::pin(async move {
                if request.operation() == Some("register") {
                    return register_despite_conflict(upstream, request, |upstream, asked| {
                        asked["username"].as_str().is_some_and(|name| upstream.memory().marks.contains(name))
                    }).await;
                }
                let login = upstream.memory().login(request.id());
                let answer = upstream.send(&request).await;
                if let (Some("deactivate_user"), 204, Some(login)) = (request.operation(), answer.status, login) {
                    upstream.memory().marks.insert(login.username);
                }
                answer
            }))),
        mutant("a new user is not stored", &["register"], "creates a buyer, whose URL is `Location`", "generates another id",
            handle(|upstream, request| Box::pin(async move {
                let mut answer: Answer = upstream.send(&request).await;
                if answer.status == 201 {
                    let id = uuid::Uuid::now_v7().to_string();
                    answer.set("location", &format!("/users/{id}"));
                    answer.edit_json(|user| user["id"] = id.into());
                }
                answer
            }))),
    ]
}
