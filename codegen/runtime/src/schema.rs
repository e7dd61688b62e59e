//! The document's schemas, compiled once, and their faults in words that never hold a value.

use std::sync::OnceLock;

use jsonschema::{
    Draft, EmailOptions, PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::{Map, Value, json};

use crate::{Fault, Location, json::escape};

/// The component schemas that requests refer to, as they stand in the document.
#[derive(Debug)]
pub struct Schemas {
    text: &'static str,
    components: OnceLock<Value>,
}

impl Schemas {
    /// The schemas of a JSON object, by name.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text, components: OnceLock::new() }
    }

    fn components(&self) -> &Value {
        self.components.get_or_init(|| serde_json::from_str(self.text).expect("the generator writes JSON"))
    }

    /// The schema itself, where `schema` is but a reference to one.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix("#/components/schemas/")) {
            Some(name) => self.resolve(&self.components()[name]),
            None => schema,
        }
    }

    /// Compiles a schema of the document.
    ///
    /// # Panics
    /// When it is no schema: the generator has seen it, so this cannot happen to what it wrote.
    pub(crate) fn compile(&self, schema: &Value) -> Compiled {
        let mut root = translate(self.resolve(schema));
        let components: Map<String, Value> =
            self.components().as_object().into_iter().flatten().map(|(name, schema)| (name.clone(), translate(schema))).collect();
        root["components"] = json!({ "schemas": components });
        let validator = jsonschema::options()
            // OpenAPI 3.0 is drawn from an older draft than its text says: exclusive bounds are booleans, and 1.0 is no integer.
            .with_draft(Draft::Draft4)
            .offline()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .with_pattern_options(PatternOptions::regex())
            .with_email_options(EmailOptions::default().without_display_text().without_domain_literal())
            .with_format("uuid", |text: &str| text.len() == 36 && uuid::Uuid::try_parse(text).is_ok())
            .with_format("date-time", |text: &str| {
                time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).is_ok()
            })
            .with_format("password", |_: &str| true)
            .build(&root)
            .unwrap_or_else(|error| panic!("the generator let a schema pass that cannot be compiled: {error}"));
        Compiled { validator }
    }
}

/// OpenAPI 3.0's dialect as JSON Schema draft 4: `nullable` becomes a type, number formats become bounds, what does not validate goes.
fn translate(schema: &Value) -> Value {
    let Some(members) = schema.as_object() else { return schema.clone() };
    if let Some(reference) = members.get("$ref") {
        return json!({ "$ref": reference });
    }
    let mut translated = Map::new();
    for (keyword, value) in members {
        let value = match keyword.as_str() {
            "properties" => {
                Value::Object(value.as_object().into_iter().flatten().map(|(name, schema)| (name.clone(), translate(schema))).collect())
            }
            "items" | "additionalProperties" => translate(value),
            "type" if members.get("nullable") == Some(&Value::Bool(true)) => json!([value, "null"]),
            // The formats of numbers; `bounds` says what they mean.
            "format" if members.get("type").is_none_or(|kind| kind != "string") => continue,
            "type" | "format" | "enum" | "required" | "pattern" | "minLength" | "maxLength" | "minimum" | "maximum"
            | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" | "minItems" | "maxItems" | "uniqueItems" | "minProperties"
            | "maxProperties" => value.clone(),
            _ => continue,
        };
        translated.insert(keyword.clone(), value);
    }
    if let Some((least, greatest)) = bounds(schema) {
        let tighter = |bound: Option<&Value>, is_tighter: &dyn Fn(i64) -> bool| bound.and_then(Value::as_i64).is_some_and(is_tighter);
        if !tighter(members.get("minimum"), &|bound| bound >= least) {
            translated.insert("minimum".to_owned(), least.into());
            translated.remove("exclusiveMinimum");
        }
        if !tighter(members.get("maximum"), &|bound| bound <= greatest) {
            translated.insert("maximum".to_owned(), greatest.into());
            translated.remove("exclusiveMaximum");
        }
    }
    Value::Object(translated)
}

