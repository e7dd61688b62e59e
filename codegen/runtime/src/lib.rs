//! The run-time library of servers that `poem-contract` generates.
//!
//! poem-openapi alone stops at the first fault and repeats the sent value, even a password. It
//! accepts `null`, repeated keys and repeated parameters where the document does not allow them. It
//! reads bodies without a limit and compiles a `pattern` at each check.
//!
//! Generated code therefore passes each request to a [`RequestValidator`] first, which
//!
//! 1. checks the credential (401), the media type (415) and the length (413), before it reads a
//!    body;
//! 2. reads the body up to the limit and decodes path, query and headers;
//! 3. validates them with the document's schemas, compiled once (400).
//!
//! The server limits memory and work. It validates a body in one pass and builds no tree.
//! [`Faults`] lists 32 faults and counts the others.
//!
//! The extractors [`Parameter`] and [`Body`] take their values from a [`ValidRequest`]. For any
//! other request, the server's [`RejectionHandler`] turns a [`Rejection`] into a response.

mod body;
mod credential;
mod extract;
mod faults;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod json;
mod meta;
mod parameter;
mod rejection;
mod response;
mod routes;
mod schema;
mod validator;

pub use credential::Token;
pub use extract::{Body, Parameter, ParameterSpec, token};
pub use faults::{Fault, Faults, Location, shorten};
pub use meta::{
    Component, Object, Responses, Schema, SpecOnly, Tag, bearer_scheme, object, schema,
};
pub use rejection::{CredentialFault, Limits, Rejection, RejectionHandler};
pub use response::{Encoded, ResponseBuilder};
pub use routes::{Route, ServiceEndpoint};
pub use schema::Schemas;
pub use validator::{Presence, RequestValidator, ValidRequest, ValidatedEndpoint};
