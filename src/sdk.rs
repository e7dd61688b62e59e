//! The client for programs: the generated one, with what every caller needs around it.
//!
//! | | |
//! |---|---|
//! | [`Store::builder`] | base URL, token, time-outs, what is tried again |
//! | [`Store`] | every operation of `openapi.yaml`, as it dereferences to the generated [`Client`] |
//! | `list_products().stream()`, `list_orders().stream()` | all pages, one item after the other |
//! | [`Error`] | why there is no result; a [`Problem`] has a [`Code`] to match on |
//!
//! What answers 503 or 429, or does not answer, is tried again, after the time that `Retry-After`
//! says, if repeating is harmless: the request is safe (GET) or carries an `Idempotency-Key`.
//! [`Retries`] says how often and for how long.
//!
//! This runs against the mock of the feature `rest-mock`, which answers with the types of the
//! contract:
//!
#![cfg_attr(feature = "rest-mock", doc = "```")]
#![cfg_attr(not(feature = "rest-mock"), doc = "```ignore")]
//! # use futures::TryStreamExt as _;
//! # use httpmock::MockServer;
//! use merch_contract::rest::{client::types, mock::MockServerExt as _};
//! use merch_contract::sdk::{Code, Error, Store};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MockServer::start_async().await; let hoodie: types::Product = serde_json::from_str(
//! r#"{"id": 1, "name": "Hoodie", "category": "Apparel", "slogan": "Warm.", "description":
//! "Cotton.", "price_cents": 4999, "currency": "CNY", "stock": 1}"#, )?; server.list_products(|_,
//! then| { then.ok(&types::ProductPage { items: vec![hoodie], next_page: None }); });
//! server.place_order(|_, then| { then.conflict(&serde_json::from_str( r#"{"type":
//! "/problems#out_of_stock", "title": "Not enough pieces are left", "status": 409, "detail":
//! "Nothing was sold.", "instance": "/orders", "code": "out_of_stock", "request_id": "r-1"}"#,
//! ).expect("a problem")); });
//!
//! let store = Store::builder(server.base_url()).token("eyJhbGciOiJub25lIn0.e30.c2ln").build()?;
//! let products: Vec<types::Product> =
//! store.list_products().limit(100u32).stream().try_collect().await?;
//! assert_eq!(products[0].name.as_str(), "Hoodie");
//!
//! // With a key of its own, so that it can be tried again without a second order.
//! match store.buy(&products[0].id, 2).await {
//!     Ok(order) => println!("{} is mine", *order.id),
//!     Err(Error::Problem(problem)) if problem.code == Code::OutOfStock => println!("too late"),
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
    retry::Retries,
};
use crate::rest::client::{Client, types};

/// The store, as one user sees it, or nobody in particular. Cheap to clone: clones share their
/// connections.
#[derive(Clone, Debug)]
pub struct Store(Client);

impl Store {
    /// Begins a client of the store at a URL, with or without a path: `http://127.0.0.1:8080`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    /// The same store with another token: what `log_in` answers as `access_token`.
    ///
    /// # Errors
    /// When the text cannot be a token.
    pub fn with_token(&self, token: &str) -> Result<Self, BuildError> {
        let mut client = self.0.clone();
        client.inner.token = Some(builder::authorization(token)?);
        Ok(Self(client))
    }

    /// Logs in, and gives the store as this user sees it.
    ///
    /// # Errors
    /// [`Code::InvalidCredentials`], [`Code::TooManyAttempts`], and whatever any request may end
    /// in. Nothing of it is tried again: a log-in is neither safe nor keyed.
    pub async fn log_in_as(&self, username: &str, password: &str) -> Result<Self, Error> {
        let credentials = types::Credentials::builder().username(username).password(password);
        let token = self.0.log_in().body(credentials).send().await?;
        self.with_token(&token.access_token)
            .map_err(|error| Error::Answer { status: None, reason: error.to_string() })
    }

    /// Places an order of one to three pieces under a new idempotency key, so that it is tried
    /// again when the store is busy, and placed once all the same.
    ///
    /// # Errors
    /// [`Code::OutOfStock`], [`Code::ProductNotFound`], and whatever any request may end in. After
    /// [`Error::Connection`] the order may have been placed.
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

    /// The generated client.
    #[must_use]
    pub fn into_client(self) -> Client {
        self.0
    }
}

impl Deref for Store {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

/// What the generated client carries from request to request.
#[derive(Clone, Default)]
pub struct Session {
    /// The value of `Authorization`.
    token: Option<HeaderValue>,
    retries: Retries,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token.is_some() { "there" } else { "none" };
        formatter
            .debug_struct("Session")
            .field("token", &token)
            .field("retries", &self.retries)
            .finish()
    }
}
