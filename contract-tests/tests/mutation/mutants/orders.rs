//! Orders with wrong prices, oversold stock or repeated restocking.

use hyper::{Method, header::HeaderValue};
use serde_json::{Value, json};

use super::{
    Mutant, SuiteInput, answer_304, edit_answers, edit_json_of, edit_requests, handle, handle_all,
    mutant, reverse_time,
};
use crate::{
    exchange::{Answer, Request},
    proxy::Upstream,
};

/// Adds the counters to the stocks in responses.
fn show_stock(upstream: &Upstream, request: &Request, answer: &mut Answer) {
    if answer.status != 200 {
        return;
    }
    let memory = upstream.memory();
    let shown = |product: &mut Value| {
        let more = memory.counts.get(&product["id"].to_string()).copied().unwrap_or(0);
        product["stock"] = product["stock"].as_i64().map(|stock| (stock + more).max(0)).into();
    };
    match request.operation() {
        Some("get_product") => answer.edit_json(shown),
        Some("list_products") => answer
            .edit_json(|page| page["items"].as_array_mut().into_iter().flatten().for_each(shown)),
        _ => {}
    }
}

/// Adds an order's quantity to a counter, `times` times.
fn count(upstream: &Upstream, order_id: &str, times: i64) {
    let mut memory = upstream.memory();
    if let Some(order) = memory.order(order_id) {
        *memory.counts.entry(order.product_id.to_string()).or_default() += times * order.quantity;
    }
}

/// The idempotency key with its user.
fn key(request: &Request) -> Option<(String, &str)> {
    let key =
        request.header("idempotency-key").filter(|_| request.operation() == Some("place_order"))?;
    Some((format!("{} {key}", request.token()?), key))
}

