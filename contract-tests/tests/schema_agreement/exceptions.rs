//! Intended differences between layers, with reasons. The test fails on unlisted differences and on
//! stale entries.

use crate::agreement::Disagreement;

pub(crate) struct Exception {
    /// `Order.version`, or `LogMessage.*` for all fields without an entry.
    pub(crate) place: &'static str,
    /// Like [`Disagreement::aspect`]; `missing in SQL` covers both databases.
    pub(crate) aspect: &'static str,
    pub(crate) reason: &'static str,
}

const fn exception(place: &'static str, aspect: &'static str, reason: &'static str) -> Exception {
    Exception { place, aspect, reason }
}

const ETAG: &str = "sent as `ETag` and `If-Match`";
const FOLDED: &str = "the value in lower case, for uniqueness; internal";
const WHENCE: &str = "the request id of the log event: the api derives it from `X-Request-Id`";
const WHO: &str = "the acting user: the api reads it from the verified token";
const NETWORK: &str =
    "the client's network: the api reads it from the connection or a trusted proxy";
const RESERVATION: &str = "the reservation of BeginPasswordCheck";
const PATH: &str = "a path parameter";
const HASH: &str = "the password hash; internal";
const PASSWORD: &str =
    "only the api receives the password; the services get its hash as `password_hash`";
const PAYLOAD: &str = "part of `payload`, the serialized message";
const COLUMN: &str = "internal to the table";

