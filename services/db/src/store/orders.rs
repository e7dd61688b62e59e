use merch_chassis::WriteClass;
use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{
    ActiveEnum as _, ColumnTrait as _, EntityTrait as _, ExprTrait as _, FromQueryResult,
    QueryFilter as _, QueryResult, Statement, Value, prelude::Expr,
};
use uuid::Uuid;

use super::{
    Caller, Context, RowLock, Store, db_failure,
    events::{DomainEvent, event},
    outbox,
};
use crate::{
    entity::{
        orders::{Column, Entity, Model, Status},
        products,
    },
    failure::Failure,
};

macro_rules! select_caller_and_order {
    ($from:literal) => {
        concat!(
            "
    SELECT u.token_version, u.is_active, o.id AS o_id, o.user_id AS o_user_id,
        o.product_id AS o_product_id, o.quantity AS o_quantity,
        o.unit_price_cents AS o_unit_price_cents, o.total_price_cents AS o_total_price_cents,
        o.currency AS o_currency, o.status AS o_status, o.created_at AS o_created_at,
        o.cancelled_at AS o_cancelled_at, o.version AS o_version",
            $from
        )
    };
}

const SELECT_ONE: &str = select_caller_and_order!(
    "
    FROM users u
    LEFT JOIN orders o ON o.user_id = u.id AND o.id = $2
    WHERE u.id = $1"
);

/// `$1` the caller, `$2` an upper bound of the ids (exclusive), `$3` the limit.
///
/// The subquery reads only the page from the index. A caller without orders yields one row.
const SELECT_PAGE: &str = select_caller_and_order!(
    "
    FROM users u
    LEFT JOIN (
        SELECT * FROM orders
        WHERE user_id = $1 AND id < $2
        ORDER BY id DESC
        LIMIT $3
    ) o ON TRUE
    WHERE u.id = $1
    ORDER BY o.id DESC"
);

/// Like [`SELECT_PAGE`], with `$4` the status.
const SELECT_PAGE_OF_STATUS: &str = select_caller_and_order!(
    "
    FROM users u
    LEFT JOIN (
        SELECT * FROM orders
        WHERE user_id = $1 AND status = $4 AND id < $2
        ORDER BY id DESC
        LIMIT $3
    ) o ON TRUE
    WHERE u.id = $1
    ORDER BY o.id DESC"
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
            None => SELECT_PAGE,
            Some(status) => {
                values.push(status.to_value().into());
                SELECT_PAGE_OF_STATUS
            }
        };
        self.select_orders(caller, sql, values).await
    }

    pub(crate) async fn order(&self, caller: Caller, order_id: Uuid) -> Result<Model, Failure> {
        let found = self
            .select_orders(caller, SELECT_ONE, vec![caller.user_id.into(), order_id.into()])
            .await?;
        found.into_iter().next().ok_or(Failure::Refused(ErrorReason::OrderNotFound))
    }

    async fn select_orders(
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

    /// Cancels an order and restocks its pieces, once.
    ///
    /// Reads before it locks, so that only a placed order takes the stock lock. Locks the user, the
    /// order, then the product. Placing never waits for an order's row, so the two cannot deadlock.
    pub(crate) async fn cancel_order(
        &self,
        context: &Context,
        caller: Caller,
        order_id: Uuid,
    ) -> Result<Model, Failure> {
        let _permit = self.begin_write(caller, WriteClass::Data)?;
        let found = self.order(caller, order_id).await?;
        if found.status == Status::Cancelled {
            return Ok(found);
        }
        let _stock = self.stock_lock.lock().await;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            self.lock_caller(transaction, caller, RowLock::Shared).await?;
            let now = self.clock.now();
            let own = Column::Id.eq(order_id).and(Column::UserId.eq(caller.user_id));
            let cancelled = Entity::update_many()
                .col_expr(Column::Status, Expr::value(Status::Cancelled.to_value()))
                .col_expr(Column::CancelledAt, Expr::value(now))
                .col_expr(Column::Version, Expr::col(Column::Version).add(1))
                .filter(own.clone().and(Column::Status.eq(Status::Placed)))
                .exec_with_returning(transaction)
                .await
                .map_err(db_failure)?;
            let Some(order) = cancelled.into_iter().next() else {
                // A concurrent call has cancelled it.
                let order =
                    Entity::find().filter(own).one(transaction).await.map_err(db_failure)?;
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
                .map_err(db_failure)?;
            let event =
                event(&self.origin, context, caller.user_id, &DomainEvent::OrderCancelled(&order));
            outbox::append(transaction, now, vec![event]).await.map_err(db_failure)?;
            Ok(order)
        })
        .await
    }
}
