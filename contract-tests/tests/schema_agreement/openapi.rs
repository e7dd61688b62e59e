//! Reads `openapi.yaml`: members of schemas and parameters of operations.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::field_facts::{FieldFacts, ValueType};

pub(crate) fn schema(document: &Value, name: &str) -> BTreeMap<String, FieldFacts> {
    let schema = &document["components"]["schemas"][name];
    let required = |member: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|name| name == member))
    };
    let members = schema["properties"]
        .as_object()
        .unwrap_or_else(|| panic!("openapi.yaml has no schema {name} with members"));
    members
        .iter()
        .map(|(member, value)| (member.clone(), facts(document, value, required(member))))
        .collect()
}

/// The parameters of an operation, except path parameters and conditional headers.
pub(crate) fn parameters(
    document: &Value,
    path: &str,
    method: &str,
) -> BTreeMap<String, FieldFacts> {
    let parameters = document["paths"][path][method]["parameters"]
        .as_array()
        .unwrap_or_else(|| panic!("{method} {path} has no parameters"));
    let parameter = |value: &Value| {
        let parameter = follow(document, value);
        let name = parameter["name"].as_str().expect("a parameter has a name").to_owned();
        (name, facts(document, &parameter["schema"], parameter["required"] == true))
    };
    parameters.iter().map(parameter).collect()
}

fn follow<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let target =
        value["$ref"].as_str().and_then(|reference| document.pointer(reference.strip_prefix('#')?));
    target.map_or(value, |target| follow(document, target))
}

fn facts(document: &Value, value: &Value, required: bool) -> FieldFacts {
    let schema = follow(document, value);
    let (kind, format) = (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str());
    let values = schema["enum"].as_array();
    let meaning = match (kind, format, values) {
        ("string", Some("uuid"), None) => ValueType::Uuid,
        ("string", Some("date-time"), None) => ValueType::Time,
        ("string", None | Some("email" | "password"), None) => ValueType::Text,
        ("string", None, Some(_)) => ValueType::Choice,
        ("integer", Some("int32"), None) => ValueType::Int32,
        ("integer", Some("int64"), None) => ValueType::Int64,
        ("boolean", None, None) => ValueType::Bool,
        _ => ValueType::Other,
    };
    let mut facts = FieldFacts::new(
        format.map_or_else(|| kind.to_owned(), |format| format!("{kind}, {format}")),
        &[meaning],
    );
    let number = |keyword: &str| schema[keyword].as_i64();
    (facts.minimum, facts.maximum) = (number("minimum"), number("maximum"));
    facts.length(number("minLength"), number("maxLength"));
    if let Some(pattern) = schema["pattern"].as_str() {
        facts.pattern(pattern);
    }
    facts.values =
        values.map(|values| values.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    facts.nullable = Some(schema["nullable"] == true);
    facts.optional = Some(!required);
    facts
}
