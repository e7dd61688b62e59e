//! The catalogue, over HTTP.

use merch_contract::rest::server as rest;

use super::{Api, answer, page_token as checked};
use crate::{
    etag,
    model::{Page, Product},
};

impl rest::ProductManager for Api {
    async fn list_products(
        &self,
        limit: i32,
        page_token: Option<String>,
        category: Option<rest::Category>,
    ) -> rest::ListProductsResponse {
        answer(async {
            let page = self.store.list_products(limit, checked(page_token)?, category).await?;
            Ok(rest::ListProductsResponse::Ok { body: page.into() })
        })
        .await
    }

    async fn get_product(
        &self,
        product_id: rest::ProductId,
        if_none_match: Option<String>,
    ) -> rest::GetProductResponse {
        answer(async {
            let product = self.store.get_product(product_id).await?;
            let etag = etag::of_version(product.version);
            if etag::none_match_holds(if_none_match.as_deref(), &etag)? {
                return Ok(rest::GetProductResponse::NotModified { etag });
            }
            Ok(rest::GetProductResponse::Ok { body: product.into(), etag })
        })
        .await
    }
}

impl From<Product> for rest::Product {
    fn from(product: Product) -> Self {
        Self {
            id: product.id,
            name: product.name,
            category: product.category,
            slogan: product.slogan,
            description: product.description,
            price_cents: product.price_cents,
            currency: product.currency,
            stock: product.stock,
        }
    }
}

impl From<Page<Product>> for rest::ProductPage {
    fn from(page: Page<Product>) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next_page: page.next }
    }
}
