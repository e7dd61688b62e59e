//! Accepted and refused tokens. Each refusal is an event on disk before its response.

use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Api, KEY, TestResponse, jwt, not_placed, parts, user};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valid_token_becomes_the_caller() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    api.db.get_user.returns(move |request| {
        assert_eq!(
            request.caller,
            Some(proto::Caller { user_id: id.to_string(), token_version: 1 })
        );
        Ok(proto::GetUserResponse { user: Some(user(id, 1)) })
    });
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let response = TestResponse::of(
            api.request(Method::GET, &format!("/users/{id}"))
                .header("authorization", format!("{scheme} {token}")),
        )
        .await;
        assert_eq!(response.status, 200, "{response:?}");
    }
    assert_eq!(api.received.events(), vec![], "the db service logs successful requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_tokens_are_401_and_logged() {
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
            "another audience",
            bearer(&with("aud", json!("another api"))),
            "token_invalid",
            "wrong_claims",
        ),
        (
            "another issuer",
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
        let response = TestResponse::of(request).await;
        response.assert_problem(401, code);
        let challenge =
            if code == "token_invalid" { r#"Bearer error="invalid_token""# } else { "Bearer" };
        assert_eq!(response.header("www-authenticate"), Some(challenge), "{what}");

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

/// Returns the token with another user in it and the same signature.
fn tampered(token: &str) -> String {
    let (header, mut claims) = parts(token);
    claims["sub"] = json!(Uuid::now_v7());
    let forged = jwt(&header, &claims, &[1; 32]);
    let signature = token.rsplit_once('.').unwrap().1;
    format!("{}.{signature}", forged.rsplit_once('.').unwrap().0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_token_is_401_and_logged_with_its_user() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    api.db.list_orders.fails_with(tonic::Code::Unauthenticated, ErrorReason::TokenRevoked);
    api.db.place_orders.returns(|_| Ok(not_placed(ErrorReason::TokenRevoked)));
    for response in [
        api.get_as(&token, "/orders").await,
        api.send_as(&token, Method::POST, "/orders", json!({"product_id": 1, "quantity": 1})).await,
    ] {
        response.assert_problem(401, "token_invalid");
        let event = api.event_of(response.request_id()).await;
        assert_eq!(
            (event.event.as_str(), event.attributes["reason"].as_str()),
            ("token_refused", "revoked")
        );
        assert_eq!(event.subject, format!("user:{id}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_is_on_disk_before_its_response() {
    // No logging service, so that the events stay on disk.
    let api =
        Api::start_with(|config| config.logging_endpoint = "http://127.0.0.1:1".to_owned()).await;
    let response = TestResponse::of(
        api.request(Method::GET, "/orders").header("x-request-id", "seen-on-disk"),
    )
    .await;
    response.assert_problem(401, "token_missing");
    let on_disk = String::from_utf8_lossy(&api.on_disk()).into_owned();
    assert!(on_disk.contains("seen-on-disk") && on_disk.contains("token_refused"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_without_an_event_are_503() {
    // Each event starts a new file, and the directory is missing.
    let api = Api::start_with(|config| config.journal.segment_bytes = 1).await;
    api.get("/orders").await.assert_problem(401, "token_missing");
    std::fs::remove_dir_all(&api.journal).unwrap();
    api.get("/orders").await.assert_problem(503, "unavailable");
    api.get_as("x", "/orders").await.assert_problem(503, "unavailable");
    api.db.has_user(Uuid::now_v7(), "right");
    api.log_in("alice", "wrong").await.assert_problem(503, "unavailable");
    assert_eq!(api.get("/").await.status, 200, "requests without an event are served");
}
