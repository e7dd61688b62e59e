//! What an `openapi.yaml` says, read at run time from its text.
//!
//! Made from the document itself, with nothing of the code that is generated from it: what a
//! generator gets wrong is to be noticed here.

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

/// An OpenAPI 3.0 document, with its schemas compiled.
#[derive(Debug)]
pub struct Document {
    root: Value,
    members: Members,
    schemas: Schemas,
    operations: Vec<Operation>,
    /// Every `code` that the description of `Problem` names.
    pub codes: BTreeSet<String>,
    /// `Problem`, for answers that belong to no operation.
    pub(crate) problem: Option<Validator>,
}

/// What holds for members of an answer that no schema names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// They are there or not, as OpenAPI has it: a schema is closed where it says so. For any
    /// implementation.
    AsDeclared,
    /// There are none. Schemas of responses are open so that new members break no client, but *our*
    /// store answers with nothing that the document does not know.
    None,
}

/// One operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Operation {
    /// `operationId`.
    pub id: String,
    /// `GET`, `POST`, …
    pub method: Method,
    /// The template: `/orders/{order_id}`.
    pub path: String,
    /// The first of its tags; empty if it has none.
    pub tag: String,
    /// Whether it needs a token.
    pub secured: bool,
    /// Those of the path item, too.
    pub parameters: Vec<Parameter>,
    /// What it takes.
    pub request_body: Option<RequestBody>,
    /// By status.
    pub responses: BTreeMap<u16, Response>,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the path's template.
    Path,
    /// After the `?`.
    Query,
    /// A header of the request.
    Header,
}

/// One parameter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parameter {
    /// As the document spells it.
    pub name: String,
    /// Where it stands.
    pub location: Location,
    /// Whether it may be left out.
    pub required: bool,
    /// As it stands in the document, with its `$ref`: see [`Document::resolve`].
    pub schema: Value,
    /// The parameter's own, or else its schema's.
    pub example: Option<Value>,
}

/// The body of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestBody {
    /// The first that is declared: `application/json`.
    pub media_type: String,
    /// Whether it may be left out.
    pub required: bool,
    /// As it stands in the document, with its `$ref`.
    pub schema: Value,
    /// By name. What the schema's own examples come to is the last one, named `schema`.
    pub examples: Vec<(String, Value)>,
}

/// One status of an operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Response {
    /// For people.
    pub description: String,
    /// The `code`s that the description names; empty if it names none.
    pub codes: BTreeSet<String>,
    /// Headers that the answer has.
    pub headers: Vec<Header>,
    /// By media type; empty if there is no body.
    pub content: BTreeMap<String, Content>,
}

/// A header of an answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Header {
    /// As the document spells it.
    pub name: String,
    /// Whether it may be absent.
    pub required: bool,
    /// Of integers the digits are read, of everything else the text is taken.
    pub(crate) integer: bool,
    pub(crate) validator: Validator,
}

/// The body of an answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Content {
    /// As it stands in the document, with its `$ref`.
    pub schema: Value,
    pub(crate) validator: Validator,
}

/// Why a text is no document that can be tested by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// Where, as a JSON Pointer; empty for the whole.
    pub pointer: String,
    /// What was expected, and what came.
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
    /// The document of this repository, as every implementation is held against it.
    ///
    /// # Panics
    /// Never: tests of this crate read it.
    #[must_use]
    pub fn embedded() -> Self {
        Self::of_this_repository(Members::AsDeclared)
    }

    /// The document of this repository, as our own store is held against it: it answers with no
    /// member that the document does not name.
    ///
    /// # Panics
    /// Never: tests of this crate read it.
    #[must_use]
    pub fn ours() -> Self {
        Self::of_this_repository(Members::None)
    }

    fn of_this_repository(members: Members) -> Self {
        Self::read_with(merch_contract::OPENAPI_YAML, members)
            .unwrap_or_else(|error| panic!("the embedded openapi.yaml cannot be used: {error}"))
    }

    /// Reads a document, in YAML or JSON.
    ///
    /// # Errors
    /// When it is no OpenAPI 3.0 document, or says something in a way that this program does not
    /// know: with the place.
    pub fn read(text: &str) -> Result<Self, DocumentError> {
        Self::read_with(text, Members::AsDeclared)
    }

    /// Reads a document, and says what holds for members of answers that it does not name.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub fn read_with(text: &str, members: Members) -> Result<Self, DocumentError> {
        read::document(text, members)
    }

    /// Its operations, in the order of the document.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operation of this id.
    #[must_use]
    pub fn operation(&self, id: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.id == id)
    }

    /// The operations at a path, without its query: one for each method.
    pub fn operations_at<'d>(&'d self, path: &'d str) -> impl Iterator<Item = &'d Operation> {
        // A path that is written out comes before a template (OpenAPI 3.0, Paths Object).
        let written_out = self.operations.iter().any(|operation| operation.path == path);
        self.operations.iter().filter(move |operation| {
            if written_out { operation.path == path } else { operation.is_at(path) }
        })
    }

    /// The operation that a request is for. HEAD is GET without a body (RFC 9110 §9.3.2).
    #[must_use]
    pub fn operation_of(&self, method: &str, path: &str) -> Option<&Operation> {
        let method = if method == "HEAD" { "GET" } else { method };
        let path = path.split('?').next().unwrap_or_default();
        // Collected, as the path lives shorter than the document.
        let found = self
            .operations_at(path)
            .find(|operation| operation.method.as_str() == method)?
            .id
            .clone();
        self.operation(&found)
    }

    /// What a value's `$ref` refers to, or the value itself.
    #[must_use]
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let mut value = schema;
        // Reading the document has found no circle of references.
        while let Some(target) = value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.root.pointer(reference.strip_prefix('#')?))
        {
            value = target;
        }
        value
    }

    /// An example of a schema: its own, or what the examples of its members come to.
    #[must_use]
    pub fn example(&self, schema: &Value) -> Option<Value> {
        read::example(&self.root, schema, 0)
    }

    /// A schema of this document, ready to judge many values; `None` if it cannot be used.
    pub(crate) fn compile(&self, schema: &Value) -> Option<Validator> {
        self.schemas.compile(schema).ok()
    }

    /// Everything that is wrong with a value by a schema of this document; empty if nothing is, and
    /// `None` if the schema cannot be used.
    #[must_use]
    pub fn validate(&self, schema: &Value, value: &Value) -> Option<Vec<String>> {
        let validator = self.schemas.compile(schema).ok()?;
        Some(faults(&validator, value))
    }

    /// Every operation with every status that it declares.
    #[must_use]
    pub fn declared(&self) -> BTreeSet<(String, u16)> {
        self.operations
            .iter()
            .flat_map(|operation| {
                operation.responses.keys().map(|status| (operation.id.clone(), *status))
            })
            .collect()
    }

    /// The tags of its operations, sorted.
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

    /// What holds for members of answers that it does not name.
    #[must_use]
    pub fn members(&self) -> Members {
        self.members
    }

    /// The whole of it.
    #[must_use]
    pub fn root(&self) -> &Value {
        &self.root
    }
}

impl Operation {
    /// Whether a path, without its query, is one of this operation.
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

    /// A parameter of this name and place; names of headers are compared without regard to case.
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
