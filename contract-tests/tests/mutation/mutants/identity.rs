//! Tokens that stay valid, and requests that need none.

use serde_json::json;

use super::{Mutant, SuiteInput, edit_answers, handle, handle_all, mutant};
use crate::{
    exchange::{Answer, Request},
    proxy::{AnswerFuture, Upstream},
};

/// Repeats a refused request as a user of the proxy.
fn with_own_token(
    upstream: Upstream,
    request: Request,
    refused: fn(&Request) -> bool,
) -> AnswerFuture {
    Box::pin(async move {
        let answer = upstream.send(&request).await;
        if answer.status != 401 || !refused(&request) {
            return answer;
        }
        let token = upstream.own_token().await;
        upstream.send(&request.with_token(&token)).await
    })
}

/// Repeats a request whose token was once valid with a new token of the same user.
async fn with_fresh_token(upstream: &Upstream, request: Request) -> Answer {
    let answer = upstream.send(&request).await;
    let login = request.token().and_then(|token| upstream.memory().login_of_token(token));
    let Some(login) = login.filter(|_| answer.status == 401) else { return answer };
    match upstream.log_in(&login.username, &login.password).await {
        Some(fresh) => upstream.send(&request.with_token(&fresh.token)).await,
        None => answer,
    }
}

fn in_another_scheme(request: &Request) -> Option<String> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    (!scheme.eq_ignore_ascii_case("bearer") && token.len() > 40).then(|| token.to_owned())
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("a token outlives a log-out", &["log_out"], "revokes every token, from the next request on", "returns 204 without forwarding it, if the token is valid",
            handle(|upstream, request| Box::pin(async move {
                let known = request.token().is_some_and(|token| upstream.memory().login_of_token(token).is_some());
                if known { Answer::new(204) } else { upstream.send(&request).await }
            }))),
        mutant("a log-out revokes only one token", &["log_out"], "revokes every token of the user, on every device", "revokes only the sent token",
            handle_all(|upstream, request| Box::pin(async move {
                let token = request.token().map(str::to_owned).filter(|token| upstream.memory().login_of_token(token).is_some());
                let Some(token) = token else { return upstream.send(&request).await };
                if upstream.memory().marks.contains(&token) {
                    return upstream.send(&request.with_token("invalid")).await;
                }
                if request.operation() == Some("log_out") {
                    upstream.memory().marks.insert(token);
                    return Answer::new(204);
                }
                upstream.send(&request).await
            }))),
        mutant("a token outlives a change of password", &["change_password"], "every earlier token is revoked from the next request on", "logs in again with the new password",
            handle_all(|upstream, request| Box::pin(async move {
                let changed = request.operation() == Some("change_password");
                let token = request.token().unwrap_or_default().to_owned();
                if upstream.memory().marks.contains(&token) { return with_fresh_token(&upstream, request).await }
                let answer = upstream.send(&request).await;
                if changed && answer.status == 204 { upstream.memory().marks.insert(token); }
                answer
            }))),
        mutant("an old password still logs in", &["change_password"], "replaces the user's own password", "sends the new one in place of the old one",
            handle_all(|upstream, mut request| Box::pin(async move {
                let body = request.json();
                let words = |username: &str, password: &serde_json::Value| format!("{username} {}", password.as_str().unwrap_or_default());
                if request.operation() == Some("log_in") {
                    let new = upstream.memory().notes.get(&words(body["username"].as_str().unwrap_or_default(), &body["password"])).cloned();
                    if let Some(new) = new { request.edit_json(|body| body["password"] = new.into()) }
                    return upstream.send(&request).await;
                }
                let login = upstream.memory().login(request.id());
                let answer = upstream.send(&request).await;
                if let (Some("change_password"), 204, Some(login)) = (request.operation(), answer.status, login) {
                    let new = body["new_password"].as_str().unwrap_or_default().to_owned();
                    upstream.memory().notes.insert(words(&login.username, &body["current_password"]), new);
                }
                answer
            }))),
        mutant("a token outlives its user", &["deactivate_user"], "every token is revoked from the next request on", "refuses log-ins and forwards everything else",
            handle_all(|upstream, mut request| Box::pin(async move {
                let own = request.token().and_then(|token| upstream.memory().login_of_token(token)).filter(|login| login.user_id == request.id());
                match (request.operation(), own) {
                    (Some("deactivate_user"), Some(login)) => {
                        upstream.memory().marks.insert(login.username);
                        return Answer::new(204);
                    }
                    (Some("log_in"), _) => {
                        let deactivated = request.json()["username"].as_str().is_some_and(|name| upstream.memory().marks.contains(name));
                        if deactivated { request.edit_json(|body| body["password"] = "not the password".into()) }
                    }
                    _ => {}
                }
                upstream.send(&request).await
            }))),
        mutant("a deactivated user logs in", &["deactivate_user"], "log-ins are refused as for an unknown user", "logs out instead of deactivating",
            handle(|upstream, request| Box::pin(async move {
                let own = request.token().and_then(|token| upstream.memory().login_of_token(token)).is_some_and(|login| login.user_id == request.id());
                if !own { return upstream.send(&request).await }
                let mut log_out = Request::new(hyper::Method::POST, "/logout");
                log_out.headers = request.headers.clone();
                let mut answer = upstream.send(&log_out).await;
                answer.edit_json(|problem| problem["instance"] = request.path().into());
                answer
            }))),
        mutant("no token is needed to list orders", &["list_orders"], "the operation needs a token", "adds a valid one",
            handle(|upstream, request| with_own_token(upstream, request, |request| request.header("authorization").is_none()))),
        mutant("no token is needed to order", &["place_order"], "the operation needs a token", "adds a valid one",
            handle(|upstream, request| with_own_token(upstream, request, |request| request.header("authorization").is_none()))),
        mutant("any text is accepted as a token", &["list_orders"], "an invalid token returns 401", "sends a valid one in place of it",
            handle(|upstream, request| with_own_token(upstream, request, |request| request.header("authorization").is_some()))),
        mutant("a token with a forged signature", &["get_user"], "an invalid token returns 401", "sends the user's valid token if the payload is the same",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                let Some(user) = upstream.memory().login(request.id()).filter(|_| answer.status == 401) else { return answer };
                let payload = |token: &str| token.rsplit_once('.').map(|(payload, _)| payload.to_owned());
                let forged = request.token().and_then(payload).is_some_and(|sent| Some(sent) == payload(&user.token));
                if forged { upstream.send(&request.with_token(&user.token)).await } else { answer }
            }))),
        mutant("any authorization scheme is accepted", &["list_orders"], "the authorization scheme is `Bearer`", "sends `Bearer` in place of any scheme",
            handle(|upstream, request| Box::pin(async move {
                match in_another_scheme(&request) {
                    Some(token) => upstream.send(&request.with_token(&token)).await,
                    None => upstream.send(&request).await,
                }
            }))),
        mutant("an expired token is accepted", &["get_user"], "an expired token returns 401", "sends a valid one in place of an unknown one",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                let jwt = request.token().is_some_and(|token| token.split('.').count() == 3);
                let known = request.token().is_some_and(|token| upstream.memory().login_of_token(token).is_some());
                if answer.status != 401 || !jwt || known { return answer }
                let token = upstream.own_token().await;
                upstream.send(&request.with_token(&token)).await
            }))).given(SuiteInput::ExpiredToken),
        mutant("a wrong password logs in", &["log_in"], "a wrong password returns 401", "sends the right one",
            handle(|upstream, mut request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                let name = request.json()["username"].as_str().unwrap_or_default().to_owned();
                let Some(login) = upstream.memory().login_of_name(&name).filter(|_| answer.status == 401) else { return answer };
                request.edit_json(|body| body["password"] = login.password.into());
                upstream.send(&request).await
            }))),
        mutant("log-ins without a limit", &["log_in"], "attempts are limited per account and address", "returns 401 in place of 429",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status != 429 { return answer }
                let mut refused = Answer::problem(&request, 401, "invalid_credentials");
                refused.set("www-authenticate", "Bearer");
                refused
            }))),
        mutant("password changes without a limit", &["change_password"], "a wrong current password counts as a wrong password", "returns 403 in place of 429",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 429 { Answer::problem(&request, 403, "wrong_password") } else { answer }
            }))),
        mutant("registrations without a limit", &["register"], "registrations are limited per client address", "returns 409 in place of 429",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status == 429 { Answer::problem(&request, 409, "username_taken") } else { answer }
            }))),
        mutant("a common password is accepted", &["register"], "the most common passwords are refused", "sends another one in its place",
            handle(|upstream, mut request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status != 422 { return answer }
                request.edit_json(|body| body["password"] = json!("nine lychees and a kite"));
                upstream.send(&request).await
            }))),
        mutant("an invalid new token", &["log_in"], "a log-in returns a token", "returns an unsigned one",
            edit_answers(200, |_, answer| answer.edit_json(|body| body["access_token"] = json!("eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl")))),
        mutant("a token of another user", &["log_in"], "`user_id` is the token's user", "generates another id",
            edit_answers(200, |_, answer| answer.edit_json(|body| body["user_id"] = json!(uuid::Uuid::now_v7())))),
    ]
}
