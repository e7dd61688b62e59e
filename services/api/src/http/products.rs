//! The operations of `ProductManager`.

use merch_contract::rest::server as rest;

use super::{Handlers, page_token as checked_page_token, respond};
use crate::etag;

impl rest::ProductManager for Handlers {
    async fn list_products(
        &self,
        limit: i32,
        page_token: Option<String>,
        category: Option<rest::Category>,
    ) -> rest::ListProductsResponse {
        respond(async {
            let page =
                self.app.list_products(limit, checked_page_token(page_token)?, category).await?;
            Ok(rest::ListProductsResponse::Ok { body: page })
        })
        .await
    }

    async fn get_product(
        &self,
        product_id: rest::ProductId,
        if_none_match: Option<String>,
    ) -> rest::GetProductResponse {
        respond(async {
            let product = self.app.get_product(product_id).await?;
            let etag = etag::from_version(product.version);
            if etag::matches_if_none_match(if_none_match.as_deref(), &etag)? {
                return Ok(rest::GetProductResponse::NotModified { etag });
            }
            Ok(rest::GetProductResponse::Ok { body: product.value, etag })
        })
        .await
    }
}
