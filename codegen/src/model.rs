//! What is generated from: a document without references, defaults spelled out, every name made one
//! of Rust.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::error::Pointer;

/// A whole document.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) info: Info,
    pub(crate) servers: Vec<Server>,
    /// Of the whole document: address and description.
    pub(crate) external_docs: Option<ExternalDocs>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) schemes: Vec<BearerScheme>,
    pub(crate) components: Vec<Component>,
    pub(crate) parameters: Vec<Parameter>,
    /// In the document's order.
    pub(crate) operations: Vec<Operation>,
    /// The raw component schemas that requests refer to.
    pub(crate) request_schemas: Map<String, Value>,
}

/// `info`.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) title: String,
    pub(crate) version: String,
    pub(crate) description: Option<String>,
    pub(crate) terms_of_service: Option<String>,
    /// Name, address, email.
    pub(crate) contact: Option<(Option<String>, Option<String>, Option<String>)>,
    /// Name, address.
    pub(crate) license: Option<(String, Option<String>)>,
}

/// A server, without variables.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) description: Option<String>,
}

/// `externalDocs`.
#[derive(Clone, Debug)]
pub(crate) struct ExternalDocs {
    pub(crate) url: String,
    pub(crate) description: Option<String>,
}

/// A tag: a trait.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    /// The trait's name.
    pub(crate) rust_name: String,
    pub(crate) description: Option<String>,
    pub(crate) external_docs: Option<ExternalDocs>,
}

/// A bearer scheme: the type of the argument that holds the token.
#[derive(Debug)]
pub(crate) struct BearerScheme {
    pub(crate) name: String,
    pub(crate) rust_name: String,
    pub(crate) description: Option<String>,
    pub(crate) bearer_format: Option<String>,
}

/// A type of the generated code: a schema of `components`, or an `enum` that stands elsewhere.
#[derive(Debug)]
pub(crate) struct Component {
    /// Its name in Rust; that of `components.schemas` too, if it stands there.
    pub(crate) rust_name: String,
    /// Whether it is one of `components.schemas`.
    pub(crate) named: bool,
    pub(crate) kind: ComponentKind,
    pub(crate) notes: Notes,
}

/// What a component is.
#[derive(Debug)]
pub(crate) enum ComponentKind {
    /// A struct.
    Object { fields: Vec<Field>, closed: bool },
    /// An enum of strings.
    Enum { values: Vec<EnumValue> },
    /// An alias of a Rust type.
    Scalar(Scalar),
}

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) rust_name: String,
    pub(crate) required: bool,
    pub(crate) schema: Schema,
}

/// A value of an enum.
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
    pub(crate) notes: Notes,
}

/// The shape of a schema.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Written out here.
    Scalar(Scalar),
    /// A component, by its Rust name.
    Component(String),
    /// An array.
    Array(Box<Schema>),
}

/// The types that Rust has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Uuid,
    DateTime,
    I32,
    I64,
    Bool,
}

/// What a schema says beyond its shape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) external_docs: Option<ExternalDocs>,
    pub(crate) deprecated: bool,
    pub(crate) default: Option<Value>,
    pub(crate) example: Option<Value>,
    /// Where it is not the scalar's own: `email`, `password`, …
    pub(crate) format: Option<String>,
    pub(crate) pattern: Option<String>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) unique_items: bool,
    /// `minLength`, `maxLength`, `minimum`, …: the keyword in snake case, and its number.
    pub(crate) bounds: Vec<(&'static str, i64)>,
}

/// A parameter, whether it stands in `components` or at its operation.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// Where its schema stands in the document.
    pub(crate) schema_at: Pointer,
    pub(crate) name: String,
    /// The name of its type.
    pub(crate) rust_name: String,
    /// The name of the argument.
    pub(crate) argument: String,
    pub(crate) location: Location,
    pub(crate) required: bool,
    pub(crate) deprecated: bool,
    pub(crate) description: Option<String>,
    pub(crate) schema: Schema,
    /// The raw schema, for the server to validate with.
    pub(crate) raw: Value,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Location {
    Path,
    Query,
    Header,
}

/// An operation: a method of its tag's trait.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    /// The method's name; `{}Response` in upper camel case is what it returns.
    pub(crate) rust_name: String,
    pub(crate) response_name: String,
    /// In lower case.
    pub(crate) method: String,
    pub(crate) path: String,
    /// An index into the tags.
    pub(crate) tag: usize,
    pub(crate) summary: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) external_docs: Option<ExternalDocs>,
    pub(crate) deprecated: bool,
    /// An index into the schemes.
    pub(crate) scheme: Option<usize>,
    /// Indices into the parameters: path, query, header, each in the document's order.
    pub(crate) parameters: Vec<usize>,
    pub(crate) body: Option<Body>,
    /// By status.
    pub(crate) responses: IndexMap<u16, Response>,
}

/// A JSON body of a request.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) description: Option<String>,
    /// The Rust name of the component.
    pub(crate) component: String,
    /// The raw schema, for the server to validate with.
    pub(crate) raw: Value,
}

/// A response: a variant of the operation's enum.
#[derive(Debug)]
pub(crate) struct Response {
    /// The name of the function that describes it, if it is one of `components.responses`.
    pub(crate) shared: Option<String>,
    pub(crate) rust_name: String,
    pub(crate) description: String,
    pub(crate) headers: Vec<Header>,
    /// Media type and the Rust name of the component.
    pub(crate) body: Option<(String, String)>,
}

/// A header of a response: a member of its variant.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) rust_name: String,
    pub(crate) required: bool,
    pub(crate) description: Option<String>,
    pub(crate) schema: Schema,
}
