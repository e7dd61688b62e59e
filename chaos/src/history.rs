//! The requests of a run with their responses and times, and its faults.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Time since the start of the run.
pub type Moment = Duration;

/// One attempt of one request. A repetition is an operation of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// The number of the client.
    pub client: usize,
    /// The number of the api that got the request, or of the db that got a restock. `None`:
    /// unknown.
    #[serde(default)]
    pub server: Option<usize>,
    /// Before the request was sent.
    pub began: Moment,
    /// After the response was received, or the client gave up.
    pub ended: Moment,
    /// The request.
    pub call: Call,
    /// The response. `None`: the connection failed or the client timed out; unknown outcome.
    pub response: Option<Response>,
    /// Whether the client used a short time-out, so that a missing response is no failure.
    #[serde(default)]
    pub impatient: bool,
}

/// A token: a user, and which log-in of that user returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The user.
    pub user: Uuid,
    /// Unique for the user.
    pub log_in: usize,
}

/// A request with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// `POST /users`.
    Register {
        /// Unique in the run.
        username: String,
    },
    /// `POST /login` with the right password.
    LogIn {
        /// The user.
        user: Uuid,
        /// Which log-in of the user this is if it succeeds.
        log_in: usize,
    },
    /// `POST /login` with a wrong password: 401.
    WrongPassword {
        /// The user.
        user: Uuid,
    },
    /// `POST /logout`, which revokes all tokens of the user.
    LogOut {
        /// The token that was sent.
        token: Token,
    },
    /// `POST /orders`.
    Place {
        /// The token that was sent.
        token: Token,
        /// The product's id.
        product: i64,
        /// Pieces.
        quantity: i64,
        /// The `Idempotency-Key`. Operations with the same user and key have the same body.
        key: Option<String>,
    },
    /// `POST /orders/{id}/cancel`.
    Cancel {
        /// The token that was sent.
        token: Token,
        /// The order's id.
        order: Uuid,
    },
    /// `GET /orders/{id}`.
    GetOrder {
        /// The token that was sent.
        token: Token,
        /// The order's id.
        order: Uuid,
    },
    /// `GET /orders?limit=100`: the newest 100 orders of the user.
    ListOrders {
        /// The token that was sent.
        token: Token,
    },
    /// `GET /products/{id}`.
    GetProduct {
        /// The product's id.
        product: i64,
    },
    /// `GET /products`: one page with all of them.
    ListProducts,
    /// `GET /orders` with a token that the store did not sign: 401.
    ForgedToken,
    /// `merch admin restock`: status 200 if its exit code is 0, otherwise no response, and
    /// the outcome is unknown.
    Restock {
        /// The product's id.
        product: i64,
        /// Pieces that are added.
        pieces: i64,
        /// The idempotency key.
        key: String,
    },
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// `code` of a problem, or empty.
    pub code: String,
    /// `X-Request-Id`.
    pub request_id: String,
    /// The version in the `ETag`, if there is one.
    pub version: Option<i64>,
    /// The user in the body, after [`Call::Register`].
    pub user: Option<Uuid>,
    /// The order or orders in the body.
    pub orders: Vec<Order>,
    /// The product or products in the body.
    pub products: Vec<Product>,
}

/// An order in a response or in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: Uuid,
    /// Its user.
    pub user: Uuid,
    /// The product's id.
    pub product: i64,
    /// Pieces.
    pub quantity: i64,
    /// Cents for one piece.
    pub unit_price_cents: i64,
    /// Whether it is cancelled.
    pub cancelled: bool,
}

/// A product in a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Its id.
    pub id: i64,
    /// Pieces left.
    pub stock: i64,
}

/// A fault, for the report and for the exceptions of the promises.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// Before it began.
    pub began: Moment,
    /// After it ended.
    pub ended: Moment,
    /// Its name, such as `kill db 0`.
    pub what: String,
    /// Set if the database was replaced by a backup that was taken at this time (began, ended).
    pub restored: Option<(Moment, Moment)>,
}

/// All operations of clients and all faults.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// In the order of their ends.
    pub operations: Vec<Operation>,
    /// In the order of their ends.
    pub faults: Vec<Fault>,
}
