//! Checks of bodies beyond schemas: repeated members, secrets, times and ids.

use std::{cell::RefCell, collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use uuid::{Uuid, Variant};

use super::{Exchange, single_header};
use crate::document::{Document, UndeclaredMembers};

/// Shorter passwords may occur by chance.
const MIN_SECRET_LENGTH: usize = 8;

/// Maximum nesting: schemas may be recursive.
const MAX_DEPTH: usize = 64;

pub(super) fn read(body: &[u8], faults: &mut Vec<String>) -> Option<Value> {
    let repeated = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read =
        deserializer.deserialize_any(UniqueMembers { pointer: String::new(), repeated: &repeated });
    let value = match read.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => value,
        Err(error) => {
            faults.push(format!("body: expected JSON, but {error}"));
            return None;
        }
    };
    faults.extend(repeated.into_inner());
    Some(value)
}

/// Builds a value and records repeated members: `serde_json` silently keeps the last.
struct UniqueMembers<'r> {
    pointer: String,
    repeated: &'r RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for UniqueMembers<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueMembers<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(UniqueMembers {
            pointer: format!("{}/{}", self.pointer, list.len()),
            repeated: self.repeated,
        })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let pointer =
                format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"));
            let value = members.next_value_seed(UniqueMembers {
                pointer: pointer.clone(),
                repeated: self.repeated,
            })?;
            if object.insert(name, value).is_some() {
                self.repeated
                    .borrow_mut()
                    .push(format!("body {pointer}: expected once, got several"));
            }
        }
        Ok(Value::Object(object))
    }
}

pub(super) fn check_absent(exchange: &Exchange<'_>, faults: &mut Vec<String>) {
    if !exchange.body.is_empty() {
        faults.push(format!("body: expected none, got {} bytes", exchange.body.len()));
    }
    // HTTP clients read no body after a 204; only the declared length shows one.
    if exchange.status == 204
        && let Ok(length) = single_header(exchange.headers, "content-length")
        && length != "0"
    {
        faults.push(format!("Content-Length: expected none with 204, got {length:?}"));
    }
}

pub(super) fn check_secrets(exchange: &Exchange<'_>, secrets: &[String], faults: &mut Vec<String>) {
    let contains = |text: &[u8], secret: &str| {
        text.windows(secret.len()).any(|window| window == secret.as_bytes())
    };
    let shown = |secret: &String| {
        // JSON escapes quotes.
        let escaped = Value::from(secret.as_str()).to_string();
        contains(exchange.body, &escaped[1..escaped.len() - 1])
            || exchange.headers.values().any(|value| contains(value.as_bytes(), secret))
    };
    if secrets.iter().any(|secret| secret.len() >= MIN_SECRET_LENGTH && shown(secret)) {
        faults.push(
            "expected no password or token in the response, got one that was sent".to_owned(),
        );
    }
}

/// Rules that the document states in words: times are UTC, "UUIDv7" ids are version 7.
pub(super) fn check_values(
    document: &Document,
    schema: &Value,
    value: &Value,
    faults: &mut Vec<String>,
) {
    let mut found = BTreeSet::new();
    walk(document, schema, value, &mut String::new(), 0, &mut found);
    faults.extend(found);
}

fn walk(
    document: &Document,
    schema: &Value,
    value: &Value,
    pointer: &mut String,
    depth: usize,
    faults: &mut BTreeSet<String>,
) {
    if depth > MAX_DEPTH {
        return;
    }
    let schema = document.resolve(schema);
    for all in list(schema, "allOf") {
        walk(document, all, value, pointer, depth + 1, faults);
    }
    for keyword in ["anyOf", "oneOf"] {
        let branches = list(schema, keyword).map(|branch| {
            let mut faults = BTreeSet::new();
            walk(document, branch, value, pointer, depth + 1, &mut faults);
            faults
        });
        faults.extend(branches.min_by_key(BTreeSet::len).unwrap_or_default());
    }
    match value {
        Value::String(text) => {
            if let Some(fault) = text_fault(document.undeclared_members(), schema, text) {
                faults.insert(format!("body {pointer}: {fault}, got {text:?}"));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                with_segment(pointer, &index.to_string(), |pointer| {
                    walk(document, &schema["items"], item, pointer, depth + 1, faults)
                });
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let declared = schema
                    .get("properties")
                    .and_then(|properties| properties.get(name))
                    .unwrap_or(&schema["additionalProperties"]);
                with_segment(pointer, name, |pointer| {
                    walk(document, declared, member, pointer, depth + 1, faults)
                });
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn with_segment(pointer: &mut String, name: &str, then: impl FnOnce(&mut String)) {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(name);
    then(pointer);
    pointer.truncate(length);
}

fn list<'s>(schema: &'s Value, keyword: &str) -> impl Iterator<Item = &'s Value> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

fn text_fault(members: UndeclaredMembers, schema: &Value, text: &str) -> Option<&'static str> {
    let described = |word: &str| {
        schema["description"].as_str().is_some_and(|description| description.contains(word))
    };
    match schema["format"].as_str() {
        Some("date-time") => {
            // RFC 3339 has several spellings of UTC; this repository's store uses one.
            let utc = text.ends_with('Z')
                || members == UndeclaredMembers::AsSchema
                    && (text.ends_with('z') || text.ends_with("+00:00"));
            (!utc).then_some("expected a time in UTC, with Z at its end")
        }
        Some("uuid") if described("UUIDv7") => {
            let id = Uuid::try_parse(text).ok()?;
            let seven = id.get_version_num() == 7 && id.get_variant() == Variant::RFC4122;
            if !seven {
                return Some("expected a UUID of version 7");
            }
            (id.hyphenated().to_string() != text)
                .then_some("expected a UUID in lower case, with hyphens")
        }
        Some(_) | None => None,
    }
}
