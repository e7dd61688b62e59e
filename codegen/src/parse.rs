//! From text to a document: the raw one and `openapiv3`'s typed one, and whatever the latter has
//! dropped.

use openapiv3::OpenAPI;
use serde_json::{Map, Value};

use crate::error::{Error, Pointer, Refusals};

/// A document in both forms. What is in `raw` is in `typed`.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) raw: Value,
    pub(crate) typed: OpenAPI,
}

/// Parses YAML, of which JSON is a part.
pub(crate) fn parse(text: &str) -> Result<Document, Error> {
    let mut refusals = Refusals::default();
    let root = Pointer::root();
    let yaml: serde_norway::Value = match serde_norway::from_str(text) {
        Ok(yaml) => yaml,
        Err(error) => {
            refusals.refuse(&root, format!("neither YAML nor JSON: {error}"));
            return refusals.unless_any(unreachable_document());
        }
    };
    let raw = json(&yaml, &root, &mut refusals);
    match raw.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.0.") => {}
        Some(version) => refusals.refuse(
            &root.at("openapi"),
            format!("version {version} is not supported, only 3.0.x is"),
        ),
        None => refusals.refuse(
            &root.at("openapi"),
            "the version of OpenAPI is missing; 3.0.x is expected, as a string",
        ),
    }
    let typed: OpenAPI = match serde_json::from_value(raw.clone()) {
        Ok(typed) => typed,
        Err(error) => {
            refusals.refuse(&culprit(&raw), format!("not what OpenAPI 3.0 has here: {error}"));
            return refusals.unless_any(unreachable_document());
        }
    };
    match serde_json::to_value(&typed) {
        Ok(kept) => compare(&raw, &kept, &root, &mut refusals),
        Err(error) => refusals.refuse(
            &root,
            format!("cannot be compared with what openapiv3 understood of it: {error}"),
        ),
    }
    refusals.unless_any(Document { raw, typed })
}

/// The innermost place without which `openapiv3` could read the document: its errors have no
/// pointers. The root, if there are several such places.
fn culprit(raw: &Value) -> Pointer {
    // What must be there is not taken away, but emptied.
    let readable_without = |at: &Pointer| {
        let pointer = at.to_string();
        let emptied = [Value::Object(Map::new()), Value::Array(Vec::new()), "".into()]
            .into_iter()
            .map(|empty| {
                let mut rest = raw.clone();
                rest.pointer_mut(&pointer).map(|value| *value = empty).map(|()| rest)
            });
        emptied
            .chain([without(raw, &pointer)])
            .flatten()
            .any(|rest| serde_json::from_value::<OpenAPI>(rest).is_ok())
    };
    let mut at = Pointer::root();
    loop {
        let tokens: Vec<String> = match raw.pointer(&at.to_string()) {
            Some(Value::Object(members)) => members.keys().cloned().collect(),
            Some(Value::Array(items)) => (0..items.len()).map(|index| index.to_string()).collect(),
            Some(_) | None => return at,
        };
        match tokens.iter().map(|token| at.at(token)).find(readable_without) {
            Some(below) => at = below,
            None => return at,
        }
    }
}

