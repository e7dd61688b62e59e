// @generated from minimal.yaml by poem-contract. Do not edit: change minimal.yaml and run `UPDATE_GOLDEN=1 cargo test -p poem-contract`.

//! Nothing to see, version 0.0.0: traits to implement, types, and a poem-openapi service that
//! validates every request.

#![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]

use ::poem_contract_runtime as runtime;

/// All
pub trait All: Send + Sync + 'static {
    /// `POST /ping`
    fn ping(&self) -> impl ::std::future::Future<Output = PingResponse> + Send;
}

/// The responses of `ping`.
#[derive(Clone, Debug, PartialEq)]
pub enum PingResponse {
    /// Heard.
    NoContent,
}

type Apis<T> = AllApi<T>;

/// The routes of the document: method, path template, operation id.
pub const ROUTES: &[runtime::Route] = &[("POST", "/ping", "ping")];

/// Returns the server: `implementation`, with each request validated first.
///
/// `rejections` answers invalid requests (400, 401, 404, 405, 413, 415). HEAD is served
/// wherever GET is.
pub fn api<T>(
    implementation: ::std::sync::Arc<T>,
    rejections: ::std::sync::Arc<dyn runtime::RejectionHandler>,
    limits: runtime::Limits,
) -> impl ::poem::Endpoint<Output = ::poem::Response>
where
    T: All,
{
    runtime::ServiceEndpoint::new(
        service::<Apis<T>>(AllApi(implementation)),
        ROUTES,
        rejections,
        limits,
    )
}

/// Returns the document that the server emits, as JSON.
pub fn spec_json<T>() -> String
where
    T: All,
{
    service(runtime::SpecOnly::<Apis<T>>::new()).spec()
}

fn service<A: ::poem_openapi::OpenApi>(
    apis: A,
) -> ::poem_openapi::OpenApiService<A, ()> {
    ::poem_openapi::OpenApiService::new(apis, "Nothing to see", "0.0.0")
}

fn check_ping<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::PING)
}

struct AllApi<T>(::std::sync::Arc<T>);

#[::poem_openapi::OpenApi]
impl<T: All> AllApi<T> {
    #[oai(
        path = "/ping",
        method = "post",
        operation_id = "ping",
        tag = "Tags::All",
        transform = "check_ping"
    )]
    async fn ping(&self) -> PingResponse {
        All::ping(&*self.0).await
    }
}

#[derive(Clone, Copy)]
enum Tags {
    All,
}

impl Tags {
    fn metadata(self) -> runtime::Tag {
        match self {
            Self::All => {
                runtime::Tag {
                    name: "All",
                    description: None,
                    external_docs: None,
                }
            }
        }
    }
}

impl ::poem_openapi::Tags for Tags {
    fn register(&self, registry: &mut ::poem_openapi::registry::Registry) {
        registry.create_tag(self.metadata().into());
    }
    fn name(&self) -> &'static str {
        self.metadata().name
    }
}

/// The component schemas that requests refer to, as in the document.
static REQUEST_SCHEMAS: runtime::Schemas = runtime::Schemas::new(r#"{}"#);

/// The validators of requests, one for each operation.
mod validators {
    use ::std::sync::LazyLock;
    use super::runtime;
    pub(super) static PING: LazyLock<runtime::RequestValidator> = LazyLock::new(|| runtime::RequestValidator::new(
        "/ping",
        &super::REQUEST_SCHEMAS,
    ));
}

impl ::poem::IntoResponse for PingResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::NoContent => runtime::ResponseBuilder::new(204).empty(),
        }
    }
}

impl ::poem_openapi::ApiResponse for PingResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new().response(204, "Heard.").into()
    }
    fn register(_: &mut ::poem_openapi::registry::Registry) {}
}
