//! Is the document that a server emits still the one that it was compiled from?
//!
//! Both are compared by meaning: references to parameters, headers, responses and bodies are
//! followed, defaults are spelled out, what has no order is compared without one. What poem-openapi
//! cannot emit is overlooked as far as the closed list of [`gaps`](crate::gaps) goes, and only
//! where the contract has it: anything that the emitted document has on top is a difference.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::{
    error::Pointer,
    gaps::{Place, covered},
};

/// One thing in which the two documents differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where: a JSON pointer into the contract as it is compared, with path parameters at their
    /// operations, parameters by place and name (`query limit`), headers in lower case and
    /// references to components other than schemas followed.
    pub pointer: String,
    /// What the contract says there, if anything.
    pub contract: Option<Value>,
    /// What the emitted document says there, if anything.
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

/// All differences between a contract and the document that its server emits, by pointer. None
/// means that they say the same.
#[must_use]
pub fn compare(contract: &Value, emitted: &Value) -> Vec<Difference> {
    let contract = Side { root: contract, overlook: true }.document();
    let emitted = Side { root: emitted, overlook: false }.document();
    let mut differences = Vec::new();
    differ(Some(&contract), Some(&emitted), &Pointer::root(), &mut differences);
    differences
}

fn differ(
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
                differ(left.get(key), right.get(key), &at.at(key), differences);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differ(Some(left), Some(right), &at.at(index), differences);
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

/// One of the two documents, on its way to the form in which they are compared.
struct Side<'d> {
    root: &'d Value,
    /// Whether the list of gaps applies.
    overlook: bool,
}

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

