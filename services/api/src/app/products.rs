//! The catalogue, read from the db service on each request.

use merch_contract::{grpc::assistant::v1 as proto, rest::server as rest};

use super::{App, AppError};
use crate::{
    convert::{Versioned, items, next_page, required},
    db::Idempotency,
};

impl App {
    /// Lists products by ascending id.
    pub(crate) async fn list_products(
        &self,
        limit: i32,
        page_token: Option<String>,
        category: Option<String>,
    ) -> Result<rest::ProductPage, AppError> {
        let request = proto::ListProductsRequest {
            page_size: limit,
            page_token: page_token.unwrap_or_default(),
            category,
        };
        let page = self
            .db
            .call(Idempotency::Safe, request, |mut db, request| async move {
                db.list_products(request).await
            })
            .await?;
        Ok(rest::ProductPage {
            items: items(page.products)?,
            next_page: next_page(page.next_page_token),
        })
    }

    pub(crate) async fn get_product(
        &self,
        product_id: i32,
    ) -> Result<Versioned<rest::Product>, AppError> {
        let request = proto::GetProductRequest { product_id };
        let response = self
            .db
            .call(Idempotency::Safe, request, |mut db, request| async move {
                db.get_product(request).await
            })
            .await?;
        Ok(required(response.product, "GetProduct returned no product")?.try_into()?)
    }
}
