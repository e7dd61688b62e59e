//! Tokens: which are taken, which are refused, and that each refusal is an event on disk before it
//! is answered.

use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Api, KEY, jwt, not_placed, parts, user};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_token_is_handed_on_as_its_caller() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    api.db.get_user.answers(move |request| {
        assert_eq!(
            request.caller,
            Some(proto::Caller { user_id: id.to_string(), token_version: 1 })
        );
        Ok(proto::GetUserResponse { user: Some(user(id, 1)) })
    });
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let answer = Answer::of(
            api.request(Method::GET, &format!("/users/{id}"))
                .header("authorization", format!("{scheme} {token}")),
        )
        .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(api.received.events(), vec![], "what goes well is the db service's to log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_no_good_token_is_401_and_an_event() {
    let api = Api::start().await;
    let token = api.token(Uuid::now_v7()).await;
    let (header, claims) = parts(&token);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        jwt(&header, &claims, &KEY)
    };
    let headed = |name: &str, value: Value, secret: &[u8]| {
        let mut header = header.clone();
        header[name] = value;
        jwt(&header, &claims, secret)
    };
    let unsigned = headed("alg", json!("none"), &KEY);
    let unsigned = unsigned.rsplit_once('.').unwrap().0;
    let forged = jwt(&header, &json!({"sub": Uuid::now_v7()}), &[1; 32]);
    let iat = claims["iat"].as_u64().unwrap();
    let bearer = |token: &str| vec![format!("Bearer {token}")];

    let cases: Vec<(&str, Vec<String>, &str, &str)> = vec![
        ("nothing", vec![], "token_missing", "missing"),
        ("no scheme", vec!["x".to_owned()], "token_missing", "wrong_scheme"),
        ("an empty header", vec![String::new()], "token_missing", "wrong_scheme"),
        ("another scheme", vec!["Basic YTpi".to_owned()], "token_missing", "wrong_scheme"),
        ("a scheme without a token", vec!["Bearer".to_owned()], "token_invalid", "malformed"),
        (
            "two headers",
            vec![format!("Bearer {token}"), format!("Bearer {token}")],
            "token_invalid",
            "repeated",
        ),
        ("two tokens", bearer(&format!("{token} {token}")), "token_invalid", "malformed"),
        ("no JWT", bearer("x"), "token_invalid", "malformed"),
        ("expired", bearer(&with("exp", json!(iat - 3600))), "token_invalid", "expired"),
        (
            "not yet valid",
            bearer(&with("nbf", json!(iat + 3600))),
            "token_invalid",
            "not_yet_valid",
        ),
        (
            "for somebody else",
            bearer(&with("aud", json!("another api"))),
            "token_invalid",
            "wrong_claims",
        ),
        (
            "of somebody else",
            bearer(&with("iss", json!("another store"))),
            "token_invalid",
            "wrong_claims",
        ),
        (
            "another type",
            bearer(&headed("typ", json!("JWT"), &KEY)),
            "token_invalid",
            "wrong_claims",
        ),
        ("not signed", bearer(&format!("{unsigned}.")), "token_invalid", "malformed"),
        (
            "another algorithm",
            bearer(&headed("alg", json!("HS512"), &KEY)),
            "token_invalid",
            "bad_signature",
        ),
        (
            "another key",
            bearer(&headed("typ", json!("at+jwt"), &[7; 32])),
            "token_invalid",
            "bad_signature",
        ),
        (
            "another key id",
            bearer(&headed("kid", json!("0000000000000000"), &KEY)),
            "token_invalid",
            "bad_signature",
        ),
        ("forged", bearer(&forged), "token_invalid", "bad_signature"),
        ("tampered", bearer(&tampered(&token)), "token_invalid", "bad_signature"),
    ];
    for (index, (what, values, code, reason)) in cases.into_iter().enumerate() {
        let id = format!("case-{index}");
        let mut request = api.request(Method::GET, "/orders").header("x-request-id", &id);
        for value in values {
            request = request.header("authorization", value);
        }
        let answer = Answer::of(request).await;
        answer.assert_problem(401, code);
        let challenge =
            if code == "token_invalid" { r#"Bearer error="invalid_token""# } else { "Bearer" };
        assert_eq!(answer.header("www-authenticate"), Some(challenge), "{what}");

        let event = api.event_of(&id).await;
        assert_eq!(
            (event.event.as_str(), event.attributes["reason"].as_str()),
            ("token_refused", reason),
            "{what}"
        );
        assert_eq!(
            (event.service.as_str(), event.actor.as_str(), event.subject.as_str()),
            ("api", "anonymous", ""),
            "{what}"
        );
        assert_eq!(event.attributes["client_address"], "127.0.0.1", "{what}");
    }
    assert_eq!(api.db.list_orders.calls(), 0);
}

/// The same token with another user in it.
fn tampered(token: &str) -> String {
    let (header, mut claims) = parts(token);
    claims["sub"] = json!(Uuid::now_v7());
    let forged = jwt(&header, &claims, &[1; 32]);
    let signature = token.rsplit_once('.').unwrap().1;
    format!("{}.{signature}", forged.rsplit_once('.').unwrap().0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_void_token_is_401_and_an_event_that_names_its_user() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    api.db.list_orders.refuses(tonic::Code::Unauthenticated, ErrorReason::TokenRevoked);
    api.db.place_orders.answers(|_| Ok(not_placed(ErrorReason::TokenRevoked)));
    for answer in [
        api.get_as(&token, "/orders").await,
        api.send_as(&token, Method::POST, "/orders", json!({"product_id": 1, "quantity": 1})).await,
    ] {
        answer.assert_problem(401, "token_invalid");
        let event = api.event_of(answer.request_id()).await;
        assert_eq!(
            (event.event.as_str(), event.attributes["reason"].as_str()),
            ("token_refused", "revoked")
        );
        assert_eq!(event.subject, format!("user:{id}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_is_on_disk_when_the_answer_comes() {
    // Nobody takes the events, so that they stay where they are.
    let api =
        Api::start_with(|config| config.logging_endpoint = "http://127.0.0.1:1".to_owned()).await;
    let answer =
        Answer::of(api.request(Method::GET, "/orders").header("x-request-id", "seen-on-disk"))
            .await;
    answer.assert_problem(401, "token_missing");
    let on_disk = String::from_utf8_lossy(&api.on_disk()).into_owned();
    assert!(on_disk.contains("seen-on-disk") && on_disk.contains("token_refused"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_logged_is_not_answered() {
    // Every event begins a new file, and there is no folder any more to put it in.
    let api = Api::start_with(|config| config.journal.segment_bytes = 1).await;
    api.get("/orders").await.assert_problem(401, "token_missing");
    std::fs::remove_dir_all(&api.journal).unwrap();
    api.get("/orders").await.assert_problem(503, "unavailable");
    api.get_as("x", "/orders").await.assert_problem(503, "unavailable");
    api.db.knows(Uuid::now_v7(), "right");
    api.log_in("alice", "wrong").await.assert_problem(503, "unavailable");
    assert_eq!(api.get("/").await.status, 200, "what needs no event goes on");
}
