//! What a buyer does, a step at a time, and the comparisons that many cases make.

use std::fmt::Debug;

use reqwest::{Method, Url};
use serde_json::{Value, json};
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

use crate::suite::{Answer, Call, Context, Failure, User};

/// A password for users that a case registers itself.
pub(super) const PASSWORD: &str = "nine lychees and a kite";
/// The password of nobody.
pub(super) const WRONG_PASSWORD: &str = "a kite and no lychees";
/// How often a link may lead on to another place.
const REDIRECTS: usize = 3;

/// The order of `quantity` pieces, ready to be sent.
pub(super) fn order(context: &Context, user: &User, product_id: i64, quantity: i64) -> Call {
    context
        .call("place_order")
        .as_user(user)
        .json(&json!({ "product_id": product_id, "quantity": quantity }))
}

/// Places an order, which must be a 201.
pub(super) async fn place_order(
    context: &Context,
    user: &User,
    product_id: i64,
    quantity: i64,
) -> Result<Answer, Failure> {
    order(context, user, product_id, quantity).expect(201).await
}

/// Cancels the order that is in the body of `order`, which must be a 200.
pub(super) async fn cancel(
    context: &Context,
    user: &User,
    order: &Answer,
) -> Result<Answer, Failure> {
    cancelling(context, user, order)?.expect(200).await
}

/// The cancelling of the order that is in the body of `order`, ready to be sent.
pub(super) fn cancelling(context: &Context, user: &User, order: &Answer) -> Result<Call, Failure> {
    Ok(context.call("cancel_order").path("order_id", text(order, "id")?).as_user(user))
}

/// Reads the order that is in the body of `order`, which must be a 200.
pub(super) async fn read_order(
    context: &Context,
    user: &User,
    order: &Answer,
) -> Result<Answer, Failure> {
    context.call("get_order").path("order_id", text(order, "id")?).as_user(user).expect(200).await
}

/// What a link or a `Location` in an answer leads to, whatever its status; with a token, if one is
/// needed to see it.
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

/// The path and query of a reference in an answer, as this server knows them: without what the
/// server's own address has before them.
fn place(answer: &Answer, reference: &str) -> Result<String, Failure> {
    let request = answer.request();
    let asked = Url::parse(&request.url)
        .map_err(|error| Failure::of(answer, format!("the request has no URL: {error}")))?;
    let place = asked.join(reference).map_err(|error| {
        Failure::of(
            answer,
            format!("{reference:?} must be a reference to a place on this server: {error}"),
        )
    })?;
    ensure!(
        place.origin() == asked.origin(),
        answer,
        "{reference:?} must be a reference to a place on this server, but it leads to {place}"
    );
    let path = request.path.split('?').next().unwrap_or_default();
    let prefix = asked.path().strip_suffix(path).unwrap_or_default();
    let path = place
        .path()
        .strip_prefix(prefix)
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or_else(|| place.path());
    Ok(place.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
}

/// Reads a product, which must be a 200.
pub(super) async fn read_product(context: &Context, product_id: i64) -> Result<Answer, Failure> {
    context.call("get_product").path("product_id", product_id).expect(200).await
}

/// How many pieces of a product can be sold at this moment, and the answer that says so.
pub(super) async fn stock(context: &Context, product_id: i64) -> Result<(i64, Answer), Failure> {
    let answer = read_product(context, product_id).await?;
    Ok((integer(&answer, "stock")?, answer))
}

/// Fails unless a product has exactly `wanted` pieces left.
pub(super) async fn expect_stock(
    context: &Context,
    product_id: i64,
    wanted: i64,
    when: &str,
) -> Result<(), Failure> {
    let (came, answer) = stock(context, product_id).await?;
    ensure!(
        came == wanted,
        &answer,
        "{when} product {product_id} must have {wanted} pieces left, but it has {came} (does somebody else buy here at the moment?)"
    );
    Ok(())
}

/// Reads a user as that user, which must be a 200.
pub(super) async fn read_user(context: &Context, user: &User) -> Result<Answer, Failure> {
    context.call("get_user").path("user_id", &user.id).as_user(user).expect(200).await
}

/// A change of a user by that user, ready to be sent.
pub(super) fn change(context: &Context, user: &User, body: &Value) -> Call {
    context.call("update_user").path("user_id", &user.id).as_user(user).json(body)
}

/// A change of a user's password by the holder of `token`, ready to be sent.
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

/// A log-in, ready to be sent.
pub(super) fn log_in(context: &Context, username: &str, password: &str) -> Call {
    context.call("log_in").json(&json!({ "username": username, "password": password }))
}

/// Logs in, which must be a 200: the token.
pub(super) async fn token(
    context: &Context,
    username: &str,
    password: &str,
) -> Result<String, Failure> {
    let answer = log_in(context, username, password).expect(200).await?;
    Ok(text(&answer, "access_token")?.to_owned())
}

/// What registers a user of this name with [`PASSWORD`]; `name` is also the sid.
pub(super) fn new_user(name: &str) -> Value {
    json!({ "sid": name, "username": name, "email": email(name), "password": PASSWORD })
}

/// An address of mail for a user of this name, at a domain that nobody can own.
pub(super) fn email(name: &str) -> String {
    format!("{name}@mail.example.com")
}

/// The same name with the case of each letter turned round.
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

/// A member of the body that is a string.
pub(super) fn text<'a>(answer: &'a Answer, member: &str) -> Result<&'a str, Failure> {
    answer.json()[member]
        .as_str()
        .ok_or_else(|| Failure::of(answer, format!("the body must have a string `{member}`")))
}

