//! Registered and logged-in users with unique names.

use merch_contract::rest::client::{Client, types};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::{Call, TestStore};

const PASSWORD: &str = "correct horse battery staple";

/// A logged-in user.
#[derive(Debug)]
pub struct TestUser<'s> {
    store: &'s TestStore,
    /// The id.
    pub id: Uuid,
    /// The sid.
    pub sid: String,
    /// The initial username.
    pub username: String,
    /// The initial email.
    pub email: String,
    /// The token of the first log-in.
    pub token: String,
}

impl<'s> TestUser<'s> {
    /// The initial password.
    pub const PASSWORD: &'static str = PASSWORD;

    /// The generated client, with the token.
    #[must_use]
    pub fn client(&self) -> Client {
        self.store
            .sdk()
            .with_token(&self.token)
            .expect("what a log-in has answered is a token")
            .into_client()
    }

    /// Starts a request with the token.
    pub fn call(&self, method: Method, path: impl Into<String>) -> Call {
        self.store.call(method, path).bearer(&self.token)
    }

    /// Starts a GET with the token.
    pub fn get(&self, path: impl Into<String>) -> Call {
        self.call(Method::GET, path)
    }

    /// Starts a POST with the token.
    pub fn post(&self, path: impl Into<String>) -> Call {
        self.call(Method::POST, path)
    }

    /// Starts an order.
    pub fn order(&self, product_id: i32, quantity: i32) -> Call {
        self.post("/orders").json(&json!({ "product_id": product_id, "quantity": quantity }))
    }

    /// The path of this user: `/users/…`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/users/{}", self.id)
    }

    /// Starts another log-in. The test must expect its event.
    pub fn log_in(&self, password: &str) -> Call {
        self.store.post("/login").json(&json!({ "username": self.username, "password": password }))
    }
}

/// A new name that fits a sid.
#[must_use]
pub fn fresh_name() -> String {
    // The last digits of a UUIDv7 are random.
    format!("u{}", &Uuid::now_v7().simple().to_string()[18..])
}

impl TestStore {
    /// Registers and logs in a user; both events are expected.
    pub async fn user(&self) -> TestUser<'_> {
        let name = fresh_name();
        let (sid, username, email) =
            (name.clone(), name.clone(), format!("{name}@mail.example.com"));
        let client = self.anonymous();
        let body = types::Registration::builder()
            .sid(sid.clone())
            .username(username.clone())
            .email(email.clone())
            .password(PASSWORD);
        let user = client
            .register()
            .body(body)
            .send()
            .await
            .unwrap_or_else(|error| panic!("failed to register {name}: {error}"));
        let body = types::Credentials::builder().username(username.clone()).password(PASSWORD);
        let token = client
            .log_in()
            .body(body)
            .send()
            .await
            .unwrap_or_else(|error| panic!("failed to log in {name}: {error}"));
        self.expect_events(["user_registered", "user_logged_in"]);
        TestUser {
            store: self,
            id: *user.id,
            sid,
            username,
            email,
            token: token.access_token.clone(),
        }
    }
}
