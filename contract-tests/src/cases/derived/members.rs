//! The members of a schema, and bodies made from their examples.

use serde_json::{Map, Value, json};

use super::{
    strings::{self, Style},
    validator::SchemaValidator,
};
use crate::document::Document;

/// Maximum nesting: schemas may be recursive.
const MAX_DEPTH: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its JSON Pointer in a complete body (RFC 6901).
    pub(super) pointer: String,
    /// The name, or the index in an array.
    pub(super) name: String,
    /// The resolved schema.
    pub(super) schema: Value,
    pub(super) required: bool,
}

impl Member {
    pub(super) fn parent(&self) -> &str {
        self.pointer.rsplit_once('/').map_or("", |(parent, _)| parent)
    }
}

pub(super) fn of(document: &Document, schema: &Value) -> Vec<Member> {
    let mut members = Vec::new();
    walk(document, schema, "", 0, &mut members);
    members
}

pub(super) fn closed_objects(document: &Document, schema: &Value) -> Vec<String> {
    let closed = |schema: &Value| schema["additionalProperties"] == false;
    let mut pointers = Vec::new();
    if closed(document.resolve(schema)) {
        pointers.push(String::new());
    }
    pointers.extend(
        of(document, schema)
            .into_iter()
            .filter(|member| closed(&member.schema))
            .map(|member| member.pointer),
    );
    pointers
}

fn walk(
    document: &Document,
    schema: &Value,
    pointer: &str,
    depth: usize,
    members: &mut Vec<Member>,
) {
    let schema = document.resolve(schema);
    if depth == MAX_DEPTH {
        return;
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let pointer = format!("{pointer}/{}", escape(name));
        let required = schema["required"]
            .as_array()
            .is_some_and(|required| required.iter().any(|required| required == name));
        members.push(Member {
            pointer: pointer.clone(),
            name: name.clone(),
            schema: document.resolve(member).clone(),
            required,
        });
        walk(document, member, &pointer, depth + 1, members);
    }
    if let Some(items) = schema.get("items") {
        let pointer = format!("{pointer}/0");
        members.push(Member {
            pointer: pointer.clone(),
            name: "0".to_owned(),
            schema: document.resolve(items).clone(),
            required: false,
        });
        walk(document, items, &pointer, depth + 1, members);
    }
}

pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Full,
    Required,
}

/// A valid body made from examples; unique values and passwords are new each time.
pub(super) fn sample(document: &Document, schema: &Value, extent: Extent) -> Option<Value> {
    Sampler { document, validator: SchemaValidator::new(document), extent }.value(schema, 0)
}

struct Sampler<'d> {
    document: &'d Document,
    validator: SchemaValidator<'d>,
    extent: Extent,
}

impl Sampler<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Option<Value> {
        let schema = self.document.resolve(schema);
        if depth == MAX_DEPTH {
            return None;
        }
        if let Some(properties) = schema["properties"].as_object() {
            let required = |name: &str| {
                schema["required"]
                    .as_array()
                    .is_some_and(|required| required.iter().any(|required| required == name))
            };
            let mut object = Map::new();
            for (name, member) in properties {
                if self.extent == Extent::Full || required(name) {
                    match self.value(member, depth + 1) {
                        Some(value) => drop(object.insert(name.clone(), value)),
                        None if required(name) => return None,
                        None => {}
                    }
                }
            }
            return Some(Value::Object(object));
        }
        if schema["type"] == "array" && schema.get("example").is_none() {
            let least = schema["minItems"].as_u64().unwrap_or(0).max(1);
            return (0..least)
                .map(|_| self.value(&schema["items"], depth + 1))
                .collect::<Option<Vec<_>>>()
                .map(Value::Array);
        }
        let has_to_be_new = is_unique(schema) || schema["format"] == "password";
        let new = has_to_be_new
            .then(|| strings::fresh(self.validator, schema))
            .flatten()
            .map(Value::from);
        let candidates = [
            new,
            schema.get("example").cloned(),
            schema["enum"].get(0).cloned(),
            self.generated(schema),
        ];
        candidates.into_iter().flatten().find(|candidate| self.validator.allows(schema, candidate))
    }

    fn generated(&self, schema: &Value) -> Option<Value> {
        match schema["type"].as_str() {
            Some("string") => strings::fresh(self.validator, schema)
                .or_else(|| {
                    strings::of_length(
                        self.validator,
                        schema,
                        strings::lengths(schema).0,
                        Style::Plain,
                    )
                })
                .map(Value::from),
            Some("integer" | "number") => {
                // The nearest integer inside an exclusive bound.
                let inside = [("minimum", 1), ("maximum", -1)]
                    .into_iter()
                    .filter_map(|(bound, inwards)| Some(json!(schema[bound].as_i64()? + inwards)));
                let bounds = ["minimum", "maximum"]
                    .into_iter()
                    .map(|bound| schema[bound].clone())
                    .filter(Value::is_number);
                [json!(1)]
                    .into_iter()
                    .chain(bounds)
                    .chain(inside)
                    .find(|candidate| self.validator.allows(schema, candidate))
            }
            Some("boolean") => Some(json!(true)),
            Some("object") => Some(json!({})),
            Some(_) | None => None,
        }
    }
}

/// Whether the description states that the value is unique.
pub(super) fn is_unique(schema: &Value) -> bool {
    schema["description"]
        .as_str()
        .is_some_and(|description| description.to_lowercase().contains("unique"))
}

pub(super) fn at<'d>(document: &'d Document, names: &[&str]) -> Option<&'d Value> {
    names.iter().try_fold(document.root(), |value, name| document.resolve(value).get(*name))
}

/// The text of a body with the value at the pointer replaced by raw JSON; `None` if there is no
/// such value.
pub(super) fn with_text(body: &Value, pointer: &str, text: &str) -> Option<String> {
    const PLACEHOLDER: &str = "\u{E000}here\u{E000}";
    let mut body = body.clone();
    *body.pointer_mut(pointer)? = json!(PLACEHOLDER);
    Some(body.to_string().replacen(&json!(PLACEHOLDER).to_string(), text, 1))
}

pub(super) fn without(body: &Value, pointer: &str) -> Option<Value> {
    let mut body = body.clone();
    let (parent, name) = pointer.rsplit_once('/')?;
    body.pointer_mut(parent)?
        .as_object_mut()?
        .shift_remove(&name.replace("~1", "/").replace("~0", "~"))?;
    Some(body)
}

pub(super) fn with_member(body: &Value, object: &str, name: &str, value: Value) -> Option<Value> {
    let mut body = body.clone();
    body.pointer_mut(object)?.as_object_mut()?.insert(name.to_owned(), value);
    Some(body)
}
