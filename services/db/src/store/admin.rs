//! The operator's use cases. Locks are taken as for placing orders: users before products, each by
//! id.

use std::time::Duration;

use merch_contract::grpc::{assistant::v1::ErrorReason, logging::v1::Level};
use merch_logging::client::event::{Event, attribute, event_name};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _,
    ExprTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
    Statement, Value,
    prelude::Expr,
    sea_query::{Func, LockType},
};
use time::OffsetDateTime;
use uuid::{Uuid, fmt::Simple};

use super::{
    Context, Store, db_failure, outbox,
    sql::{Sql, json},
};
use crate::{
    database::Transaction,
    entity::{products, users},
    failure::Failure,
};

/// The maximum stock. Cancelled orders may exceed it without overflow.
pub(crate) const MAX_STOCK: i32 = 1_000_000_000;
/// Users per transaction; the orders of these users wait for it.
const REVOCATION_BATCH: u64 = 1_000;

const SELECT_REQUEST: &str =
    "SELECT fingerprint, stock, difference FROM admin_requests WHERE key = $1";
/// Waits for a concurrent transaction with the same key.
const INSERT_REQUEST: Sql = Sql {
    postgres: "
        INSERT INTO admin_requests (key, fingerprint, stock, difference, created_at)
        VALUES ($1, $2, $3, $4, clock_timestamp())
        ON CONFLICT (key) DO NOTHING",
    sqlite: "
        INSERT INTO admin_requests (key, fingerprint, stock, difference, created_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (key) DO NOTHING",
};
/// `$1` is [`Clock::expiry`](crate::clock::Clock::expiry).
const DELETE_EXPIRED_REQUESTS: Sql = Sql {
    postgres: "
        DELETE FROM admin_requests
        WHERE created_at < clock_timestamp() - make_interval(secs => $1)",
    sqlite: "DELETE FROM admin_requests WHERE created_at < $1",
};
const INVALIDATE_TOKENS: Sql = Sql {
    postgres: "
        UPDATE users SET token_version = token_version + 1
        WHERE id IN (SELECT value::uuid FROM json_array_elements_text($1::json))",
    sqlite: "
        UPDATE users SET token_version = token_version + 1
        WHERE id IN (SELECT unhex(value) FROM json_each($1))",
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StockChange {
    Add(i32),
    Set(i32),
}

#[derive(Clone, Debug)]
pub(crate) struct Restock {
    pub(crate) idempotency_key: String,
    pub(crate) product_id: i32,
    pub(crate) change: StockChange,
}

impl Restock {
    /// A key that is reused with another fingerprint is refused.
    fn fingerprint(&self) -> String {
        match self.change {
            StockChange::Add(pieces) => format!("v1:product={},add={pieces}", self.product_id),
            StockChange::Set(pieces) => format!("v1:product={},set={pieces}", self.product_id),
        }
    }
}

/// The result of a stock change, or of the first one with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restocked {
    pub(crate) stock: i32,
    pub(crate) difference: i32,
    pub(crate) replayed: bool,
}

#[derive(FromQueryResult)]
struct KeyRow {
    fingerprint: String,
    stock: i32,
    difference: i32,
}

#[derive(Clone, Debug)]
pub(crate) enum UserRef {
    Id(Uuid),
    Username(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserFilter {
    /// A prefix of the usernames, in lower case.
    pub(crate) prefix: Option<String>,
    pub(crate) active: Option<bool>,
}

impl Store {
    /// Takes effect once for each idempotency key.
    pub(crate) async fn restock(
        &self,
        context: &Context,
        restock: &Restock,
    ) -> Result<Restocked, Failure> {
        // Checked before the lock, so that an invalid or repeated call delays no order.
        self.product(restock.product_id).await?;
        if let Some(first) = self.stored_response(self.database.reader(), restock).await? {
            return Ok(first);
        }
        let _stock = self.stock_lock.lock().await;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let product = lock_product(transaction, restock.product_id).await?;
            // Read after the lock, so that a concurrent call with this key has committed.
            if let Some(first) = self.stored_response(transaction, restock).await? {
                return Ok(first);
            }
            let stock = match restock.change {
                StockChange::Add(pieces) => {
                    product.stock.checked_add(pieces).filter(|stock| *stock <= MAX_STOCK)
                }
                StockChange::Set(pieces) => Some(pieces),
            };
            let Some(stock) = stock else {
                return Err(Failure::invalid(
                    "add",
                    "pieces that keep the stock at 1,000,000,000 or less",
                ));
            };
            let difference = stock - product.stock;
            if difference != 0 {
                update_product(transaction, product.id, products::Column::Stock, stock.into())
                    .await?;
            }
            let now = self.clock.now();
            let values: [Value; 4] = [
                restock.idempotency_key.as_str().into(),
                restock.fingerprint().into(),
                stock.into(),
                difference.into(),
            ];
            let statement =
                INSERT_REQUEST.with_time(self.database.backend(), values, self.clock.monotonic());
            if transaction.execute_raw(statement).await.map_err(db_failure)?.rows_affected() == 0 {
                // A concurrent call used the key.
                return Err(Failure::Retryable(DbErr::Custom(
                    "a concurrent call used the same key".to_owned(),
                )));
            }
            if difference != 0 {
                let event = self.origin.event(
                    Level::Info,
                    event_name::PRODUCT_RESTOCKED,
                    "The operator changed a product's stock.",
                );
                let event = event
                    .on_product(product.id)
                    .attribute(attribute::DIFFERENCE, difference)
                    .attribute(attribute::STOCK, stock);
                self.record(transaction, context, now, event).await?;
            }
            Ok(Restocked { stock, difference, replayed: false })
        })
        .await
    }

    async fn stored_response<C: ConnectionTrait>(
        &self,
        connection: &C,
        restock: &Restock,
    ) -> Result<Option<Restocked>, Failure> {
        let statement = Statement::from_sql_and_values(
            self.database.backend(),
            SELECT_REQUEST,
            [restock.idempotency_key.as_str().into()],
        );
        let Some(row) =
            KeyRow::find_by_statement(statement).one(connection).await.map_err(db_failure)?
        else {
            return Ok(None);
        };
        if row.fingerprint != restock.fingerprint() {
            return Err(Failure::Refused(ErrorReason::IdempotencyKeyReused));
        }
        Ok(Some(Restocked { stock: row.stock, difference: row.difference, replayed: true }))
    }

    /// Returns the product and its previous price.
    pub(crate) async fn set_price(
        &self,
        context: &Context,
        product_id: i32,
        price_cents: i64,
    ) -> Result<(products::Model, i64), Failure> {
        let product = self.product(product_id).await?;
        if product.price_cents == price_cents {
            return Ok((product, price_cents));
        }
        let _stock = self.stock_lock.lock().await;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let product = lock_product(transaction, product_id).await?;
            let previous = product.price_cents;
            if previous == price_cents {
                return Ok((product, previous));
            }
            update_product(
                transaction,
                product_id,
                products::Column::PriceCents,
                price_cents.into(),
            )
            .await?;
            let event = self.origin.event(
                Level::Info,
                event_name::PRODUCT_PRICE_SET,
                "The operator set a product's price.",
            );
            let event = event
                .on_product(product_id)
                .attribute(attribute::PRICE_CENTS, price_cents)
                .attribute(attribute::PREVIOUS_PRICE_CENTS, previous)
                .attribute(attribute::CURRENCY, &product.currency);
            self.record(transaction, context, self.clock.now(), event).await?;
            Ok((products::Model { price_cents, version: product.version + 1, ..product }, previous))
        })
        .await
    }

    /// Also returns whether there are more.
    pub(crate) async fn list_users(
        &self,
        context: &Context,
        filter: &UserFilter,
        after: Uuid,
        shown: usize,
    ) -> Result<(Vec<users::Model>, bool), Failure> {
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let mut condition = Condition::all().add(users::Column::Id.gt(after));
            if let Some(prefix) = &filter.prefix {
                // Not LIKE, where `_` matches any character.
                let length = i32::try_from(prefix.chars().count()).unwrap_or(i32::MAX);
                let beginning = Func::cust("substr")
                    .arg(Expr::col(users::Column::UsernameKey))
                    .arg(1)
                    .arg(length);
                condition = condition.add(Expr::expr(beginning).eq(prefix.as_str()));
            }
            if let Some(active) = filter.active {
                condition = condition.add(users::Column::IsActive.eq(active));
            }
            let query = users::Entity::find()
                .filter(condition)
                .order_by_asc(users::Column::Id)
                .limit(shown as u64 + 1);
            let mut found = query.all(transaction).await.map_err(db_failure)?;
            let more = found.len() > shown;
            found.truncate(shown);
            let event = self.origin.event(
                Level::Info,
                event_name::USERS_LISTED,
                "The operator read a page of users.",
            );
            self.record(
                transaction,
                context,
                self.clock.now(),
                event.attribute(attribute::USERS, found.len()),
            )
            .await?;
            Ok((found, more))
        })
        .await
    }

    /// Also returns whether the user was active.
    pub(crate) async fn deactivate(
        &self,
        context: &Context,
        user: &UserRef,
    ) -> Result<(users::Model, bool), Failure> {
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let before = lock_user(transaction, user).await?;
            if !before.is_active {
                return Ok((before, false));
            }
            let (id, now) = (before.id, self.clock.now());
            let (token_version, version) = (Set(before.token_version + 1), Set(before.version + 1));
            let after = users::ActiveModel {
                is_active: Set(false),
                token_version,
                version,
                updated_at: Set(now),
                ..before.into()
            };
            let user = after.update(transaction).await.map_err(db_failure)?;
            let event = self.origin.event(
                Level::Info,
                event_name::USER_DEACTIVATED,
                "The operator deactivated a user.",
            );
            self.record(transaction, context, now, event.on_user(id)).await?;
            Ok((user, true))
        })
        .await
    }

    pub(crate) async fn revoke_tokens_of(
        &self,
        context: &Context,
        user: &UserRef,
    ) -> Result<(), Failure> {
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let user = lock_user(transaction, user).await?;
            self.invalidate_tokens(transaction, &[user.id]).await?;
            let event = self.origin.event(
                Level::Info,
                event_name::TOKENS_REVOKED,
                "The operator revoked a user's tokens.",
            );
            self.record(
                transaction,
                context,
                self.clock.now(),
                event.on_user(user.id).attribute(attribute::USERS, 1),
            )
            .await
        })
        .await
    }

    /// Revokes the tokens of a batch of active users above `after`. Returns their number, and the
    /// last id if there may be more.
    pub(crate) async fn revoke_a_page_of_tokens(
        &self,
        context: &Context,
        after: Uuid,
    ) -> Result<(usize, Option<Uuid>), Failure> {
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let ids: Vec<Uuid> = users::Entity::find()
                .select_only()
                .column(users::Column::Id)
                .filter(users::Column::Id.gt(after).and(users::Column::IsActive.eq(true)))
                .order_by_asc(users::Column::Id)
                .limit(REVOCATION_BATCH)
                .lock(LockType::NoKeyUpdate)
                .into_tuple()
                .all(transaction)
                .await
                .map_err(db_failure)?;
            if ids.is_empty() {
                return Ok((0, None));
            }
            self.invalidate_tokens(transaction, &ids).await?;
            let event = self.origin.event(
                Level::Info,
                event_name::TOKENS_REVOKED,
                "The operator revoked the tokens of many users.",
            );
            self.record(
                transaction,
                context,
                self.clock.now(),
                event.attribute(attribute::USERS, ids.len()),
            )
            .await?;
            Ok((ids.len(), ids.last().copied().filter(|_| ids.len() as u64 == REVOCATION_BATCH)))
        })
        .await
    }

    pub(crate) async fn delete_expired_admin_requests(
        &self,
        retention: Duration,
    ) -> Result<u64, DbErr> {
        let Some(expiry) = self.clock.expiry(retention) else { return Ok(0) };
        let statement = DELETE_EXPIRED_REQUESTS.with(self.database.backend(), [expiry]);
        Ok(self
            .database
            .within(self.database.writer().execute_raw(statement))
            .await?
            .rows_affected())
    }

    /// The rows must be locked.
    async fn invalidate_tokens(
        &self,
        transaction: &Transaction,
        ids: &[Uuid],
    ) -> Result<(), Failure> {
        // SQLite reads them with `unhex`.
        let ids: Vec<Simple> = ids.iter().copied().map(Uuid::simple).collect();
        let statement = INVALIDATE_TOKENS
            .with(self.database.backend(), [json(&ids).map_err(db_failure)?.into()]);
        transaction.execute_raw(statement).await.map_err(db_failure).map(|_| ())
    }

    async fn record(
        &self,
        transaction: &Transaction,
        context: &Context,
        time: OffsetDateTime,
        event: Event,
    ) -> Result<(), Failure> {
        let event =
            event.by_operator().request_id(&context.request_id).trace_id(&context.trace_id).build();
        outbox::append(transaction, time, vec![event]).await.map_err(db_failure)
    }
}

