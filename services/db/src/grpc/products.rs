use merch_contract::grpc::assistant::v1 as proto;

use super::{page_token::ProductsPage, read};
use crate::{entity::products::Model, failure::Failure, store::Store};

pub(super) async fn list_products(
    store: &Store,
    request: proto::ListProductsRequest,
) -> Result<proto::ListProductsResponse, Failure> {
    let size = read::page_size(request.page_size)?;
    let page = ProductsPage::of(&request.page_token, request.category)?;
    // PostgreSQL's text cannot store NUL, so no category has one.
    if page.category.as_ref().is_some_and(|category| category.contains('\0')) {
        return Ok(proto::ListProductsResponse::default());
    }
    let mut products = store.products(page.category.as_deref(), page.after, size + 1).await?;
    let more = products.len() as u64 > size;
    products.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let next_page_token = match products.last() {
        Some(last) if more => ProductsPage { after: last.id, category: page.category }.encode(),
        Some(_) | None => String::new(),
    };
    Ok(proto::ListProductsResponse {
        products: products.into_iter().map(Into::into).collect(),
        next_page_token,
    })
}

pub(super) async fn get_product(
    store: &Store,
    request: proto::GetProductRequest,
) -> Result<proto::GetProductResponse, Failure> {
    let product = store.product(request.product_id).await?;
    Ok(proto::GetProductResponse { product: Some(product.into()) })
}

impl From<Model> for proto::Product {
    fn from(product: Model) -> Self {
        Self {
            id: product.id,
            name: product.name,
            category: product.category,
            slogan: product.slogan,
            description: product.description,
            price_cents: product.price_cents,
            currency: product.currency,
            stock: product.stock,
            version: product.version,
        }
    }
}
