//! Whether a value is one that a schema of the document allows: what is sent as a good or a bad
//! value is held against this first.

use serde_json::Value;

use crate::document::Document;

/// The schemas of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'d> {
    document: &'d Document,
}

impl<'d> Judge<'d> {
    pub(super) fn new(document: &'d Document) -> Self {
        Self { document }
    }

    /// What a schema that refers to another refers to.
    pub(super) fn resolve<'s>(self, schema: &'s Value) -> &'s Value
    where
        'd: 's,
    {
        self.document.resolve(schema)
    }

    /// Decides over many values; a schema that is none allows nothing.
    pub(super) fn over(self, schema: &Value) -> impl Fn(&Value) -> bool + use<> {
        let schema = self.document.compile(schema);
        move |value| schema.as_ref().is_some_and(|schema| schema.is_valid(value))
    }

    /// Whether the schema allows the value; a schema that is none allows nothing.
    pub(super) fn allows(self, schema: &Value, value: &Value) -> bool {
        self.over(schema)(value)
    }
}

/// What the format of an integer means.
pub(super) fn integer_bounds(schema: &Value) -> Option<(i64, i64)> {
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("integer"), Some("int32")) => Some((i32::MIN.into(), i32::MAX.into())),
        (Some("integer"), Some("int64")) => Some((i64::MIN, i64::MAX)),
        (_, _) => None,
    }
}
