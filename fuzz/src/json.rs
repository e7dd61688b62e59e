//! JSON bodies.

use std::{fmt, sync::LazyLock};

use contract_tests::document::{Document, UndeclaredMembers};
use jsonschema::Validator;
use merch_contract::rest::server as rest;
use poem_contract_runtime::{Faults, fuzzing::BodySchema};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::document::{DOCUMENT, leaked_schemas};

/// Maximum nesting of arrays and objects that the server accepts.
const MAX_DEPTH: usize = 64;

/// Keywords that no request of `openapi.yaml` uses.
const OTHER_KEYWORDS: &str = r##"{"openapi":"3.0.3","info":{"title":"t","version":"1"},
"paths":{"/":{"get":{"operationId":"o","responses":{"204":{"description":"d"}}}}},
"components":{"schemas":{
"Leaf":{"type":"object","additionalProperties":false,"minProperties":1,"properties":{
"number":{"type":"integer","format":"int32","minimum":-3,"exclusiveMinimum":true,"multipleOf":2},
"text":{"type":"string","nullable":true,"minLength":1,"maxLength":4,"pattern":"^[a-z\u00e9]*$"},
"color":{"type":"string","enum":["red","\"green\""]},
"when":{"type":"string","format":"date-time"},"id":{"type":"string","format":"uuid"},
"flag":{"type":"boolean"},"big":{"type":"integer","format":"int64","maximum":9007199254740992},
"set":{"type":"array","uniqueItems":true,"minItems":1,"maxItems":5,
"items":{"$ref":"#/components/schemas/Item"}}}},
"Item":{"type":"object","additionalProperties":false,"required":["key"],"properties":{
"key":{"type":"integer","format":"int64"},"lists":{"type":"array","items":{"type":"array",
"items":{"type":"string"}}}}},
"Tree":{"type":"object","additionalProperties":false,"required":["leaf"],"properties":{
"leaf":{"$ref":"#/components/schemas/Leaf"},
"leaves":{"type":"array","maxItems":3,"uniqueItems":true,
"items":{"$ref":"#/components/schemas/Leaf"}}}}}}}"##;

type Rewrite = fn(&[u8]) -> serde_json::Result<Value>;

struct Body {
    name: &'static str,
    schema: BodySchema,
    expected: Validator,
    /// Reads the generated type and writes it.
    rewrite: Option<Rewrite>,
}

static BODIES: LazyLock<Vec<Body>> = LazyLock::new(|| {
    let other = Document::read_with(OTHER_KEYWORDS, UndeclaredMembers::Forbidden)
        .unwrap_or_else(|error| panic!("{error}"));
    vec![
        body(&DOCUMENT, "Registration", Some(rewrite::<rest::Registration>)),
        body(&DOCUMENT, "Credentials", Some(rewrite::<rest::Credentials>)),
        body(&DOCUMENT, "UserChange", Some(rewrite::<rest::UserChange>)),
        body(&DOCUMENT, "PasswordChange", Some(rewrite::<rest::PasswordChange>)),
        body(&DOCUMENT, "Purchase", Some(rewrite::<rest::Purchase>)),
        body(&other, "Leaf", None),
        body(&other, "Tree", None),
    ]
});

fn body(document: &Document, name: &'static str, rewrite: Option<Rewrite>) -> Body {
    let schema = serde_json::json!({ "$ref": format!("#/components/schemas/{name}") });
    let expected = document.validator(&schema).expect("the document has this schema");
    Body { name, schema: BodySchema::new(leaked_schemas(document), &schema), expected, rewrite }
}

fn rewrite<T: DeserializeOwned + Serialize>(body: &[u8]) -> serde_json::Result<Value> {
    serde_json::to_value(serde_json::from_slice::<T>(body)?)
}

/// Validates a body. The first line names its schema.
///
/// # Panics
/// If the server accepts a body that serde_json, the contract suite or the generated type refuses,
/// or refuses one that they accept; or if the type changes a value; or if the list of faults has no
/// bound.
pub fn json(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (name, text) = (&data[..at], &data[at + 1..]);
    let Some(body) = BODIES.iter().find(|body| body.name.as_bytes() == name) else { return };
    let faults = body.schema.faults(text);
    let bytes: usize =
        faults.listed().iter().map(|fault| fault.pointer.len() + fault.detail.len()).sum();
    assert!(faults.listed().len() <= Faults::MAX_LISTED && bytes <= Faults::MAX_TEXT_BYTES);

    let parsed = serde_json::from_slice::<Value>(text);
    let strict = serde_json::from_slice::<Strict>(text);
    let expected = match (&parsed, &strict) {
        (Ok(value), Ok(Strict { repeats: false, depth })) if *depth <= MAX_DEPTH => {
            body.expected.is_valid(value)
        }
        (_, _) => false,
    };
    let sent = || String::from_utf8_lossy(text).into_owned();
    if expected {
        assert!(faults.is_empty(), "{faults:?} in a valid {}: {}", body.name, sent());
    } else {
        assert!(!faults.is_empty(), "no fault in an invalid {}: {}", body.name, sent());
    }
    if let (true, Some(rewrite), Ok(value)) = (expected, body.rewrite, &parsed) {
        let typed = rewrite(text).unwrap_or_else(|error| panic!("{error}: {}", sent()));
        assert_eq!(without_nulls(&typed), *value, "the generated type of {}", body.name);
    }
}

/// The generated types write an absent member as null.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                members
                    .map(|(name, value)| (name.clone(), without_nulls(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// What a tree of values does not show.
struct Strict {
    /// Whether an object has two members of the same name.
    repeats: bool,
    depth: usize,
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

const SCALAR: Strict = Strict { repeats: false, depth: 0 };

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(SCALAR)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(SCALAR)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(SCALAR)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(SCALAR)
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(SCALAR)
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(SCALAR)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        let mut all = Strict { repeats: false, depth: 1 };
        while let Some(item) = items.next_element::<Strict>()? {
            all.repeats |= item.repeats;
            all.depth = all.depth.max(item.depth + 1);
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
        let mut all = Strict { repeats: false, depth: 1 };
        let mut names = std::collections::BTreeSet::new();
        while let Some((name, member)) = members.next_entry::<String, Strict>()? {
            all.repeats |= member.repeats || !names.insert(name);
            all.depth = all.depth.max(member.depth + 1);
        }
        Ok(all)
    }
}
