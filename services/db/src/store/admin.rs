//! What the operator does: stock, prices, users and tokens, beside the orders that are being
//! placed.
//!
//! Locks are taken as placing takes them: users before products, each in the order of the ids. No
//! method here needs both, and only one of them locks several rows, so that none waits in a circle.

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
use uuid::Uuid;

use super::{
    Context, Store, outbox, plain,
    sql::{Sql, json, plain_id},
};
use crate::{
    database::Transaction,
    entity::{products, users},
    failure::Failure,
};

/// Pieces of a product, at most: what orders put back when they are cancelled fits on top of it.
pub(crate) const MOST_STOCK: i32 = 1_000_000_000;
/// Users whose tokens one transaction makes void: an order of one of them waits for it.
const PAGE: u64 = 1_000;

const KEY: &str = "SELECT fingerprint, stock, difference FROM admin_requests WHERE key = $1";
/// Whoever used the same key for another product is waited for here.
const REMEMBER: Sql = Sql {
    postgres: "INSERT INTO admin_requests (key, fingerprint, stock, difference, created_at) VALUES ($1, $2, $3, $4, clock_timestamp()) \
               ON CONFLICT (key) DO NOTHING",
    sqlite: "INSERT INTO admin_requests (key, fingerprint, stock, difference, created_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (key) DO NOTHING",
};
/// `$1` is what [`Clock::expiry`](crate::clock::Clock::expiry) gives.
const EXPIRE: Sql = Sql {
    postgres: "DELETE FROM admin_requests WHERE created_at < clock_timestamp() - make_interval(secs => $1)",
    sqlite: "DELETE FROM admin_requests WHERE created_at < $1",
};
const VOID: Sql = Sql {
    postgres: "UPDATE users SET token_version = token_version + 1 \
               WHERE id IN (SELECT value::uuid FROM json_array_elements_text($1::json))",
    sqlite: "UPDATE users SET token_version = token_version + 1 WHERE id IN (SELECT unhex(value) FROM json_each($1))",
};

/// How a product's stock is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// So many pieces more.
    Add(i32),
    /// So many pieces in all.
    Set(i32),
}

/// A restocking; every member keeps its rule.
#[derive(Clone, Debug)]
pub(crate) struct Restock {
    pub(crate) idempotency_key: String,
    pub(crate) product_id: i32,
    pub(crate) change: Change,
}

impl Restock {
    /// What must be the same when the key comes again.
    fn fingerprint(&self) -> String {
        match self.change {
            Change::Add(pieces) => format!("v1:product={},add={pieces}", self.product_id),
            Change::Set(pieces) => format!("v1:product={},set={pieces}", self.product_id),
        }
    }
}

/// What came of it, now or when the key was used first.
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

/// One user.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Id(Uuid),
    Username(String),
}

/// Which users to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserFilter {
    /// Folded to lower case.
    pub(crate) prefix: Option<String>,
    pub(crate) active: Option<bool>,
}

