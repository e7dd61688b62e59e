//! Data types agree across `openapi.yaml`, `proto/` and both databases; the test writes
//! `docs/types.md`.
//!
//! Breaking changes are tested in `contract-tests/breaking/tests/`.

#![allow(clippy::unwrap_used)]

mod agreement;
mod entities;
mod exceptions;
mod field_facts;
mod openapi;
mod proto;
mod sql;
mod types_page;

use std::{env, fs, path::Path};

use contract_breaking::Contracts;
use merch_test_store::{BareDatabase, Database};

use agreement::{Layers, disagreements};

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

async fn layers() -> Layers {
    let contracts = Contracts::read(repository()).unwrap_or_else(|error| panic!("{error}"));
    let (sqlite, postgres) = (
        BareDatabase::create(Database::Sqlite).await,
        BareDatabase::create(Database::Postgres).await,
    );
    let layers =
        Layers::new(&contracts, sql::sqlite(&sqlite).await, sql::postgres(&postgres).await);
    sqlite.drop().await;
    postgres.drop().await;
    layers
}

fn unexpected(layers: &Layers) -> Vec<String> {
    exceptions::unexpected(&disagreements(layers))
}

#[tokio::test]
async fn all_layers_agree_on_every_field() {
    let unexpected = unexpected(&layers().await);
    assert!(
        unexpected.is_empty(),
        "the layers disagree. Make them agree, or add an exception with its reason to contract-tests/tests/schema_agreement/exceptions.rs; remove \
         stale exceptions:\n{}",
        unexpected.join("\n")
    );
}

#[tokio::test]
async fn types_page_is_up_to_date() {
    let (page, path) = (types_page::write(&layers().await), repository().join("docs/types.md"));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, page).unwrap();
        return;
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    let new: Vec<&str> =
        page.lines().filter(|line| !written.lines().any(|other| other == *line)).collect();
    assert!(
        page == written,
        "docs/types.md is stale: run\n    UPDATE_GOLDEN=1 tools/with-postgres cargo test -p contract-tests --test schema_agreement\nmissing lines:\n{}",
        new.join("\n")
    );
}

/// Edits a contract in memory and expects exactly this field in the report.
async fn detects(file: &str, from: &str, to: &str, expected: &str) {
    let mut contracts = Contracts::read(repository()).unwrap();
    let text = contracts.proto.get_mut(file).unwrap_or(&mut contracts.openapi_text);
    assert!(text.contains(from), "{file} does not have: {from}");
    *text = text.replacen(from, to, 1);
    contracts.openapi = serde_norway::from_str(&contracts.openapi_text).unwrap();
    let mut layers = layers().await;
    layers.read(&contracts);
    assert_names(&unexpected(&layers), expected);
}

fn assert_names(unexpected: &[String], expected: &str) {
    assert!(
        unexpected.iter().any(|line| line.contains(expected)),
        "expected \"{expected}\" among {unexpected:#?}"
    );
}

const ASSISTANT: &str = "merch/assistant/v1/assistant.proto";

#[tokio::test]
async fn openapi_changes_are_detected() {
    detects(
        "openapi.yaml",
        "pattern: '^[A-Za-z0-9]{1,15}$'",
        "pattern: '^[A-Za-z0-9]{1,12}$'",
        "User.sid: longest",
    )
    .await;
    detects(
        "openapi.yaml",
        "pattern: '^[A-Za-z0-9_.-]{3,50}$'",
        "pattern: '^[A-Za-z0-9_.]{3,50}$'",
        "User.username: characters",
    )
    .await;
    detects(
        "openapi.yaml",
        "enum: [placed, cancelled]",
        "enum: [placed, cancelled, shipped]",
        "Order.status: values",
    )
    .await;
    detects(
        "openapi.yaml",
        "          maximum: 3\n",
        "          maximum: 4\n",
        "Purchase.quantity: maximum",
    )
    .await;
    let (price, narrow) = (
        "        price_cents:\n          description: What one piece costs, in minor units of `currency`.\n          type: integer\n          format: int",
        "64",
    );
    detects(
        "openapi.yaml",
        &format!("{price}{narrow}"),
        &format!("{price}32"),
        "Product.price_cents: type",
    )
    .await;
}

