//! The validators of `openapi.yaml`: those of the server, and those of the contract suite, which
//! share no code but the JSON Schema library.

use std::sync::LazyLock;

use contract_tests::document::{Document, Location as DocumentLocation, Operation};
use poem_contract_runtime::{Location, Presence, RequestValidator, Schemas};

/// The document of the contract suite, in which undeclared members are forbidden.
pub(crate) static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::strict);

static SCHEMAS: LazyLock<&Schemas> = LazyLock::new(|| leaked_schemas(&DOCUMENT));

/// Returns the component schemas of a document for the server's validators.
pub(crate) fn leaked_schemas(document: &Document) -> &'static Schemas {
    let schemas = document.root()["components"]["schemas"].to_string();
    Box::leak(Box::new(Schemas::new(schemas.leak())))
}

/// Returns a validator for the parameters of an operation.
pub(crate) fn parameter_validator(operation: &Operation) -> RequestValidator {
    let path = operation.path.clone().leak();
    let mut validator = RequestValidator::new(path, &SCHEMAS);
    for parameter in &operation.parameters {
        let presence = if parameter.required { Presence::Required } else { Presence::Optional };
        let (name, schema) = (parameter.name.clone().leak(), parameter.schema.to_string());
        validator = validator.parameter(location(parameter.location), name, presence, &schema);
    }
    validator
}

pub(crate) const fn location(location: DocumentLocation) -> Location {
    match location {
        DocumentLocation::Path => Location::Path,
        DocumentLocation::Query => Location::Query,
        DocumentLocation::Header => Location::Header,
    }
}
