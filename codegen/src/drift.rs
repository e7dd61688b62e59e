//! Compares the document that a server emits with its source.
//!
//! Both are normalized first: references other than to schemas are resolved, defaults are removed,
//! and unordered lists are sorted. [`gaps`](crate::gaps) are skipped on the contract's side only.
//! Anything else that only one document has is a difference.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::{
    error::Pointer,
    gaps::{ObjectKind, is_gap},
};

/// A difference between the two documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// A JSON pointer into the normalized contract. Path parameters are at their operations,
    /// parameters are named by location and name (`query limit`), and header names are in lower
    /// case.
    pub pointer: String,
    /// The contract's value.
    pub contract: Option<Value>,
    /// The emitted value.
    pub emitted: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| {
            value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string)
        };
        write!(
            f,
            "{}: the contract says {}, the server emits {}",
            self.pointer,
            show(&self.contract),
            show(&self.emitted)
        )
    }
}

/// Returns all differences between a contract and the document that its server emits, by pointer.
#[must_use]
pub fn compare(contract: &Value, emitted: &Value) -> Vec<Difference> {
    let contract = Normalizer { root: contract, skip_gaps: true }.document();
    let emitted = Normalizer { root: emitted, skip_gaps: false }.document();
    let mut differences = Vec::new();
    diff(Some(&contract), Some(&emitted), &Pointer::root(), &mut differences);
    differences
}

fn diff(
    contract: Option<&Value>,
    emitted: Option<&Value>,
    at: &Pointer,
    differences: &mut Vec<Difference>,
) {
    match (contract, emitted) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let mut keys: Vec<&String> =
                left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))).collect();
            keys.sort();
            for key in keys {
                diff(left.get(key), right.get(key), &at.at(key), differences);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                diff(Some(left), Some(right), &at.at(index), differences);
            }
        }
        (left, right) if left == right => {}
        (left, right) => differences.push(Difference {
            pointer: at.to_string(),
            contract: left.cloned(),
            emitted: right.cloned(),
        }),
    }
}

struct Normalizer<'d> {
    root: &'d Value,
    /// Whether to skip what [`gaps`](crate::gaps) lists.
    skip_gaps: bool,
}

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