impl Store {
    /// # Errors
    /// `PRODUCT_NOT_FOUND`, `IDEMPOTENCY_KEY_REUSED`, or that the stock would be more than
    /// [`MOST_STOCK`].
    pub(crate) async fn restock(
        &self,
        context: &Context,
        restock: &Restock,
    ) -> Result<Restocked, Failure> {
        // Reads before it locks: a mistake or a repetition holds up no order.
        self.product(restock.product_id).await?;
        if let Some(first) = self.first_answer(self.database.reader(), restock).await? {
            return Ok(first);
        }
        let _turn = self.selling.lock().await;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let product = lock_product(transaction, restock.product_id).await?;
            // Not before the product is locked: whoever used the same key for it has committed by
            // now.
            if let Some(first) = self.first_answer(transaction, restock).await? {
                return Ok(first);
            }
            let stock = match restock.change {
                Change::Add(pieces) => {
                    product.stock.checked_add(pieces).filter(|stock| *stock <= MOST_STOCK)
                }
                Change::Set(pieces) => Some(pieces),
            };
            let Some(stock) = stock else {
                return Err(Failure::invalid(
                    "add",
                    "pieces that do not make the stock more than 1,000,000,000",
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
                REMEMBER.with_time(self.database.backend(), values, self.clock.steady());
            if transaction.execute_raw(statement).await.map_err(plain)?.rows_affected() == 0 {
                // Committed while this one waited: the next attempt reads it.
                return Err(Failure::Undone(DbErr::Custom(
                    "another call used the same key at the same time".to_owned(),
                )));
            }
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
            Ok(Restocked { stock, difference, replayed: false })
        })
        .await
    }

    /// The answer to the first call with this key, if there was one.
    async fn first_answer<C: ConnectionTrait>(
        &self,
        connection: &C,
        restock: &Restock,
    ) -> Result<Option<Restocked>, Failure> {
        let statement = Statement::from_sql_and_values(
            self.database.backend(),
            KEY,
            [restock.idempotency_key.as_str().into()],
        );
        let Some(row) =
            KeyRow::find_by_statement(statement).one(connection).await.map_err(plain)?
        else {
            return Ok(None);
        };
        if row.fingerprint != restock.fingerprint() {
            return Err(Failure::Refused(ErrorReason::IdempotencyKeyReused));
        }
        Ok(Some(Restocked { stock: row.stock, difference: row.difference, replayed: true }))
    }

    /// Yields the product and the price that it had.
    pub(crate) async fn set_price(
        &self,
        context: &Context,
        product_id: i32,
        price_cents: i64,
    ) -> Result<(products::Model, i64), Failure> {
        // Reads before it locks, as `restock`.
        let product = self.product(product_id).await?;
        if product.price_cents == price_cents {
            return Ok((product, price_cents));
        }
        let _turn = self.selling.lock().await;
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

    /// Up to `shown` users with ids above `after`, ascending, and whether there are more. The event
    /// tells how many were shown, and of none of them.
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
                // And not LIKE, in which `_` stands for any character.
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
            let mut found = query.all(transaction).await.map_err(plain)?;
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

    /// Yields the user, and whether it was active.
    pub(crate) async fn deactivate(
        &self,
        context: &Context,
        who: &Who,
    ) -> Result<(users::Model, bool), Failure> {
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let before = lock_user(transaction, who).await?;
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
            let user = after.update(transaction).await.map_err(plain)?;
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
        who: &Who,
    ) -> Result<(), Failure> {
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let user = lock_user(transaction, who).await?;
            self.void(transaction, &[user.id]).await?;
            let event = self.origin.event(
                Level::Info,
                event_name::TOKENS_REVOKED,
                "The operator made a user's tokens void.",
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

    /// Of a page of active users with ids above `after`. Yields how many, and the last id if there
    /// may be more.
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
                .limit(PAGE)
                .lock(LockType::NoKeyUpdate)
                .into_tuple()
                .all(transaction)
                .await
                .map_err(plain)?;
            if ids.is_empty() {
                return Ok((0, None));
            }
            self.void(transaction, &ids).await?;
            let event = self.origin.event(
                Level::Info,
                event_name::TOKENS_REVOKED,
                "The operator made the tokens of many users void.",
            );
            self.record(
                transaction,
                context,
                self.clock.now(),
                event.attribute(attribute::USERS, ids.len()),
            )
            .await?;
            Ok((ids.len(), ids.last().copied().filter(|_| ids.len() as u64 == PAGE)))
        })
        .await
    }

    /// Removes the keys of restockings that are older than `retention`. The operator makes few of
    /// them.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn expire_admin_requests(&self, retention: Duration) -> Result<u64, DbErr> {
        let Some(expiry) = self.clock.expiry(retention) else { return Ok(0) };
        let statement = EXPIRE.with(self.database.backend(), [expiry]);
        Ok(self
            .database
            .within(self.database.writer().execute_raw(statement))
            .await?
            .rows_affected())
    }

    /// The rows are locked.
    async fn void(&self, transaction: &Transaction, ids: &[Uuid]) -> Result<(), Failure> {
        let ids: Vec<String> = ids.iter().copied().map(plain_id).collect();
        let statement = VOID.with(self.database.backend(), [json(&ids).map_err(plain)?.into()]);
        transaction.execute_raw(statement).await.map_err(plain).map(|_| ())
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
        outbox::append(transaction, time, &[event]).await.map_err(plain)
    }
}

/// As placing locks it, so that stock and price are what orders see.
async fn lock_product(transaction: &Transaction, id: i32) -> Result<products::Model, Failure> {
    let product = products::Entity::find_by_id(id)
        .lock(LockType::NoKeyUpdate)
        .one(transaction)
        .await
        .map_err(plain)?;
    product.ok_or(Failure::Refused(ErrorReason::ProductNotFound))
}

/// Sets one column of a locked row.
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
        .map_err(plain)
        .map(|_| ())
}

async fn lock_user(transaction: &Transaction, who: &Who) -> Result<users::Model, Failure> {
    let is = match who {
        Who::Id(id) => users::Column::Id.eq(*id),
        Who::Username(name) => users::Column::UsernameKey.eq(name.to_lowercase()),
    };
    let user = users::Entity::find()
        .filter(is)
        .lock(LockType::NoKeyUpdate)
        .one(transaction)
        .await
        .map_err(plain)?;
    user.ok_or(Failure::Refused(ErrorReason::UserNotFound))
}
