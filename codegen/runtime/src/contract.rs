//! One operation's part of the document, and the endpoint that holds each request against it.

use std::sync::{Arc, LazyLock};

use poem::{Endpoint, IntoResponse, Request, Response, Result, http::StatusCode};
use serde_json::Value;

use crate::{
    Faults, Limits, Location, Rejection, Token, body, credential, json,
    parameter::{self, Sent},
    routes::{Handling, Query},
    schema::{Compiled, Schemas},
};

/// Whether a parameter has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A request without it is refused.
    Required,
    /// It may be left out.
    Optional,
}

/// What the document allows for the requests of one operation.
#[derive(Debug)]
pub struct Contract {
    path: &'static str,
    schemas: &'static Schemas,
    bearer: bool,
    parameters: Vec<parameter::Described>,
    body: Option<Compiled>,
}

impl Contract {
    /// An operation on a path template, such as `/orders/{order_id}`, without credential,
    /// parameters and body.
    #[must_use]
    pub const fn new(path: &'static str, schemas: &'static Schemas) -> Self {
        Self { path, schemas, bearer: false, parameters: Vec::new(), body: None }
    }

    /// It wants a bearer token.
    #[must_use]
    pub fn bearer(self) -> Self {
        Self { bearer: true, ..self }
    }

    /// It has a parameter; `schema` is the document's, as JSON.
    ///
    /// # Panics
    /// When `schema` is not what the generator writes.
    #[must_use]
    pub fn parameter(
        mut self,
        location: Location,
        name: &'static str,
        need: Need,
        schema: &str,
    ) -> Self {
        let schema = read(schema);
        self.parameters.push(parameter::Described::new(
            location,
            name,
            need == Need::Required,
            self.schemas,
            &schema,
        ));
        self
    }

    /// It has a JSON body, which has to be there; `schema` is the document's, as JSON.
    ///
    /// # Panics
    /// When `schema` is not what the generator writes.
    #[must_use]
    pub fn body(self, schema: &str) -> Self {
        let compiled = self.schemas.compile(&read(schema));
        Self { body: Some(compiled), ..self }
    }

    /// Holds a request against the contract: 401 before 415 before 413 before 400, and no body is
    /// read for the first two.
    pub(crate) async fn accept(
        &self,
        request: &mut Request,
        limits: Limits,
    ) -> Result<Accepted, Rejection> {
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
            json::judge(bytes, compiled, &mut faults);
        }
        if faults.is_empty() {
            Ok(Accepted { token, parameters, body: bytes })
        } else {
            Err(Rejection::InvalidRequest { faults })
        }
    }

    /// The values of all parameters, in the document's order.
    fn parameters(
        &self,
        request: &Request,
        faults: &mut Faults,
    ) -> Vec<(Location, &'static str, Option<Value>)> {
        let mut sent: Vec<Sent> = self.parameters.iter().map(|_| Sent::Never).collect();
        for (template, raw) in self.path.split('/').zip(request.uri().path().split('/')) {
            if let Some(name) = template.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
                && let Some(index) = parameter::position(&self.parameters, Location::Path, name)
            {
                sent[index].segment(raw);
            }
        }
        // Operations without query parameters do not look at the query: trackers and caches append
        // to it.
        if self.parameters.iter().any(|parameter| parameter.location == Location::Query) {
            parameter::query(Query::of(request), &self.parameters, &mut sent, faults);
        }
        for (parameter, sent) in self.parameters.iter().zip(&mut sent) {
            if parameter.location == Location::Header {
                sent.header(parameter.name, request.headers());
            }
        }
        let values = self.parameters.iter().zip(sent);
        values
            .map(|(parameter, sent)| {
                (parameter.location, parameter.name, parameter.value(sent, faults))
            })
            .collect()
    }
}

fn read(schema: &str) -> Value {
    serde_json::from_str(schema).expect("the generator writes JSON")
}

/// A request that its contract allows: what the extractors take their values from.
#[derive(Debug)]
pub struct Accepted {
    pub(crate) token: Option<Token>,
    parameters: Vec<(Location, &'static str, Option<Value>)>,
    /// The body's text, which is JSON and as its schema wants it.
    pub(crate) body: Option<Vec<u8>>,
}

impl Accepted {
    /// The value of a parameter; `None` if it was not sent and has no default.
    pub(crate) fn parameter(&self, location: Location, name: &str) -> Option<&Value> {
        self.parameters
            .iter()
            .find(|(at, of, _)| *at == location && *of == name)
            .and_then(|(_, _, value)| value.as_ref())
    }
}

/// An operation's endpoint behind its contract.
pub struct Checked<E> {
    endpoint: E,
    contract: &'static LazyLock<Contract>,
}

impl<E> Checked<E> {
    /// Lets only those requests pass to `endpoint` which `contract` allows. The contract is
    /// compiled now, not at the first request.
    pub fn new(endpoint: E, contract: &'static LazyLock<Contract>) -> Self {
        LazyLock::force(contract);
        Self { endpoint, contract }
    }
}

impl<E: Endpoint> Endpoint for Checked<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let Some(handling) = request.data::<Handling>().cloned() else {
            // Generated code never mounts an operation outside of `Guarded`.
            return Err(poem::Error::from_string(
                "this operation is not behind its guard",
                StatusCode::INTERNAL_SERVER_ERROR,
            ));
        };
        match self.contract.accept(&mut request, handling.limits).await {
            Ok(accepted) => {
                request.set_data(Arc::new(accepted));
                self.endpoint.call(request).await.map(IntoResponse::into_response)
            }
            Err(rejection) => Ok(handling.rejections.respond(rejection)),
        }
    }
}
