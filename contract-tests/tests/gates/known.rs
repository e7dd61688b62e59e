//! Where the layers differ on purpose, and why. The list is held both ways: what is not on it is a
//! fault, and so is an entry that is not so any more.

use crate::agreement::Disagreement;

/// A difference that has a reason.
pub(crate) struct Known {
    /// `Order.version`, or `LogMessage.*` for all fields that no entry of their own has.
    pub(crate) place: &'static str,
    /// As in [`Disagreement::aspect`]; `missing in SQL` for both databases.
    pub(crate) aspect: &'static str,
    pub(crate) reason: &'static str,
}

const fn known(place: &'static str, aspect: &'static str, reason: &'static str) -> Known {
    Known { place, aspect, reason }
}

const ETAG: &str = "it travels in `ETag` and `If-Match`";
const FOLDED: &str =
    "the value folded to lower case, by which uniqueness is judged; nobody outside sees it";
const WHENCE: &str =
    "where the request came from, for its log event: the api makes it from `X-Request-Id`";
const WHO: &str = "who acts: the api takes it from the verified token";
const NETWORK: &str =
    "where the client is: the api takes it from the connection or from a trusted proxy";
const RESERVATION: &str = "what BeginPasswordCheck reserved, to be given back";
const PATH: &str = "it stands in the path";
const HASH: &str = "the hash of the password, which never leaves the services";
const PASSWORD: &str =
    "a password never travels further than the api; its hash does, as `password_hash`";
const PAYLOAD: &str = "it is inside `payload`, the message in its binary form";
const COLUMN: &str = "the table's own affair";

