//! poem-openapi extractors that take their values from a [`ValidRequest`].

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
    Fault, Location, Presence, Rejection, Schema, Token, ValidRequest, body::JSON,
    routes::ServerConfig,
};

/// A parameter of the document. The generator emits one type for each.
pub trait ParameterSpec: Send + Sync + 'static {
    /// The location; never [`Location::Body`].
    const LOCATION: Location;
    /// The name in the document.
    const NAME: &'static str;
    /// Whether the document requires the parameter.
    const PRESENCE: Presence;
    /// The type that the operation receives: an `Option` for an optional parameter without a
    /// default.
    type Value: DeserializeOwned + Send;
    /// Returns the schema for the emitted document.
    fn schema() -> Schema;
    /// Deserializes a valid value; `null` represents an absent parameter.
    ///
    /// # Errors
    /// If the value does not fit the Rust type.
    fn read(value: &Value) -> Result<Self::Value, serde_json::Error> {
        Self::Value::deserialize(value)
    }
}

/// The value of a parameter.
#[derive(Debug)]
pub struct Parameter<P: ParameterSpec>(pub P::Value);

impl<'a, P: ParameterSpec> ApiExtractor<'a> for Parameter<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = matches!(P::PRESENCE, Presence::Required);

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
        let value = valid_request(request)?.parameter(P::LOCATION, P::NAME).unwrap_or(&Value::Null);
        P::read(value).map(Self).map_err(|_| {
            type_mismatch(request, Fault::of_parameter(P::LOCATION, P::NAME, NOT_REPRESENTABLE))
        })
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
        let text = valid_request(request)?.body.as_deref().unwrap_or(b"null");
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|_| type_mismatch(request, Fault::of_body("", NOT_REPRESENTABLE)))
    }
}

/// Returns the bearer token of an operation that requires one.
///
/// # Errors
/// If the operation's validator does not require a token; generated code always does.
pub fn token(request: &Request) -> poem::Result<Token> {
    valid_request(request)?
        .token
        .clone()
        .ok_or_else(|| internal_error("the validator of this operation requires no token"))
}

fn valid_request(request: &Request) -> poem::Result<&ValidRequest> {
    request
        .data::<Arc<ValidRequest>>()
        .map(AsRef::as_ref)
        .ok_or_else(|| internal_error("no validator has checked this request"))
}

fn internal_error(reason: &'static str) -> Error {
    Error::from_string(reason, StatusCode::INTERNAL_SERVER_ERROR)
}

const NOT_REPRESENTABLE: &str = "expected a value that the server can represent";

/// Rejects a value that the schema accepts but the Rust type cannot hold. The generator emits no
/// such pair; if one occurs, the client receives 400, not 500.
fn type_mismatch(request: &Request, fault: Fault) -> Error {
    match request.data::<ServerConfig>() {
        Some(config) => Error::from_response(
            config.rejections.respond(Rejection::InvalidRequest { faults: fault.into() }),
        ),
        None => internal_error("this operation is not inside a `ServiceEndpoint`"),
    }
}
