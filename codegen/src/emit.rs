//! From the model to the text of a Rust module.

mod glue;
mod operations;
mod schemas;
mod text;

use proc_macro2::TokenStream;
use quote::quote;

use crate::{Options, model::Api};

/// Writes the whole module.
pub(crate) fn emit(api: &Api, options: &Options) -> String {
    // First what one implements and uses, then what makes it run.
    let parts = [
        operations::traits(api),
        operations::responses(api),
        schemas::types(api),
        schemas::schemes(api),
        glue::service(api),
        glue::apis(api),
        glue::tags(api),
        operations::contracts(api),
        operations::parameters(api),
        operations::response_descriptions(api),
        schemas::descriptions(api),
    ];
    let tokens: TokenStream = quote! {
        use ::poem_contract_runtime as runtime;

        #(#parts)*
    };
    let file: syn::File =
        syn::parse2(tokens).expect("what is quoted here is Rust, whatever the document says");
    // One by one, so that there is an empty line between them.
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
         //! {title}, version {version}: traits to implement, types, and a poem-openapi service that
         //! holds every request against the document.\n\n\
         #![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]\n\n{}",
        items.join("\n")
    )
}
