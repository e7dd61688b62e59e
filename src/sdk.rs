//! The client for Rust programs: the generated one, with retries, typed errors and shortcuts.
//!
//! | item | content |
//! |---|---|
//! | [`StoreClient::builder`] | base URL, token, time-outs, retry policy |
//! | [`StoreClient`] | every operation of `openapi.yaml`; dereferences to the generated [`Client`] |
//! | `list_products().stream()`, `list_orders().stream()` | the items of all pages |
//! | [`Error`] | the error of a request; a [`Problem`] has a [`Code`] to match on |
//!
//! The client retries a request after 503, 429 or no response, if the request is safe (GET) or
//! carries an `Idempotency-Key`. It waits for `Retry-After`; [`RetryPolicy`] has the limits.
//!
//! This example runs against the mock of the feature `rest-mock`:
//!
#![cfg_attr(feature = "rest-mock", doc = "```")]
#![cfg_attr(not(feature = "rest-mock"), doc = "```ignore")]
//! # use futures::TryStreamExt as _;
//! # use httpmock::MockServer;
//! use merch_contract::rest::{client::types, mock::MockServerExt as _};
//! use merch_contract::sdk::{Code, Error, StoreClient};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MockServer::start_async().await;
//! let hoodie: types::Product = serde_json::from_str(
//!     r#"{
//!         "id": 1, "name": "Hoodie", "category": "Apparel", "slogan": "Warm.",
//!         "description": "Cotton.", "price_cents": 4999, "currency": "CNY", "stock": 1
//!     }"#,
//! )?;
//! let out_of_stock: types::Problem = serde_json::from_str(
//!     r#"{
//!         "type": "/problems#out_of_stock", "title": "Out of stock",
//!         "status": 409, "detail": "Nothing was sold.", "instance": "/orders",
//!         "code": "out_of_stock", "request_id": "r-1"
//!     }"#,
//! )?;
//! server.list_products(|_, then| {
//!     then.ok(&types::ProductPage { items: vec![hoodie], next_page: None });
//! });
//! server.place_order(|_, then| {
//!     then.conflict(&out_of_stock);
//! });
//!
//! let store = StoreClient::builder(server.base_url())
//!     .token("eyJhbGciOiJub25lIn0.e30.c2ln")
//!     .build()?;
//! let products: Vec<types::Product> =
//!     store.list_products().limit(100u32).stream().try_collect().await?;
//! assert_eq!(products[0].name.as_str(), "Hoodie");
//!
//! // Sends an idempotency key, so that a retry does not place a second order.
//! match store.buy(&products[0].id, 2).await {
//!     Ok(order) => println!("placed order {}", *order.id),
//!     Err(Error::Problem(problem)) if problem.code == Code::OutOfStock => println!("sold out"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```

mod builder;
mod problem;
mod retry;

use std::{fmt, num::NonZeroU32, ops::Deref};

use reqwest::header::HeaderValue;

pub use self::{
    builder::{BuildError, Builder},
    problem::{Code, Error, Problem},
    retry::RetryPolicy,
};
use crate::rest::client::{Client, types};

/// A client of the store, with or without a user's token. Clones share their connections.
#[derive(Clone, Debug)]
pub struct StoreClient(Client);

impl StoreClient {
    /// Starts building a client for a base URL, with or without a path: `http://127.0.0.1:8080`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    /// Returns a client with another token: the `access_token` of `log_in`.
    ///
    /// # Errors
    /// If `token` has other characters than a token may have.
    pub fn with_token(&self, token: &str) -> Result<Self, BuildError> {
        let mut client = self.0.clone();
        client.inner.token = Some(builder::authorization(token)?);
        Ok(Self(client))
    }

    /// Logs in and returns a client with the user's token. Does not retry, because a log-in is
    /// neither safe nor keyed.
    ///
    /// # Errors
    /// [`Code::InvalidCredentials`], [`Code::TooManyAttempts`], and the errors of any request.
    pub async fn log_in_as(&self, username: &str, password: &str) -> Result<Self, Error> {
        let credentials = types::Credentials::builder().username(username).password(password);
        let token = self.0.log_in().body(credentials).send().await?;
        self.with_token(&token.access_token)
            .map_err(|error| Error::UnexpectedResponse { status: None, reason: error.to_string() })
    }

    /// Places an order of one to three pieces under a new idempotency key, so that a retry does not
    /// place a second order.
    ///
    /// # Errors
    /// [`Code::OutOfStock`], [`Code::ProductNotFound`], and the errors of any request. After
    /// [`Error::Connection`] the store may have placed the order.
    pub async fn buy(
        &self,
        product: &types::ProductId,
        quantity: u32,
    ) -> Result<types::Order, Error> {
        let quantity = NonZeroU32::new(quantity)
            .ok_or_else(|| Error::Request("quantity: expected 1 to 3, got 0".to_owned()))?;
        let order = types::Purchase::builder().product_id(product.clone()).quantity(quantity);
        Ok(self
            .0
            .place_order()
            .idempotency_key(uuid::Uuid::new_v4().to_string())
            .body(order)
            .send()
            .await?
            .into_inner())
    }

    /// Returns the generated client.
    #[must_use]
    pub fn into_client(self) -> Client {
        self.0
    }
}

impl Deref for StoreClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

/// The state of the generated client.
#[derive(Clone, Default)]
pub struct Session {
    /// The value of `Authorization`.
    token: Option<HeaderValue>,
    retries: RetryPolicy,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token.is_some() { "[redacted]" } else { "none" };
        formatter
            .debug_struct("Session")
            .field("token", &token)
            .field("retries", &self.retries)
            .finish()
    }
}
