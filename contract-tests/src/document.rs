//! Reads `openapi.yaml` at run time.
//!
//! Independent of the generated code, so that the tests detect faults of the generator.

mod read;
mod schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jsonschema::Validator;
use reqwest::Method;
use serde_json::Value;

use self::schema::Schemas;
pub(crate) use self::schema::faults;

/// An OpenAPI 3.0 document with compiled schemas.
#[derive(Debug)]
pub struct Document {
    root: Value,
    members: UndeclaredMembers,
    schemas: Schemas,
    operations: Vec<Operation>,
    /// Every `code` in the description of `Problem`.
    pub codes: BTreeSet<String>,
    /// `Problem`, for responses that belong to no operation.
    pub(crate) problem: Option<Validator>,
}

/// The policy for undeclared members of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndeclaredMembers {
    /// As the schema declares: allowed unless it is closed. For any implementation.
    AsSchema,
    /// Forbidden. Response schemas are open for later versions, but this repository's store sends
    /// only declared members.
    Forbidden,
}

/// An operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Operation {
    /// `operationId`.
    pub id: String,
    /// `GET`, `POST`, …
    pub method: Method,
    /// The template: `/orders/{order_id}`.
    pub path: String,
    /// The first tag; empty if there is none.
    pub tag: String,
    /// Whether it needs a token.
    pub secured: bool,
    /// Parameters of the operation and its path item.
    pub parameters: Vec<Parameter>,
    /// The request body.
    pub request_body: Option<RequestBody>,
    /// Responses by status.
    pub responses: BTreeMap<u16, Response>,
}

/// The location of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// A segment of the path.
    Path,
    /// The query.
    Query,
    /// A request header.
    Header,
}

/// A parameter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parameter {
    /// The declared name.
    pub name: String,
    /// The location.
    pub location: Location,
    /// Whether it is required.
    pub required: bool,
    /// The schema, possibly a `$ref`: see [`Document::resolve`].
    pub schema: Value,
    /// The example of the parameter, or of its schema.
    pub example: Option<Value>,
}

/// A request body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestBody {
    /// The first declared media type: `application/json`.
    pub media_type: String,
    /// Whether it is required.
    pub required: bool,
    /// The schema, possibly a `$ref`.
    pub schema: Value,
    /// Examples by name. The last one, `schema`, is composed from the schema's examples.
    pub examples: Vec<(String, Value)>,
}

/// A declared response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Response {
    /// The description.
    pub description: String,
    /// The `code`s in the description; empty if there are none.
    pub codes: BTreeSet<String>,
    /// The declared headers.
    pub headers: Vec<Header>,
    /// Content by media type; empty without a body.
    pub content: BTreeMap<String, Content>,
}

/// A response header.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Header {
    /// The declared name.
    pub name: String,
    /// Whether it is required.
    pub required: bool,
    /// Integers are parsed, other types are strings.
    pub(crate) integer: bool,
    pub(crate) validator: Validator,
}

/// The content of a response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Content {
    /// The schema, possibly a `$ref`.
    pub schema: Value,
    pub(crate) validator: Validator,
}

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// A JSON Pointer; empty for the whole document.
    pub pointer: String,
    /// What was expected, and what was found.
    pub fault: String,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the document" } else { &self.pointer };
        write!(formatter, "{place}: {}", self.fault)
    }
}

impl std::error::Error for DocumentError {}

impl Document {
    /// The embedded document, for any implementation.
    ///
    /// # Panics
    /// Never: tests of this crate read it.
    #[must_use]
    pub fn embedded() -> Self {
        Self::embedded_with(UndeclaredMembers::AsSchema)
    }

    /// The embedded document, for this repository's store: undeclared members are forbidden.
    ///
    /// # Panics
    /// Never: tests of this crate read it.
    #[must_use]
    pub fn strict() -> Self {
        Self::embedded_with(UndeclaredMembers::Forbidden)
    }

    fn embedded_with(members: UndeclaredMembers) -> Self {
        Self::read_with(merch_contract::OPENAPI_YAML, members)
            .unwrap_or_else(|error| panic!("the embedded openapi.yaml cannot be used: {error}"))
    }

    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// If it is not a supported OpenAPI 3.0 document, with the position.
    pub fn read(text: &str) -> Result<Self, DocumentError> {
        Self::read_with(text, UndeclaredMembers::AsSchema)
    }

