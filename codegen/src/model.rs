//! The model: a document with resolved references, explicit defaults and Rust names.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::error::Pointer;

#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) info: Info,
    pub(crate) servers: Vec<Server>,
    pub(crate) external_docs: Option<ExternalDocs>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) schemes: Vec<BearerScheme>,
    pub(crate) components: Vec<Component>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) request_schemas: Map<String, Value>,
}

#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) title: String,
    pub(crate) version: String,
    pub(crate) description: Option<String>,
    pub(crate) terms_of_service: Option<String>,
    /// Name, URL, email.
    pub(crate) contact: Option<(Option<String>, Option<String>, Option<String>)>,
    /// Name, URL.
    pub(crate) license: Option<(String, Option<String>)>,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) description: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct ExternalDocs {
    pub(crate) url: String,
    pub(crate) description: Option<String>,
}

/// A tag. Becomes a trait.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) rust_name: String,
    pub(crate) description: Option<String>,
    pub(crate) external_docs: Option<ExternalDocs>,
}

/// A bearer scheme. Becomes the type of the argument with the token.
#[derive(Debug)]
pub(crate) struct BearerScheme {
    pub(crate) name: String,
    pub(crate) rust_name: String,
    pub(crate) description: Option<String>,
    pub(crate) bearer_format: Option<String>,
}

/// A generated type: a component schema or an inline enum.
#[derive(Debug)]
pub(crate) struct Component {
    /// The name in Rust, and in `components.schemas` if `named`.
    pub(crate) rust_name: String,
    /// Whether it is a component schema.
    pub(crate) named: bool,
    pub(crate) kind: ComponentKind,
    pub(crate) keywords: Keywords,
}

#[derive(Debug)]
pub(crate) enum ComponentKind {
    Object { fields: Vec<Field>, closed: bool },
    Enum { values: Vec<EnumValue> },
    Scalar(Scalar),
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) rust_name: String,
    pub(crate) required: bool,
    pub(crate) schema: Schema,
}

#[derive(Debug)]
pub(crate) struct EnumValue {
    pub(crate) value: String,
    pub(crate) rust_name: String,
}

/// A schema where it is used.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) shape: Shape,
    pub(crate) nullable: bool,
    /// Empty for a reference.
    pub(crate) keywords: Keywords,
}

impl Schema {
    /// Whether it is a date-time, inline or as an alias among the `types`.
    pub(crate) fn is_date_time(&self, types: &[Component]) -> bool {
        match &self.shape {
            Shape::Scalar(scalar) => *scalar == Scalar::DateTime,
            Shape::Component(name) => types.iter().any(|component| {
                component.rust_name == *name
                    && matches!(component.kind, ComponentKind::Scalar(Scalar::DateTime))
            }),
            Shape::Array(_) => false,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Shape {
    Scalar(Scalar),
    Component(String),
    Array(Box<Schema>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Uuid,
    DateTime,
    I32,
    I64,
    Bool,
}

/// The keywords of a schema, without `type`, `nullable` and subschemas.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keywords {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) external_docs: Option<ExternalDocs>,
    pub(crate) deprecated: bool,
    pub(crate) default: Option<Value>,
    pub(crate) example: Option<Value>,
    /// `format`, if the [`Scalar`] does not imply it.
    pub(crate) format: Option<String>,
    pub(crate) pattern: Option<String>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) unique_items: bool,
    /// `minLength`, `maxLength`, `minimum`, …: the keyword in snake case and its value.
    pub(crate) bounds: Vec<(&'static str, i64)>,
}

#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) schema_at: Pointer,
    pub(crate) name: String,
    pub(crate) rust_name: String,
    pub(crate) argument: String,
    pub(crate) location: Location,
    pub(crate) required: bool,
    pub(crate) deprecated: bool,
    pub(crate) description: Option<String>,
    pub(crate) schema: Schema,
    pub(crate) raw: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Location {
    Path,
    Query,
    Header,
}

/// An operation. Becomes a method of its tag's trait.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) rust_name: String,
    pub(crate) response_name: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) tag: usize,
    pub(crate) summary: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) external_docs: Option<ExternalDocs>,
    pub(crate) deprecated: bool,
    pub(crate) scheme: Option<usize>,
    /// Indices into the parameters: path, query, header, each in the document's order.
    pub(crate) parameters: Vec<usize>,
    pub(crate) body: Option<Body>,
    pub(crate) responses: IndexMap<u16, Response>,
}

#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) description: Option<String>,
    pub(crate) component: String,
    pub(crate) raw: Value,
}

/// A response. Becomes a variant of the operation's response enum.
#[derive(Debug)]
pub(crate) struct Response {
    /// The name of the metadata function, for one of `components.responses`.
    pub(crate) shared: Option<String>,
    pub(crate) rust_name: String,
    pub(crate) description: String,
    pub(crate) headers: Vec<Header>,
    /// Media type, and Rust name of the component.
    pub(crate) body: Option<(String, String)>,
}

/// A response header. Becomes a field of the variant.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) rust_name: String,
    pub(crate) required: bool,
    pub(crate) description: Option<String>,
    pub(crate) schema: Schema,
}
