//! Requests and comparisons that many cases share.

use std::fmt::Debug;

use reqwest::{Method, Url};
use serde_json::{Value, json};
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

use crate::suite::{Answer, Call, Context, Failure, User};

pub(super) const PASSWORD: &str = "nine lychees and a kite";
pub(super) const WRONG_PASSWORD: &str = "a kite and no lychees";
const REDIRECTS: usize = 3;

pub(super) fn order(context: &Context, user: &User, product_id: i64, quantity: i64) -> Call {
    context
        .call("place_order")
        .as_user(user)
        .json(&json!({ "product_id": product_id, "quantity": quantity }))
}

pub(super) async fn place_order(
    context: &Context,
    user: &User,
    product_id: i64,
    quantity: i64,
) -> Result<Answer, Failure> {
    order(context, user, product_id, quantity).expect(201).await
}

pub(super) async fn cancel(
    context: &Context,
    user: &User,
    order: &Answer,
) -> Result<Answer, Failure> {
    cancelling(context, user, order)?.expect(200).await
}

pub(super) fn cancelling(context: &Context, user: &User, order: &Answer) -> Result<Call, Failure> {
    Ok(context.call("cancel_order").path("order_id", text(order, "id")?).as_user(user))
}

pub(super) async fn read_order(
    context: &Context,
    user: &User,
    order: &Answer,
) -> Result<Answer, Failure> {
    context.call("get_order").path("order_id", text(order, "id")?).as_user(user).expect(200).await
}

/// Follows a link or a `Location`; a token authorizes the request.
pub(super) async fn follow(
    context: &Context,
    answer: &Answer,
    link: &str,
    token: Option<&str>,
) -> Result<Answer, Failure> {
    let read = |path: &str| {
        let call = context.raw(Method::GET, path);
        if let Some(token) = token { call.bearer(token) } else { call }.send()
    };
    let mut found = read(&place(answer, link)?).await?;
    for _ in 0..REDIRECTS {
        if !(300..400).contains(&found.status) {
            break;
        }
        found = read(&place(&found, found.header("location")?)?).await?;
    }
    Ok(found)
}

/// The path and query of a reference, without the prefix of the base URL.
fn place(answer: &Answer, reference: &str) -> Result<String, Failure> {
    let request = answer.request();
    let base = Url::parse(&request.url)
        .map_err(|error| answer.fail(format!("the request has no URL: {error}")))?;
    let place = base.join(reference).map_err(|error| {
        answer.fail(format!("expected a reference to this server, got {reference:?}: {error}"))
    })?;
    ensure!(
        place.origin() == base.origin(),
        answer,
        "expected a reference to this server, got {reference:?}, which leads to {place}"
    );
    let path = request.path.split('?').next().unwrap_or_default();
    let prefix = base.path().strip_suffix(path).unwrap_or_default();
    let path = place
        .path()
        .strip_prefix(prefix)
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or_else(|| place.path());
    Ok(place.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
}

pub(super) async fn read_product(context: &Context, product_id: i64) -> Result<Answer, Failure> {
    context.call("get_product").path("product_id", product_id).expect(200).await
}

pub(super) async fn stock(context: &Context, product_id: i64) -> Result<(i64, Answer), Failure> {
    let answer = read_product(context, product_id).await?;
    Ok((integer(&answer, "stock")?, answer))
}

pub(super) async fn expect_stock(
    context: &Context,
    product_id: i64,
    wanted: i64,
    when: &str,
) -> Result<(), Failure> {
    let (got, answer) = stock(context, product_id).await?;
    ensure!(
        got == wanted,
        &answer,
        "{when} expected a stock of {wanted} of product {product_id}, got {got} (or another \
         client bought it)"
    );
    Ok(())
}

pub(super) async fn read_user(context: &Context, user: &User) -> Result<Answer, Failure> {
    context.call("get_user").path("user_id", &user.id).as_user(user).expect(200).await
}

pub(super) fn change(context: &Context, user: &User, body: &Value) -> Call {
    context.call("update_user").path("user_id", &user.id).as_user(user).json(body)
}

pub(super) fn new_password(
    context: &Context,
    user_id: &str,
    token: &str,
    current: &str,
    new: &str,
) -> Call {
    context
        .call("change_password")
        .path("user_id", user_id)
        .bearer(token)
        .json(&json!({ "current_password": current, "new_password": new }))
}

pub(super) fn log_in(context: &Context, username: &str, password: &str) -> Call {
    context.call("log_in").json(&json!({ "username": username, "password": password }))
}

pub(super) async fn token(
    context: &Context,
    username: &str,
    password: &str,
) -> Result<String, Failure> {
    let answer = log_in(context, username, password).expect(200).await?;
    Ok(text(&answer, "access_token")?.to_owned())
}

/// The body that registers this name with [`PASSWORD`]; `name` is also the sid.
pub(super) fn new_user(name: &str) -> Value {
    json!({ "sid": name, "username": name, "email": email(name), "password": PASSWORD })
}

/// An address at a reserved domain.
pub(super) fn email(name: &str) -> String {
    format!("{name}@mail.example.com")
}

pub(super) fn other_case(name: &str) -> String {
    name.chars()
        .map(|letter| {
            if letter.is_ascii_lowercase() {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            }
        })
        .collect()
}

pub(super) fn text<'a>(answer: &'a Answer, member: &str) -> Result<&'a str, Failure> {
    answer.json()[member]
        .as_str()
        .ok_or_else(|| answer.fail(format!("expected a string `{member}` in the body")))
}

