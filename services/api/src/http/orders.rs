//! Orders, over HTTP.

use merch_contract::rest::server as rest;

use super::{Api, answer, page_token as checked};
use crate::{
    etag,
    model::{Order, OrderStatus, Page},
};

impl rest::OrderManager for Api {
    async fn place_order(
        &self,
        bearer_auth: rest::BearerAuth,
        idempotency_key: Option<String>,
        body: rest::Purchase,
    ) -> rest::PlaceOrderResponse {
        answer(async {
            let caller = self.store.authenticate(bearer_auth.token()).await?;
            let order = self
                .store
                .place_order(caller, body.product_id, body.quantity, idempotency_key)
                .await?;
            let (location, etag) =
                (format!("/orders/{}", order.id), etag::of_version(order.version));
            Ok(rest::PlaceOrderResponse::Created { body: order.into(), location, etag })
        })
        .await
    }

    async fn list_orders(
        &self,
        bearer_auth: rest::BearerAuth,
        limit: i32,
        page_token: Option<String>,
        status: Option<rest::OrderStatus>,
    ) -> rest::ListOrdersResponse {
        answer(async {
            let caller = self.store.authenticate(bearer_auth.token()).await?;
            let page = self
                .store
                .list_orders(caller, limit, checked(page_token)?, status.map(Into::into))
                .await?;
            Ok(rest::ListOrdersResponse::Ok { body: page.into() })
        })
        .await
    }

    async fn get_order(
        &self,
        bearer_auth: rest::BearerAuth,
        order_id: rest::OrderId,
        if_none_match: Option<String>,
    ) -> rest::GetOrderResponse {
        answer(async {
            let caller = self.store.authenticate(bearer_auth.token()).await?;
            let order = self.store.get_order(caller, order_id).await?;
            let etag = etag::of_version(order.version);
            if etag::none_match_holds(if_none_match.as_deref(), &etag)? {
                return Ok(rest::GetOrderResponse::NotModified { etag });
            }
            Ok(rest::GetOrderResponse::Ok { body: order.into(), etag })
        })
        .await
    }

    async fn cancel_order(
        &self,
        bearer_auth: rest::BearerAuth,
        order_id: rest::OrderId,
    ) -> rest::CancelOrderResponse {
        answer(async {
            let caller = self.store.authenticate(bearer_auth.token()).await?;
            let order = self.store.cancel_order(caller, order_id).await?;
            let etag = etag::of_version(order.version);
            Ok(rest::CancelOrderResponse::Ok { body: order.into(), etag })
        })
        .await
    }
}

impl From<rest::OrderStatus> for OrderStatus {
    fn from(status: rest::OrderStatus) -> Self {
        match status {
            rest::OrderStatus::Placed => Self::Placed,
            rest::OrderStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl From<OrderStatus> for rest::OrderStatus {
    fn from(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Placed => Self::Placed,
            OrderStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Order> for rest::Order {
    fn from(order: Order) -> Self {
        Self {
            id: order.id,
            user_id: order.user_id,
            product_id: order.product_id,
            quantity: order.quantity,
            unit_price_cents: order.unit_price_cents,
            total_price_cents: order.total_price_cents,
            currency: order.currency,
            status: order.status.into(),
            created_at: order.created_at,
            cancelled_at: order.cancelled_at,
        }
    }
}

impl From<Page<Order>> for rest::OrderPage {
    fn from(page: Page<Order>) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next_page: page.next }
    }
}
