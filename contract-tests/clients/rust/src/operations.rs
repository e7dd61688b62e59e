//! Maps operation ids to client methods: one arm each, so that the compiler checks every call.

use std::{collections::BTreeSet, fmt::Debug, num::NonZeroU32};

use merch_contract::{
    rest::client::{Error, ResponseValue, types},
    sdk::StoreClient,
};
use reqwest::{StatusCode, header::HeaderMap};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Stop, values::Arguments};

pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The typed result, as JSON.
    pub(crate) body: Value,
}

/// `greet` declares no problems, so its error type differs.
fn outcome<T: Serialize, E: Serialize + Debug>(
    sent: Result<ResponseValue<T>, Error<E>>,
) -> Result<Outcome, Stop> {
    match sent {
        Ok(answer) => understood(answer),
        Err(Error::ErrorResponse(answer)) => understood(answer),
        Err(Error::UnexpectedResponse(answer)) if answer.status() == StatusCode::NOT_MODIFIED => {
            Ok(Outcome { status: 304, headers: answer.headers().clone(), body: Value::Null })
        }
        Err(error) => {
            Err(Stop::Difference(format!("expected an answer of the contract, got: {error}")))
        }
    }
}

fn understood<T: Serialize>(answer: ResponseValue<T>) -> Result<Outcome, Stop> {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = serde_json::to_value(answer.into_inner())
        .map_err(|error| Stop::Invalid(format!("the result is not JSON: {error}")))?;
    Ok(Outcome { status, headers, body })
}

impl Arguments {
    fn optional<T: DeserializeOwned>(
        &mut self,
        place: &'static str,
        name: &str,
    ) -> Result<Option<T>, Stop> {
        let value = self.take(place, name).map(serde_json::from_value);
        value
            .transpose()
            .map_err(|error| Stop::Invalid(format!("the client has no such {name}: {error}")))
    }

    fn required<T: DeserializeOwned>(
        &mut self,
        place: &'static str,
        name: &str,
    ) -> Result<T, Stop> {
        self.optional(place, name)?
            .ok_or_else(|| Stop::Invalid(format!("the {place} argument {name:?} is missing")))
    }
}

pub(crate) async fn call(
    store: &StoreClient,
    operation: &str,
    arguments: &mut Arguments,
) -> Result<Outcome, Stop> {
    match operation {
        "greet" => outcome(store.greet().send().await),
        "register" => {
            let body = types::Registration::builder()
                .sid(arguments.required::<types::Sid>("body", "sid")?)
                .username(arguments.required::<types::Username>("body", "username")?)
                .email(arguments.required::<types::Email>("body", "email")?)
                .password(arguments.required::<types::RegistrationPassword>("body", "password")?);
            outcome(store.register().body(body).send().await)
        }
        "log_in" => {
            let body = types::Credentials::builder()
                .username(arguments.required::<types::Username>("body", "username")?)
                .password(arguments.required::<types::CredentialsPassword>("body", "password")?);
            outcome(store.log_in().body(body).send().await)
        }
        "log_out" => outcome(store.log_out().send().await),
        "get_user" => {
            let mut request =
                store.get_user().user_id(arguments.required::<types::UserId>("path", "user_id")?);
            if let Some(tags) = arguments.optional::<String>("header", "If-None-Match")? {
                request = request.if_none_match(tags);
            }
            outcome(request.send().await)
        }
        "update_user" => {
            let mut request = store
                .update_user()
                .user_id(arguments.required::<types::UserId>("path", "user_id")?);
            if let Some(tags) = arguments.optional::<String>("header", "If-Match")? {
                request = request.if_match(tags);
            }
            let body = types::UserChange::builder()
                .username(arguments.optional::<types::Username>("body", "username")?)
                .email(arguments.optional::<types::Email>("body", "email")?);
            outcome(request.body(body).send().await)
        }
        "deactivate_user" => {
            let user_id = arguments.required::<types::UserId>("path", "user_id")?;
            outcome(store.deactivate_user().user_id(user_id).send().await)
        }
        "change_password" => {
            let user_id = arguments.required::<types::UserId>("path", "user_id")?;
            let body =
                types::PasswordChange::builder()
                    .current_password(arguments.required::<types::PasswordChangeCurrentPassword>(
                        "body",
                        "current_password",
                    )?)
                    .new_password(
                        arguments
                            .required::<types::PasswordChangeNewPassword>("body", "new_password")?,
                    );
            outcome(store.change_password().user_id(user_id).body(body).send().await)
        }
        "list_products" => {
            let mut request = store.list_products();
            if let Some(limit) = arguments.optional::<NonZeroU32>("query", "limit")? {
                request = request.limit(limit);
            }
            if let Some(token) = arguments.optional::<String>("query", "page_token")? {
                request = request.page_token(token);
            }
            if let Some(category) = arguments.optional::<types::Category>("query", "category")? {
                request = request.category(category);
            }
            outcome(request.send().await)
        }
        "get_product" => {
            let mut request = store
                .get_product()
                .product_id(arguments.required::<types::ProductId>("path", "product_id")?);
            if let Some(tags) = arguments.optional::<String>("header", "If-None-Match")? {
                request = request.if_none_match(tags);
            }
            outcome(request.send().await)
        }
        "place_order" => {
            let mut request = store.place_order();
            if let Some(key) = arguments
                .optional::<types::PlaceOrderIdempotencyKey>("header", "Idempotency-Key")?
            {
                request = request.idempotency_key(key);
            }
            let body = types::Purchase::builder()
                .product_id(arguments.required::<types::ProductId>("body", "product_id")?)
                .quantity(arguments.required::<NonZeroU32>("body", "quantity")?);
            outcome(request.body(body).send().await)
        }
        "list_orders" => {
            let mut request = store.list_orders();
            if let Some(limit) = arguments.optional::<NonZeroU32>("query", "limit")? {
                request = request.limit(limit);
            }
            if let Some(token) = arguments.optional::<String>("query", "page_token")? {
                request = request.page_token(token);
            }
            if let Some(status) = arguments.optional::<types::OrderStatus>("query", "status")? {
                request = request.status(status);
            }
            outcome(request.send().await)
        }
        "get_order" => {
            let mut request = store
                .get_order()
                .order_id(arguments.required::<types::OrderId>("path", "order_id")?);
            if let Some(tags) = arguments.optional::<String>("header", "If-None-Match")? {
                request = request.if_none_match(tags);
            }
            outcome(request.send().await)
        }
        "cancel_order" => {
            let order_id = arguments.required::<types::OrderId>("path", "order_id")?;
            outcome(store.cancel_order().order_id(order_id).send().await)
        }
        other => Err(Stop::Invalid(format!("{other:?} is not an operation of this client"))),
    }
}

