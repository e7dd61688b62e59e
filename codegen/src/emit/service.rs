//! Emits a poem-openapi API for each tag, and the service that combines them.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{
    operations::scheme_argument,
    text::{option, verbatim},
};
use crate::{
    model::{Api, ExternalDocs, Location, Operation},
    names::{ident, screaming_snake},
};

pub(super) fn tags(api: &Api) -> TokenStream {
    let variants = api.tags.iter().map(|tag| ident(&tag.rust_name));
    let described = api.tags.iter().map(|tag| {
        let (variant, name, description) = (ident(&tag.rust_name), &tag.name, option(tag.description.as_ref()));
        let docs = match &tag.external_docs {
            Some(ExternalDocs { url, description }) => {
                let description = option(description.as_ref());
                quote! { Some((#url, #description)) }
            }
            None => quote! { None },
        };
        quote! { Self::#variant => runtime::Tag { name: #name, description: #description, external_docs: #docs }, }
    });
    quote! {
        #[derive(Clone, Copy)]
        enum Tags { #(#variants),* }

        impl Tags {
            fn metadata(self) -> runtime::Tag {
                match self { #(#described)* }
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
    }
}

pub(super) fn apis(api: &Api) -> TokenStream {
    let checks = api.operations.iter().map(|operation| {
        let (check, validator) = (
            format_ident!("check_{}", operation.rust_name),
            ident(&screaming_snake(&operation.rust_name)),
        );
        quote! {
            fn #check<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
                runtime::ValidatedEndpoint::new(endpoint, &validators::#validator)
            }
        }
    });
    let apis = api.tags.iter().enumerate().map(|(index, tag)| {
        let (name, implemented) = (format_ident!("{}Api", tag.rust_name), ident(&tag.rust_name));
        let operations = api
            .operations
            .iter()
            .filter(|operation| operation.tag == index)
            .map(|operation| method(api, operation));
        quote! {
            struct #name<T>(::std::sync::Arc<T>);

            #[::poem_openapi::OpenApi]
            impl<T: #implemented> #name<T> { #(#operations)* }
        }
    });
    quote! { #(#checks)* #(#apis)* }
}

fn method(api: &Api, operation: &Operation) -> TokenStream {
    let texts: Vec<&str> = [operation.summary.as_deref(), operation.description.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    let docs = (!texts.is_empty()).then(|| verbatim(&texts.join("\n\n")));
    let path = operation
        .path
        .split('/')
        .map(|segment| {
            segment
                .strip_prefix('{')
                .and_then(|segment| segment.strip_suffix('}'))
                .map_or_else(|| segment.to_owned(), |name| format!(":{name}"))
        })
        .collect::<Vec<_>>()
        .join("/");
    let (method, id, check) =
        (&operation.method, &operation.id, format!("check_{}", operation.rust_name));
    let tag = format!("Tags::{}", api.tags[operation.tag].rust_name);
    let deprecated = operation.deprecated.then(|| quote! { , deprecated });
    let external_docs = operation
        .external_docs
        .as_ref()
        .map(|ExternalDocs { url, description: _ }| quote! { , external_docs = #url });
    let (name, response) = (ident(&operation.rust_name), ident(&operation.response_name));
    let trait_name = ident(&api.tags[operation.tag].rust_name);

    let mut parameters = Vec::new();
    let mut passed = Vec::new();
    if let Some(index) = operation.scheme {
        let scheme = &api.schemes[index];
        let (argument, kind) = (scheme_argument(&scheme.rust_name), ident(&scheme.rust_name));
        parameters.push(quote! { #argument: #kind });
        passed.push(argument);
    }
    for index in &operation.parameters {
        let parameter = &api.parameters[*index];
        let docs = parameter.description.as_deref().map(verbatim);
        let (argument, kind, name) =
            (ident(&parameter.argument), ident(&parameter.rust_name), &parameter.name);
        let deprecated = parameter.deprecated.then(|| quote! { , deprecated });
        // poem-openapi omits the default of queries.
        let explode = (parameter.location != Location::Query).then(|| quote! { , explode = false });
        parameters.push(quote! { #docs #[oai(name = #name #deprecated #explode)] #argument: runtime::Parameter<parameters::#kind> });
        passed.push(quote! { #argument.0 });
    }
    if let Some(body) = &operation.body {
        let docs = body.description.as_deref().map(verbatim);
        let component = ident(&body.component);
        parameters.push(quote! { #docs body: runtime::Body<#component> });
        passed.push(quote! { body.0 });
    }
    let allow = operation.deprecated.then(|| quote! { #[allow(deprecated)] });
    quote! {
        #docs
        #allow
        #[oai(path = #path, method = #method, operation_id = #id, tag = #tag, transform = #check #deprecated #external_docs)]
        async fn #name(&self, #(#parameters),*) -> #response {
            #trait_name::#name(&*self.0, #(#passed),*).await
        }
    }
}

pub(super) fn service(api: &Api) -> TokenStream {
    let apis: Vec<_> = api.tags.iter().map(|tag| format_ident!("{}Api", tag.rust_name)).collect();
    let bounds: Vec<_> = api.tags.iter().map(|tag| ident(&tag.rust_name)).collect();
    let (types, values) = match &apis[..] {
        [api] => (quote! { #api<T> }, quote! { #api(implementation) }),
        apis => (
            quote! { (#(#apis<T>),*) },
            quote! { (#(#apis(::std::sync::Arc::clone(&implementation))),*) },
        ),
    };
    let routes = api.operations.iter().map(|operation| {
        let (method, path, id) =
            (operation.method.to_ascii_uppercase(), &operation.path, &operation.id);
        quote! { (#method, #path, #id) }
    });
    let service_fn = service_fn(api);
    quote! {
        type Apis<T> = #types;

        /// The routes of the document: method, path template, operation id.
        pub const ROUTES: &[runtime::Route] = &[#(#routes),*];

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
            T: #(#bounds)+*,
        {
            runtime::ServiceEndpoint::new(service::<Apis<T>>(#values), ROUTES, rejections, limits)
        }

        /// Returns the document that the server emits, as JSON.
        pub fn spec_json<T>() -> String
        where
            T: #(#bounds)+*,
        {
            service(runtime::SpecOnly::<Apis<T>>::new()).spec()
        }

        #service_fn
    }
}

fn service_fn(api: &Api) -> TokenStream {
    let (title, version) = (&api.info.title, &api.info.version);
    let description =
        api.info.description.as_ref().map(|description| quote! { .description(#description) });
    let terms =
        api.info.terms_of_service.as_ref().map(|terms| quote! { .terms_of_service(#terms) });
    let contact = api.info.contact.as_ref().map(|(name, url, email)| {
        let name = name.as_ref().map(|name| quote! { .name(#name) });
        let url = url.as_ref().map(|url| quote! { .url(#url) });
        let email = email.as_ref().map(|email| quote! { .email(#email) });
        quote! { .contact(::poem_openapi::ContactObject::new() #name #url #email) }
    });
    let license = api.info.license.as_ref().map(|(name, url)| {
        let url = url.as_ref().map(|url| quote! { .url(#url) });
        quote! { .license(::poem_openapi::LicenseObject::new(#name) #url) }
    });
    let servers = api.servers.iter().map(|server| {
        let (url, description) = (
            &server.url,
            server.description.as_ref().map(|description| quote! { .description(#description) }),
        );
        quote! { .server(::poem_openapi::ServerObject::new(#url) #description) }
    });
    let external_docs = api.external_docs.as_ref().map(|ExternalDocs { url, description }| {
        let description = description.as_ref().map(|description| quote! { .description(#description) });
        quote! { .external_document(::poem_openapi::ExternalDocumentObject::new(#url) #description) }
    });
    quote! {
        fn service<A: ::poem_openapi::OpenApi>(apis: A) -> ::poem_openapi::OpenApiService<A, ()> {
            ::poem_openapi::OpenApiService::new(apis, #title, #version) #description #terms #contact #license #(#servers)* #external_docs
        }
    }
}
