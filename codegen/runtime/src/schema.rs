//! Compiles the document's schemas once and describes faults without the value.

use std::sync::OnceLock;

use jsonschema::{
    Draft, EmailOptions, PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::{Map, Value, json};

use crate::{Fault, Faults};

/// The component schemas that requests refer to, as raw JSON.
#[derive(Debug)]
pub struct Schemas {
    text: &'static str,
    components: OnceLock<Value>,
}

impl Schemas {
    /// Creates the schemas from a JSON object, by name.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text, components: OnceLock::new() }
    }

    fn components(&self) -> &Value {
        self.components
            .get_or_init(|| serde_json::from_str(self.text).expect("the generator emits JSON"))
    }

    /// Resolves a reference to a component.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix("#/components/schemas/"))
        {
            Some(name) => self.resolve(&self.components()[name]),
            None => schema,
        }
    }

    /// Compiles a schema of the document.
    ///
    /// # Panics
    /// If the schema is invalid or an open object. The generator refuses both.
    pub(crate) fn compile(&self, schema: &Value) -> CompiledSchema {
        let schema = self.resolve(schema);
        let assertions = jsonschema::options()
            // OpenAPI 3.0 follows draft 4: exclusive bounds are booleans, and 1.0 is not an
            // integer.
            .with_draft(Draft::Draft4)
            .offline()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .with_pattern_options(PatternOptions::regex())
            .with_email_options(
                EmailOptions::default().without_display_text().without_domain_literal(),
            )
            .with_format("uuid", |text: &str| {
                text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
            })
            .with_format("date-time", |text: &str| {
                time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
                    .is_ok()
            })
            .with_format("password", |_: &str| true)
            .build(&to_draft4(schema))
            .unwrap_or_else(|error| {
                panic!(
                    "the schema cannot be compiled; the generator should have refused it: {error}"
                )
            });
        let subschemas = match schema["type"].as_str() {
            Some("object") => Subschemas::Properties(self.properties(schema)),
            Some("array") => Subschemas::Items(Box::new(self.items(schema))),
            Some(_) | None => Subschemas::None,
        };
        CompiledSchema { assertions, subschemas }
    }

    fn properties(&self, schema: &Value) -> Properties {
        assert_eq!(
            schema["additionalProperties"], false,
            "an open object cannot be compiled; the generator should have refused it"
        );
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        let properties = properties.map(|(name, schema)| Property {
            name: name.clone(),
            required: required.contains(&name.as_str()),
            schema: self.compile(schema),
        });
        Properties {
            properties: properties.collect(),
            min: length(&schema["minProperties"]).unwrap_or(0),
            max: length(&schema["maxProperties"]).unwrap_or(usize::MAX),
        }
    }

    fn items(&self, schema: &Value) -> Items {
        Items {
            schema: self.compile(&schema["items"]),
            min: length(&schema["minItems"]).unwrap_or(0),
            max: length(&schema["maxItems"]).unwrap_or(usize::MAX),
            unique: schema["uniqueItems"] == true,
        }
    }
}

fn length(bound: &Value) -> Option<usize> {
    bound.as_u64().map(|bound| usize::try_from(bound).unwrap_or(usize::MAX))
}

/// Translates the assertions of an OpenAPI 3.0 schema to JSON Schema draft 4. `nullable` becomes a
/// type, and number formats become bounds. [`Subschemas`] has the other keywords.
fn to_draft4(schema: &Value) -> Value {
    let Some(members) = schema.as_object() else { return schema.clone() };
    let mut translated = Map::new();
    for (keyword, value) in members {
        let value = match keyword.as_str() {
            "type" if members.get("nullable") == Some(&Value::Bool(true)) => json!([value, "null"]),
            // Number formats: see `format_range`.
            "format" if members.get("type").is_none_or(|kind| kind != "string") => continue,
            "type" | "format" | "enum" | "pattern" | "minLength" | "maxLength" | "minimum"
            | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => value.clone(),
            _ => continue,
        };
        translated.insert(keyword.clone(), value);
    }
    if let Some((min, max)) = format_range(schema) {
        let tighter = |bound: Option<&Value>, is_tighter: &dyn Fn(i64) -> bool| {
            bound.and_then(Value::as_i64).is_some_and(is_tighter)
        };
        if !tighter(members.get("minimum"), &|bound| bound >= min) {
            translated.insert("minimum".to_owned(), min.into());
            translated.remove("exclusiveMinimum");
        }
        if !tighter(members.get("maximum"), &|bound| bound <= max) {
            translated.insert("maximum".to_owned(), max.into());
            translated.remove("exclusiveMaximum");
        }
    }
    Value::Object(translated)
}

fn format_range(schema: &Value) -> Option<(i64, i64)> {
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("integer"), Some("int32")) => Some((i32::MIN.into(), i32::MAX.into())),
        (Some("integer"), _) => Some((i64::MIN, i64::MAX)),
        (_, _) => None,
    }
}