pub(super) fn integer(answer: &Answer, member: &str) -> Result<i64, Failure> {
    integer_member(answer, answer.json(), member)
}

/// An integer member of `object`, written without fraction or exponent.
pub(super) fn integer_member(
    answer: &Answer,
    object: &Value,
    member: &str,
) -> Result<i64, Failure> {
    object[member].as_i64().ok_or_else(|| {
        answer.fail(format!(
            "expected an integer `{member}` without fraction or exponent, got {}",
            object[member]
        ))
    })
}

pub(super) fn equal<T: PartialEq + Debug + ?Sized>(
    answer: &Answer,
    what: &str,
    got: &T,
    wanted: &T,
) -> Result<(), Failure> {
    ensure!(got == wanted, answer, "{what}: expected {wanted:?}, got {got:?}");
    Ok(())
}

pub(super) fn same_resource(got: &Answer, wanted: &Answer, what: &str) -> Result<(), Failure> {
    equal(got, &format!("{what}: the body"), got.json(), wanted.json())?;
    equal(got, &format!("{what}: the entity tag"), got.header("etag")?, wanted.header("etag")?)
}

/// Expects a replay: equal status, content headers and bytes.
pub(super) fn replayed(got: &Answer, wanted: &Answer, what: &str) -> Result<(), Failure> {
    equal(got, &format!("{what}: the status"), &got.status, &wanted.status)?;
    for name in ["location", "etag", "content-type"] {
        equal(
            got,
            &format!("{what}: `{name}`"),
            &got.headers.get(name),
            &wanted.headers.get(name),
        )?;
    }
    ensure!(
        got.body == wanted.body,
        got,
        "{what}: expected the bytes of the first body:\n{}",
        String::from_utf8_lossy(&wanted.body)
    );
    Ok(())
}

/// Expects equal problems, except members about the request and these `ids`.
pub(super) fn same_problem(
    got: &Answer,
    wanted: &Answer,
    ids: [&str; 2],
    what: &str,
) -> Result<(), Failure> {
    equal(got, &format!("{what}: the status"), &got.status, &wanted.status)?;
    equal(
        got,
        &format!("{what}: `www-authenticate`"),
        &got.headers.get("www-authenticate"),
        &wanted.headers.get("www-authenticate"),
    )?;
    equal(
        got,
        &format!("{what}: the problem"),
        &without_identifiers(got.json(), ids),
        &without_identifiers(wanted.json(), ids),
    )
}

fn without_identifiers(problem: &Value, ids: [&str; 2]) -> Value {
    match problem {
        Value::String(text) => ids
            .iter()
            .filter(|id| !id.is_empty())
            .fold(text.clone(), |text, id| text.replace(id, "ID"))
            .into(),
        Value::Array(items) => items.iter().map(|item| without_identifiers(item, ids)).collect(),
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !["request_id", "instance"].contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), without_identifiers(value, ids)))
            .collect(),
        plain => plain.clone(),
    }
}

pub(super) fn timestamp(answer: &Answer, member: &str) -> Result<OffsetDateTime, Failure> {
    let written = text(answer, member)?;
    OffsetDateTime::parse(written, &Rfc3339).map_err(|error| {
        answer.fail(format!("expected an RFC 3339 time in `{member}`, got {written:?}: {error}"))
    })
}

/// The server's `Date`, or else the local time.
pub(super) fn answered_at(answer: &Answer) -> OffsetDateTime {
    let date = answer.headers.get("date").and_then(|date| date.to_str().ok());
    date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok())
        .unwrap_or_else(OffsetDateTime::now_utc)
}

/// Fails if a member at any depth is named like a password or its hash.
pub(super) fn no_password(answer: &Answer) -> Result<(), Failure> {
    fn named(value: &Value) -> Option<&str> {
        match value {
            Value::Array(items) => items.iter().find_map(named),
            Value::Object(members) => members.iter().find_map(|(name, value)| {
                let lower = name.to_ascii_lowercase();
                if ["password", "hash", "salt", "secret"].iter().any(|word| lower.contains(word)) {
                    Some(name.as_str())
                } else {
                    named(value)
                }
            }),
            _ => None,
        }
    }
    let member = named(answer.json());
    ensure!(
        member.is_none(),
        answer,
        "expected no password or hash in the response, got a member {:?}",
        member.unwrap_or_default()
    );
    Ok(())
}