/// What the format of an integer means.
fn bounds(schema: &Value) -> Option<(i64, i64)> {
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("integer"), Some("int32")) => Some((i32::MIN.into(), i32::MAX.into())),
        (Some("integer"), _) => Some((i64::MIN, i64::MAX)),
        (_, _) => None,
    }
}

/// A schema, ready to judge values.
#[derive(Debug)]
pub(crate) struct Compiled {
    validator: Validator,
}

impl Compiled {
    /// Every fault of a value in a body, by its pointer.
    pub(crate) fn body_faults(&self, value: &Value, faults: &mut Vec<Fault>) {
        self.each_fault(value, |pointer, detail| faults.push(Fault::of_body(pointer, detail)));
    }

    /// Every fault of a parameter's value.
    pub(crate) fn parameter_faults(&self, location: Location, name: &str, value: &Value, faults: &mut Vec<Fault>) {
        self.each_fault(value, |_, detail| faults.push(Fault::of_parameter(location, name, detail)));
    }

    fn each_fault(&self, value: &Value, mut report: impl FnMut(String, String)) {
        // Most requests are good, and to say so is much cheaper than to look for faults.
        if self.validator.is_valid(value) {
            return;
        }
        for error in self.validator.iter_errors(value) {
            let at = error.instance_path().to_string();
            match error.kind() {
                ValidationErrorKind::Required { property } => {
                    report(format!("{at}/{}", escape(property.as_str().unwrap_or_default())), "this member is missing".to_owned());
                }
                ValidationErrorKind::AdditionalProperties { unexpected } => {
                    for name in unexpected {
                        report(format!("{at}/{}", escape(name)), "this member is not known here".to_owned());
                    }
                }
                kind => report(at, expectation(kind, &error)),
            }
        }
    }
}

/// What the schema wants, in words. Only what stands in the schema is shown, nothing of the value.
fn expectation(kind: &ValidationErrorKind, error: &ValidationError<'_>) -> String {
    match kind {
        ValidationErrorKind::Type { kind: TypeKind::Single(kind) } => format!("expected {}", article(&kind.to_string())),
        ValidationErrorKind::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<String> = kinds.iter().map(|kind| article(&kind.to_string())).collect();
            format!("expected {}", kinds.join(" or "))
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(Value::to_string).collect();
            format!("expected one of {}", options.join(", "))
        }
        ValidationErrorKind::Format { format } => format!("expected {}", format_in_words(format)),
        ValidationErrorKind::Pattern { pattern } => format!("expected text of the form {pattern}"),
        ValidationErrorKind::MinLength { limit } => format!("expected at least {}", count(*limit, "character")),
        ValidationErrorKind::MaxLength { limit } => format!("expected at most {}", count(*limit, "character")),
        ValidationErrorKind::Minimum { limit } => format!("expected at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("expected at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("expected more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("expected less than {limit}"),
        ValidationErrorKind::MultipleOf { multiple_of } => format!("expected a multiple of {multiple_of}"),
        ValidationErrorKind::MinItems { limit } => format!("expected at least {}", count(*limit, "item")),
        ValidationErrorKind::MaxItems { limit } => format!("expected at most {}", count(*limit, "item")),
        ValidationErrorKind::UniqueItems => "expected items that differ from each other".to_owned(),
        ValidationErrorKind::MinProperties { limit } => format!("expected at least {}", count(*limit, "member")),
        ValidationErrorKind::MaxProperties { limit } => format!("expected at most {}", count(*limit, "member")),
        // Keywords that the generator refuses; should one ever pass, its name helps and its value stays hidden.
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
        | ValidationErrorKind::Not { .. }
        | ValidationErrorKind::OneOfMultipleValid { .. }
        | ValidationErrorKind::OneOfNotValid { .. }
        | ValidationErrorKind::PropertyNames { .. }
        | ValidationErrorKind::Required { .. }
        | ValidationErrorKind::UnevaluatedItems { .. }
        | ValidationErrorKind::UnevaluatedProperties { .. }
        | ValidationErrorKind::Referencing(_) => format!("expected what the document's `{}` allows", error.kind().keyword()),
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

fn format_in_words(format: &str) -> String {
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
