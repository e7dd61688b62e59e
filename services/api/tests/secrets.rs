//! No password, hash, key or token appears in the log, at any level, or in the journal.

#![allow(clippy::unwrap_used)] // in tests a failure is a panic

mod support;

use std::{
    io,
    sync::{Arc, Mutex},
};

use merch_contract::grpc::assistant::v1 as proto;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use support::{Api, KEY, PASSWORD, TestResponse, user};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_not_logged() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();

    let api =
        Api::start_with(|config| config.logging_endpoint = "http://127.0.0.1:1".to_owned()).await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    let (new, wrong, bad_token) = (
        "a much longer battery staple",
        "wrong-horse-wrong-horse",
        "eyJhbGciOiJub25lIn0.c2VjcmV0LXRva2Vu.eA",
    );
    let hash = Arc::new(Mutex::new(String::new()));
    api.db.create_user.returns({
        let hash = Arc::clone(&hash);
        move |request| {
            *hash.lock().unwrap() = request.password_hash;
            Ok(proto::CreateUserResponse { user: Some(user(id, 1)) })
        }
    });
    api.db.change_password.returns(|_| Ok(proto::ChangePasswordResponse {}));
    api.db.get_user.returns(|_| Err(tonic::Status::internal("a fault")));

    let registration = json!({"sid": "1", "username": "alice", "email": "alice@mail.example.com", "password": PASSWORD});
    assert_eq!(
        TestResponse::of(api.request(Method::POST, "/users").json(&registration)).await.status,
        201
    );
    let unknown_member = json!({"username": "alice", "password": PASSWORD, "passwort": wrong});
    assert_eq!(
        TestResponse::of(api.request(Method::POST, "/login").json(&unknown_member)).await.status,
        400
    );
    // Users sometimes type a password into the field of the name.
    assert_eq!(api.log_in(wrong, wrong).await.status, 401);
    assert_eq!(api.log_in("alice", wrong).await.status, 401);
    assert_eq!(api.get_as(bad_token, "/orders").await.status, 401);
    assert_eq!(api.get_as(&token, &format!("/users/{id}")).await.status, 500);
    api.db.has_user(id, PASSWORD);
    let change = |current: &str| json!({"current_password": current, "new_password": new});
    let path = format!("/users/{id}/password");
    assert_eq!(api.send_as(&token, Method::PUT, &path, change(wrong)).await.status, 403);
    assert_eq!(api.send_as(&token, Method::PUT, &path, change(PASSWORD)).await.status, 204);
    api.shutdown.cancel();
    let on_disk = api.on_disk();

    let hash = hash.lock().unwrap().clone();
    assert!(hash.starts_with("$scrypt$"));
    let key = String::from_utf8_lossy(&KEY).into_owned();
    let logged = lines.0.lock().unwrap().clone();
    assert!(logged.len() > 10_000, "something was captured");
    for (what, text) in [
        ("log lines", String::from_utf8_lossy(&logged)),
        ("the journal", String::from_utf8_lossy(&on_disk)),
    ] {
        for secret in [
            PASSWORD,
            new,
            wrong,
            bad_token,
            &token,
            token.rsplit('.').next().unwrap(),
            &hash,
            &key,
        ] {
            if let Some(at) = text.find(secret) {
                panic!(
                    "`{secret}` in {what}: {}",
                    &text[text[..at].rfind('\n').unwrap_or(0)..at + secret.len()]
                );
            }
        }
    }
}