#[tokio::test]
async fn proto_changes_are_detected() {
    detects(
        ASSISTANT,
        "    lte: 3\n  }];\n  // Visible ASCII",
        "    lte: 4\n  }];\n  // Visible ASCII",
        "Purchase.quantity: maximum",
    )
    .await;
    detects(
        ASSISTANT,
        "  // When it was cancelled, UTC; not set while it is placed.\n",
        "  // When it was cancelled, UTC.\n",
        "Order.cancelled_at: null",
    )
    .await;
    detects(
        ASSISTANT,
        "  int32 stock = 8 [(buf.validate.field).int32.gte = 0];",
        "  int64 stock = 8 [(buf.validate.field).int64.gte = 0];",
        "Product.stock: type",
    )
    .await;
    detects(ASSISTANT, "    max_len: 100\n", "    max_len: 120\n", "Product.name: longest").await;
    detects(
        ASSISTANT,
        "  optional string email = 5 [",
        "  string email = 5 [",
        "UserChange.email: presence",
    )
    .await;
    detects(
        ASSISTANT,
        "  int64 version = 9 [(buf.validate.field).int64.gte = 1];\n",
        "  int64 version = 9 [(buf.validate.field).int64.gte = 1];\n  // In grams.\n  int32 weight_grams = 10;\n",
        "Product.weight_grams: missing in openapi.yaml",
    )
    .await;
    detects(
        ASSISTANT,
        "  // The pieces are back in stock.\n",
        "  // On its way.\n  ORDER_STATUS_SHIPPED = 3;\n  // The pieces are back in stock.\n",
        "Order.status: values",
    )
    .await;
}

#[tokio::test]
async fn sqlite_changes_are_detected() {
    let database = BareDatabase::create(Database::Sqlite).await;
    let replace = |from: &str, to: &str| {
        format!(
            "UPDATE sqlite_master SET sql = replace(sql, '{from}', '{to}') WHERE name = 'orders'"
        )
    };
    let (quantity, status) = (
        replace("quantity BETWEEN 1 AND 3", "quantity BETWEEN 1 AND 4"),
        replace("user_id           BLOB", "user_id           TEXT"),
    );
    database.execute(&format!("PRAGMA writable_schema = ON; {quantity}; {status}; ALTER TABLE users ADD COLUMN nickname TEXT")).await;
    let mut layers = layers().await;
    layers.sqlite = sql::sqlite(&database).await;
    let unexpected = unexpected(&layers);
    assert_names(&unexpected, "Order.quantity: maximum");
    assert_names(&unexpected, "Order.user_id: type");
    assert_names(&unexpected, "User.nickname: missing in openapi.yaml");
    database.drop().await;
}

#[tokio::test]
async fn postgresql_changes_are_detected() {
    let database = BareDatabase::create(Database::Postgres).await;
    database
        .execute(
            "ALTER TABLE orders DROP CONSTRAINT ck_orders_quantity, ADD CONSTRAINT ck_orders_quantity CHECK (quantity BETWEEN 1 AND 4);
             ALTER TABLE products ALTER COLUMN price_cents TYPE double precision;
             ALTER TABLE orders ALTER COLUMN currency DROP NOT NULL;
             ALTER TABLE products DROP CONSTRAINT ck_products_currency_length;
             CREATE TABLE coupons (code text NOT NULL)",
        )
        .await;
    let mut layers = layers().await;
    layers.postgres = sql::postgres(&database).await;
    let unexpected = unexpected(&layers);
    assert_names(&unexpected, "Order.quantity: maximum");
    assert_names(&unexpected, "Product.price_cents: type");
    assert_names(&unexpected, "Order.currency: null");
    assert_names(&unexpected, "Product.currency: longest");
    assert_names(&unexpected, "table coupons");
    database.drop().await;
}

#[tokio::test]
async fn stale_exceptions_are_detected() {
    let mut found = disagreements(&layers().await);
    found.retain(|disagreement| disagreement.place != "Product.version");
    assert_names(
        &exceptions::unexpected(&found),
        "Product.version: missing in openapi.yaml is a stale exception: the layers agree",
    );
}
