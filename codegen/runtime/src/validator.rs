//! Validates each request of an operation before its endpoint runs.

use std::sync::{Arc, LazyLock};

use poem::{Endpoint, IntoResponse, Request, Response, Result, http::StatusCode};
use serde_json::Value;

use crate::{
    Faults, Limits, Location, Rejection, Token, body, credential, json,
    parameter::{self, CompiledParameter, RawValue},
    routes::{RawQuery, ServerConfig},
    schema::{CompiledSchema, Schemas},
};

/// Whether the document requires a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A request without it is rejected.
    Required,
    /// A request may omit it.
    Optional,
}

/// Validates the requests of one operation against the document.
#[derive(Debug)]
pub struct RequestValidator {
    path: &'static str,
    schemas: &'static Schemas,
    bearer: bool,
    parameters: Vec<CompiledParameter>,
    body: Option<CompiledSchema>,
}

impl RequestValidator {
    /// Creates a validator for a path template such as `/orders/{order_id}`, without credential,
    /// parameters and body.
    #[must_use]
    pub const fn new(path: &'static str, schemas: &'static Schemas) -> Self {
        Self { path, schemas, bearer: false, parameters: Vec::new(), body: None }
    }

    /// Requires a bearer token.
    #[must_use]
    pub fn bearer(self) -> Self {
        Self { bearer: true, ..self }
    }

    /// Adds a parameter. `schema` is the document's, as JSON.
    ///
    /// # Panics
    /// If `schema` is not one that the generator emits.
    #[must_use]
    pub fn parameter(
        mut self,
        location: Location,
        name: &'static str,
        presence: Presence,
        schema: &str,
    ) -> Self {
        let schema = parse(schema);
        self.parameters.push(CompiledParameter::new(
            location,
            name,
            presence == Presence::Required,
            self.schemas,
            &schema,
        ));
        self
    }

    /// Requires a JSON body. `schema` is the document's, as JSON.
    ///
    /// # Panics
    /// If `schema` is not one that the generator emits.
    #[must_use]
    pub fn body(self, schema: &str) -> Self {
        let compiled = self.schemas.compile(&parse(schema));
        Self { body: Some(compiled), ..self }
    }

    /// Validates a request. Rejects with 401 before 415, 413 and 400; reads no body for the first
    /// two.
    pub(crate) async fn validate(
        &self,
        request: &mut Request,
        limits: Limits,
    ) -> Result<ValidRequest, Rejection> {
        let token = if self.bearer {
            Some(
                credential::bearer(request.headers())
                    .map_err(|reason| Rejection::Unauthenticated { reason })?,
            )
        } else {
            None
        };
        let bytes = if self.body.is_some() {
            body::check_media_type(request.headers())?;
            body::check_content_coding(request.headers())?;
            let body = request.take_body();
            Some(body::read(request.headers(), body, limits.body_bytes).await?)
        } else {
            None
        };

        let mut faults = Faults::new();
        let parameters = self.parameters(request, &mut faults);
        if let (Some(compiled), Some(bytes)) = (&self.body, &bytes) {
            json::validate(bytes, compiled, &mut faults);
        }
        if faults.is_empty() {
            Ok(ValidRequest { token, parameters, body: bytes })
        } else {
            Err(Rejection::InvalidRequest { faults })
        }
    }

    fn parameters(
        &self,
        request: &Request,
        faults: &mut Faults,
    ) -> Vec<(Location, &'static str, Option<Value>)> {
        let mut raw_values: Vec<RawValue> =
            self.parameters.iter().map(|_| RawValue::Absent).collect();
        for (template, raw) in self.path.split('/').zip(request.uri().path().split('/')) {
            if let Some(name) = template.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
                && let Some(index) = parameter::position(&self.parameters, Location::Path, name)
            {
                raw_values[index].segment(raw);
            }
        }
        // Caches and trackers append to queries: an operation without query parameters ignores the
        // query.
        if self.parameters.iter().any(|parameter| parameter.location == Location::Query) {
            parameter::query(RawQuery::of(request), &self.parameters, &mut raw_values, faults);
        }
        for (parameter, raw_value) in self.parameters.iter().zip(&mut raw_values) {
            if parameter.location == Location::Header {
                raw_value.header(parameter.name, request.headers());
            }
        }
        let values = self.parameters.iter().zip(raw_values);
        values
            .map(|(parameter, raw_value)| {
                (parameter.location, parameter.name, parameter.value(raw_value, faults))
            })
            .collect()
    }
}

fn parse(schema: &str) -> Value {
    serde_json::from_str(schema).expect("the generator emits JSON")
}

/// A validated request, from which the extractors take their values.
#[derive(Debug)]
pub struct ValidRequest {
    pub(crate) token: Option<Token>,
    parameters: Vec<(Location, &'static str, Option<Value>)>,
    pub(crate) body: Option<Vec<u8>>,
}

impl ValidRequest {
    /// Returns a parameter's value, or `None` if it is absent and has no default.
    pub(crate) fn parameter(&self, location: Location, name: &str) -> Option<&Value> {
        self.parameters
            .iter()
            .find(|(at, of, _)| *at == location && *of == name)
            .and_then(|(_, _, value)| value.as_ref())
    }
}

/// An operation's endpoint behind its validator.
pub struct ValidatedEndpoint<E> {
    endpoint: E,
    validator: &'static LazyLock<RequestValidator>,
}

impl<E> ValidatedEndpoint<E> {
    /// Passes only valid requests to `endpoint`. Compiles the validator immediately rather than at
    /// the first request.
    pub fn new(endpoint: E, validator: &'static LazyLock<RequestValidator>) -> Self {
        LazyLock::force(validator);
        Self { endpoint, validator }
    }
}

impl<E: Endpoint> Endpoint for ValidatedEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let Some(config) = request.data::<ServerConfig>().cloned() else {
            // Generated code mounts operations in a `ServiceEndpoint` only.
            return Err(poem::Error::from_string(
                "this operation is not inside a `ServiceEndpoint`",
                StatusCode::INTERNAL_SERVER_ERROR,
            ));
        };
        match self.validator.validate(&mut request, config.limits).await {
            Ok(accepted) => {
                request.set_data(Arc::new(accepted));
                self.endpoint.call(request).await.map(IntoResponse::into_response)
            }
            Err(rejection) => Ok(config.rejections.respond(rejection)),
        }
    }
}
