//! Sends the requests of clients, and reads the responses.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Result;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use super::PATIENCE;
use crate::history::{Call, Order, Product, Response};

const PASSWORD: &str = "correct horse battery staple";

/// The credential is the user's name for a log-in, and a token for the calls that need one.
pub(super) fn request(
    http: &reqwest::Client,
    server: SocketAddr,
    call: &Call,
    credential: &str,
) -> RequestBuilder {
    let send = |method, path: &str| http.request(method, format!("http://{server}{path}"));
    let (get, post) = (|path: &str| send(Method::GET, path), |path: &str| send(Method::POST, path));
    let log_in =
        |password| post("/login").json(&json!({ "username": credential, "password": password }));
    match call {
        Call::Register { username } => post("/users").json(&json!({
            "sid": username,
            "username": username,
            "email": format!("{username}@mail.example.com"),
            "password": PASSWORD,
        })),
        Call::LogIn { .. } => log_in(PASSWORD),
        Call::WrongPassword { .. } => log_in("not the password"),
        Call::LogOut { .. } => post("/logout").bearer_auth(credential),
        Call::Place { product, quantity, key, .. } => {
            let body = json!({ "product_id": product, "quantity": quantity });
            let request = post("/orders").bearer_auth(credential).json(&body);
            match key {
                Some(key) => request.header("Idempotency-Key", key),
                None => request,
            }
        }
        Call::Cancel { order, .. } => {
            post(&format!("/orders/{order}/cancel")).bearer_auth(credential)
        }
        Call::GetOrder { order, .. } => get(&format!("/orders/{order}")).bearer_auth(credential),
        Call::ListOrders { .. } => get("/orders?limit=100").bearer_auth(credential),
        Call::ForgedToken => get("/orders").bearer_auth(credential),
        Call::GetProduct { product } => get(&format!("/products/{product}")),
        Call::ListProducts => get("/products"),
        Call::Restock { .. } => unreachable!("the operator restocks with `merch admin`"),
    }
}

/// Returns the response and its body.
pub(super) async fn receive(request: RequestBuilder) -> Result<(Response, Value)> {
    let received = request.send().await?;
    let status = received.status().as_u16();
    let header = |name: &str| {
        let value = received.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (request_id, etag) = (header("x-request-id"), header("etag"));
    let bytes = received.bytes().await?;
    let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
    let response = Response {
        status,
        code: body["code"].as_str().unwrap_or_default().to_owned(),
        request_id,
        version: etag.trim_matches('"').parse().ok(),
        user: body["username"].as_str().and_then(|_| id(&body["id"])),
        orders: elements(&body).filter_map(order).collect(),
        products: elements(&body).filter_map(product).collect(),
    };
    Ok((response, body))
}

/// The items of a page, or the body itself.
fn elements(body: &Value) -> impl Iterator<Item = &Value> {
    match body["items"].as_array() {
        Some(items) => items.iter(),
        None => std::slice::from_ref(body).iter(),
    }
}

fn id(value: &Value) -> Option<Uuid> {
    value.as_str()?.parse().ok()
}

fn order(value: &Value) -> Option<Order> {
    Some(Order {
        id: id(&value["id"])?,
        user: id(&value["user_id"])?,
        product: value["product_id"].as_i64()?,
        quantity: value["quantity"].as_i64()?,
        unit_price_cents: value["unit_price_cents"].as_i64()?,
        cancelled: value["status"] == "cancelled",
    })
}

fn product(value: &Value) -> Option<Product> {
    Some(Product { id: value["id"].as_i64()?, stock: value["stock"].as_i64()? })
}

/// Returns the stock of all products.
pub async fn read_stock(http: &reqwest::Client, server: SocketAddr) -> Result<BTreeMap<i64, i64>> {
    let request = http.get(format!("http://{server}/products")).timeout(PATIENCE);
    let (response, _) = receive(request).await?;
    Ok(response.products.iter().map(|product| (product.id, product.stock)).collect())
}