/// A document without what is at a pointer.
fn without(raw: &Value, pointer: &str) -> Option<Value> {
    let (parent, token) = pointer.rsplit_once('/')?;
    let mut rest = raw.clone();
    match rest.pointer_mut(parent)? {
        Value::Object(members) => {
            drop(members.remove(&token.replace("~1", "/").replace("~0", "~"))?)
        }
        Value::Array(items) => drop(items.remove(token.parse().ok()?)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    Some(rest)
}

/// Only there for the type: every caller has refused something before.
fn unreachable_document() -> Document {
    Document { raw: Value::Null, typed: OpenAPI::default() }
}

/// YAML as JSON. Keys that YAML takes for numbers or truth values (`200:`, `on:`) are meant as
/// text.
fn json(yaml: &serde_norway::Value, at: &Pointer, refusals: &mut Refusals) -> Value {
    match yaml {
        serde_norway::Value::Null => Value::Null,
        serde_norway::Value::Bool(value) => Value::Bool(*value),
        serde_norway::Value::String(value) => Value::String(value.clone()),
        serde_norway::Value::Number(value) => {
            if let Some(number) = value.as_i64() {
                number.into()
            } else if let Some(number) = value.as_u64() {
                number.into()
            } else if let Some(number) = value.as_f64().and_then(serde_json::Number::from_f64) {
                Value::Number(number)
            } else {
                refusals.refuse(at, "JSON has no such number");
                Value::Null
            }
        }
        serde_norway::Value::Sequence(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| json(item, &at.at(index), refusals))
                .collect(),
        ),
        serde_norway::Value::Mapping(members) => {
            let mut object = Map::new();
            for (key, value) in members {
                let key = match key {
                    serde_norway::Value::String(key) => key.clone(),
                    serde_norway::Value::Number(key) => key.to_string(),
                    serde_norway::Value::Bool(_)
                    | serde_norway::Value::Null
                    | serde_norway::Value::Sequence(_)
                    | serde_norway::Value::Mapping(_)
                    | serde_norway::Value::Tagged(_) => {
                        refusals
                            .refuse(at, format!("the key {key:?} is not text; put it in quotes"));
                        continue;
                    }
                };
                let below = at.at(&key);
                let value = json(value, &below, refusals);
                if object.insert(key, value).is_some() {
                    refusals.refuse(&below, "this key is there twice");
                }
            }
            Value::Object(object)
        }
        serde_norway::Value::Tagged(_) => {
            refusals.refuse(at, "YAML tags are not part of OpenAPI");
            Value::Null
        }
    }
}

/// Refuses all that `openapiv3` has not kept.
fn compare(raw: &Value, kept: &Value, at: &Pointer, refusals: &mut Refusals) {
    match (raw, kept) {
        (Value::Object(raw), Value::Object(kept)) => {
            for (key, value) in raw {
                match kept.get(key) {
                    Some(kept) => compare(value, kept, &at.at(key), refusals),
                    None if says_nothing(key, value) => {}
                    // An example may be null; the reader of schemas looks for that.
                    None if value.is_null() && key == "example" => {}
                    None if raw.contains_key("$ref") => {
                        refusals.refuse(
                            &at.at(key),
                            "stands beside a `$ref`, where OpenAPI 3.0 ignores it",
                        );
                    }
                    None => refusals.refuse(
                        &at.at(key),
                        format!("`{key}` is no keyword of OpenAPI 3.0 at this place"),
                    ),
                }
            }
        }
        (Value::Array(raw), Value::Array(kept)) if raw.len() == kept.len() => {
            for (index, (raw, kept)) in raw.iter().zip(kept).enumerate() {
                compare(raw, kept, &at.at(index), refusals);
            }
        }
        (Value::Number(raw), Value::Number(kept)) if raw.as_f64() == kept.as_f64() => {}
        (raw, kept) if raw == kept => {}
        (_, _) => refusals.refuse(at, "openapiv3 understands this as something else"),
    }
}

/// Keywords whose `false` openapiv3 does not write again, because it is the default.
const FALSE_BY_DEFAULT: [&str; 9] = [
    "allowReserved",
    "deprecated",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "nullable",
    "readOnly",
    "required",
    "uniqueItems",
    "writeOnly",
];

/// Keywords whose empty list or object openapiv3 does not write again.
const EMPTY_BY_DEFAULT: [&str; 20] = [
    "callbacks",
    "content",
    "encoding",
    "enum",
    "examples",
    "headers",
    "links",
    "mapping",
    "parameters",
    "properties",
    "requestBodies",
    "required",
    "responses",
    "schemas",
    "scopes",
    "security",
    "securitySchemes",
    "servers",
    "tags",
    "variables",
];

/// Whether a keyword with this value means the same as none, so that it could be left out on the
/// way through `openapiv3`.
fn says_nothing(keyword: &str, value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value && FALSE_BY_DEFAULT.contains(&keyword),
        Value::Array(items) => items.is_empty() && EMPTY_BY_DEFAULT.contains(&keyword),
        Value::Object(members) => members.is_empty() && EMPTY_BY_DEFAULT.contains(&keyword),
        Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}
