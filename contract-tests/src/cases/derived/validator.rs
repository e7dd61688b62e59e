//! Validates values against the document's schemas before the suite sends them.

use serde_json::Value;

use crate::document::Document;

#[derive(Clone, Copy, Debug)]
pub(super) struct SchemaValidator<'d> {
    document: &'d Document,
}

impl<'d> SchemaValidator<'d> {
    pub(super) fn new(document: &'d Document) -> Self {
        Self { document }
    }

    pub(super) fn resolve<'s>(self, schema: &'s Value) -> &'s Value
    where
        'd: 's,
    {
        self.document.resolve(schema)
    }

    /// A predicate for many values; an invalid schema allows nothing.
    pub(super) fn over(self, schema: &Value) -> impl Fn(&Value) -> bool + use<> {
        let schema = self.document.validator(schema);
        move |value| schema.as_ref().is_some_and(|schema| schema.is_valid(value))
    }

    pub(super) fn allows(self, schema: &Value, value: &Value) -> bool {
        self.over(schema)(value)
    }
}

pub(super) fn integer_bounds(schema: &Value) -> Option<(i64, i64)> {
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("integer"), Some("int32")) => Some((i32::MIN.into(), i32::MAX.into())),
        (Some("integer"), Some("int64")) => Some((i64::MIN, i64::MAX)),
        (_, _) => None,
    }
}
