//! The parsers of requests, for fuzz targets. Exists with the feature `fuzzing` only.

use poem::{Request, http::HeaderMap};
use serde_json::Value;

use crate::{
    CredentialFault, Faults, Limits, Location, Rejection, RequestValidator, Schemas, Token,
    ValidRequest, credential, json, routes, schema::CompiledSchema,
};

/// A compiled schema of a body.
#[derive(Debug)]
pub struct BodySchema(CompiledSchema);

impl BodySchema {
    /// Compiles a schema of the document.
    ///
    /// # Panics
    /// If `schema` is not one that the generator emits.
    #[must_use]
    pub fn new(schemas: &Schemas, schema: &Value) -> Self {
        Self(schemas.compile(schema))
    }

    /// Returns the faults of a body.
    #[must_use]
    pub fn faults(&self, body: &[u8]) -> Faults {
        let mut faults = Faults::new();
        json::validate(body, &self.0, &mut faults);
        faults
    }
}

/// Validates a request as the server does.
///
/// # Errors
/// If the request violates the document.
pub async fn validate(
    validator: &RequestValidator,
    request: &mut Request,
    limits: Limits,
) -> Result<ValidRequest, Rejection> {
    validator.validate(request, limits).await
}

/// Returns a parameter's value.
#[must_use]
pub fn parameter<'a>(
    request: &'a ValidRequest,
    location: Location,
    name: &str,
) -> Option<&'a Value> {
    request.parameter(location, name)
}

/// Parses the bearer token of a request.
///
/// # Errors
/// If there is none, or several, or the header is malformed.
pub fn bearer(headers: &HeaderMap) -> Result<Token, CredentialFault> {
    credential::bearer(headers)
}

/// Passes the query of a request to its validator, as the server does before it routes a request.
pub fn take_query(request: &mut Request) {
    routes::take_query(request);
}
