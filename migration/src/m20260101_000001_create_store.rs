//! Creates the tables as SQL, which shows the constraint names by which violations are recognised.
//! `{words}` are types, see `dialect`.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// `*_key` is the unique lower-case value. Rust converts it, as SQLite's `lower` converts only
/// ASCII.
const USERS: &str = "
CREATE TABLE users (
    id            {uuid}    NOT NULL CONSTRAINT pk_users PRIMARY KEY,
    sid           text      NOT NULL,
    sid_key       text      NOT NULL,
    username      text      NOT NULL,
    username_key  text      NOT NULL,
    email         text      NOT NULL,
    email_key     text      NOT NULL,
    password_hash text      NOT NULL,
    is_active     {boolean} NOT NULL,
    token_version {bigint}  NOT NULL,
    version       {bigint}  NOT NULL,
    created_at    {time}    NOT NULL,
    updated_at    {time}    NOT NULL,
    CONSTRAINT ck_users_sid_length      CHECK (length(sid) BETWEEN 1 AND 15),
    CONSTRAINT ck_users_username_length CHECK (length(username) BETWEEN 3 AND 50),
    CONSTRAINT ck_users_email_length    CHECK (length(email) BETWEEN 1 AND 255),
    CONSTRAINT ck_users_is_active       CHECK (is_active IN (TRUE, FALSE)),
    CONSTRAINT ck_users_token_version   CHECK (token_version >= 1),
    CONSTRAINT ck_users_version         CHECK (version >= 1)
){strict}";

const UNIQUE_SID: &str = "CREATE UNIQUE INDEX uq_users_sid ON users (sid_key)";
const UNIQUE_USERNAME: &str = "CREATE UNIQUE INDEX uq_users_username ON users (username_key)";
const UNIQUE_EMAIL: &str = "CREATE UNIQUE INDEX uq_users_email ON users (email_key)";

const PRODUCTS: &str = "
CREATE TABLE products (
    id          {int}    NOT NULL CONSTRAINT pk_products PRIMARY KEY,
    name        text     NOT NULL,
    category    text     NOT NULL,
    slogan      text     NOT NULL,
    description text     NOT NULL,
    price_cents {bigint} NOT NULL,
    currency    text     NOT NULL,
    stock       {int}    NOT NULL,
    version     {bigint} NOT NULL,
    CONSTRAINT ck_products_id                 CHECK (id >= 1),
    CONSTRAINT ck_products_name_length        CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT ck_products_category_length    CHECK (length(category) BETWEEN 1 AND 50),
    CONSTRAINT ck_products_slogan_length      CHECK (length(slogan) <= 200),
    CONSTRAINT ck_products_description_length CHECK (length(description) <= 2000),
    CONSTRAINT ck_products_price_cents        CHECK (price_cents >= 0),
    CONSTRAINT ck_products_currency_length    CHECK (length(currency) = 3),
    CONSTRAINT ck_products_stock              CHECK (stock >= 0),
    CONSTRAINT ck_products_version            CHECK (version >= 1)
){strict}";

const PRODUCTS_BY_CATEGORY: &str = "CREATE INDEX ix_products_category ON products (category, id)";

const ORDERS: &str = "
CREATE TABLE orders (
    id                {uuid}   NOT NULL CONSTRAINT pk_orders PRIMARY KEY,
    user_id           {uuid}   NOT NULL CONSTRAINT fk_orders_user REFERENCES users (id),
    product_id        {int}    NOT NULL CONSTRAINT fk_orders_product REFERENCES products (id),
    quantity          {int}    NOT NULL,
    unit_price_cents  {bigint} NOT NULL,
    total_price_cents {bigint} NOT NULL,
    currency          text     NOT NULL,
    status            text     NOT NULL,
    created_at        {time}   NOT NULL,
    cancelled_at      {time},
    version           {bigint} NOT NULL,
    CONSTRAINT ck_orders_quantity          CHECK (quantity BETWEEN 1 AND 3),
    CONSTRAINT ck_orders_unit_price_cents  CHECK (unit_price_cents >= 0),
    CONSTRAINT ck_orders_total_price_cents CHECK (total_price_cents = unit_price_cents * quantity),
    CONSTRAINT ck_orders_currency_length   CHECK (length(currency) = 3),
    CONSTRAINT ck_orders_status            CHECK (status IN ('placed', 'cancelled')),
    CONSTRAINT ck_orders_cancelled_at CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL)),
    CONSTRAINT ck_orders_version           CHECK (version >= 1)
){strict}";

