//! The arguments of operations: poem-openapi extractors that take what the contract has accepted.

use std::sync::Arc;

use poem::{Error, Request, RequestBody, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaParamIn, MetaRequest, MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Accepted, Fault, Location, Need, Rejection, Schema, Token, body::JSON, routes::Handling,
};

/// A parameter of the document. Generated, one type for each.
pub trait ParameterSpec: Send + Sync + 'static {
    /// Where it stands; never [`Location::Body`].
    const LOCATION: Location;
    /// Its name, as the document writes it.
    const NAME: &'static str;
    /// Whether it has to be there.
    const NEED: Need;
    /// What the operation gets: an `Option` if it may be left out and has no default.
    type Value: DeserializeOwned + Send;
    /// Its schema, for the emitted document.
    fn schema() -> Schema;
    /// Reads what the schema has let pass; `null` is a parameter that was not sent.
    ///
    /// # Errors
    /// When the value is not one of the Rust type.
    fn read(value: &Value) -> Result<Self::Value, serde_json::Error> {
        Self::Value::deserialize(value)
    }
}

/// The value of a parameter.
#[derive(Debug)]
pub struct Parameter<P: ParameterSpec>(pub P::Value);

impl<'a, P: ParameterSpec> ApiExtractor<'a> for Parameter<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = matches!(P::NEED, Need::Required);

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        P::schema().register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        match P::LOCATION {
            Location::Path => Some(MetaParamIn::Path),
            Location::Query => Some(MetaParamIn::Query),
            Location::Header => Some(MetaParamIn::Header),
            Location::Body => None,
        }
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(P::schema().into())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let value = accepted(request)?.parameter(P::LOCATION, P::NAME).unwrap_or(&Value::Null);
        P::read(value)
            .map(Self)
            .map_err(|_| mismatch(request, Fault::of_parameter(P::LOCATION, P::NAME, UNHELD)))
    }
}

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let text = accepted(request)?.body.as_deref().unwrap_or(b"null");
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|_| mismatch(request, Fault::of_body("", UNHELD)))
    }
}

/// The bearer token of an operation that wants one.
///
/// # Errors
/// When the operation's contract does not ask for one, which generated code never lets happen.
pub fn token(request: &Request) -> poem::Result<Token> {
    accepted(request)?.token.clone().ok_or_else(|| unguarded("the contract asks for no token"))
}

fn accepted(request: &Request) -> poem::Result<&Accepted> {
    request
        .data::<Arc<Accepted>>()
        .map(AsRef::as_ref)
        .ok_or_else(|| unguarded("the request was held against no contract"))
}

fn unguarded(reason: &'static str) -> Error {
    Error::from_string(reason, StatusCode::INTERNAL_SERVER_ERROR)
}

/// The detail of a [`mismatch`].
const UNHELD: &str = "expected a value that this server can hold";

/// The schema has let something pass that the Rust type does not hold. The generator sees to it
/// that there is no such gap; if there is one all the same, the request is at fault and not the
/// server.
fn mismatch(request: &Request, fault: Fault) -> Error {
    match request.data::<Handling>() {
        Some(handling) => Error::from_response(
            handling.rejections.respond(Rejection::InvalidRequest { faults: fault.into() }),
        ),
        None => unguarded("this operation is not behind its guard"),
    }
}
