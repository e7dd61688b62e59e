//! The catalogue: sorted, complete, consistent, and read-only.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    pages::Pages,
    steps::{cancel, equal, integer, integer_member, other_case, place_order, read_product, text},
};
use crate::suite::{Case, Context, Failure};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "list_products",
            200,
            "products are sorted by id, with valid prices and stocks",
            sorted_and_valid,
        ),
        Case::new("list_products", 200, "the category filter matches exactly", by_category),
        Case::new(
            "list_products",
            200,
            "a page token carries the filter",
            token_carries_the_filter,
        ),
        Case::new(
            "get_product",
            200,
            "a product equals its entry in the list",
            equals_its_list_entry,
        )
        .serial(),
        Case::new(
            "get_product",
            200,
            "an order changes the product's entity tag",
            an_order_changes_the_tag,
        )
        .serial(),
        Case::new("get_product", 200, "products are read-only", products_are_read_only),
    ]
}

async fn sorted_and_valid(context: Context) -> Result<(), Failure> {
    let products = Pages::of_products(&context, None).await?;
    let mut before = 0;
    for (page, product) in products.items() {
        let id = integer_member(page, product, "id")?;
        ensure!(id > before, page, "expected ascending ids, got {id} after {before}");
        before = id;
        for member in ["price_cents", "stock"] {
            let number = integer_member(page, product, member)?;
            ensure!(
                number >= 0,
                page,
                "expected a `{member}` of product {id} of at least 0, got {number}"
            );
        }
    }
    ensure!(before > 0, products.last(), "expected at least one product in the catalogue");
    Ok(())
}

async fn by_category(context: Context) -> Result<(), Failure> {
    let all = Pages::of_products(&context, None).await?;
    let categories: BTreeSet<String> = all
        .items()
        .filter_map(|(_, product)| product["category"].as_str().map(str::to_owned))
        .collect();
    let unknown = context.fresh_name();
    // Existing, similar and unknown categories.
    let similar = categories
        .iter()
        .flat_map(|category| [other_case(category), category.chars().take(1).collect()]);
    for category in categories.iter().cloned().chain(similar).chain([unknown]) {
        let wanted: Vec<&Value> = all
            .items()
            .filter(|(_, product)| product["category"] == category.as_str())
            .map(|(_, product)| &product["id"])
            .collect();
        let found = Pages::of_products(&context, Some(&category)).await?;
        equal(
            found.last(),
            &format!("the ids of the products of exactly the category {category:?}"),
            &found.ids(),
            &wanted,
        )?;
    }
    Ok(())
}

async fn token_carries_the_filter(context: Context) -> Result<(), Failure> {
    let all = Pages::of_products(&context, None).await?;
    let categories: BTreeSet<&str> =
        all.items().filter_map(|(_, product)| product["category"].as_str()).collect();
    for category in &categories {
        let whole = Pages::of_products(&context, Some(category)).await?;
        let walked =
            Pages::read(|| context.call("list_products"), Some(("category", category)), 1).await?;
        equal(
            walked.last(),
            &format!("the ids of the category {category:?}, page by page"),
            &walked.ids(),
            &whole.ids(),
        )?;
    }
    // A filter must equal the token's; this token has none.
    let first = context.call("list_products").query("limit", 1).expect(200).await?;
    if let (Some(token), Some(category)) = (first.json()["next_page"].as_str(), categories.first())
    {
        let other =
            context.call("list_products").query("page_token", token).query("category", category);
        other.expect(400).await?.problem("invalid_request")?;
    }
    Ok(())
}

async fn equals_its_list_entry(context: Context) -> Result<(), Failure> {
    let products = Pages::of_products(&context, None).await?;
    for (page, product) in products.items() {
        let alone = read_product(&context, integer_member(page, product, "id")?).await?;
        equal(&alone, "the product, compared with the list,", alone.json(), product)?;
    }
    Ok(())
}

async fn an_order_changes_the_tag(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?);
    let id = product.id;
    let again =
        |tag: &str| context.call("get_product").path("product_id", id).header("If-None-Match", tag);
    let before = read_product(&context, id).await?;
    let old = before.header("etag")?;
    again(old).expect(304).await?;

    let order = place_order(&context, &user, id, 1).await?;
    let after = again(old).expect(200).await?;
    ensure!(
        after.header("etag")? != old,
        &after,
        "expected a new entity tag after an order, got {old} again"
    );
    equal(
        &after,
        "`stock` after an order of one piece",
        &integer(&after, "stock")?,
        &(integer(&before, "stock")? - 1),
    )?;
    let unchanged = again(after.header("etag")?).expect(304).await?;
    equal(&unchanged, "the entity tag of a 304", unchanged.header("etag")?, after.header("etag")?)?;
    equal(&after, "`name`", text(&after, "name")?, text(&before, "name")?)?;

    cancel(&context, &user, &order).await?;
    let restocked = again(after.header("etag")?).expect(200).await?;
    equal(
        &restocked,
        "`stock` after the order was cancelled",
        &integer(&restocked, "stock")?,
        &integer(&before, "stock")?,
    )
}

/// Sends a product's own values, so that a store that accepts them does not change.
async fn products_are_read_only(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?);
    let before = read_product(&context, product.id).await?;
    let template = context
        .document()
        .operation("get_product")
        .map(|operation| operation.path.clone())
        .unwrap_or_default();
    let path = template.replace("{product_id}", &product.id.to_string());
    let price = json!({ "price_cents": before.json()["price_cents"] });
    for (method, body) in
        [(Method::PUT, before.json()), (Method::PATCH, &price), (Method::POST, &price)]
    {
        if context
            .document()
            .operations()
            .iter()
            .any(|operation| operation.path == template && operation.method == method)
        {
            continue;
        }
        let refused = context.raw(method.clone(), &path).as_user(&user).json(body).send().await?;
        equal(&refused, &format!("the status of {method} for a product"), &refused.status, &405)?;
        refused.problem("method_not_allowed")?;
        let allowed = refused.header("allow")?;
        ensure!(
            allowed.split(',').any(|method| method.trim() == "GET"),
            &refused,
            "expected GET in `Allow`, got {allowed:?}"
        );
    }
    let after = read_product(&context, product.id).await?;
    for member in ["name", "category", "slogan", "description", "price_cents", "currency"] {
        equal(
            &after,
            &format!("`{member}` after attempts to edit the product"),
            &after.json()[member],
            &before.json()[member],
        )?;
    }
    Ok(())
}