/// Serves a user's orders, newest first: ids are UUIDv7, which sort by time.
const ORDERS_BY_USER: &str = "CREATE INDEX ix_orders_user ON orders (user_id, id DESC)";
const ORDERS_BY_STATUS: &str =
    "CREATE INDEX ix_orders_user_status ON orders (user_id, status, id DESC)";

const IDEMPOTENCY_KEYS: &str = "
CREATE TABLE idempotency_keys (
    user_id     {uuid} NOT NULL CONSTRAINT fk_idempotency_keys_user REFERENCES users (id),
    key         text   NOT NULL,
    fingerprint text   NOT NULL,
    order_id    {uuid} NOT NULL CONSTRAINT fk_idempotency_keys_order REFERENCES orders (id),
    created_at  {time} NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (user_id, key),
    CONSTRAINT ck_idempotency_keys_key_length CHECK (length(key) BETWEEN 1 AND 255)
){strict}";

const IDEMPOTENCY_KEYS_BY_AGE: &str =
    "CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)";

/// `payload` is a `merch.logging.v1.LogMessage` as binary protobuf. `seq` is the order of writing,
/// not of committing. `set_aside` is why the event is a dead letter, which stays until the operator
/// has handled it.
const OUTBOX_POSTGRES: &str = "
CREATE TABLE outbox (
    seq        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_outbox PRIMARY KEY,
    id         uuid        NOT NULL,
    payload    bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    shipped_at timestamptz,
    set_aside  text,
    CONSTRAINT ck_outbox_set_aside CHECK (set_aside IS NULL OR shipped_at IS NULL)
)";
const OUTBOX_SQLITE: &str = "
CREATE TABLE outbox (
    seq        INTEGER NOT NULL CONSTRAINT pk_outbox PRIMARY KEY AUTOINCREMENT,
    id         BLOB    NOT NULL,
    payload    BLOB    NOT NULL,
    created_at TEXT    NOT NULL,
    shipped_at TEXT,
    set_aside  TEXT,
    CONSTRAINT ck_outbox_set_aside CHECK (set_aside IS NULL OR shipped_at IS NULL)
) STRICT";

/// For the shipper. Small, as shipped rows leave it.
const OUTBOX_UNSHIPPED: &str = "
CREATE INDEX ix_outbox_unshipped ON outbox (seq)
    WHERE shipped_at IS NULL AND set_aside IS NULL";
const OUTBOX_SHIPPED: &str =
    "CREATE INDEX ix_outbox_shipped ON outbox (seq) WHERE shipped_at IS NOT NULL";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true) // on SQLite, too: all of it or nothing
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sqlite = manager.get_database_backend() == DbBackend::Sqlite;
        dialect::execute(manager, &[USERS]).await?;
        // Registration must report the sid if sid and username are both taken. PostgreSQL checks
        // unique indices in the order of creation, SQLite in reverse.
        let mut unique = [UNIQUE_SID, UNIQUE_USERNAME, UNIQUE_EMAIL];
        if sqlite {
            unique.reverse();
        }
        dialect::execute(manager, &unique).await?;
        dialect::execute(
            manager,
            &[PRODUCTS, PRODUCTS_BY_CATEGORY, ORDERS, ORDERS_BY_USER, ORDERS_BY_STATUS],
        )
        .await?;
        dialect::execute(manager, &[IDEMPOTENCY_KEYS, IDEMPOTENCY_KEYS_BY_AGE]).await?;
        dialect::execute(
            manager,
            &[
                if sqlite { OUTBOX_SQLITE } else { OUTBOX_POSTGRES },
                OUTBOX_UNSHIPPED,
                OUTBOX_SHIPPED,
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            "DROP TABLE outbox",
            "DROP TABLE idempotency_keys",
            "DROP TABLE orders",
            "DROP TABLE products",
            "DROP TABLE users",
        ];
        dialect::execute(manager, &tables).await
    }
}
