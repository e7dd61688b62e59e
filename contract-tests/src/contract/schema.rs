//! The document's schemas as JSON Schema, for answers.

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

/// Those of `components`, translated.
pub(super) struct Schemas(Value);

impl Schemas {
    pub(super) fn of(root: &Value) -> Self {
        Self(translate(&root["components"]["schemas"], Place::Names))
    }

    /// Compiles a schema of the document.
    pub(super) fn compile(&self, schema: &Value) -> Validator {
        let root = json!({ "allOf": [translate(schema, Place::Schema)], "components": { "schemas": self.0 } });
        jsonschema::options()
            // OpenAPI 3.0 has this draft's exclusive bounds.
            .with_draft(Draft::Draft4)
            .offline()
            .should_validate_formats(true)
            .with_format("uuid", |text: &str| text.len() == 36 && uuid::Uuid::try_parse(text).is_ok())
            .build(&root)
            .unwrap_or_else(|error| panic!("a schema of openapi.yaml is none: {error}"))
    }
}

/// Everything that is wrong with a value.
pub(super) fn faults(schema: &Validator, value: &Value) -> Vec<String> {
    schema.iter_errors(value).map(|error| format!("body {}: {error}", error.instance_path())).collect()
}

/// What an object in the document is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A schema.
    Schema,
    /// Schemas by name.
    Names,
}

/// OpenAPI 3.0's schemas say `nullable` and bound numbers by `format`. And one thing more: response schemas are open, so that new members break no
/// client, but *this* store answers with nothing that the document does not know.
fn translate(value: &Value, place: Place) -> Value {
    let Some(members) = value.as_object() else { return value.clone() };
    if place == Place::Names {
        return Value::Object(members.iter().map(|(name, schema)| (name.clone(), translate(schema, Place::Schema))).collect());
    }
    let mut schema: Map<String, Value> = members
        .iter()
        .filter(|(keyword, _)| !matches!(keyword.as_str(), "example" | "description" | "nullable" | "default"))
        .map(|(keyword, value)| {
            let value = match keyword.as_str() {
                "properties" => translate(value, Place::Names),
                "items" | "not" | "additionalProperties" => translate(value, Place::Schema),
                "allOf" | "anyOf" | "oneOf" => {
                    value.as_array().into_iter().flatten().map(|schema| translate(schema, Place::Schema)).collect()
                }
                _ => value.clone(),
            };
            (keyword.clone(), value)
        })
        .collect();
    if members.contains_key("properties") {
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
