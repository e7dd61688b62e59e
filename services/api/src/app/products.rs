//! The catalogue, read from the db service. Concurrent reads share calls and encoded results.

use merch_contract::{grpc::assistant::v1 as proto, rest::server as rest};
use poem_contract_runtime::Encoded;

use super::{App, AppError};
use crate::{
    coalesce::Coalescer,
    convert::{Versioned, items, next_page, required},
    db::{DbError, Idempotency},
};

/// The shared reads of the catalogue, by request.
pub(crate) struct Catalogue {
    pages: Coalescer<proto::ListProductsRequest, Result<Encoded<rest::ProductPage>, DbError>>,
    products:
        Coalescer<proto::GetProductRequest, Result<Versioned<Encoded<rest::Product>>, DbError>>,
}

impl Catalogue {
    pub(crate) fn new() -> Self {
        Self { pages: Coalescer::new(), products: Coalescer::new() }
    }
}

impl App {
    /// Lists products by ascending id.
    pub(crate) async fn list_products(
        &self,
        limit: i32,
        page_token: Option<String>,
        category: Option<String>,
    ) -> Result<Encoded<rest::ProductPage>, AppError> {
        let request = proto::ListProductsRequest {
            page_size: limit,
            page_token: page_token.unwrap_or_default(),
            category,
        };
        let call = |request| {
            let response = self.db.call(Idempotency::Safe, request, |mut db, request| async move {
                db.list_products(request).await
            });
            async {
                let page = response.await?;
                let (items, next_page) = (items(page.products)?, next_page(page.next_page_token));
                Ok(rest::ProductPage { items, next_page }.into())
            }
        };
        let page = self.catalogue.pages.join(request, call).await;
        Ok(page.ok_or(AppError::TaskPanicked)??)
    }

    pub(crate) async fn get_product(
        &self,
        product_id: i32,
    ) -> Result<Versioned<Encoded<rest::Product>>, AppError> {
        let call = |request| {
            let response = self.db.call(Idempotency::Safe, request, |mut db, request| async move {
                db.get_product(request).await
            });
            async {
                let product = required(response.await?.product, "GetProduct returned no product")?;
                let Versioned { value, version } = product.try_into()?;
                Ok(Versioned { value: Encoded::from(value), version })
            }
        };
        let request = proto::GetProductRequest { product_id };
        let product = self.catalogue.products.join(request, call).await;
        Ok(product.ok_or(AppError::TaskPanicked)??)
    }
}
