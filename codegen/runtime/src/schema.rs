//! The document's schemas, compiled once, and their faults in words that never hold a value.

use std::sync::OnceLock;

use jsonschema::{
    Draft, EmailOptions, PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::{Map, Value, json};

use crate::{Fault, Faults};

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
        self.components
            .get_or_init(|| serde_json::from_str(self.text).expect("the generator writes JSON"))
    }

    /// The schema itself, where `schema` is but a reference to one.
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
    /// When it is no schema, or an open object: the generator has seen it, so this cannot happen to
    /// what it wrote.
    pub(crate) fn compile(&self, schema: &Value) -> Compiled {
        let schema = self.resolve(schema);
        let single = jsonschema::options()
            // OpenAPI 3.0 is drawn from an older draft than its text says: exclusive bounds are
            // booleans, and 1.0 is no integer.
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
            .build(&translate(schema))
            .unwrap_or_else(|error| {
                panic!("the generator let a schema pass that cannot be compiled: {error}")
            });
        let parts = match schema["type"].as_str() {
            Some("object") => Parts::Members(self.members(schema)),
            Some("array") => Parts::Items(Box::new(self.items(schema))),
            Some(_) | None => Parts::None,
        };
        Compiled { single, parts }
    }

    fn members(&self, schema: &Value) -> Members {
        assert_eq!(schema["additionalProperties"], false, "the generator let an open object pass");
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        let known = properties.map(|(name, schema)| Member {
            name: name.clone(),
            required: required.contains(&name.as_str()),
            schema: self.compile(schema),
        });
        Members {
            known: known.collect(),
            least: length(&schema["minProperties"]).unwrap_or(0),
            most: length(&schema["maxProperties"]).unwrap_or(usize::MAX),
        }
    }

    fn items(&self, schema: &Value) -> Items {
        Items {
            schema: self.compile(&schema["items"]),
            least: length(&schema["minItems"]).unwrap_or(0),
            most: length(&schema["maxItems"]).unwrap_or(usize::MAX),
            unique: schema["uniqueItems"] == true,
        }
    }
}

fn length(bound: &Value) -> Option<usize> {
    bound.as_u64().map(|bound| usize::try_from(bound).unwrap_or(usize::MAX))
}

/// OpenAPI 3.0's dialect as JSON Schema draft 4, as far as it is about a value by itself:
/// `nullable` becomes a type, number formats become bounds, what does not validate goes. What it
/// says of the parts of a value is in [`Parts`].
fn translate(schema: &Value) -> Value {
    let Some(members) = schema.as_object() else { return schema.clone() };
    let mut translated = Map::new();
    for (keyword, value) in members {
        let value = match keyword.as_str() {
            "type" if members.get("nullable") == Some(&Value::Bool(true)) => json!([value, "null"]),
            // The formats of numbers; `bounds` says what they mean.
            "format" if members.get("type").is_none_or(|kind| kind != "string") => continue,
            "type" | "format" | "enum" | "pattern" | "minLength" | "maxLength" | "minimum"
            | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => value.clone(),
            _ => continue,
        };
        translated.insert(keyword.clone(), value);
    }
    if let Some((least, greatest)) = bounds(schema) {
        let tighter = |bound: Option<&Value>, is_tighter: &dyn Fn(i64) -> bool| {
            bound.and_then(Value::as_i64).is_some_and(is_tighter)
        };
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

/// A schema, ready to judge values: each by itself, and its parts by theirs.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// Judges single values, and the type of arrays and objects.
    single: Validator,
    parts: Parts,
}

/// What a schema says of the parts of a value. jsonschema could judge them, too, but finds all
/// faults before it hands out the first, and each is some 300 bytes: a body of 64 KiB can have
/// 30,000.
#[derive(Debug)]
enum Parts {
    None,
    Members(Members),
    Items(Box<Items>),
}

/// The members of a closed object.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) known: Vec<Member>,
    pub(crate) least: usize,
    pub(crate) most: usize,
}

/// A member that a closed object may have.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) schema: Compiled,
}

/// The items of an array.
#[derive(Debug)]
pub(crate) struct Items {
    pub(crate) schema: Compiled,
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) unique: bool,
}

impl Compiled {
    /// The members of its objects; `None` if it takes no object.
    pub(crate) fn members(&self) -> Option<&Members> {
        match &self.parts {
            Parts::Members(members) => Some(members),
            Parts::Items(_) | Parts::None => None,
        }
    }

    /// The items of its arrays; `None` if it takes no array.
    pub(crate) fn items(&self) -> Option<&Items> {
        match &self.parts {
            Parts::Items(items) => Some(items),
            Parts::Members(_) | Parts::None => None,
        }
    }

    /// Adds the faults of a value by itself, each made of its detail.
    pub(crate) fn faults(
        &self,
        value: &Value,
        faults: &mut Faults,
        make: impl Fn(String) -> Fault,
    ) {
        // Most values are good, and to say so is much cheaper than to look for faults.
        if self.single.is_valid(value) {
            return;
        }
        if faults.is_full() {
            return faults.omit();
        }
        for error in self.single.iter_errors(value) {
            faults.add(|| make(expectation(&error)));
        }
    }
}

/// What the schema wants, in words. Only what stands in the schema is shown, nothing of the value.
fn expectation(error: &ValidationError<'_>) -> String {
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
        ValidationErrorKind::Format { format } => format!("expected {}", format_in_words(format)),
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
        // Keywords that are judged elsewhere or that the generator refuses; should one ever come,
        // its name helps and its value stays hidden.
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