/// All of them.
pub(crate) const KNOWN: &[Known] = &[
    known("User.version", "missing in openapi.yaml", ETAG),
    known("Product.version", "missing in openapi.yaml", ETAG),
    known("Order.version", "missing in openapi.yaml", ETAG),
    known("User.sid_key", "missing in openapi.yaml", FOLDED),
    known("User.sid_key", "missing in proto/", FOLDED),
    known("User.username_key", "missing in openapi.yaml", FOLDED),
    known("User.username_key", "missing in proto/", FOLDED),
    known("User.email_key", "missing in openapi.yaml", FOLDED),
    known("User.email_key", "missing in proto/", FOLDED),
    known("User.password_hash", "missing in openapi.yaml", HASH),
    known(
        "User.password_hash",
        "missing in proto/",
        "only `Credentials` carries it, to the service that checks a password",
    ),
    known("User.token_version", "missing in openapi.yaml", "it is inside the token"),
    known("User.token_version", "missing in proto/", "it travels in `Caller`, not in `User`"),
    known(
        "Order.product_id",
        "minimum",
        "the foreign key `fk_orders_product` leads to `products.id`, which has it",
    ),
    known(
        "Purchase.product_id",
        "minimum",
        "the foreign key `fk_orders_product` leads to `products.id`, which has it",
    ),
    known(
        "Order.total_price_cents",
        "minimum",
        "`ck_orders_total_price_cents` makes it the product of two that are not negative",
    ),
    known("User.version", "minimum", "the databases start at 1; the proto says so in prose"),
    known("Product.version", "minimum", "the databases start at 1; the proto says so in prose"),
    known("Order.version", "minimum", "the databases start at 1; the proto says so in prose"),
    known("Registration.context", "missing in openapi.yaml", WHENCE),
    known("Registration.password", "missing in proto/", PASSWORD),
    known("Registration.password_hash", "missing in openapi.yaml", HASH),
    known("Registration.client_network", "missing in openapi.yaml", NETWORK),
    known("UserChange.context", "missing in openapi.yaml", WHENCE),
    known("UserChange.caller", "missing in openapi.yaml", WHO),
    known("UserChange.user_id", "missing in openapi.yaml", PATH),
    known("UserChange.expected_versions", "missing in openapi.yaml", ETAG),
    known("PasswordChange.context", "missing in openapi.yaml", WHENCE),
    known("PasswordChange.caller", "missing in openapi.yaml", WHO),
    known("PasswordChange.user_id", "missing in openapi.yaml", PATH),
    known("PasswordChange.current_password", "missing in proto/", PASSWORD),
    known("PasswordChange.new_password", "missing in proto/", PASSWORD),
    known("PasswordChange.password_hash", "missing in openapi.yaml", HASH),
    known("PasswordChange.client_network", "missing in openapi.yaml", NETWORK),
    known("PasswordChange.reservation", "missing in openapi.yaml", RESERVATION),
    known("Credentials.password", "missing in proto/", PASSWORD),
    known("Credentials.client_network", "missing in openapi.yaml", NETWORK),
    known("Credentials.caller", "missing in openapi.yaml", WHO),
    known("Purchase.context", "missing in openapi.yaml", WHENCE),
    known("Purchase.caller", "missing in openapi.yaml", WHO),
    known(
        "Purchase.idempotency_key",
        "presence",
        "an absent header is an empty text, which no key is",
    ),
    known("ListProducts.limit", "presence", "the api fills in the default"),
    known("ListOrders.limit", "presence", "the api fills in the default"),
    known(
        "ListProducts.page_token",
        "presence",
        "an absent token is an empty text, which no token is",
    ),
    known(
        "ListOrders.page_token",
        "presence",
        "an absent token is an empty text, which no token is",
    ),
    known("ListOrders.caller", "missing in openapi.yaml", WHO),
    known(
        "ListOrders.status",
        "presence",
        "an absent status is the value 0, `ORDER_STATUS_UNSPECIFIED`, which means any",
    ),
    known(
        "IdempotencyKey.user_id",
        "missing in openapi.yaml",
        "each user has a space of keys; the api knows the user by the token",
    ),
    known(
        "IdempotencyKey.fingerprint",
        "missing in openapi.yaml",
        "what the first request asked for, to know another body by",
    ),
    known("IdempotencyKey.order_id", "missing in openapi.yaml", "the order that is answered again"),
    known("IdempotencyKey.created_at", "missing in openapi.yaml", "for the removal of old keys"),
    known("LogMessage.*", "missing in SQL", PAYLOAD),
    known("LogMessage.payload", "missing in proto/", "the message itself"),
    known("LogMessage.created_at", "missing in proto/", COLUMN),
    known("LogMessage.seq", "missing in proto/", COLUMN),
    known("LogMessage.set_aside", "missing in proto/", COLUMN),
    known("LogMessage.shipped_at", "missing in proto/", COLUMN),
    known(
        "ck_orders_total_price_cents",
        "check in SQL",
        "the total is unit price × quantity, in the database, too",
    ),
    known(
        "ck_orders_cancelled_at",
        "check in SQL",
        "there is a time of cancelling if and only if it is cancelled",
    ),
    known("ck_outbox_set_aside", "check in SQL", "what was shipped is not set aside"),
];

impl Known {
    fn covers(&self, other: &Disagreement) -> bool {
        let place = match self.place.strip_suffix('*') {
            Some(shape) => other.place.starts_with(shape),
            None => other.place == self.place,
        };
        let in_sql = |aspect: &str| aspect.replace("PostgreSQL", "SQL").replace("SQLite", "SQL");
        place && (self.aspect == other.aspect || self.aspect == in_sql(&other.aspect))
    }
}

/// What is not known, and what is known and not so any more.
pub(crate) fn unexpected(found: &[Disagreement]) -> Vec<String> {
    let new = found.iter().filter(|other| !KNOWN.iter().any(|known| known.covers(other)));
    let new = new.map(|other| format!("  {}: {} ({})", other.place, other.aspect, other.what));
    let stale = KNOWN.iter().filter(|known| !found.iter().any(|other| known.covers(other)));
    new.chain(stale.map(|known| {
        format!(
            "  {}: {} is on the list of known differences, and is not so any more",
            known.place, known.aspect
        )
    }))
    .collect()
}
