//! The catalogue: read from the database at every request, through the gRPC hop, and never kept
//! here.

use merch_contract::grpc::assistant::v1 as proto;

use super::Store;
use crate::{
    db::Idempotency,
    model::{Page, Product, required},
    problem::Problem,
};

impl Store {
    /// A page of products by ascending id. `page_token` is the db service's own and is passed on
    /// unread.
    pub(crate) async fn list_products(
        &self,
        limit: i32,
        page_token: Option<String>,
        category: Option<String>,
    ) -> Result<Page<Product>, Problem> {
        let request = proto::ListProductsRequest {
            page_size: limit,
            page_token: page_token.unwrap_or_default(),
            category,
        };
        let answer = self
            .db
            .call(Idempotency::Safe, request, |mut db, request| async move {
                db.list_products(request).await
            })
            .await?;
        Ok(Page::of(answer.products, answer.next_page_token)?)
    }

    /// One product.
    pub(crate) async fn get_product(&self, product_id: i32) -> Result<Product, Problem> {
        let request = proto::GetProductRequest { product_id };
        let answer = self
            .db
            .call(Idempotency::Safe, request, |mut db, request| async move {
                db.get_product(request).await
            })
            .await?;
        Ok(Product::try_from(required(answer.product, "GetProduct answered without a product")?)?)
    }
}