async fn lock_product(transaction: &Transaction, id: i32) -> Result<products::Model, Failure> {
    let product = products::Entity::find_by_id(id)
        .lock(LockType::NoKeyUpdate)
        .one(transaction)
        .await
        .map_err(db_failure)?;
    product.ok_or(Failure::Refused(ErrorReason::ProductNotFound))
}

async fn update_product(
    transaction: &Transaction,
    id: i32,
    column: products::Column,
    value: Value,
) -> Result<(), Failure> {
    products::Entity::update_many()
        .col_expr(column, Expr::value(value))
        .col_expr(products::Column::Version, Expr::col(products::Column::Version).add(1))
        .filter(products::Column::Id.eq(id))
        .exec(transaction)
        .await
        .map_err(db_failure)
        .map(|_| ())
}

async fn lock_user(transaction: &Transaction, user: &UserRef) -> Result<users::Model, Failure> {
    let is = match user {
        UserRef::Id(id) => users::Column::Id.eq(*id),
        UserRef::Username(name) => users::Column::UsernameKey.eq(name.to_lowercase()),
    };
    let user = users::Entity::find()
        .filter(is)
        .lock(LockType::NoKeyUpdate)
        .one(transaction)
        .await
        .map_err(db_failure)?;
    user.ok_or(Failure::Refused(ErrorReason::UserNotFound))
}
