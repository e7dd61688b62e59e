//! Emits structs, enums and aliases, and poem-openapi's `Type` for them.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use super::text::{docs, json, option};
use crate::{
    model::{Api, Component, ComponentKind, EnumValue, Field, Keywords, Scalar, Schema, Shape},
    names::ident,
};

pub(super) fn types(api: &Api) -> TokenStream {
    let types = api.components.iter().map(|component| match &component.kind {
        ComponentKind::Object { fields, closed } => object(api, component, fields, *closed),
        ComponentKind::Enum { values } => enumeration(component, values),
        ComponentKind::Scalar(scalar) => alias(component, *scalar),
    });
    quote! { #(#types)* }
}

/// Emits poem-openapi's `Type` for the types of the document.
pub(super) fn type_impls(api: &Api) -> TokenStream {
    let mut described = Vec::new();
    let mut named = Vec::new();
    for component in &api.components {
        let keywords = keyword_calls(&component.keywords);
        match &component.kind {
            ComponentKind::Object { fields, closed: _ } => {
                let properties = fields.iter().map(|field| {
                    let (name, presence, schema) =
                        (&field.name, presence(field.required), schema_expr(api, &field.schema));
                    quote! { .property(#name, #presence, #schema) }
                });
                let schema = quote! { runtime::object(registry) #(#properties)* .end() #keywords };
                described.push(component_impl(component, &quote! { registry }, &schema));
            }
            ComponentKind::Enum { values } => {
                let literals = values.iter().map(|value| &value.value);
                let schema =
                    quote! { runtime::schema::<String>().enum_values(&[#(#literals),*]) #keywords };
                described.push(component_impl(component, &quote! { _ }, &schema));
            }
            ComponentKind::Scalar(scalar) => {
                let (name, scalar) = (ident(&component.rust_name), scalar_type(*scalar));
                let described = component_impl(
                    component,
                    &quote! { _ },
                    &quote! { runtime::schema::<#scalar>() #keywords },
                );
                named.push(quote! {
                    pub(super) struct #name;
                    #described
                });
            }
        }
    }
    let module = (!named.is_empty()).then(|| {
        quote! {
            /// Component schemas that are aliases of Rust types. The emitted document refers to
            /// them by name.
            mod aliases {
                use super::runtime;
                #(#named)*
            }
        }
    });
    quote! { #(#described)* #module }
}

fn doc_comment(keywords: &Keywords) -> TokenStream {
    keywords.description.as_deref().map(docs).unwrap_or_default()
}

fn scalar_type(scalar: Scalar) -> TokenStream {
    match scalar {
        Scalar::String => quote! { String },
        Scalar::Uuid => quote! { ::uuid::Uuid },
        Scalar::DateTime => quote! { ::time::OffsetDateTime },
        Scalar::I32 => quote! { i32 },
        Scalar::I64 => quote! { i64 },
        Scalar::Bool => quote! { bool },
    }
}

/// Returns the Rust type of a schema without `null`.
pub(super) fn rust_type(schema: &Schema) -> TokenStream {
    rust_type_in(schema, &quote! {})
}

/// Like [`rust_type`], in a module that reaches the types by `path`.
pub(super) fn rust_type_in(schema: &Schema, path: &TokenStream) -> TokenStream {
    match &schema.shape {
        Shape::Scalar(scalar) => scalar_type(*scalar),
        Shape::Component(name) => {
            let name = ident(name);
            quote! { #path #name }
        }
        Shape::Array(items) => {
            let items = rust_type_in(items, path);
            quote! { Vec<#items> }
        }
    }
}

fn alias(component: &Component, scalar: Scalar) -> TokenStream {
    let name = ident(&component.rust_name);
    let docs = doc_comment(&component.keywords);
    let scalar = scalar_type(scalar);
    quote! { #docs pub type #name = #scalar; }
}

fn object(api: &Api, component: &Component, fields: &[Field], closed: bool) -> TokenStream {
    let name = ident(&component.rust_name);
    let docs = doc_comment(&component.keywords);
    let deny = closed.then(|| quote! { #[serde(deny_unknown_fields)] });
    let members = fields.iter().map(|member| field(api, member));
    let secrets = fields.iter().any(is_secret);
    let (derive, debug) =
        if secrets { (quote! {}, debug(&name, fields)) } else { (quote! { Debug, }, quote! {}) };
    quote! {
        #docs
        #[derive(Clone, #derive PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #deny
        pub struct #name { #(#members)* }
        #debug
    }
}

fn is_secret(field: &Field) -> bool {
    field.schema.keywords.format.as_deref() == Some("password")
}

fn debug(name: &Ident, fields: &[Field]) -> TokenStream {
    let shown = fields.iter().map(|field| {
        let (member, name) = (ident(&field.rust_name), &field.name);
        if is_secret(field) {
            quote! { .field(#name, &"[redacted]") }
        } else {
            quote! { .field(#name, &self.#member) }
        }
    });
    let text = name.to_string();
    quote! {
        impl ::std::fmt::Debug for #name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(#text) #(#shown)* .finish()
            }
        }
    }
}

fn field(api: &Api, field: &Field) -> TokenStream {
    let member = ident(&field.rust_name);
    let docs = doc_comment(&field.schema.keywords);
    let rename = (field.rust_name != field.name).then(|| {
        let name = &field.name;
        quote! { #[serde(rename = #name)] }
    });
    let rust_type = rust_type(&field.schema);
    let optional = !field.required || field.schema.nullable;
    let time = field.schema.is_date_time(&api.components).then(|| {
        if optional {
            quote! { #[serde(with = "::time::serde::rfc3339::option")] }
        } else {
            quote! { #[serde(with = "::time::serde::rfc3339")] }
        }
    });
    // serde omits an absent member unless it may be null.
    let absent = match (field.required, field.schema.nullable) {
        (true, _) => None,
        (false, true) => Some(quote! { #[serde(default)] }),
        (false, false) => {
            Some(quote! { #[serde(default, skip_serializing_if = "Option::is_none")] })
        }
    };
    let rust_type = if optional {
        quote! { Option<#rust_type> }
    } else {
        rust_type
    };
    quote! { #docs #rename #time #absent pub #member: #rust_type, }
}

fn enumeration(component: &Component, values: &[EnumValue]) -> TokenStream {
    let name = ident(&component.rust_name);
    let docs = doc_comment(&component.keywords);
    let variants = values.iter().map(|EnumValue { value, rust_name }| {
        let (variant, docs) = (ident(rust_name), docs_of_value(value));
        quote! { #docs #[serde(rename = #value)] #variant, }
    });
    let texts = values.iter().map(|EnumValue { value, rust_name }| {
        let variant = ident(rust_name);
        quote! { Self::#variant => #value, }
    });
    quote! {
        #docs
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum #name { #(#variants)* }

        impl #name {
            /// Returns the value in the document.
            pub const fn as_str(self) -> &'static str {
                match self { #(#texts)* }
            }
        }

        impl ::std::fmt::Display for #name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    }
}

fn docs_of_value(value: &str) -> TokenStream {
    docs(&format!("`{value}`"))
}

fn component_impl(
    component: &Component,
    registry: &TokenStream,
    schema: &TokenStream,
) -> TokenStream {
    let (name, text) = (ident(&component.rust_name), &component.rust_name);
    let implement = if component.named {
        quote! { component_type }
    } else {
        quote! { inline_type }
    };
    quote! {
        impl runtime::Component for #name {
            const NAME: &'static str = #text;

            fn describe(#registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
                #schema
            }
        }

        runtime::#implement!(#name);
    }
}

pub(super) fn presence(required: bool) -> TokenStream {
    if required {
        quote! { runtime::Presence::Required }
    } else {
        quote! { runtime::Presence::Optional }
    }
}

/// Returns the expression that builds a schema's metadata.
pub(super) fn schema_expr(api: &Api, schema: &Schema) -> TokenStream {
    schema_expr_in(api, schema, &quote! {})
}

/// Like [`schema_expr`], in a module that reaches the types by `path`.
pub(super) fn schema_expr_in(api: &Api, schema: &Schema, path: &TokenStream) -> TokenStream {
    let described = metadata_type(api, schema, path);
    let keywords = keyword_calls(&schema.keywords);
    let nullable = schema.nullable.then(|| quote! { .nullable(true) });
    let items = match &schema.shape {
        Shape::Array(items) if has_keywords(items) => {
            let items = schema_expr_in(api, items, path);
            Some(quote! { .items(#items) })
        }
        Shape::Array(_) | Shape::Scalar(_) | Shape::Component(_) => None,
    };
    quote! { runtime::schema::<#described>() #items #nullable #keywords }
}

/// Returns the type with a schema's metadata: for an alias, its type in `aliases`.
fn metadata_type(api: &Api, schema: &Schema, path: &TokenStream) -> TokenStream {
    match &schema.shape {
        Shape::Scalar(scalar) => scalar_type(*scalar),
        Shape::Component(name) => {
            let is_alias = api.components.iter().any(|component| {
                component.rust_name == *name && matches!(component.kind, ComponentKind::Scalar(_))
            });
            let name = ident(name);
            if is_alias {
                quote! { #path aliases::#name }
            } else {
                quote! { #path #name }
            }
        }
        Shape::Array(items) => {
            let items = metadata_type(api, items, path);
            quote! { Vec<#items> }
        }
    }
}

fn has_keywords(schema: &Schema) -> bool {
    schema.nullable || !keyword_calls(&schema.keywords).is_empty()
}

/// Returns the calls that add the keywords of a schema to its metadata.
fn keyword_calls(keywords: &Keywords) -> TokenStream {
    let Keywords {
        title,
        description,
        external_docs,
        deprecated,
        default,
        example,
        format,
        pattern,
        exclusive_minimum,
        exclusive_maximum,
        unique_items,
        bounds,
    } = keywords;
    let title = title.as_ref().map(|title| quote! { .title(#title) });
    let description = description.as_ref().map(|description| quote! { .description(#description) });
    let external_docs = external_docs.as_ref().map(|docs| {
        let (url, description) = (&docs.url, option(docs.description.as_ref()));
        quote! { .external_docs(#url, #description) }
    });
    let deprecated = deprecated.then(|| quote! { .deprecated(true) });
    let format = format.as_ref().map(|format| quote! { .format(#format) });
    let pattern = pattern.as_ref().map(|pattern| quote! { .pattern(#pattern) });
    let bounds = bounds.iter().map(|(keyword, bound)| {
        let method = format_ident!("{keyword}");
        let bound = if ["minimum", "maximum", "multiple_of"].contains(keyword) {
            // Exact: lowering limits bounds to 2^53.
            format!("{bound}.0").parse::<TokenStream>().expect("a number")
        } else {
            let bound = Literal::i64_unsuffixed(*bound);
            quote! { #bound }
        };
        quote! { .#method(#bound) }
    });
    let exclusive_minimum = exclusive_minimum.then(|| quote! { .exclusive_minimum(true) });
    let exclusive_maximum = exclusive_maximum.then(|| quote! { .exclusive_maximum(true) });
    let unique_items = unique_items.then(|| quote! { .unique_items(true) });
    let default = default.as_ref().map(|default| {
        let default = json(default);
        quote! { .default(#default) }
    });
    let example = example.as_ref().map(|example| {
        let example = json(example);
        quote! { .example(#example) }
    });
    quote! {
        #title #description #external_docs #format #pattern #(#bounds)* #exclusive_minimum #exclusive_maximum #unique_items #deprecated #default #example
    }
}

pub(super) fn schemes(api: &Api) -> TokenStream {
    let schemes = api.schemes.iter().map(|scheme| {
        let (name, rust_name) = (&scheme.name, ident(&scheme.rust_name));
        let docs = docs(scheme.description.as_deref().unwrap_or("A bearer token."));
        let (description, format) = (option(scheme.description.as_ref()), option(scheme.bearer_format.as_ref()));
        quote! {
            #docs
            ///
            /// The token as sent; the implementation verifies it. `Debug` does not show it.
            #[derive(Clone, Debug)]
            pub struct #rust_name(runtime::Token);

            impl #rust_name {
                /// Returns the token.
                pub fn token(&self) -> &str {
                    self.0.as_str()
                }
            }

            impl<'a> ::poem_openapi::ApiExtractor<'a> for #rust_name {
                const TYPES: &'static [::poem_openapi::ApiExtractorType] = &[::poem_openapi::ApiExtractorType::SecurityScheme];
                type ParamType = ();
                type ParamRawType = ();

                fn register(registry: &mut ::poem_openapi::registry::Registry) {
                    registry.create_security_scheme(#name, runtime::bearer_scheme(#description, #format));
                }

                fn security_schemes() -> Vec<&'static str> {
                    vec![#name]
                }

                async fn from_request(
                    request: &'a ::poem::Request,
                    _: &mut ::poem::RequestBody,
                    _: ::poem_openapi::ExtractParamOptions<()>,
                ) -> ::poem::Result<Self> {
                    runtime::token(request).map(Self)
                }
            }
        }
    });
    quote! { #(#schemes)* }
}
