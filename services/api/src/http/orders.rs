//! The operations of `OrderManager`.

use merch_contract::rest::server as rest;

use super::{Handlers, page_token as checked_page_token, respond};
use crate::etag;

impl rest::OrderManager for Handlers {
    async fn place_order(
        &self,
        bearer_auth: rest::BearerAuth,
        idempotency_key: Option<String>,
        body: rest::Purchase,
    ) -> rest::PlaceOrderResponse {
        respond(async {
            let caller = self.app.authenticate(bearer_auth.token()).await?;
            let order = self.app.place_order(caller, body, idempotency_key).await?;
            let (location, etag) =
                (format!("/orders/{}", order.value.id), etag::from_version(order.version));
            Ok(rest::PlaceOrderResponse::Created { body: order.value.into(), location, etag })
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
        respond(async {
            let caller = self.app.authenticate(bearer_auth.token()).await?;
            let page = self
                .app
                .list_orders(caller, limit, checked_page_token(page_token)?, status)
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
        respond(async {
            let caller = self.app.authenticate(bearer_auth.token()).await?;
            let order = self.app.get_order(caller, order_id).await?;
            let etag = etag::from_version(order.version);
            if etag::matches_if_none_match(if_none_match.as_deref(), &etag)? {
                return Ok(rest::GetOrderResponse::NotModified { etag });
            }
            Ok(rest::GetOrderResponse::Ok { body: order.value.into(), etag })
        })
        .await
    }

    async fn cancel_order(
        &self,
        bearer_auth: rest::BearerAuth,
        order_id: rest::OrderId,
    ) -> rest::CancelOrderResponse {
        respond(async {
            let caller = self.app.authenticate(bearer_auth.token()).await?;
            let order = self.app.cancel_order(caller, order_id).await?;
            let etag = etag::from_version(order.version);
            Ok(rest::CancelOrderResponse::Ok { body: order.value.into(), etag })
        })
        .await
    }
}
