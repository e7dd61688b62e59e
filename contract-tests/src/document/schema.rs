//! Translates the document's schemas to JSON Schema.

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::UndeclaredMembers;

#[derive(Clone, Debug)]
pub(super) struct Schemas {
    components: Value,
    members: UndeclaredMembers,
}

impl Schemas {
    pub(super) fn of(root: &Value, members: UndeclaredMembers) -> Self {
        let components = root.pointer("/components/schemas").map_or_else(
            || json!({}),
            |schemas| translate(schemas, SchemaPosition::Names, members),
        );
        Self { components, members }
    }

    /// Compiles a schema of the document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn compile(&self, schema: &Value) -> Result<Validator, String> {
        let root = json!({
            "allOf": [translate(schema, SchemaPosition::Schema, self.members)],
            "components": { "schemas": self.components },
        });
        jsonschema::options()
            // OpenAPI 3.0 uses this draft's exclusive bounds and integers: `1.0` is not an integer.
            .with_draft(Draft::Draft4)
            .offline()
            .should_validate_formats(true)
            .with_format("uuid", |text: &str| {
                text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
            })
            .build(&root)
            .map_err(|error| format!("expected a schema, but {error}"))
    }
}

pub(crate) fn faults(schema: &Validator, value: &Value) -> Vec<String> {
    schema
        .iter_errors(value)
        .map(|error| format!("body {}: {error}", error.instance_path()))
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SchemaPosition {
    /// A schema.
    Schema,
    /// Schemas by name.
    Names,
}

/// Translates `nullable` and numeric `format`s.
fn translate(value: &Value, place: SchemaPosition, open: UndeclaredMembers) -> Value {
    let Some(members) = value.as_object() else { return value.clone() };
    if place == SchemaPosition::Names {
        return Value::Object(
            members
                .iter()
                .map(|(name, schema)| {
                    (name.clone(), translate(schema, SchemaPosition::Schema, open))
                })
                .collect(),
        );
    }
    if let Some(reference) = members.get("$ref") {
        // Siblings of `$ref` are ignored.
        return json!({ "$ref": reference });
    }
    let mut schema: Map<String, Value> = members
        .iter()
        .filter(|(keyword, _)| {
            !matches!(keyword.as_str(), "example" | "description" | "nullable" | "default")
        })
        .map(|(keyword, value)| {
            let value = match keyword.as_str() {
                "properties" => translate(value, SchemaPosition::Names, open),
                "items" | "not" | "additionalProperties" => {
                    translate(value, SchemaPosition::Schema, open)
                }
                "allOf" | "anyOf" | "oneOf" => value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|schema| translate(schema, SchemaPosition::Schema, open))
                    .collect(),
                _ => value.clone(),
            };
            (keyword.clone(), value)
        })
        .collect();
    if open == UndeclaredMembers::Forbidden && members.contains_key("properties") {
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    let bounds = match members.get("format").and_then(Value::as_str) {
        Some("int32") => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
        Some("int64") => Some((i64::MIN, i64::MAX)),
        Some(_) | None => None,
    };
    if let Some((minimum, maximum)) = bounds {
        schema.entry("minimum").or_insert(minimum.into());
        schema.entry("maximum").or_insert(maximum.into());
    }
    if members.get("nullable") == Some(&Value::Bool(true)) {
        return json!({ "anyOf": [{ "type": "null" }, schema] });
    }
    Value::Object(schema)
}
