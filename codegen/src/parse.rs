//! Parses a document to raw JSON and to `openapiv3`'s types, and reports what the latter dropped.

use openapiv3::OpenAPI;
use serde_json::{Map, Value};

use crate::error::{Diagnostics, Error, Pointer};

/// A document in both forms. `check_kept` has compared them.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) raw: Value,
    pub(crate) typed: OpenAPI,
}

/// Parses YAML, a superset of JSON.
pub(crate) fn parse(text: &str) -> Result<Document, Error> {
    let mut diagnostics = Diagnostics::default();
    let root = Pointer::root();
    let yaml: serde_norway::Value = match serde_norway::from_str(text) {
        Ok(yaml) => yaml,
        Err(error) => {
            diagnostics.report(&root, format!("is neither YAML nor JSON: {error}"));
            return diagnostics.into_result(empty_document());
        }
    };
    let raw = to_json(&yaml, &root, &mut diagnostics);
    match raw.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.0.") => {}
        Some(version) => diagnostics.report(
            &root.at("openapi"),
            format!("OpenAPI version {version} is not supported; use 3.0.x"),
        ),
        None => diagnostics.report(
            &root.at("openapi"),
            "missing OpenAPI version; expected a string such as 3.0.3",
        ),
    }
    let typed: OpenAPI = match serde_json::from_value(raw.clone()) {
        Ok(typed) => typed,
        Err(error) => {
            diagnostics.report(&locate_error(&raw), format!("invalid OpenAPI 3.0: {error}"));
            return diagnostics.into_result(empty_document());
        }
    };
    match serde_json::to_value(&typed) {
        Ok(kept) => check_kept(&raw, &kept, &root, &mut diagnostics),
        Err(error) => {
            diagnostics.report(&root, format!("failed to serialize the parsed document: {error}"))
        }
    }
    diagnostics.into_result(Document { raw, typed })
}

/// Returns the innermost pointer whose removal makes the document readable, because `openapiv3`'s
/// errors have no pointers. Returns the root if several values are invalid.
fn locate_error(raw: &Value) -> Pointer {
    // A required value is emptied, not removed.
    let readable_without = |at: &Pointer| {
        let pointer = at.to_string();
        let emptied = [Value::Object(Map::new()), Value::Array(Vec::new()), "".into()]
            .into_iter()
            .map(|empty| {
                let mut rest = raw.clone();
                rest.pointer_mut(&pointer).map(|value| *value = empty).map(|()| rest)
            });
        emptied
            .chain([remove_at(raw, &pointer)])
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

fn remove_at(raw: &Value, pointer: &str) -> Option<Value> {
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

/// A placeholder for `into_result` after a diagnostic.
fn empty_document() -> Document {
    Document { raw: Value::Null, typed: OpenAPI::default() }
}

/// Converts YAML to JSON. YAML reads keys such as `200:` as numbers; they become text.
fn to_json(yaml: &serde_norway::Value, at: &Pointer, diagnostics: &mut Diagnostics) -> Value {
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
                diagnostics.report(at, "JSON cannot represent this number");
                Value::Null
            }
        }
        serde_norway::Value::Sequence(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| to_json(item, &at.at(index), diagnostics))
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
                        diagnostics.report(
                            at,
                            format!("the key {key:?} is not a string; put it in quotes"),
                        );
                        continue;
                    }
                };
                let below = at.at(&key);
                let value = to_json(value, &below, diagnostics);
                if object.insert(key, value).is_some() {
                    diagnostics.report(&below, "repeated key; remove one");
                }
            }
            Value::Object(object)
        }
        serde_norway::Value::Tagged(_) => {
            diagnostics.report(at, "YAML tags are not supported; remove the tag");
            Value::Null
        }
    }
}

fn check_kept(raw: &Value, kept: &Value, at: &Pointer, diagnostics: &mut Diagnostics) {
    match (raw, kept) {
        (Value::Object(raw), Value::Object(kept)) => {
            for (key, value) in raw {
                match kept.get(key) {
                    Some(kept) => check_kept(value, kept, &at.at(key), diagnostics),
                    None if is_default(key, value) => {}
                    // `lower` reads a null example from the raw document.
                    None if value.is_null() && key == "example" => {}
                    None if raw.contains_key("$ref") => {
                        diagnostics.report(
                            &at.at(key),
                            "OpenAPI 3.0 ignores siblings of `$ref`; remove it",
                        );
                    }
                    None => diagnostics.report(
                        &at.at(key),
                        format!("`{key}` is not a keyword of OpenAPI 3.0 here; remove it"),
                    ),
                }
            }
        }
        (Value::Array(raw), Value::Array(kept)) if raw.len() == kept.len() => {
            for (index, (raw, kept)) in raw.iter().zip(kept).enumerate() {
                check_kept(raw, kept, &at.at(index), diagnostics);
            }
        }
        (Value::Number(raw), Value::Number(kept)) if raw.as_f64() == kept.as_f64() => {}
        (raw, kept) if raw == kept => {}
        (_, _) => diagnostics.report(at, "openapiv3 parses this value differently"),
    }
}

/// Keywords that openapiv3 does not serialize if they are `false`.
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

/// Keywords that openapiv3 does not serialize if they are empty.
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

/// Whether a keyword has its default, which openapiv3 does not serialize.
fn is_default(keyword: &str, value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value && FALSE_BY_DEFAULT.contains(&keyword),
        Value::Array(items) => items.is_empty() && EMPTY_BY_DEFAULT.contains(&keyword),
        Value::Object(members) => members.is_empty() && EMPTY_BY_DEFAULT.contains(&keyword),
        Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}