impl Normalizer<'_> {
    /// Returns an object with each member changed. Removes gaps and members for which `change`
    /// returns `None`.
    fn object(
        &self,
        kind: ObjectKind,
        value: &Value,
        change: impl Fn(&str, &Value) -> Option<Value>,
    ) -> Value {
        let Some(members) = value.as_object() else { return normalize_numbers(value) };
        let kept = members
            .iter()
            .filter(|(keyword, value)| !(self.skip_gaps && is_gap(kind, keyword, value)));
        Value::Object(
            kept.filter_map(|(keyword, value)| {
                change(keyword, value).map(|value| (keyword.clone(), value))
            })
            .collect(),
        )
    }

    /// Normalizes an object that contains only texts and such objects.
    fn plain_object(&self, value: &Value) -> Value {
        self.object(ObjectKind::Other, value, |keyword, value| {
            Some(if value.is_object() {
                self.plain_object(value)
            } else {
                normalize_text(keyword, value)
            })
        })
    }

    /// Returns the target of a reference, or the value itself.
    fn resolve<'v>(&'v self, value: &'v Value) -> &'v Value {
        let target = value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix('#'))
            .and_then(|at| self.root.pointer(at));
        target.unwrap_or(value)
    }

    fn document(&self) -> Value {
        self.object(ObjectKind::Other, self.root, |keyword, value| match keyword {
            // Patch versions of OpenAPI do not differ.
            "openapi" => Some(value.as_str().map_or_else(
                || value.clone(),
                |version| version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".").into(),
            )),
            "servers" => None,
            // Each operation has its own list after normalization.
            "security" => None,
            "tags" => Some(self.tags(value)),
            "paths" => Some(self.object(ObjectKind::Other, value, |_, item| Some(self.path(item)))),
            "components" => Some(self.components(value)).filter(is_not_empty),
            _ => Some(self.plain_object(value)),
        })
        .with("servers", self.servers())
    }

    /// The default is one server at `/`.
    fn servers(&self) -> Value {
        match self.root.get("servers").and_then(Value::as_array) {
            Some(servers) if !servers.is_empty() => {
                servers.iter().map(|server| self.plain_object(server)).collect()
            }
            Some(_) | None => json!([{ "url": "/" }]),
        }
    }

    /// Returns the tags by name, and their order in a separate member.
    fn tags(&self, tags: &Value) -> Value {
        let tags: Vec<&Value> = tags.as_array().into_iter().flatten().collect();
        let name = |tag: &Value| tag["name"].as_str().unwrap_or_default().to_owned();
        let mut read = Map::new();
        read.insert(
            "byName".to_owned(),
            Value::Object(tags.iter().map(|tag| (name(tag), self.plain_object(tag))).collect()),
        );
        let order: Value = tags.iter().map(|tag| name(tag)).collect();
        if self.skip_gaps && !is_gap(ObjectKind::Tags, "order", &order) {
            read.insert("order".to_owned(), order);
        }
        Value::Object(read)
    }

    fn components(&self, components: &Value) -> Value {
        self.object(ObjectKind::Other, components, |section, value| match section {
            "schemas" | "securitySchemes" if !is_not_empty(value) => None,
            "schemas" => {
                Some(self.object(ObjectKind::Map, value, |_, schema| Some(self.schema(schema))))
            }
            "securitySchemes" => Some(self.object(ObjectKind::Map, value, |_, scheme| {
                Some(self.object(ObjectKind::Other, scheme, |keyword, value| match keyword {
                    // RFC 9110: scheme names ignore case.
                    "scheme" => value.as_str().map(|scheme| scheme.to_ascii_lowercase().into()),
                    _ => Some(normalize_text(keyword, value)),
                }))
            })),
            // Resolved where they are used.
            "parameters" | "headers" | "responses" | "requestBodies" | "examples" => None,
            _ => Some(normalize_numbers(value)),
        })
    }

    fn path(&self, item: &Value) -> Value {
        let shared = &item["parameters"];
        self.object(ObjectKind::Other, item, |keyword, value| match keyword {
            "parameters" => None,
            method if METHODS.contains(&method) => Some(self.operation(value, shared)),
            _ => Some(self.plain_object(value)),
        })
    }

    fn operation(&self, operation: &Value, shared: &Value) -> Value {
        let security = operation.get("security").or_else(|| self.root.get("security"));
        let mut parameters = Map::new();
        // An operation's parameter replaces the path's.
        for parameter in
            [shared, &operation["parameters"]].into_iter().filter_map(Value::as_array).flatten()
        {
            let parameter = self.resolve(parameter);
            let (location, name) = (
                parameter["in"].as_str().unwrap_or_default(),
                parameter["name"].as_str().unwrap_or_default(),
            );
            let name =
                if location == "header" { name.to_ascii_lowercase() } else { name.to_owned() };
            parameters.insert(format!("{location} {name}"), self.parameter(parameter));
        }
        self.object(ObjectKind::Other, operation, |keyword, value| match keyword {
            "parameters" | "security" => None,
            "deprecated" if is_false(value) => None,
            "requestBody" => {
                let body = self.resolve(value);
                Some(self.object(ObjectKind::Other, body, |keyword, value| match keyword {
                    "content" => Some(self.content(value)),
                    "required" if is_false(value) => None,
                    _ => Some(normalize_text(keyword, value)),
                }))
            }
            "responses" => Some(self.object(ObjectKind::Other, value, |_, response| {
                Some(self.response(self.resolve(response)))
            })),
            "externalDocs" => Some(self.plain_object(value)),
            _ => Some(normalize_text(keyword, value)),
        })
        .with("parameters", Value::Object(parameters))
        .with("security", security.map_or_else(|| json!([]), normalize_numbers))
    }

    fn parameter(&self, parameter: &Value) -> Value {
        let location = parameter["in"].as_str().unwrap_or_default();
        let style = if matches!(location, "query" | "cookie") { "form" } else { "simple" };
        self.object(ObjectKind::WithExamples, parameter, |keyword, value| match keyword {
            "name" | "in" => None,
            "required" | "deprecated" | "allowReserved" | "allowEmptyValue" if is_false(value) => {
                None
            }
            "style" if value == style => None,
            "explode"
                if *value
                    == Value::Bool(
                        parameter.get("style").and_then(Value::as_str).unwrap_or(style) == "form",
                    ) =>
            {
                None
            }
            "schema" => Some(self.schema(value)),
            _ => Some(normalize_text(keyword, value)),
        })
    }

    fn response(&self, response: &Value) -> Value {
        self.object(ObjectKind::Response, response, |keyword, value| match keyword {
            "headers" => {
                let headers = value.as_object().into_iter().flatten();
                Some(Value::Object(
                    headers
                        .map(|(name, header)| {
                            (name.to_ascii_lowercase(), self.header(self.resolve(header)))
                        })
                        .collect(),
                ))
            }
            "content" => Some(self.content(value)),
            _ => Some(normalize_text(keyword, value)),
        })
    }

    fn header(&self, header: &Value) -> Value {
        self.object(ObjectKind::WithExamples, header, |keyword, value| match keyword {
            "required" | "deprecated" | "explode" if is_false(value) => None,
            "style" if value == "simple" => None,
            "schema" => Some(self.schema(value)),
            _ => Some(normalize_text(keyword, value)),
        })
    }

    fn content(&self, content: &Value) -> Value {
        self.object(ObjectKind::Map, content, |_, media_type| {
            Some(self.object(
                ObjectKind::WithExamples,
                media_type,
                |keyword, value| match keyword {
                    "schema" => Some(self.schema(value)),
                    _ => Some(normalize_text(keyword, value)),
                },
            ))
        })
    }

    fn schema(&self, schema: &Value) -> Value {
        if let Some(reference) = schema.get("$ref") {
            // Clients name types after schemas, so the name of a reference counts. OpenAPI ignores
            // siblings of `$ref`.
            return json!({ "$ref": reference });
        }
        self.object(ObjectKind::Schema, schema, |keyword, value| match keyword {
            "nullable" | "readOnly" | "writeOnly" | "deprecated" | "exclusiveMinimum"
            | "exclusiveMaximum" | "uniqueItems"
                if is_false(value) =>
            {
                None
            }
            "properties" => {
                Some(self.object(ObjectKind::Map, value, |_, schema| Some(self.schema(schema))))
            }
            "items" | "not" => Some(self.schema(value)),
            "additionalProperties" if value.is_object() => Some(self.schema(value)),
            "allOf" | "anyOf" | "oneOf" => Some(
                value.as_array().into_iter().flatten().map(|schema| self.schema(schema)).collect(),
            ),
            "required" | "enum" => {
                let mut items: Vec<Value> =
                    value.as_array().into_iter().flatten().map(normalize_numbers).collect();
                items.sort_by_key(Value::to_string);
                (keyword == "enum" || !items.is_empty()).then_some(Value::Array(items))
            }
            "externalDocs" => Some(self.plain_object(value)),
            _ => Some(normalize_text(keyword, value)),
        })
    }
}