#[derive(Debug)]
pub(crate) struct CompiledSchema {
    /// Validates scalars, and the type of arrays and objects.
    assertions: Validator,
    subschemas: Subschemas,
}

/// The schemas of properties or items. jsonschema would collect all faults before it returns the
/// first: 30,000 of 300 bytes each for a body of 64 KiB.
#[derive(Debug)]
enum Subschemas {
    None,
    Properties(Properties),
    Items(Box<Items>),
}

#[derive(Debug)]
pub(crate) struct Properties {
    pub(crate) properties: Vec<Property>,
    pub(crate) min: usize,
    pub(crate) max: usize,
}

#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) schema: CompiledSchema,
}

#[derive(Debug)]
pub(crate) struct Items {
    pub(crate) schema: CompiledSchema,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) unique: bool,
}

impl CompiledSchema {
    pub(crate) fn properties(&self) -> Option<&Properties> {
        match &self.subschemas {
            Subschemas::Properties(properties) => Some(properties),
            Subschemas::Items(_) | Subschemas::None => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&Items> {
        match &self.subschemas {
            Subschemas::Items(items) => Some(items),
            Subschemas::Properties(_) | Subschemas::None => None,
        }
    }

    /// Adds the faults of a value, except those of its subschemas. `fault` receives the detail.
    pub(crate) fn faults(
        &self,
        value: &Value,
        faults: &mut Faults,
        fault: impl Fn(String) -> Fault,
    ) {
        // `is_valid` is much cheaper than collecting faults, and most values are valid.
        if self.assertions.is_valid(value) {
            return;
        }
        if faults.is_full() {
            return faults.omit();
        }
        for error in self.assertions.iter_errors(value) {
            faults.add(|| fault(detail(&error)));
        }
    }
}

/// Describes the expectation. Shows parts of the schema, never of the value.
fn detail(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Type { kind: TypeKind::Single(kind) } => {
            format!("expected {}", article(&kind.to_string()))
        }
        ValidationErrorKind::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<String> = kinds.iter().map(|kind| article(&kind.to_string())).collect();
            format!("expected {}", kinds.join(" or "))
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> =
                options.as_array().into_iter().flatten().map(Value::to_string).collect();
            format!("expected one of {}", options.join(", "))
        }
        ValidationErrorKind::Format { format } => format!("expected {}", describe_format(format)),
        ValidationErrorKind::Pattern { pattern } => format!("expected text of the form {pattern}"),
        ValidationErrorKind::MinLength { limit } => {
            format!("expected at least {}", count(*limit, "character"))
        }
        ValidationErrorKind::MaxLength { limit } => {
            format!("expected at most {}", count(*limit, "character"))
        }
        ValidationErrorKind::Minimum { limit } => format!("expected at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("expected at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("expected more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("expected less than {limit}"),
        ValidationErrorKind::MultipleOf { multiple_of } => {
            format!("expected a multiple of {multiple_of}")
        }
        // Keywords that the generator refuses or that are validated elsewhere. Show only the name.
        ValidationErrorKind::AdditionalItems { .. }
        | ValidationErrorKind::AdditionalProperties { .. }
        | ValidationErrorKind::AnyOf { .. }
        | ValidationErrorKind::BacktrackLimitExceeded { .. }
        | ValidationErrorKind::RegexEngineFailure { .. }
        | ValidationErrorKind::Constant { .. }
        | ValidationErrorKind::Contains
        | ValidationErrorKind::ContentEncoding { .. }
        | ValidationErrorKind::ContentMediaType { .. }
        | ValidationErrorKind::Custom { .. }
        | ValidationErrorKind::FalseSchema
        | ValidationErrorKind::FromUtf8 { .. }
        | ValidationErrorKind::MaxItems { .. }
        | ValidationErrorKind::MaxProperties { .. }
        | ValidationErrorKind::MinItems { .. }
        | ValidationErrorKind::MinProperties { .. }
        | ValidationErrorKind::Not { .. }
        | ValidationErrorKind::OneOfMultipleValid { .. }
        | ValidationErrorKind::OneOfNotValid { .. }
        | ValidationErrorKind::PropertyNames { .. }
        | ValidationErrorKind::Required { .. }
        | ValidationErrorKind::UnevaluatedItems { .. }
        | ValidationErrorKind::UnevaluatedProperties { .. }
        | ValidationErrorKind::UniqueItems
        | ValidationErrorKind::Referencing(_) => {
            format!("expected what the document's `{}` allows", error.kind().keyword())
        }
    }
}

fn article(kind: &str) -> String {
    match kind {
        "null" => "null".to_owned(),
        "array" | "integer" | "object" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

fn count(number: u64, unit: &str) -> String {
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn describe_format(format: &str) -> String {
    match format {
        "uuid" => "a UUID, such as 01234567-89ab-7cde-8f01-23456789abcd".to_owned(),
        "date-time" => "a date and time by RFC 3339, such as 2026-01-31T12:00:00Z".to_owned(),
        "email" => "an email address".to_owned(),
        "uri" => "a URI".to_owned(),
        other => format!("text of the format `{other}`"),
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
