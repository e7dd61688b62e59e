//! Reading and cancelling orders. Placing them is in `place`, behind the `committer`.

use merch_chassis::WriteClass;
use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{
    ActiveEnum as _, ColumnTrait as _, EntityTrait as _, ExprTrait as _, FromQueryResult,
    QueryFilter as _, QueryResult, Statement, Value, prelude::Expr,
};
use uuid::Uuid;

use super::{
    Caller, Context, Lock, Store,
    events::{Happening, event},
    outbox, plain,
};
use crate::{
    entity::{
        orders::{Column, Entity, Model, Status},
        products,
    },
    failure::Failure,
};

/// The columns of an order after those of its buyer.
macro_rules! caller_and_order {
    ($from:literal) => {
        concat!(
            "SELECT u.token_version, u.is_active, o.id AS o_id, o.user_id AS o_user_id, o.product_id AS o_product_id, \
             o.quantity AS o_quantity, o.unit_price_cents AS o_unit_price_cents, o.total_price_cents AS o_total_price_cents, \
             o.currency AS o_currency, o.status AS o_status, o.created_at AS o_created_at, o.cancelled_at AS o_cancelled_at, \
             o.version AS o_version ",
            $from
        )
    };
}

/// `$1` the caller, `$2` the order.
const ONE: &str = caller_and_order!(
    "FROM users u LEFT JOIN orders o ON o.user_id = u.id AND o.id = $2 WHERE u.id = $1"
);

/// `$1` the caller, `$2` the id below which the page begins, `$3` how many. The inner query reads
/// just the page from the index; the outer one yields one row without an order if there is none.
const PAGE: &str = caller_and_order!(
    "FROM users u LEFT JOIN (SELECT * FROM orders WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3) o ON TRUE \
     WHERE u.id = $1 ORDER BY o.id DESC"
);

/// As [`PAGE`], with `$4` the status.
const PAGE_OF_STATUS: &str = caller_and_order!(
    "FROM users u LEFT JOIN (SELECT * FROM orders WHERE user_id = $1 AND status = $4 AND id < $2 ORDER BY id DESC LIMIT $3) o ON TRUE \
     WHERE u.id = $1 ORDER BY o.id DESC"
);

struct CallerAndOrder {
    token_version: i64,
    is_active: bool,
    order: Option<Model>,
}

impl FromQueryResult for CallerAndOrder {
    fn from_query_result(row: &QueryResult, _prefix: &str) -> Result<Self, sea_orm::DbErr> {
        Ok(Self {
            token_version: row.try_get("", "token_version")?,
            is_active: row.try_get("", "is_active")?,
            order: Option::<Model>::from_query_result(row, "o_")?,
        })
    }
}

impl Store {
    /// Up to `limit` of the caller's orders with ids below `before`, newest first; of one status,
    /// if it is given.
    pub(crate) async fn orders(
        &self,
        caller: Caller,
        status: Option<Status>,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Model>, Failure> {
        let mut values: Vec<Value> = vec![
            caller.user_id.into(),
            before.unwrap_or(Uuid::max()).into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ];
        let sql = match status {
            None => PAGE,
            Some(status) => {
                values.push(status.to_value().into());
                PAGE_OF_STATUS
            }
        };
        self.callers_orders(caller, sql, values).await
    }

    pub(crate) async fn order(&self, caller: Caller, order_id: Uuid) -> Result<Model, Failure> {
        let found =
            self.callers_orders(caller, ONE, vec![caller.user_id.into(), order_id.into()]).await?;
        found.into_iter().next().ok_or(Failure::Refused(ErrorReason::OrderNotFound))
    }

    /// Judges the caller and yields the orders, from one statement.
    async fn callers_orders(
        &self,
        caller: Caller,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Model>, Failure> {
        let statement = Statement::from_sql_and_values(self.database.backend(), sql, values);
        let rows = self
            .read(|| {
                CallerAndOrder::find_by_statement(statement.clone()).all(self.database.reader())
            })
            .await?;
        match rows.first() {
            Some(row) if row.is_active && row.token_version == caller.token_version => {
                Ok(rows.into_iter().filter_map(|row| row.order).collect())
            }
            Some(_) | None => Err(Failure::Refused(ErrorReason::TokenRevoked)),
        }
    }

    /// Cancels one of the caller's orders, and puts its pieces back if it was not cancelled before.
    ///
    /// Reads before it locks: only an order that is still placed takes its turn with the orders of
    /// all users.
    ///
    /// Locks are taken in the order user, order, product; placing takes user, product, and never
    /// waits for an order's row: no cycle.
    ///
    /// # Errors
    /// `TOKEN_REVOKED`, `ORDER_NOT_FOUND`, `TOO_MANY_WRITES`.
    pub(crate) async fn cancel_order(
        &self,
        context: &Context,
        caller: Caller,
        order_id: Uuid,
    ) -> Result<Model, Failure> {
        let _place = self.begin_write(caller, WriteClass::Data)?;
        let found = self.order(caller, order_id).await?;
        if found.status == Status::Cancelled {
            return Ok(found);
        }
        let _turn = self.selling.lock().await;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            self.lock_caller(transaction, caller, Lock::Share).await?;
            let now = self.clock.now();
            let own = Column::Id.eq(order_id).and(Column::UserId.eq(caller.user_id));
            let cancelled = Entity::update_many()
                .col_expr(Column::Status, Expr::value(Status::Cancelled.to_value()))
                .col_expr(Column::CancelledAt, Expr::value(now))
                .col_expr(Column::Version, Expr::col(Column::Version).add(1))
                .filter(own.clone().and(Column::Status.eq(Status::Placed)))
                .exec_with_returning(transaction)
                .await
                .map_err(plain)?;
            let Some(order) = cancelled.into_iter().next() else {
                // Cancelled before: the pieces are back already.
                let order = Entity::find().filter(own).one(transaction).await.map_err(plain)?;
                return order.ok_or(Failure::Refused(ErrorReason::OrderNotFound));
            };
            products::Entity::update_many()
                .col_expr(
                    products::Column::Stock,
                    Expr::col(products::Column::Stock).add(order.quantity),
                )
                .col_expr(products::Column::Version, Expr::col(products::Column::Version).add(1))
                .filter(products::Column::Id.eq(order.product_id))
                .exec(transaction)
                .await
                .map_err(plain)?;
            let event =
                event(&self.origin, context, caller.user_id, &Happening::OrderCancelled(&order));
            outbox::append(transaction, now, &[event]).await.map_err(plain)?;
            Ok(order)
        })
        .await
    }
}
