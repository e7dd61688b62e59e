//! Controls: changes that the contract allows and the suite must accept.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    exchange::{Answer, Framing, Request},
    proxy::{Behavior, Upstream},
};

pub(crate) struct Control {
    /// The name in `docs/mutants.md`.
    pub(crate) name: &'static str,
    /// Why the contract allows it.
    pub(crate) allowed: &'static str,
    /// Edits a request.
    request: fn(&mut Request),
    /// Edits a response.
    answer: fn(&mut Answer),
}

/// All controls at once: they are independent, and a run for each would take minutes.
pub(crate) fn combined(controls: Vec<Control>) -> Behavior {
    let controls = Arc::new(controls);
    Arc::new(move |upstream: Upstream, mut request: Request| {
        let controls = controls.clone();
        Box::pin(async move {
            controls.iter().for_each(|control| (control.request)(&mut request));
            let mut answer = upstream.send(&request).await;
            controls.iter().for_each(|control| (control.answer)(&mut answer));
            answer
        })
    })
}

/// Another catalogue: the suite must read ids and prices.
pub(crate) const CATALOGUE: &str = "
DELETE FROM products;
INSERT INTO products (id, name, category, slogan, description, price_cents, currency, stock, version) VALUES
    (7, 'Mug', 'Kitchen', '', '', 0, 'CNY', 40, 3),
    (70, 'Cap', 'Apparel', 'One size.', 'A cap.', 9007199254740993, 'EUR', 0, 1),
    (700, 'Bag', 'Bags & more', 'Carries it.', 'A bag.', 1, 'CNY', 2000000000, 12),
    (2147483647, 'Pen', '文具', '写', 'A pen.', 150, 'CNY', 60, 1)";

fn on_answers(name: &'static str, allowed: &'static str, answer: fn(&mut Answer)) -> Control {
    Control { name, allowed, request: |_| (), answer }
}

fn extend(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(extend);
            members.insert("future_member".to_owned(), json!({ "since": [1.5, null] }));
        }
        Value::Array(items) => items.iter_mut().for_each(extend),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Prefixes the digits of a tag with 7.
fn retag(tag: &str) -> String {
    tag.strip_prefix('"').map_or_else(|| tag.to_owned(), |rest| format!("\"7{rest}"))
}

#[rustfmt::skip] // a table
pub(crate) fn all() -> Vec<Control> {
    vec![
        on_answers("problems in another language", "programs match on `code`, never on text", |answer| if answer.status >= 400 {
            answer.edit_json(|problem| {
                problem["title"] = format!("问题 {}", problem["code"]).into();
                problem["detail"] = "请再试一次。".into();
                for error in problem.get_mut("errors").and_then(Value::as_array_mut).into_iter().flatten() {
                    error["detail"] = "不对。".into();
                }
            });
        }),
        on_answers("undeclared members", "schemas of responses are open", |answer| answer.edit_json(extend)),
        on_answers("JSON with other whitespace and escapes", "it is the same value", |answer| if let Ok(body) = serde_json::from_slice::<Value>(&answer.body) {
            let text = serde_json::to_string_pretty(&body).expect("a value is JSON");
            answer.body = text.replace("\"placed\"", "\"pl\\u0061ced\"").into();
        }),
        on_answers("media types with a parameter", "`application/json; charset=utf-8` is `application/json`", |answer| {
            if let Some(media_type) = answer.header("content-type").map(|media_type| format!("{media_type}; charset=utf-8")) {
                answer.set("content-type", &media_type);
            }
        }),
        on_answers("undeclared headers", "responses may have more headers", |answer| {
            answer.set("x-future", "1");
            answer.set("server", "another one");
            answer.set("vary", "accept-encoding");
            answer.add("set-cookie", "a=1");
            answer.add("set-cookie", "b=2");
        }),
        on_answers("chunked responses", "HTTP leaves it to the server", |answer| answer.framing = Framing::Chunked),
        on_answers("each response closes its connection", "HTTP leaves it to the server", |answer| answer.set("connection", "close")),
        Control {
            name: "other version numbers",
            allowed: "entity tags are opaque",
            request: |request| for name in ["if-match", "if-none-match"] {
                // Restores the store's tags, in lists, too.
                if let Some(tags) = request.header(name).map(|tags| tags.replace("\"7", "\"")) {
                    request.headers.insert(name, tags.try_into().expect("the value of a header"));
                }
            },
            answer: |answer| if let Some(tag) = answer.header("etag").map(retag) { answer.set("etag", &tag) },
        },
    ]
}
