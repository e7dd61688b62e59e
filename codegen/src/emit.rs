//! Emits the model as a Rust module.

mod operations;
mod schemas;
mod service;
mod text;

use proc_macro2::TokenStream;
use quote::quote;

use crate::{Options, model::Api};

pub(crate) fn emit(api: &Api, options: &Options) -> String {
    // The API for the implementation comes first.
    let parts = [
        operations::traits(api),
        operations::responses(api),
        schemas::types(api),
        schemas::schemes(api),
        service::service(api),
        service::apis(api),
        service::tags(api),
        operations::validators(api),
        operations::parameters(api),
        operations::response_impls(api),
        schemas::type_impls(api),
    ];
    let tokens: TokenStream = quote! {
        use ::poem_contract_runtime as runtime;

        #(#parts)*
    };
    let file: syn::File = syn::parse2(tokens).expect("the emitted tokens are Rust items");
    // Formatting each item separately gives empty lines between items.
    let items: Vec<String> = file
        .items
        .into_iter()
        .map(|item| {
            prettyplease::unparse(&syn::File {
                shebang: None,
                frontmatter: None,
                attrs: Vec::new(),
                items: vec![item],
            })
        })
        .collect();
    let Options { source, command } = options;
    let title = text::comment_line(&api.info.title);
    let version = text::comment_line(&api.info.version);
    format!(
        "// @generated from {source} by poem-contract. Do not edit: change {source} and run `{command}`.\n\n\
         //! {title}, version {version}: traits to implement, types, and a poem-openapi service that\n\
         //! validates every request.\n\n\
         #![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]\n\n{}",
        items.join("\n")
    )
}