impl Side<'_> {
    /// An object with some members replaced, and without those that are on the list of gaps.
    /// Members for which `change` has `None` go.
    fn object(
        &self,
        place: Place,
        value: &Value,
        change: impl Fn(&str, &Value) -> Option<Value>,
    ) -> Value {
        let Some(members) = value.as_object() else { return plain(value) };
        let kept = members
            .iter()
            .filter(|(keyword, value)| !(self.overlook && covered(place, keyword, value)));
        Value::Object(
            kept.filter_map(|(keyword, value)| {
                change(keyword, value).map(|value| (keyword.clone(), value))
            })
            .collect(),
        )
    }

    /// An object of which only texts matter.
    fn leaf(&self, value: &Value) -> Value {
        self.object(Place::Other, value, |keyword, value| {
            Some(if value.is_object() { self.leaf(value) } else { text(keyword, value) })
        })
    }

    /// The object that a reference refers to, or the object itself.
    fn follow<'v>(&'v self, value: &'v Value) -> &'v Value {
        let target = value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix('#'))
            .and_then(|at| self.root.pointer(at));
        target.unwrap_or(value)
    }

    fn document(&self) -> Value {
        self.object(Place::Other, self.root, |keyword, value| match keyword {
            // 3.0.0 and 3.0.3 are one language.
            "openapi" => Some(value.as_str().map_or_else(
                || value.clone(),
                |version| version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".").into(),
            )),
            "servers" => None,
            // It is at every operation that has none of its own.
            "security" => None,
            "tags" => Some(self.tags(value)),
            "paths" => Some(self.object(Place::Other, value, |_, item| Some(self.path(item)))),
            "components" => Some(self.components(value)).filter(says_something),
            _ => Some(self.leaf(value)),
        })
        .with("servers", self.servers())
    }

    /// No server means one at `/`.
    fn servers(&self) -> Value {
        match self.root.get("servers").and_then(Value::as_array) {
            Some(servers) if !servers.is_empty() => {
                servers.iter().map(|server| self.leaf(server)).collect()
            }
            Some(_) | None => json!([{ "url": "/" }]),
        }
    }

    /// By name, with their order beside them.
    fn tags(&self, tags: &Value) -> Value {
        let tags: Vec<&Value> = tags.as_array().into_iter().flatten().collect();
        let name = |tag: &Value| tag["name"].as_str().unwrap_or_default().to_owned();
        let mut read = Map::new();
        read.insert(
            "byName".to_owned(),
            Value::Object(tags.iter().map(|tag| (name(tag), self.leaf(tag))).collect()),
        );
        let order: Value = tags.iter().map(|tag| name(tag)).collect();
        if self.overlook && !covered(Place::Tags, "order", &order) {
            read.insert("order".to_owned(), order);
        }
        Value::Object(read)
    }

    fn components(&self, components: &Value) -> Value {
        self.object(Place::Other, components, |section, value| match section {
            "schemas" | "securitySchemes" if !says_something(value) => None,
            "schemas" => {
                Some(self.object(Place::Names, value, |_, schema| Some(self.schema(schema))))
            }
            "securitySchemes" => Some(self.object(Place::Names, value, |_, scheme| {
                Some(self.object(Place::Other, scheme, |keyword, value| match keyword {
                    // RFC 9110: the names of schemes have no case.
                    "scheme" => value.as_str().map(|scheme| scheme.to_ascii_lowercase().into()),
                    _ => Some(text(keyword, value)),
                }))
            })),
            // They are where they are used.
            "parameters" | "headers" | "responses" | "requestBodies" | "examples" => None,
            _ => Some(plain(value)),
        })
    }

    fn path(&self, item: &Value) -> Value {
        let shared = &item["parameters"];
        self.object(Place::Other, item, |keyword, value| match keyword {
            "parameters" => None,
            method if METHODS.contains(&method) => Some(self.operation(value, shared)),
            _ => Some(self.leaf(value)),
        })
    }

    fn operation(&self, operation: &Value, shared: &Value) -> Value {
        let security = operation.get("security").or_else(|| self.root.get("security"));
        let mut parameters = Map::new();
        // Those of the operation come last and replace those of the path.
        for parameter in
            [shared, &operation["parameters"]].into_iter().filter_map(Value::as_array).flatten()
        {
            let parameter = self.follow(parameter);
            let (location, name) = (
                parameter["in"].as_str().unwrap_or_default(),
                parameter["name"].as_str().unwrap_or_default(),
            );
            let name =
                if location == "header" { name.to_ascii_lowercase() } else { name.to_owned() };
            parameters.insert(format!("{location} {name}"), self.parameter(parameter));
        }
        self.object(Place::Other, operation, |keyword, value| match keyword {
            "parameters" | "security" => None,
            "deprecated" if is_false(value) => None,
            "requestBody" => {
                let body = self.follow(value);
                Some(self.object(Place::Other, body, |keyword, value| match keyword {
                    "content" => Some(self.content(value)),
                    "required" if is_false(value) => None,
                    _ => Some(text(keyword, value)),
                }))
            }
            "responses" => Some(self.object(Place::Other, value, |_, response| {
                Some(self.response(self.follow(response)))
            })),
            "externalDocs" => Some(self.leaf(value)),
            _ => Some(text(keyword, value)),
        })
        .with("parameters", Value::Object(parameters))
        .with("security", security.map_or_else(|| json!([]), plain))
    }

    fn parameter(&self, parameter: &Value) -> Value {
        let location = parameter["in"].as_str().unwrap_or_default();
        let style = if matches!(location, "query" | "cookie") { "form" } else { "simple" };
        self.object(Place::Exemplified, parameter, |keyword, value| match keyword {
            // They are the key already, header names without their case.
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
            _ => Some(text(keyword, value)),
        })
    }

    fn response(&self, response: &Value) -> Value {
        self.object(Place::Response, response, |keyword, value| match keyword {
            "headers" => {
                let headers = value.as_object().into_iter().flatten();
                Some(Value::Object(
                    headers
                        .map(|(name, header)| {
                            (name.to_ascii_lowercase(), self.header(self.follow(header)))
                        })
                        .collect(),
                ))
            }
            "content" => Some(self.content(value)),
            _ => Some(text(keyword, value)),
        })
    }

    fn header(&self, header: &Value) -> Value {
        self.object(Place::Exemplified, header, |keyword, value| match keyword {
            "required" | "deprecated" | "explode" if is_false(value) => None,
            "style" if value == "simple" => None,
            "schema" => Some(self.schema(value)),
            _ => Some(text(keyword, value)),
        })
    }

    fn content(&self, content: &Value) -> Value {
        self.object(Place::Names, content, |_, media_type| {
            Some(self.object(Place::Exemplified, media_type, |keyword, value| match keyword {
                "schema" => Some(self.schema(value)),
                _ => Some(text(keyword, value)),
            }))
        })
    }

    fn schema(&self, schema: &Value) -> Value {
        if let Some(reference) = schema.get("$ref") {
            // The names of schemas are part of the contract: clients name types after them. What
            // stands beside a reference means nothing.
            return json!({ "$ref": reference });
        }
        self.object(Place::Schema, schema, |keyword, value| match keyword {
            "nullable" | "readOnly" | "writeOnly" | "deprecated" | "exclusiveMinimum"
            | "exclusiveMaximum" | "uniqueItems"
                if is_false(value) =>
            {
                None
            }
            "properties" => {
                Some(self.object(Place::Names, value, |_, schema| Some(self.schema(schema))))
            }
            "items" | "not" => Some(self.schema(value)),
            "additionalProperties" if value.is_object() => Some(self.schema(value)),
            "allOf" | "anyOf" | "oneOf" => Some(
                value.as_array().into_iter().flatten().map(|schema| self.schema(schema)).collect(),
            ),
            // Sets.
            "required" | "enum" => {
                let mut items: Vec<Value> =
                    value.as_array().into_iter().flatten().map(plain).collect();
                items.sort_by_key(Value::to_string);
                (keyword == "enum" || !items.is_empty()).then_some(Value::Array(items))
            }
            "externalDocs" => Some(self.leaf(value)),
            _ => Some(text(keyword, value)),
        })
    }
}

/// Adds a member to an object.
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

fn says_something(object: &Value) -> bool {
    object.as_object().is_none_or(|members| !members.is_empty())
}

fn is_false(value: &Value) -> bool {
    *value == Value::Bool(false)
}

/// A value as it is, but for white space around a CommonMark text, which means nothing.
fn text(keyword: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if keyword == "description" || keyword == "summary" => {
            text.trim().into()
        }
        other => plain(other),
    }
}

/// A value in which 1.0 and 1 are one number.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => whole(number.as_f64()).map_or_else(|| value.clone(), Value::from),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), plain(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// A number without a fraction that a float holds exactly.
fn whole(number: Option<f64>) -> Option<i64> {
    const EXACT_IN_A_FLOAT: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole, and within the bounds just checked"
    )]
    number
        .filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_IN_A_FLOAT)
        .map(|number| number as i64)
}
