//! Placing, reading and cancelling one's own orders.

use merch_chassis::WriteClass;
use merch_contract::grpc::assistant::v1::{
    self as proto, ErrorReason, place_order_result::Outcome,
};
use uuid::Uuid;

use super::Store;
use crate::{
    context::RequestContext,
    db::{CallFailure, Idempotency, refused},
    identity::Caller,
    model::{Order, OrderStatus, Page, required},
    problem::Problem,
};

impl Store {
    /// Places an order, or finds the one that was placed with the same key. What is repeated with a
    /// key is answered by the db service with the order as it was placed, so that the two answers
    /// are the same to the byte.
    pub(crate) async fn place_order(
        &self,
        caller: Caller,
        product_id: i32,
        quantity: i32,
        idempotency_key: Option<String>,
    ) -> Result<Order, Problem> {
        let _place = self.begin_write(caller, WriteClass::Data)?;
        let kind = if idempotency_key.is_some() {
            Idempotency::Idempotent
        } else {
            Idempotency::NonIdempotent
        };
        let order = proto::NewOrder {
            context: Some(RequestContext::current().to_proto()),
            caller: Some(caller.to_proto()),
            product_id,
            quantity,
            idempotency_key: idempotency_key.unwrap_or_default(),
        };
        // One order a call: the db service gathers what comes in at the same time into one
        // transaction.
        let request = proto::PlaceOrdersRequest { orders: vec![order] };
        let result = self
            .db
            .call(kind, request, |mut db, request| async move { db.place_orders(request).await })
            .await;
        let mut results = self.as_caller(caller, result).await?.results;
        let (Some(result), true) = (results.pop(), results.is_empty()) else {
            return Err(CallFailure::BadAnswer(
                "PlaceOrders did not answer one order with one result",
            )
            .into());
        };
        match required(
            result.outcome,
            "PlaceOrders answered an order with neither an order nor a refusal",
        )? {
            Outcome::Order(order) => Ok(Order::try_from(order)?),
            Outcome::Refusal(refusal) => {
                let reason = refusal.reason();
                if reason == ErrorReason::TokenRevoked {
                    self.token_revoked(caller).await?;
                }
                Err(refused(reason).unwrap_or_else(|| {
                    Problem::internal(format!(
                        "an order was refused: {} ({})",
                        reason.as_str_name(),
                        refusal.message
                    ))
                }))
            }
        }
    }

    /// A page of one's own orders, newest first. `page_token` is the db service's own and is passed
    /// on unread.
    pub(crate) async fn list_orders(
        &self,
        caller: Caller,
        limit: i32,
        page_token: Option<String>,
        status: Option<OrderStatus>,
    ) -> Result<Page<Order>, Problem> {
        let request = proto::ListOrdersRequest {
            caller: Some(caller.to_proto()),
            page_size: limit,
            page_token: page_token.unwrap_or_default(),
            status: status.map_or(proto::OrderStatus::Unspecified, OrderStatus::to_proto).into(),
        };
        let result = self
            .db
            .call(Idempotency::Safe, request, |mut db, request| async move {
                db.list_orders(request).await
            })
            .await;
        let answer = self.as_caller(caller, result).await?;
        Ok(Page::of(answer.orders, answer.next_page_token)?)
    }

    /// One of one's own orders.
    pub(crate) async fn get_order(&self, caller: Caller, order_id: Uuid) -> Result<Order, Problem> {
        let request = proto::GetOrderRequest {
            caller: Some(caller.to_proto()),
            order_id: order_id.to_string(),
        };
        let result = self
            .db
            .call(Idempotency::Safe, request, |mut db, request| async move {
                db.get_order(request).await
            })
            .await;
        let answer = self.as_caller(caller, result).await?;
        Ok(Order::try_from(required(answer.order, "GetOrder answered without an order")?)?)
    }

    /// Cancels one of one's own orders; one that is cancelled already stays as it is.
    pub(crate) async fn cancel_order(
        &self,
        caller: Caller,
        order_id: Uuid,
    ) -> Result<Order, Problem> {
        let _place = self.begin_write(caller, WriteClass::Data)?;
        let request = proto::CancelOrderRequest {
            context: Some(RequestContext::current().to_proto()),
            caller: Some(caller.to_proto()),
            order_id: order_id.to_string(),
        };
        // An order that is cancelled already is answered as it is: a second time changes nothing,
        // and says the same.
        let result = self
            .db
            .call(Idempotency::Idempotent, request, |mut db, request| async move {
                db.cancel_order(request).await
            })
            .await;
        let answer = self.as_caller(caller, result).await?;
        Ok(Order::try_from(required(answer.order, "CancelOrder answered without an order")?)?)
    }
}