/// A member of the body that is a whole number, written as one.
pub(super) fn integer(answer: &Answer, member: &str) -> Result<i64, Failure> {
    whole(answer, answer.json(), member)
}

/// A member of `object`, which is a part of the body, that is a whole number written without a
/// fraction or an exponent.
pub(super) fn whole(answer: &Answer, object: &Value, member: &str) -> Result<i64, Failure> {
    object[member].as_i64().ok_or_else(|| {
        Failure::of(
            answer,
            format!(
                "`{member}` must be a whole number without a fraction or an exponent, but it is {}",
                object[member]
            ),
        )
    })
}

/// Fails unless `came` is `wanted`.
pub(super) fn equal<T: PartialEq + Debug + ?Sized>(
    answer: &Answer,
    what: &str,
    came: &T,
    wanted: &T,
) -> Result<(), Failure> {
    ensure!(came == wanted, answer, "{what} must be {wanted:?}, but it is {came:?}");
    Ok(())
}

/// Fails unless both answers have the same representation: equal bodies and one entity tag.
pub(super) fn same_thing(came: &Answer, wanted: &Answer, what: &str) -> Result<(), Failure> {
    equal(came, &format!("{what}: the body"), came.json(), wanted.json())?;
    equal(came, &format!("{what}: the entity tag"), came.header("etag")?, wanted.header("etag")?)
}

/// Fails unless `came` is `wanted` over again: status, headers that speak of the content, and every
/// byte of the body.
pub(super) fn replayed(came: &Answer, wanted: &Answer, what: &str) -> Result<(), Failure> {
    equal(came, &format!("{what}: the status"), &came.status, &wanted.status)?;
    for name in ["location", "etag", "content-type"] {
        equal(
            came,
            &format!("{what}: `{name}`"),
            &came.headers.get(name),
            &wanted.headers.get(name),
        )?;
    }
    ensure!(
        came.body == wanted.body,
        came,
        "{what}: every byte of the body must be as the first time:\n{}",
        String::from_utf8_lossy(&wanted.body)
    );
    Ok(())
}

/// Fails unless both problems are the same to who reads them: in all but what names the request,
/// and the `ids` that were asked for.
pub(super) fn same_problem(
    came: &Answer,
    wanted: &Answer,
    ids: [&str; 2],
    what: &str,
) -> Result<(), Failure> {
    equal(came, &format!("{what}: the status"), &came.status, &wanted.status)?;
    equal(
        came,
        &format!("{what}: `www-authenticate`"),
        &came.headers.get("www-authenticate"),
        &wanted.headers.get("www-authenticate"),
    )?;
    equal(
        came,
        &format!("{what}: the problem"),
        &impersonal(came.json(), ids),
        &impersonal(wanted.json(), ids),
    )
}

/// `problem` without `request_id` and `instance`, and with the ids blotted out.
fn impersonal(problem: &Value, ids: [&str; 2]) -> Value {
    match problem {
        Value::String(text) => ids
            .iter()
            .filter(|id| !id.is_empty())
            .fold(text.clone(), |text, id| text.replace(id, "ID"))
            .into(),
        Value::Array(items) => items.iter().map(|item| impersonal(item, ids)).collect(),
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !["request_id", "instance"].contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), impersonal(value, ids)))
            .collect(),
        plain => plain.clone(),
    }
}

/// A member of the body that is a time.
pub(super) fn moment(answer: &Answer, member: &str) -> Result<OffsetDateTime, Failure> {
    let written = text(answer, member)?;
    OffsetDateTime::parse(written, &Rfc3339).map_err(|error| {
        Failure::of(
            answer,
            format!("`{member}` must be a time as in RFC 3339, but it is {written:?}: {error}"),
        )
    })
}

/// When `answer` was given, by the server's clock if it tells the time, and else by ours.
pub(super) fn answered_at(answer: &Answer) -> OffsetDateTime {
    let date = answer.headers.get("date").and_then(|date| date.to_str().ok());
    date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok())
        .unwrap_or_else(OffsetDateTime::now_utc)
}

/// Fails if an answer that describes a user or a token has a member that is named like a password
/// or its hash, at any depth.
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
        "no answer may show a password or its hash, but there is a member {:?}",
        member.unwrap_or_default()
    );
    Ok(())
}
