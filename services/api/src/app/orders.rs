use merch_chassis::WriteClass;
use merch_contract::{grpc::assistant::v1 as proto, rest::server as rest};
use uuid::Uuid;

use super::{App, AppError};
use crate::{
    context::RequestContext,
    convert::{Versioned, items, next_page, order_status, required},
    db::Idempotency,
    identity::Caller,
};

impl App {
    /// Places an order, or returns the one that was placed with the same key.
    pub(crate) async fn place_order(
        &self,
        caller: Caller,
        purchase: rest::Purchase,
        idempotency_key: Option<String>,
    ) -> Result<Versioned<rest::Order>, AppError> {
        let _permit = self.begin_write(caller, WriteClass::Data)?;
        let result = self.orders.place(caller, purchase, idempotency_key).await;
        Ok(self.as_caller(caller, result).await?.try_into()?)
    }

    /// Lists the caller's orders, newest first.
    pub(crate) async fn list_orders(
        &self,
        caller: Caller,
        limit: i32,
        page_token: Option<String>,
        status: Option<rest::OrderStatus>,
    ) -> Result<rest::OrderPage, AppError> {
        let request = proto::ListOrdersRequest {
            caller: Some(caller.to_proto()),
            page_size: limit,
            page_token: page_token.unwrap_or_default(),
            status: status.map_or(proto::OrderStatus::Unspecified, order_status).into(),
        };
        let result = self
            .db
            .call(Idempotency::Safe, request, |mut db, request| async move {
                db.list_orders(request).await
            })
            .await;
        let page = self.as_caller(caller, result).await?;
        Ok(rest::OrderPage {
            items: items(page.orders)?,
            next_page: next_page(page.next_page_token),
        })
    }

    pub(crate) async fn get_order(
        &self,
        caller: Caller,
        order_id: Uuid,
    ) -> Result<Versioned<rest::Order>, AppError> {
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
        let response = self.as_caller(caller, result).await?;
        Ok(required(response.order, "GetOrder returned no order")?.try_into()?)
    }

    /// Cancels an order. A cancelled order stays unchanged, so the call may be repeated.
    pub(crate) async fn cancel_order(
        &self,
        caller: Caller,
        order_id: Uuid,
    ) -> Result<Versioned<rest::Order>, AppError> {
        let _permit = self.begin_write(caller, WriteClass::Data)?;
        let request = proto::CancelOrderRequest {
            context: Some(RequestContext::current().to_proto()),
            caller: Some(caller.to_proto()),
            order_id: order_id.to_string(),
        };
        let result = self
            .db
            .call(Idempotency::Idempotent, request, |mut db, request| async move {
                db.cancel_order(request).await
            })
            .await;
        let response = self.as_caller(caller, result).await?;
        Ok(required(response.order, "CancelOrder returned no order")?.try_into()?)
    }
}
