//! Names of types, and `additionalProperties` of objects.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Facts, Guard, document::Document, without_prose};

/// The direction that a value is sent in.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Request,
    Response,
}

/// Records the names of types where they are used, and the objects that restrict their additional
/// members.
pub(super) fn of(facts: &mut Facts, document: Document<'_>) {
    let mut walk = Walk { facts, document, seen: BTreeSet::new() };
    for operation in document.operations() {
        let place = operation.place();
        for parameter in document.parameters(operation) {
            let parameter_place = format!("{place}, parameter {}", parameter["name"]);
            walk.schema(&parameter_place, &parameter["schema"], Direction::Request);
        }
        let (body, _) = document.resolve(&operation.value["requestBody"]);
        walk.content(&format!("{place}, request body"), body, Direction::Request);
        for (status, response) in document.responses(operation) {
            walk.content(&format!("{place} {status}"), response, Direction::Response);
        }
    }
}

struct Walk<'f, 'd> {
    facts: &'f mut Facts,
    document: Document<'d>,
    seen: BTreeSet<String>,
}

impl<'d> Walk<'_, 'd> {
    fn content(&mut self, place: &str, owner: &'d Value, direction: Direction) {
        for (media_type, value) in self.document.entries(owner, "content") {
            self.schema(&format!("{place} as {media_type}"), &value["schema"], direction);
        }
    }

    fn schema(&mut self, place: &str, schema: &'d Value, direction: Direction) {
        let (schema, name) = self.document.resolve(schema);
        if !schema.is_object() {
            return;
        }
        let is_type = schema["type"] == "object"
            || schema.get("properties").is_some()
            || schema.get("enum").is_some();
        if let Some(name) = name.filter(|_| is_type) {
            let why = "generated code has a type of this name";
            self.facts.add(place, "the name of the schema", name, Guard::Removal, why);
        }
        let place = match (name, direction) {
            (None, _) => place.to_owned(),
            (Some(name), Direction::Request) => format!("schema {name} in requests"),
            (Some(name), Direction::Response) => format!("schema {name} in responses"),
        };
        if !self.seen.insert(place.clone()) {
            return;
        }
        self.object(&place, schema, direction);
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            self.schema(&format!("{place}.{name}"), member, direction);
        }
        for (suffix, keyword) in [("[]", "items"), (".*", "additionalProperties")] {
            self.schema(&format!("{place}{suffix}"), &schema[keyword], direction);
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for (index, part) in schema[keyword].as_array().into_iter().flatten().enumerate() {
                self.schema(&format!("{place}.{keyword}[{index}]"), part, direction);
            }
        }
    }

    fn object(&mut self, place: &str, schema: &Value, direction: Direction) {
        self.facts.place(place);
        let others = match schema.get("additionalProperties") {
            None | Some(Value::Bool(true)) => return,
            Some(Value::Object(schema)) if schema.is_empty() => return,
            Some(others) => without_prose(others),
        };
        match direction {
            Direction::Request => {
                let why = "clients may send other members";
                self.facts.add(place, "`additionalProperties`", others, Guard::Addition, why);
            }
            Direction::Response => {
                let names = |members: &serde_json::Map<String, Value>| {
                    members.keys().cloned().collect::<BTreeSet<_>>()
                };
                // A client refuses a member that the closed object did not have.
                let members =
                    schema["properties"].as_object().filter(|_| others == Value::Bool(false));
                let value = json!({ "additional": others, "members": members.map(names) });
                let why = "clients refuse other members";
                let aspect = "the closed set of members";
                self.facts.add(place, aspect, value, Guard::Removal, why);
            }
        }
    }
}
