//! Bodies that violate schemas.

use serde_json::{Value, json};

use super::{Mutant, edit_answers, edit_json_of, mutant};

fn remove(body: &mut Value, member: &str) {
    body.as_object_mut().and_then(|members| members.shift_remove(member));
}

/// Changes the last item of a page, so that checking only the first one is not enough.
fn last_item(page: &mut Value, change: impl FnOnce(&mut Value)) {
    if let Some(item) = page["items"].as_array_mut().and_then(|items| items.last_mut()) {
        change(item);
    }
}

#[rustfmt::skip] // a table
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant("a user without `email`", &["get_user"], "`User` requires `email`", "drops the member",
            edit_json_of(200, |body| remove(body, "email"))),
        mutant("an order without `currency`", &["place_order"], "`Order` requires `currency`", "drops the member",
            edit_json_of(201, |body| remove(body, "currency"))),
        mutant("one product of a page without `slogan`", &["list_products"], "`Product` requires `slogan`", "drops the member of the last item",
            edit_json_of(200, |body| last_item(body, |item| remove(item, "slogan")))),
        mutant("a page without `items`", &["list_orders"], "`OrderPage` requires `items`", "drops the member",
            edit_json_of(200, |body| remove(body, "items"))),
        mutant("a token without `expires_in`", &["log_in"], "`AccessToken` requires `expires_in`", "drops the member",
            edit_json_of(200, |body| remove(body, "expires_in"))),
        mutant("a greeting without the link to the page", &["greet"], "`GreetingLinks` requires `docs`", "drops the nested member",
            edit_json_of(200, |body| remove(&mut body["links"], "docs"))),
        mutant("a nullable member that is left out", &["get_order"], "`Order` requires `cancelled_at`, null or not", "drops the member",
            edit_json_of(200, |body| remove(body, "cancelled_at"))),
        mutant("a boolean as a string", &["get_user"], "`active` is a boolean", "writes \"true\"",
            edit_json_of(200, |body| body["active"] = "true".into())),
        mutant("a stock as a string", &["get_product"], "`stock` is an integer", "writes it with quotes",
            edit_json_of(200, |body| body["stock"] = body["stock"].to_string().into())),
        mutant("a user whose `email` is null", &["register"], "`email` is not nullable", "writes null",
            edit_json_of(201, |body| body["email"] = Value::Null)),
        mutant("an order whose `currency` is null", &["cancel_order"], "`currency` is not nullable", "writes null",
            edit_json_of(200, |body| body["currency"] = Value::Null)),
        mutant("a price of 49.99", &["get_product"], "money is a whole number of minor units", "divides by 100",
            edit_json_of(200, |body| body["price_cents"] = body["price_cents"].as_f64().map(|price| price / 100.0).into())),
        mutant("a price of 4999.0", &["list_products"], "money is an integer, no float", "writes a fraction of zero",
            edit_json_of(200, |body| last_item(body, |item| item["price_cents"] = item["price_cents"].as_f64().into()))),
        mutant("money as a string", &["place_order"], "`total_price_cents` is an integer", "writes it with quotes",
            edit_json_of(201, |body| body["total_price_cents"] = body["total_price_cents"].to_string().into())),
        mutant("a stock below zero", &["get_product"], "`stock` has the minimum 0", "writes -1",
            edit_json_of(200, |body| body["stock"] = json!(-1))),
        mutant("a number beyond its format", &["log_in"], "`expires_in` is an int32", "writes 4294967296",
            edit_json_of(200, |body| body["expires_in"] = json!(4_294_967_296_i64))),
        mutant("a time without a zone", &["get_user"], "times are RFC 3339", "drops the Z",
            edit_json_of(200, |body| body["created_at"] = body["created_at"].as_str().map(|time| time.trim_end_matches('Z').to_owned()).into())),
        mutant("a time that is not UTC", &["get_order"], "times are in UTC", "writes +08:00 in place of the Z",
            edit_json_of(200, |body| body["created_at"] = body["created_at"].as_str().map(|time| time.replace('Z', "+08:00")).into())),
        mutant("a time as a number", &["place_order"], "`created_at` is a string", "writes seconds since 1970",
            edit_json_of(201, |body| body["created_at"] = json!(1_795_334_400))),
        mutant("an id in capital letters", &["place_order"], "`Location` contains `id`, and UUIDs are in lower case (RFC 9562)", "writes upper-case letters",
            edit_json_of(201, |body| body["id"] = body["id"].as_str().map(str::to_uppercase).into())),
        mutant("an id that is a UUIDv4", &["register"], "ids of users are UUIDv7", "generates one, in `Location` too",
            edit_answers(201, |_, answer| {
                let id = uuid::Uuid::new_v4().to_string();
                answer.edit_json(|body| body["id"] = id.clone().into());
                answer.set("location", &format!("/users/{id}"));
            })),
        mutant("an id that is not a UUID", &["list_orders"], "`user_id` has the format uuid", "writes `user-1`",
            edit_json_of(200, |body| last_item(body, |item| item["user_id"] = "user-1".into()))),
        mutant("a status outside of the enum", &["cancel_order"], "`status` is `placed` or `cancelled`", "writes `canceled`",
            edit_json_of(200, |body| body["status"] = "canceled".into())),
        mutant("an enum in lower case", &["log_in"], "`token_type` is `Bearer`", "writes `bearer`",
            edit_json_of(200, |body| body["token_type"] = "bearer".into())),
        mutant("a currency in lower case", &["list_products"], "`currency` matches `^[A-Z]{3}$`", "writes `cny`",
            edit_json_of(200, |body| last_item(body, |item| item["currency"] = "cny".into()))),
        mutant("a name that is too long", &["get_product"], "`name` has at most 100 characters", "writes 101",
            edit_json_of(200, |body| body["name"] = "x".repeat(101).into())),
        mutant("a body that is not JSON", &["list_products"], "the body is JSON", "adds a comma at the end",
            edit_answers(200, |_, answer| answer.body = [&answer.body, &b","[..]].concat().into())),
        mutant("an empty body", &["get_user"], "the body is a `User`", "sends no body",
            edit_answers(200, |_, answer| answer.body.clear())),
        mutant("an array in place of a page", &["list_orders"], "the body is an `OrderPage`", "sends only the array of items",
            edit_json_of(200, |body| *body = body["items"].take())),
        mutant("a product in an envelope", &["get_product"], "the body is a `Product`", "wraps it in `data`",
            edit_json_of(200, |body| *body = json!({ "data": body }))),
        mutant("a version other than the contract's", &["greet"], "`version` is `info.version`", "writes 0.9.0",
            edit_json_of(200, |body| body["version"] = "0.9.0".into())),
    ]
}