/// Compares the list page by page with the list on one page.
pub(crate) async fn walk(
    store: &StoreClient,
    operation: &str,
    arguments: &mut Arguments,
    walk: &Value,
) -> Result<Outcome, Stop> {
    let limit_of = |member: &str| {
        walk[member].as_u64().and_then(|limit| u32::try_from(limit).ok()).and_then(NonZeroU32::new)
    };
    let (Some(limit), Some(whole)) = (limit_of("limit"), limit_of("whole")) else {
        return Err(Stop::Invalid("a walk has `limit` and `whole`".to_owned()));
    };
    let category = arguments.optional::<types::Category>("query", "category")?;
    let status = arguments.optional::<types::OrderStatus>("query", "status")?;
    let page = async |limit: NonZeroU32, token: Option<String>| match operation {
        "list_products" => {
            let mut request = store.list_products().limit(limit);
            match (token, category.clone()) {
                (Some(token), _) => request = request.page_token(token),
                (None, Some(category)) => request = request.category(category),
                (None, None) => {}
            }
            outcome(request.send().await)
        }
        "list_orders" => {
            let mut request = store.list_orders().limit(limit);
            match (token, status) {
                (Some(token), _) => request = request.page_token(token),
                (None, Some(status)) => request = request.status(status),
                (None, None) => {}
            }
            outcome(request.send().await)
        }
        other => Err(Stop::Invalid(format!("{other:?} has no pages in this client"))),
    };
    let all = page(whole, None).await?;
    if all.status != 200 {
        return Ok(all);
    }
    if !all.body["next_page"].is_null() {
        return Err(Stop::Difference(format!(
            "expected no next page after one of {whole}, got one"
        )));
    }
    let (mut ids, mut token) = (Vec::new(), None);
    for _ in 0..1_000 {
        let step = page(limit, token).await?;
        if step.status != 200 {
            return Ok(step);
        }
        let items = ids_of(&step.body);
        if items.len() > limit.get() as usize {
            return Err(Stop::Difference(format!(
                "expected at most {limit} items on a page, got {}",
                items.len()
            )));
        }
        ids.extend(items);
        token = step.body["next_page"].as_str().map(str::to_owned);
        if token.is_none() {
            if ids != ids_of(&all.body) {
                return Err(Stop::Difference(format!(
                    "expected the ids {:?}, got {ids:?}",
                    ids_of(&all.body)
                )));
            }
            if ids.iter().map(Value::to_string).collect::<BTreeSet<_>>().len() != ids.len() {
                return Err(Stop::Difference(format!("expected each id once, got {ids:?}")));
            }
            return Ok(Outcome { body: json!({ "ids": ids }), ..step });
        }
    }
    Err(Stop::Difference("expected fewer than 1,000 pages, got more".to_owned()))
}

fn ids_of(page: &Value) -> Vec<Value> {
    page["items"].as_array().into_iter().flatten().map(|item| item["id"].clone()).collect()
}