pub(crate) const EXCEPTIONS: &[Exception] = &[
    exception("User.version", "missing in openapi.yaml", ETAG),
    exception("Product.version", "missing in openapi.yaml", ETAG),
    exception("Product.newest_order", "missing in openapi.yaml", COLUMN),
    exception("Product.newest_order", "missing in proto/", COLUMN),
    exception("Order.version", "missing in openapi.yaml", ETAG),
    exception("User.sid_key", "missing in openapi.yaml", FOLDED),
    exception("User.sid_key", "missing in proto/", FOLDED),
    exception("User.username_key", "missing in openapi.yaml", FOLDED),
    exception("User.username_key", "missing in proto/", FOLDED),
    exception("User.email_key", "missing in openapi.yaml", FOLDED),
    exception("User.email_key", "missing in proto/", FOLDED),
    exception("User.password_hash", "missing in openapi.yaml", HASH),
    exception(
        "User.password_hash",
        "missing in proto/",
        "only `Credentials` has it, for password checks",
    ),
    exception("User.token_version", "missing in openapi.yaml", "part of the token"),
    exception("User.token_version", "missing in proto/", "a field of `Caller`, not of `User`"),
    exception(
        "Order.product_id",
        "minimum",
        "`products.id` has it, through the foreign key `fk_orders_product`; for `proto/`, an unknown product is NOT_FOUND",
    ),
    exception(
        "Purchase.product_id",
        "minimum",
        "`products.id` has it, through the foreign key `fk_orders_product`; for `proto/`, an unknown product is NOT_FOUND",
    ),
    exception(
        "Order.total_price_cents",
        "minimum",
        "`ck_orders_total_price_cents` makes it the product of two non-negative values",
    ),
    exception("Registration.context", "missing in openapi.yaml", WHENCE),
    exception("Registration.password", "missing in proto/", PASSWORD),
    exception("Registration.password_hash", "missing in openapi.yaml", HASH),
    exception(
        "Registration.password_hash",
        "shortest",
        "the databases do not check that a hash begins with `$scrypt$`",
    ),
    exception("Registration.client_network", "missing in openapi.yaml", NETWORK),
    exception("UserChange.context", "missing in openapi.yaml", WHENCE),
    exception("UserChange.caller", "missing in openapi.yaml", WHO),
    exception("UserChange.user_id", "missing in openapi.yaml", PATH),
    exception("UserChange.expected_versions", "missing in openapi.yaml", ETAG),
    exception("PasswordChange.context", "missing in openapi.yaml", WHENCE),
    exception("PasswordChange.caller", "missing in openapi.yaml", WHO),
    exception("PasswordChange.user_id", "missing in openapi.yaml", PATH),
    exception("PasswordChange.current_password", "missing in proto/", PASSWORD),
    exception("PasswordChange.new_password", "missing in proto/", PASSWORD),
    exception("PasswordChange.password_hash", "missing in openapi.yaml", HASH),
    exception("PasswordChange.client_network", "missing in openapi.yaml", NETWORK),
    exception("PasswordChange.reservation", "missing in openapi.yaml", RESERVATION),
    exception("Credentials.password", "missing in proto/", PASSWORD),
    exception("Credentials.client_network", "missing in openapi.yaml", NETWORK),
    exception("Credentials.caller", "missing in openapi.yaml", WHO),
    exception("Purchase.context", "missing in openapi.yaml", WHENCE),
    exception("Purchase.caller", "missing in openapi.yaml", WHO),
    exception(
        "Purchase.time_left_ms",
        "missing in openapi.yaml",
        "the api derives it from its own deadline",
    ),
    exception(
        "Purchase.idempotency_key",
        "presence",
        "an absent header is an empty string, which is not a valid key",
    ),
    exception("ListProducts.limit", "presence", "the api fills in the default"),
    exception("ListOrders.limit", "presence", "the api fills in the default"),
    exception(
        "ListProducts.page_token",
        "presence",
        "an absent token is an empty string, which is not a valid token",
    ),
    exception(
        "ListOrders.page_token",
        "presence",
        "an absent token is an empty string, which is not a valid token",
    ),
    exception("ListOrders.caller", "missing in openapi.yaml", WHO),
    exception(
        "ListOrders.status",
        "presence",
        "an absent status is `ORDER_STATUS_UNSPECIFIED` (0), which means any",
    ),
    exception(
        "IdempotencyKey.user_id",
        "missing in openapi.yaml",
        "keys belong to users; the api reads the user from the token",
    ),
    exception(
        "IdempotencyKey.fingerprint",
        "missing in openapi.yaml",
        "the first request, to detect another body",
    ),
    exception("IdempotencyKey.order_id", "missing in openapi.yaml", "the order of the replay"),
    exception(
        "IdempotencyKey.created_at",
        "missing in openapi.yaml",
        "for the deletion of old keys",
    ),
    exception("LogMessage.*", "missing in SQL", PAYLOAD),
    exception("LogMessage.payload", "missing in proto/", "the message itself"),
    exception("LogMessage.created_at", "missing in proto/", COLUMN),
    exception("LogMessage.seq", "missing in proto/", COLUMN),
    exception("LogMessage.set_aside", "missing in proto/", COLUMN),
    exception("LogMessage.shipped_at", "missing in proto/", COLUMN),
    exception(
        "ck_orders_total_price_cents",
        "check in SQL",
        "the total is unit price × quantity, in the database, too",
    ),
    exception(
        "ck_orders_cancelled_at",
        "check in SQL",
        "`cancelled_at` is set if and only if the order is cancelled",
    ),
    exception("ck_outbox_set_aside", "check in SQL", "what was shipped is not set aside"),
];

impl Exception {
    fn covers(&self, other: &Disagreement) -> bool {
        let place = match self.place.strip_suffix('*') {
            Some(shape) => other.place.starts_with(shape),
            None => other.place == self.place,
        };
        let in_sql = |aspect: &str| aspect.replace("PostgreSQL", "SQL").replace("SQLite", "SQL");
        place && (self.aspect == other.aspect || self.aspect == in_sql(&other.aspect))
    }
}

/// Unlisted differences and stale entries.
pub(crate) fn unexpected(found: &[Disagreement]) -> Vec<String> {
    let new = found.iter().filter(|other| !EXCEPTIONS.iter().any(|known| known.covers(other)));
    let new = new.map(|other| format!("  {}: {} ({})", other.place, other.aspect, other.what));
    let stale = EXCEPTIONS.iter().filter(|known| !found.iter().any(|other| known.covers(other)));
    new.chain(stale.map(|known| {
        format!("  {}: {} is a stale exception: the layers agree", known.place, known.aspect)
    }))
    .collect()
}
