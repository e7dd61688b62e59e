//! Pages that are unsorted, incomplete or wrongly filtered.

use serde_json::Value;

use super::{Mutant, edit_answers, edit_json_of, edit_requests, handle, handle_all, mutant};
use crate::{
    exchange::{Answer, Request},
    proxy::{AnswerFuture, Upstream},
};

fn items(page: &mut Value) -> &mut Vec<Value> {
    // Only pages are edited; the dummy value is discarded.
    page["items"].as_array_mut().expect("a page of the store has items")
}

/// Repeats the first item of the list on a later page.
fn first_again(upstream: Upstream, request: Request) -> AnswerFuture {
    Box::pin(async move {
        let mut answer = upstream.send(&request).await;
        if request.parameter("page_token").is_some() && answer.status == 200 {
            let first = first_of(&upstream, &request).await.json()["items"][0].take();
            answer.edit_json(|page| {
                if let Some(item) = items(page).first_mut() {
                    *item = first;
                }
            });
        }
        answer
    })
}

async fn first_of(upstream: &Upstream, request: &Request) -> Answer {
    let mut first = request.clone();
    first.target = format!("{}?limit=1", request.path());
    upstream.send(&first).await
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("products by descending id", &["list_products"], "products are sorted by ascending id", "reverses each page",
            edit_json_of(200, |page| items(page).reverse())),
        mutant("the oldest order first", &["list_orders"], "orders are newest first", "reverses each page",
            edit_json_of(200, |page| items(page).reverse())),
        mutant("pages without their last item", &["list_products"], "the combined pages are the whole list", "drops the last item of each page of several",
            edit_json_of(200, |page| if items(page).len() > 1 { items(page).pop(); })),
        mutant("empty pages between the first and the last", &["list_products"], "the combined pages are the whole list", "empties every page between the first and the last",
            edit_answers(200, |request, answer| {
                if request.parameter("page_token").is_some() && !answer.json()["next_page"].is_null() {
                    answer.edit_json(|page| items(page).clear());
                }
            })),
        mutant("an item on two pages", &["list_products"], "the combined pages have each item once", "puts the first item of the list in place of a later one",
            handle(first_again)),
        mutant("an order on two pages", &["list_orders"], "the combined pages have each item once", "puts the newest order in place of a later one",
            handle(first_again)),
        mutant("an endless list", &["list_products"], "`next_page` is null on the last page", "sends the second page's token on the last one",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 200 && answer.json()["next_page"].is_null() {
                    let token = first_of(&upstream, &request).await.json()["next_page"].take();
                    answer.edit_json(|page| page["next_page"] = token);
                }
                answer
            }))),
        mutant("a list that ends after one page", &["list_orders"], "`next_page` is the token of the next page", "writes null",
            edit_json_of(200, |page| page["next_page"] = Value::Null)),
        mutant("a list without `next_page`", &["list_products"], "`next_page` is the token of the next page", "drops the member",
            edit_json_of(200, |page| { page.as_object_mut().and_then(|page| page.shift_remove("next_page")); })),
        mutant("a `limit` that is ignored", &["list_products"], "a page has at most `limit` items", "drops it",
            edit_requests(|request| request.retain_query(|name, value| name != "limit" || value.parse::<i32>().is_ok_and(|limit| !(1..=100).contains(&limit))))),
        mutant("a category filter that is ignored", &["list_products"], "only products of exactly this category", "drops it",
            edit_requests(|request| request.retain_query(|name, value| name != "category" || value.is_empty()))),
        mutant("a category filter that ignores case", &["list_products"], "only products of *exactly* this category", "ignores the case of the category",
            handle(|upstream, mut request| Box::pin(async move {
                if let Some(wanted) = request.parameter("category") {
                    let mut every = request.clone();
                    every.target = "/products?limit=100".to_owned();
                    let page = upstream.send(&every).await.json();
                    let names = page["items"].as_array().into_iter().flatten().filter_map(|item| item["category"].as_str());
                    let meant = names.into_iter().find(|name| name.eq_ignore_ascii_case(&wanted)).map(str::to_owned);
                    let mut query = request.query();
                    for (name, value) in &mut query {
                        if let (true, Some(meant)) = (name == "category", &meant) {
                            value.clone_from(meant);
                        }
                    }
                    request.set_query(&query);
                }
                upstream.send(&request).await
            }))),
        mutant("a status filter that is ignored", &["list_orders"], "only orders of this status", "drops it",
            edit_requests(|request| request.retain_query(|name, value| name != "status" || !matches!(value, "placed" | "cancelled")))),
        mutant("a filter that applies only to the first page", &["list_orders"], "the token carries the filter", "sends the token of the list without the filter",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if request.parameter("status").is_some() && request.parameter("page_token").is_none() && answer.status == 200 {
                    let mut every = request.clone();
                    every.retain_query(|name, _| name != "status");
                    let token = upstream.send(&every).await.json()["next_page"].take();
                    answer.edit_json(|page| page["next_page"] = token);
                }
                answer
            }))),
        mutant("another user's orders in the list", &["list_orders"], "the user's own orders", "adds another user's",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                let owner = request.token().and_then(|token| upstream.memory().login_of_token(token));
                let another = owner.and_then(|owner| upstream.memory().login_of_another_user(&owner.user_id));
                if let (200, Some(another)) = (answer.status, another) {
                    let mut request = Request::new(hyper::Method::GET, "/orders?limit=1").with_token(&another.token);
                    let order = serde_json::json!({ "product_id": 1, "quantity": 1 });
                    let mut others = upstream.send(&request).await.json();
                    if others["items"].get(0).is_none() {
                        request.target = "/orders".to_owned();
                        request.method = hyper::Method::POST;
                        others = serde_json::json!({ "items": [upstream.send(&request.with_json(&order)).await.json()] });
                    }
                    let order = others["items"][0].take();
                    answer.edit_json(|page| if order["id"].is_string() { items(page).push(order) });
                }
                answer
            }))),
        mutant("a new order is not in the list", &["list_orders"], "the list has all orders of the user", "drops the newest order",
            edit_json_of(200, |page| if !items(page).is_empty() { items(page).remove(0); })),
        mutant("an item in the list differs from the single resource", &["list_products", "get_product"], "the list equals the catalogue", "doubles the prices",
            edit_json_of(200, |page| for item in page.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() { item["price_cents"] = item["price_cents"].as_i64().map(|price| 2 * price).into(); })),
        mutant("a `limit` over its maximum", &["list_orders"], "`limit` has the maximum 100; above, the status is 400", "sends 100 in place of 101",
            edit_requests(|request| {
                let mut query = request.query();
                for (name, value) in &mut query {
                    if name == "limit" && value == "101" {
                        *value = "100".to_owned();
                    }
                }
                request.set_query(&query);
            })),
        mutant("a `limit` of zero", &["list_products"], "`limit` has the minimum 1; below, the status is 400", "returns no items for `limit=0`",
            handle(|upstream, mut request| Box::pin(async move {
                let none = request.parameter("limit").is_some_and(|limit| limit == "0");
                if none {
                    request.retain_query(|name, _| name != "limit");
                }
                let mut answer = upstream.send(&request).await;
                if none && answer.status == 200 {
                    answer.edit_json(|page| items(page).clear());
                }
                answer
            }))),
        mutant("an unknown status filter is ignored", &["list_orders"], "`status` is `placed` or `cancelled`; otherwise, the status is 400", "drops an unknown one",
            edit_requests(|request| request.retain_query(|name, value| name != "status" || matches!(value, "placed" | "cancelled")))),
        mutant("an empty list without a token", &["list_orders"], "a list needs a token", "returns 200 with no items",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if request.operation() == Some("list_orders") && answer.status == 401 {
                    answer.status = 200;
                    answer.headers.remove("www-authenticate");
                    answer.set("content-type", "application/json");
                    answer.set_json(&serde_json::json!({ "items": [], "next_page": null }));
                }
                answer
            }))),
    ]
}
