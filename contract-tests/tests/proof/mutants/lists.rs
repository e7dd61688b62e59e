//! Pages that are unsorted, leave something out, or do not keep to their filter.

use serde_json::Value;

use super::{Mutant, answers, everywhere, json_of, mutant, requests, whole};
use crate::{
    exchange::{Answer, Request},
    proxy::{Acting, Upstream},
};

fn items(page: &mut Value) -> &mut Vec<Value> {
    // Of anything else than a page there is nothing to change, and what is written is thrown away.
    page["items"].as_array_mut().expect("a page of the store has items")
}

/// Puts the first item of the list in place of the first one of a later page.
fn first_again(upstream: Upstream, request: Request) -> Acting {
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

/// The first page of a list with one item, in the name of whoever asks.
async fn first_of(upstream: &Upstream, request: &Request) -> Answer {
    let mut first = request.clone();
    first.target = format!("{}?limit=1", request.path());
    upstream.send(&first).await
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("products by descending id", &["list_products"], "the catalogue is by ascending id", "turns each page round",
            json_of(200, |page| items(page).reverse())),
        mutant("the oldest order first", &["list_orders"], "orders are newest first", "turns each page round",
            json_of(200, |page| items(page).reverse())),
        mutant("a list that leaves something out", &["list_products"], "the pages together are the whole list", "drops the last item of each page of several",
            json_of(200, |page| if items(page).len() > 1 { items(page).pop(); })),
        mutant("pages that leave something out", &["list_products"], "the pages together are the whole list", "empties every page between the first and the last",
            answers(200, |request, answer| {
                if request.parameter("page_token").is_some() && !answer.json()["next_page"].is_null() {
                    answer.edit_json(|page| items(page).clear());
                }
            })),
        mutant("an item on two pages", &["list_products"], "the pages together have each item once", "puts the first item of the list in place of a later one",
            whole(first_again)),
        mutant("an order on two pages", &["list_orders"], "the pages together have each item once", "puts the newest order in place of a later one",
            whole(first_again)),
        mutant("a list without an end", &["list_products"], "`next_page` is null on the last page", "gives the second page's token on the last one",
            whole(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 200 && answer.json()["next_page"].is_null() {
                    let token = first_of(&upstream, &request).await.json()["next_page"].take();
                    answer.edit_json(|page| page["next_page"] = token);
                }
                answer
            }))),
        mutant("a list of one page", &["list_orders"], "`next_page` is the token of the next page", "says null",
            json_of(200, |page| page["next_page"] = Value::Null)),
        mutant("a list without `next_page`", &["list_products"], "`next_page` is the token of the next page", "drops the member",
            json_of(200, |page| { page.as_object_mut().and_then(|page| page.shift_remove("next_page")); })),
        mutant("a `limit` that is ignored", &["list_products"], "a page has at most `limit` items", "does not pass it on",
            requests(|request| request.retain_query(|name, value| name != "limit" || value.parse::<i32>().is_ok_and(|limit| !(1..=100).contains(&limit))))),
        mutant("a filter by category that is ignored", &["list_products"], "only products of exactly this category", "does not pass it on",
            requests(|request| request.retain_query(|name, value| name != "category" || value.is_empty()))),
        mutant("a filter by category that takes more", &["list_products"], "only products of *exactly* this category", "takes a category in small letters for the same",
            whole(|upstream, mut request| Box::pin(async move {
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
        mutant("a filter by status that is ignored", &["list_orders"], "only orders of this status", "does not pass it on",
            requests(|request| request.retain_query(|name, value| name != "status" || !matches!(value, "placed" | "cancelled")))),
        mutant("a filter that following pages forget", &["list_orders"], "the token carries the filter", "gives the token of the list without the filter",
            whole(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if request.parameter("status").is_some() && request.parameter("page_token").is_none() && answer.status == 200 {
                    let mut every = request.clone();
                    every.retain_query(|name, _| name != "status");
                    let token = upstream.send(&every).await.json()["next_page"].take();
                    answer.edit_json(|page| page["next_page"] = token);
                }
                answer
            }))),
        mutant("somebody else's orders in the list", &["list_orders"], "one's own orders", "adds those of another user",
            whole(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                let owner = request.token().and_then(|token| upstream.memory().login_of_token(token));
                let another = owner.and_then(|owner| upstream.memory().login_of_another(&owner.user_id));
                if let (200, Some(another)) = (answer.status, another) {
                    let mut request = Request::new(hyper::Method::GET, "/orders?limit=1").with_token(&another.token);
                    // Whoever has no order gets one.
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
        mutant("a new order is not in the list", &["list_orders"], "the list has all of one's own orders", "drops the newest",
            json_of(200, |page| if !items(page).is_empty() { items(page).remove(0); })),
        mutant("an item in the list is not as it is by itself", &["list_products", "get_product"], "the list shows the catalogue as it is", "doubles the prices",
            json_of(200, |page| for item in page.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() { item["price_cents"] = item["price_cents"].as_i64().map(|price| 2 * price).into(); })),
        mutant("`limit` past its bound", &["list_orders"], "`limit` has the maximum 100; past it the answer is 400", "takes 101 for 100",
            requests(|request| {
                let mut query = request.query();
                for (name, value) in &mut query {
                    if name == "limit" && value == "101" {
                        *value = "100".to_owned();
                    }
                }
                request.set_query(&query);
            })),
        mutant("a page of none", &["list_products"], "`limit` has the minimum 1; below it the answer is 400", "answers `limit=0` with no items",
            whole(|upstream, mut request| Box::pin(async move {
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
        mutant("an unknown status is no filter", &["list_orders"], "`status` is `placed` or `cancelled`; else the answer is 400", "does not pass others on",
            requests(|request| request.retain_query(|name, value| name != "status" || matches!(value, "placed" | "cancelled")))),
        mutant("an empty list for strangers", &["list_orders"], "a list needs a token", "answers 200 with no items",
            everywhere(|upstream, request| Box::pin(async move {
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