    /// Reads a document with a policy for undeclared members.
    ///
    /// # Errors
    /// See [`Document::read`].
    pub fn read_with(text: &str, members: UndeclaredMembers) -> Result<Self, DocumentError> {
        read::document(text, members)
    }

    /// The operations, in the order of the document.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operation with this id.
    #[must_use]
    pub fn operation(&self, id: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.id == id)
    }

    /// The operations at a path without a query: one per method.
    pub fn operations_at<'d>(&'d self, path: &'d str) -> impl Iterator<Item = &'d Operation> {
        // Literal paths precede templates (OpenAPI 3.0, Paths Object).
        let written_out = self.operations.iter().any(|operation| operation.path == path);
        self.operations.iter().filter(move |operation| {
            if written_out { operation.path == path } else { operation.is_at(path) }
        })
    }

    /// The operation that handles a request. HEAD maps to GET (RFC 9110 §9.3.2).
    #[must_use]
    pub fn operation_of(&self, method: &str, path: &str) -> Option<&Operation> {
        let method = if method == "HEAD" { "GET" } else { method };
        let path = path.split('?').next().unwrap_or_default();
        // Collected because the path has a shorter lifetime than the document.
        let found = self
            .operations_at(path)
            .find(|operation| operation.method.as_str() == method)?
            .id
            .clone();
        self.operation(&found)
    }

    /// The target of a `$ref`, or the value itself.
    #[must_use]
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let mut value = schema;
        // `read` has refused circular references.
        while let Some(target) = value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.root.pointer(reference.strip_prefix('#')?))
        {
            value = target;
        }
        value
    }

    /// An example of a schema: its own, or one composed from its members.
    #[must_use]
    pub fn example(&self, schema: &Value) -> Option<Value> {
        read::example(&self.root, schema, 0)
    }

    /// Compiles a schema of the document; `None` if it is invalid.
    #[must_use]
    pub fn validator(&self, schema: &Value) -> Option<Validator> {
        self.schemas.compile(schema).ok()
    }

    /// Returns every violation of a schema; `None` if the schema is invalid.
    #[must_use]
    pub fn validate(&self, schema: &Value, value: &Value) -> Option<Vec<String>> {
        let validator = self.schemas.compile(schema).ok()?;
        Some(faults(&validator, value))
    }

    /// Every operation with every declared status.
    #[must_use]
    pub fn declared(&self) -> BTreeSet<(String, u16)> {
        self.operations
            .iter()
            .flat_map(|operation| {
                operation.responses.keys().map(|status| (operation.id.clone(), *status))
            })
            .collect()
    }

    /// The tags, sorted.
    #[must_use]
    pub fn tags(&self) -> BTreeSet<&str> {
        self.operations
            .iter()
            .map(|operation| operation.tag.as_str())
            .filter(|tag| !tag.is_empty())
            .collect()
    }

    /// `info.title` and `info.version`.
    #[must_use]
    pub fn title(&self) -> (&str, &str) {
        let text = |member: &str| self.root["info"][member].as_str().unwrap_or_default();
        (text("title"), text("version"))
    }

    /// The policy for undeclared members of responses.
    #[must_use]
    pub fn undeclared_members(&self) -> UndeclaredMembers {
        self.members
    }

    /// The whole document.
    #[must_use]
    pub fn root(&self) -> &Value {
        &self.root
    }
}

impl Operation {
    /// Whether a path without a query matches this operation.
    #[must_use]
    pub fn is_at(&self, path: &str) -> bool {
        let (mut template, mut segments) = (self.path.split('/'), path.split('/'));
        loop {
            match (template.next(), segments.next()) {
                (None, None) => return true,
                (Some(template), Some(segment))
                    if template.starts_with('{') && !segment.is_empty() => {}
                (Some(template), Some(segment)) if template == segment => {}
                (_, _) => return false,
            }
        }
    }

    /// A parameter by location and name; header names ignore case.
    #[must_use]
    pub fn parameter(&self, location: Location, name: &str) -> Option<&Parameter> {
        let same = |parameter: &&Parameter| match location {
            Location::Header => parameter.name.eq_ignore_ascii_case(name),
            Location::Path | Location::Query => parameter.name == name,
        };
        self.parameters.iter().filter(|parameter| parameter.location == location).find(same)
    }
}

#[cfg(test)]
mod tests;