fn edit_ids(value: &mut Value) {
    if let Some(turned) = value["id"].as_str().and_then(reverse_time) {
        value["id"] = turned.into();
    }
    value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(edit_ids);
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("a replay with a new id", &["place_order"], "the same key and body return the first order again", "drops `Idempotency-Key`",
            edit_requests(|request| if request.header("idempotency-key").is_some_and(|key| key.len() <= 255) { request.headers.remove("idempotency-key"); })),
        mutant("a replay with another body is a new order", &["place_order"], "a key with another body returns 422", "sends it without the key",
            handle(|upstream, mut request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status != 422 { return answer }
                request.headers.remove("idempotency-key");
                upstream.send(&request).await
            }))),
        mutant("a replay with another body is the first order", &["place_order"], "a key with another body returns 422", "sends the first body",
            handle(|upstream, mut request| Box::pin(async move {
                if let Some((key, _)) = key(&request) {
                    let body = String::from_utf8_lossy(&request.body).into_owned();
                    let first = upstream.memory().notes.entry(key).or_insert(body).clone();
                    // Invalid orders stay invalid.
                    if request.json()["quantity"].is_i64() { request.body = first.into() }
                }
                upstream.send(&request).await
            }))),
        mutant("a replay with other bytes", &["place_order"], "a replay has the same status, headers and body", "writes it with spaces the second time",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if let (Some((key, _)), 201) = (key(&request), answer.status) && !upstream.memory().marks.insert(key) {
                    answer.body = serde_json::to_vec_pretty(&answer.json()).expect("a value is JSON").into();
                }
                answer
            }))),
        mutant("a replay shows a later cancellation", &["place_order"], "a replay has the same status, headers and body", "writes `cancelled` if the order was cancelled",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if request.operation() == Some("cancel_order") && answer.status == 200 {
                    let order = answer.json();
                    upstream.memory().notes.insert(request.id().to_owned(), order.to_string());
                }
                if key(&request).is_some() && answer.status == 201 {
                    let known = answer.json()["id"].as_str().and_then(|id| upstream.memory().notes.get(id).cloned());
                    if let Some(cancelled) = known { answer.body = cancelled.into() }
                }
                answer
            }))),
        mutant("a replay with another `ETag`", &["place_order"], "a replay has the same status, headers and body", "sends `\"2\"` the second time",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if let (Some((key, _)), 201) = (key(&request), answer.status) && !upstream.memory().marks.insert(key) {
                    answer.set("etag", "\"2\"");
                }
                answer
            }))),
        mutant("keys are shared by all users", &["place_order"], "keys belong to a user", "returns the first user's order to any user with the key",
            handle(|upstream, mut request| Box::pin(async move {
                if let (Some((_, key)), Some(token)) = (key(&request), request.token()) {
                    let first = upstream.memory().notes.entry(key.to_owned()).or_insert(token.to_owned()).clone();
                    if upstream.memory().login_of_token(token).is_some() { request = request.with_token(&first) }
                }
                upstream.send(&request).await
            }))),
        mutant("a refused order consumes its key", &["place_order"], "a refused order does not consume its key", "returns 422 for the same key",
            handle(|upstream, request| Box::pin(async move {
                let Some((key, _)) = key(&request) else { return upstream.send(&request).await };
                if upstream.memory().marks.contains(&key) {
                    return Answer::problem(&request, 422, "idempotency_key_reused");
                }
                let answer = upstream.send(&request).await;
                if matches!(answer.status, 404 | 409) { upstream.memory().marks.insert(key); }
                answer
            }))),
        mutant("a total for one piece", &["place_order"], "the total is the price of all pieces", "writes the price of one",
            edit_json_of(201, |order| order["total_price_cents"] = order["unit_price_cents"].clone())),
        mutant("a total with a discount", &["get_order"], "the total is the price of all pieces", "subtracts one",
            edit_json_of(200, |order| order["total_price_cents"] = order["total_price_cents"].as_i64().map(|total| total - 1).into())),
        mutant("another price than the product's", &["place_order"], "the order has the current price", "adds one to the price and to the total",
            edit_json_of(201, |order| {
                let price = order["unit_price_cents"].as_i64().unwrap_or(0) + 1;
                order["unit_price_cents"] = price.into();
                order["total_price_cents"] = order["quantity"].as_i64().map(|quantity| quantity * price).into();
            })),
        mutant("fewer pieces than ordered", &["place_order"], "an order is filled completely or refused", "sends an order for three as one for two",
            edit_requests(|request| request.edit_json(|body| if body["quantity"] == 3 { body["quantity"] = 2.into() }))),
        mutant("the stock falls by less than was sold", &["place_order"], "the stock is the number of unsold pieces", "shows one piece more for each order",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if request.operation() == Some("place_order") && answer.status == 201 {
                    *upstream.memory().counts.entry(answer.json()["product_id"].to_string()).or_default() += 1;
                }
                show_stock(&upstream, &request, &mut answer);
                answer
            }))),
        mutant("another product than ordered", &["place_order"], "the order has the ordered product", "writes the id of the next one",
            edit_json_of(201, |order| order["product_id"] = order["product_id"].as_i64().map(|id| id % 3 + 1).into())),
        mutant("an order of an unknown user", &["place_order"], "`user_id` is the buyer", "generates another id",
            edit_json_of(201, |order| order["user_id"] = uuid::Uuid::now_v7().to_string().into())),
        mutant("an order with fewer pieces than were placed", &["get_order"], "reads the order", "writes one piece less, at the same price per piece",
            edit_json_of(200, |order| {
                let quantity = order["quantity"].as_i64().map_or(1, |quantity| (quantity - 1).max(1));
                order["quantity"] = quantity.into();
                order["total_price_cents"] = order["unit_price_cents"].as_i64().map(|price| price * quantity).into();
            })),
        mutant("a new order that is cancelled", &["place_order"], "a new order is `placed`", "writes `cancelled`, with a time",
            edit_json_of(201, |order| {
                order["status"] = "cancelled".into();
                order["cancelled_at"] = order["created_at"].clone();
            })),
        mutant("`cancelled_at` of a placed order", &["place_order"], "`cancelled_at` is null while it is placed", "writes the time of the order",
            edit_json_of(201, |order| order["cancelled_at"] = order["created_at"].clone())),
        mutant("a cancelled order without its time", &["cancel_order"], "`cancelled_at` is the time of the cancellation", "writes null",
            edit_json_of(200, |order| order["cancelled_at"] = Value::Null)),
        mutant("ids that do not grow with time", &["place_order", "list_orders"], "later orders have greater ids", "reverses the time in ids",
            handle_all(|upstream, mut request| Box::pin(async move {
                if let Some(turned) = Some(request.id()).filter(|_| request.path().starts_with("/orders/")).and_then(reverse_time) {
                    request.target = request.target.replacen(request.id(), &turned, 1);
                }
                let mut answer = upstream.send(&request).await;
                if request.path().starts_with("/orders") && answer.status < 300 {
                    answer.edit_json(edit_ids);
                    let turned = answer.header("location").and_then(|location| location.strip_prefix("/orders/")).and_then(reverse_time);
                    if let Some(turned) = turned { answer.set("location", &format!("/orders/{turned}")) }
                }
                answer
            }))),
        mutant("cancelling restocks twice", &["cancel_order"], "returns its pieces to the stock exactly once", "shows a stock that is higher by them",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                let first = request.operation() == Some("cancel_order") && answer.status == 200 && upstream.memory().marks.insert(request.id().to_owned());
                if first { count(&upstream, request.id(), 1) }
                show_stock(&upstream, &request, &mut answer);
                answer
            }))),
        mutant("cancelling never restocks", &["cancel_order"], "returns its pieces to the stock exactly once", "shows a stock that is lower by them",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                let first = request.operation() == Some("cancel_order") && answer.status == 200 && upstream.memory().marks.insert(request.id().to_owned());
                if first { count(&upstream, request.id(), -1) }
                show_stock(&upstream, &request, &mut answer);
                answer
            }))),
        mutant("a repeated cancel restocks again", &["cancel_order"], "returns its pieces to the stock exactly once", "shows a stock that is higher by them from the second time on",
            handle_all(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                let again = request.operation() == Some("cancel_order") && answer.status == 200 && !upstream.memory().marks.insert(request.id().to_owned());
                if again { count(&upstream, request.id(), 1) }
                show_stock(&upstream, &request, &mut answer);
                answer
            }))),
        mutant("cancelling does nothing", &["cancel_order"], "cancels the order", "reads the order and writes `cancelled` into it",
            handle(|upstream, request| Box::pin(async move {
                let mut read = request.clone();
                read.method = Method::GET;
                read.target = format!("/orders/{}", request.id());
                let mut answer = upstream.send(&read).await;
                if answer.status == 200 {
                    let known = upstream.memory().notes.entry(request.id().to_owned()).or_insert_with(|| answer.json()["created_at"].as_str().unwrap_or_default().to_owned()).clone();
                    answer.edit_json(|order| {
                        order["status"] = "cancelled".into();
                        order["cancelled_at"] = known.into();
                    });
                } else {
                    answer.edit_json(|problem| problem["instance"] = request.path().into());
                }
                answer
            }))),
        mutant("a repeated cancel changes `cancelled_at`", &["cancel_order"], "a repeated cancel returns the same order", "writes a later `cancelled_at`",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 200 && !upstream.memory().marks.insert(request.id().to_owned()) {
                    answer.edit_json(|order| order["cancelled_at"] = "2099-01-01T00:00:00.000000Z".into());
                }
                answer
            }))),
        mutant("another user cancels", &["cancel_order"], "cancels an order of the user; any other returns 404", "sends the owner's token",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                let owner = upstream.memory().login_of_order(request.id());
                match owner { Some(owner) if answer.status == 404 => upstream.send(&request.with_token(&owner.token)).await, _ => answer }
            }))),
        mutant("another user's order is readable", &["get_order"], "reads an order of the user; any other returns 404", "sends the owner's token",
            handle(|upstream, request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                let owner = upstream.memory().login_of_order(request.id());
                match owner { Some(owner) if answer.status == 404 => upstream.send(&request.with_token(&owner.token)).await, _ => answer }
            }))),
        mutant("304 for a changed order", &["get_order"], "304 only while nothing has changed", "returns 304 to every `If-None-Match` if the order exists",
            edit_answers(200, answer_304)),
        mutant("an order beyond the stock is accepted", &["place_order"], "an order beyond the stock returns 409 and sells nothing", "generates an order",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 409 && let Some(owner) = request.token().and_then(|token| upstream.memory().login_of_token(token)) {
                    let (asked, id) = (request.json(), uuid::Uuid::now_v7());
                    let quantity = asked["quantity"].as_i64().unwrap_or(1);
                    answer = Answer::new(201);
                    answer.set("content-type", "application/json");
                    answer.set("etag", "\"1\"");
                    answer.set("location", &format!("/orders/{id}"));
                    answer.set_json(&json!({
                        "id": id, "user_id": owner.user_id, "product_id": asked["product_id"], "quantity": quantity, "unit_price_cents": 4999,
                        "total_price_cents": 4999 * quantity, "currency": "CNY", "status": "placed", "created_at": "2026-11-22T08:00:00.000000Z", "cancelled_at": null,
                    }));
                }
                answer
            }))).given(SuiteInput::ExhaustStock),
        mutant("an order is filled partially", &["place_order"], "an order is filled completely or refused", "sells one if fewer than three are left",
            handle(|upstream, mut request| Box::pin(async move {
                let answer = upstream.send(&request).await;
                if answer.status != 409 { return answer }
                request.edit_json(|body| body["quantity"] = 1.into());
                let mut answer = upstream.send(&request).await;
                answer.edit_json(|order| if order["quantity"] == 1 {
                    order["quantity"] = 2.into();
                    order["total_price_cents"] = order["unit_price_cents"].as_i64().map(|price| 2 * price).into();
                });
                answer
            }))).given(SuiteInput::ExhaustStock),
        mutant("a key with a space is accepted", &["place_order"], "`Idempotency-Key` matches `^[!-~]{1,255}$`; otherwise, the status is 400", "drops an invalid key",
            edit_requests(|request| if request.headers.get("idempotency-key").is_some_and(|key| key.as_bytes().iter().any(|byte| !(b'!'..=b'~').contains(byte))) { request.headers.remove("idempotency-key"); })),
        mutant("a key that is too long is accepted", &["place_order"], "`Idempotency-Key` has at most 255 characters; above, the status is 400", "truncates it",
            edit_requests(|request| if let Some(key) = request.header("idempotency-key").filter(|key| key.len() == 256) {
                let short = HeaderValue::try_from(&key[..255]).expect("a part of a header is one");
                request.headers.insert("idempotency-key", short);
            })),
        mutant("a stock that never falls", &["get_product"], "the current stock", "always writes the first one",
            handle(|upstream, request| Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == 200 {
                    let now = answer.json()["stock"].as_i64().unwrap_or(0);
                    let first = *upstream.memory().counts.entry(request.id().to_owned()).or_insert(now);
                    answer.edit_json(|product| product["stock"] = first.into());
                }
                answer
            }))),
        mutant("an `ETag` that a sale does not change", &["get_product"], "the `ETag` is made from the version", "always sends `\"1\"`",
            edit_answers(200, |_, answer| answer.set("etag", "\"1\""))),
    ]
}