trait With {
    fn with(self, key: &str, value: Value) -> Value;
}

impl With for Value {
    fn with(mut self, key: &str, value: Value) -> Value {
        if let Some(members) = self.as_object_mut() {
            members.insert(key.to_owned(), value);
        }
        self
    }
}

fn is_not_empty(object: &Value) -> bool {
    object.as_object().is_none_or(|members| !members.is_empty())
}

fn is_false(value: &Value) -> bool {
    *value == Value::Bool(false)
}

/// Trims CommonMark texts.
fn normalize_text(keyword: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if keyword == "description" || keyword == "summary" => {
            text.trim().into()
        }
        other => normalize_numbers(other),
    }
}

/// Makes 1.0 and 1 equal.
fn normalize_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            as_integer(number.as_f64()).map_or_else(|| value.clone(), Value::from)
        }
        Value::Array(items) => items.iter().map(normalize_numbers).collect(),
        Value::Object(members) => Value::Object(
            members.iter().map(|(key, value)| (key.clone(), normalize_numbers(value))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// Returns a number that is an integer and exact in a float.
fn as_integer(number: Option<f64>) -> Option<i64> {
    const EXACT_IN_A_FLOAT: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole, and within the bounds just checked"
    )]
    number
        .filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_IN_A_FLOAT)
        .map(|number| number as i64)
}
