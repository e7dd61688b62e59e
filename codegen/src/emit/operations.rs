//! Emits traits, response enums, parameter types and request validators.

use std::collections::BTreeMap;

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use serde_json::Value;

use super::{
    schemas::{presence, rust_type, rust_type_in, schema_expr, schema_expr_in},
    text::{docs, raw},
};
use crate::{
    model::{Api, Location, Operation, Parameter, Response},
    names::{ident, screaming_snake},
};

pub(super) fn traits(api: &Api) -> TokenStream {
    let traits = api.tags.iter().enumerate().map(|(index, tag)| {
        let name = ident(&tag.rust_name);
        let docs = docs(tag.description.as_deref().unwrap_or(&tag.name));
        let methods = api
            .operations
            .iter()
            .filter(|operation| operation.tag == index)
            .map(|operation| method(api, operation));
        quote! {
            #docs
            pub trait #name: Send + Sync + 'static { #(#methods)* }
        }
    });
    quote! { #(#traits)* }
}

fn method(api: &Api, operation: &Operation) -> TokenStream {
    let (name, response) = (ident(&operation.rust_name), ident(&operation.response_name));
    let route = format!("`{} {}`", operation.method.to_ascii_uppercase(), operation.path);
    let paragraphs: Vec<&str> =
        [operation.summary.as_deref(), operation.description.as_deref(), Some(&route)]
            .into_iter()
            .flatten()
            .collect();
    let docs = docs(&paragraphs.join("\n\n"));
    let arguments =
        arguments(api, operation).into_iter().map(|(name, kind)| quote! { #name: #kind });
    let deprecated = operation.deprecated.then(|| quote! { #[deprecated] });
    quote! {
        #docs
        #deprecated
        fn #name(&self, #(#arguments),*) -> impl ::std::future::Future<Output = #response> + Send;
    }
}

/// Returns name and type of each argument of a method, in order: credential, path, query, headers,
/// body.
fn arguments(api: &Api, operation: &Operation) -> Vec<(TokenStream, TokenStream)> {
    let mut arguments = Vec::new();
    arguments.extend(operation.scheme.map(|index| {
        let scheme = &api.schemes[index];
        let (argument, kind) = (scheme_argument(&scheme.rust_name), ident(&scheme.rust_name));
        (argument, quote! { #kind })
    }));
    for index in &operation.parameters {
        let parameter = &api.parameters[*index];
        let argument = ident(&parameter.argument);
        arguments.push((quote! { #argument }, parameter_type(parameter, &quote! {})));
    }
    arguments.extend(operation.body.as_ref().map(|body| {
        let component = ident(&body.component);
        (quote! { body }, quote! { #component })
    }));
    arguments
}

pub(super) fn scheme_argument(rust_name: &str) -> TokenStream {
    let argument =
        ident(&crate::names::snake(rust_name).unwrap_or_else(|| "credential".to_owned()));
    quote! { #argument }
}

/// Returns the type of a parameter's value, in a module that reaches the types by `path`.
fn parameter_type(parameter: &Parameter, path: &TokenStream) -> TokenStream {
    let rust_type = rust_type_in(&parameter.schema, path);
    if parameter.required || parameter.schema.keywords.default.is_some() {
        rust_type
    } else {
        quote! { Option<#rust_type> }
    }
}

/// Emits an enum for each operation, with a variant for each declared status.
pub(super) fn responses(api: &Api) -> TokenStream {
    let enums = api.operations.iter().map(|operation| {
        let name = ident(&operation.response_name);
        let docs = docs(&format!("The responses of `{}`.", operation.id));
        let variants = operation.responses.values().map(variant);
        quote! {
            #docs
            #[derive(Clone, Debug, PartialEq)]
            pub enum #name { #(#variants)* }
        }
    });
    quote! { #(#enums)* }
}

/// Emits `IntoResponse` and poem-openapi's `ApiResponse` for the response enums.
pub(super) fn response_impls(api: &Api) -> TokenStream {
    let mut shared: BTreeMap<&str, TokenStream> = BTreeMap::new();
    let mut implementations = Vec::new();
    for operation in &api.operations {
        let name = ident(&operation.response_name);
        let arms = operation
            .responses
            .iter()
            .map(|(status, response)| into_response_arm(*status, response));
        let mut bodies: Vec<&String> = operation
            .responses
            .values()
            .filter_map(|response| response.body.as_ref())
            .map(|(_, name)| name)
            .collect();
        bodies.sort();
        bodies.dedup();
        let registry = if bodies.is_empty() {
            quote! { _ }
        } else {
            quote! { registry }
        };
        let bodies = bodies.into_iter().map(|name| ident(name));
        let mut described = Vec::new();
        for (status, response) in &operation.responses {
            let literal = Literal::u16_unsuffixed(*status);
            described.push(match &response.shared {
                Some(name) => {
                    let function = ident(name);
                    shared.entry(name).or_insert_with(|| {
                        let described = response_metadata(api, response, &quote! { status }, &quote! { super:: });
                        quote! {
                            pub(super) fn #function(responses: runtime::Responses, status: u16) -> runtime::Responses {
                                responses #described
                            }
                        }
                    });
                    quote! { .shared(#literal, shared_responses::#function) }
                }
                None => response_metadata(api, response, &quote! { #literal }, &quote! {}),
            });
        }
        implementations.push(quote! {
            impl ::poem::IntoResponse for #name {
                fn into_response(self) -> ::poem::Response {
                    match self { #(#arms)* }
                }
            }

            impl ::poem_openapi::ApiResponse for #name {
                fn meta() -> ::poem_openapi::registry::MetaResponses {
                    runtime::Responses::new() #(#described)* .into()
                }

                fn register(#registry: &mut ::poem_openapi::registry::Registry) {
                    #(<#bodies as ::poem_openapi::types::Type>::register(registry);)*
                }
            }
        });
    }
    let functions = shared.values();
    let module = (!shared.is_empty()).then(|| {
        quote! {
            /// Metadata of `components.responses`.
            mod shared_responses {
                use super::runtime;
                #(#functions)*
            }
        }
    });
    quote! { #(#implementations)* #module }
}

fn variant(response: &Response) -> TokenStream {
    let name = ident(&response.rust_name);
    let description = docs(&response.description);
    let body = response.body.as_ref().map(|(media_type, component)| {
        let (component, docs) = (ident(component), docs(&format!("The body, `{media_type}`.")));
        quote! { #docs body: runtime::Encoded<#component>, }
    });
    let headers = response.headers.iter().map(|header| {
        let docs = docs(
            header.description.as_deref().unwrap_or(&format!("The header `{}`.", header.name)),
        );
        let (member, kind) = (ident(&header.rust_name), rust_type(&header.schema));
        let kind = if header.required {
            kind
        } else {
            quote! { Option<#kind> }
        };
        quote! { #docs #member: #kind, }
    });
    if response.body.is_none() && response.headers.is_empty() {
        return quote! { #description #name, };
    }
    quote! { #description #name { #body #(#headers)* }, }
}

fn into_response_arm(status: u16, response: &Response) -> TokenStream {
    let name = ident(&response.rust_name);
    let headers = response.headers.iter().map(|header| {
        let (member, name, kind) =
            (ident(&header.rust_name), header.name.to_ascii_lowercase(), rust_type(&header.schema));
        quote! { .header::<#kind>(#name, #member) }
    });
    let end = match &response.body {
        Some((media_type, _)) => quote! { .body(#media_type, body) },
        None => quote! { .empty() },
    };
    let members: Vec<_> = response
        .body
        .iter()
        .map(|_| ident("body"))
        .chain(response.headers.iter().map(|header| ident(&header.rust_name)))
        .collect();
    let pattern = if members.is_empty() {
        quote! { Self::#name }
    } else {
        quote! { Self::#name { #(#members),* } }
    };
    let status = Literal::u16_unsuffixed(status);
    quote! { #pattern => runtime::ResponseBuilder::new(#status) #(#headers)* #end, }
}

fn response_metadata(
    api: &Api,
    response: &Response,
    status: &TokenStream,
    path: &TokenStream,
) -> TokenStream {
    let description = &response.description;
    let headers = response.headers.iter().map(|header| {
        let (name, presence, schema) =
            (&header.name, presence(header.required), schema_expr(api, &header.schema));
        let description = super::text::option(header.description.as_ref());
        quote! { .header(#name, #presence, #description, #schema) }
    });
    let body = response.body.as_ref().map(|(media_type, component)| {
        let component = ident(component);
        quote! { .body::<#path #component>(#media_type) }
    });
    quote! { .response(#status, #description) #(#headers)* #body }
}

pub(super) fn parameters(api: &Api) -> TokenStream {
    if api.parameters.is_empty() {
        return quote! {};
    }
    let parameters = api.parameters.iter().map(|parameter| {
        let (rust_name, name) = (ident(&parameter.rust_name), &parameter.name);
        let docs = docs(parameter.description.as_deref().unwrap_or(name));
        let (location, presence, kind) = (
            location(parameter.location),
            presence(parameter.required),
            parameter_type(parameter, &quote! { super:: }),
        );
        let schema = schema_expr_in(api, &parameter.schema, &quote! { super:: });
        let optional = !parameter.required && parameter.schema.keywords.default.is_none();
        let read = parameter.schema.is_date_time(&api.components).then(|| {
            let module = if optional {
                quote! { ::time::serde::rfc3339::option }
            } else {
                quote! { ::time::serde::rfc3339 }
            };
            quote! {
                fn read(value: &::serde_json::Value) -> Result<Self::Value, ::serde_json::Error> {
                    #module::deserialize(value)
                }
            }
        });
        quote! {
            #docs
            pub(super) struct #rust_name;

            impl runtime::ParameterSpec for #rust_name {
                const LOCATION: runtime::Location = #location;
                const NAME: &'static str = #name;
                const PRESENCE: runtime::Presence = #presence;
                type Value = #kind;

                fn schema() -> runtime::Schema { #schema }

                #read
            }
        }
    });
    quote! {
        /// Metadata of the parameters.
        mod parameters {
            use super::runtime;
            #(#parameters)*
        }
    }
}

fn location(location: Location) -> TokenStream {
    match location {
        Location::Path => quote! { runtime::Location::Path },
        Location::Query => quote! { runtime::Location::Query },
        Location::Header => quote! { runtime::Location::Header },
    }
}

pub(super) fn validators(api: &Api) -> TokenStream {
    let schemas = serde_json::to_string_pretty(&Value::Object(api.request_schemas.clone()))
        .expect("the schemas are JSON values");
    let schemas = raw(&schemas);
    let validators = api.operations.iter().map(|operation| {
        let (name, path) = (ident(&screaming_snake(&operation.rust_name)), &operation.path);
        let bearer = operation.scheme.map(|_| quote! { .bearer() });
        let parameters = operation.parameters.iter().map(|index| {
            let parameter = &api.parameters[*index];
            let (name, location, presence) = (&parameter.name, location(parameter.location), presence(parameter.required));
            let schema = raw(&parameter.raw.to_string());
            quote! { .parameter(#location, #name, #presence, #schema) }
        });
        let body = operation.body.as_ref().map(|body| {
            let schema = raw(&body.raw.to_string());
            quote! { .body(#schema) }
        });
        quote! {
            pub(super) static #name: LazyLock<runtime::RequestValidator> = LazyLock::new(|| runtime::RequestValidator::new(#path, &super::REQUEST_SCHEMAS) #bearer #(#parameters)* #body);
        }
    });
    quote! {
        /// The component schemas that requests refer to, as in the document.
        static REQUEST_SCHEMAS: runtime::Schemas = runtime::Schemas::new(#schemas);

        /// The validators of requests, one for each operation.
        mod validators {
            use ::std::sync::LazyLock;

            use super::runtime;

            #(#validators)*
        }
    }
}
