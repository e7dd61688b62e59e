//! Emits literals and doc comments.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use serde_json::Value;

/// Returns a text as one `///` comment for each line.
pub(super) fn docs(text: &str) -> TokenStream {
    let lines =
        text.lines().map(|line| if line.is_empty() { String::new() } else { format!(" {line}") });
    quote! { #(#[doc = #lines])* }
}

/// Returns a text as one attribute. Line by line, poem-openapi would lose the indentation.
pub(super) fn verbatim(text: &str) -> TokenStream {
    let text = if text.contains('\n') { text.to_owned() } else { format!(" {text}") };
    quote! { #[doc = #text] }
}

pub(super) fn option(text: Option<&String>) -> TokenStream {
    match text {
        Some(text) => quote! { Some(#text) },
        None => quote! { None },
    }
}

/// Returns an expression that converts into the `serde_json::Value`.
pub(super) fn json(value: &Value) -> TokenStream {
    match value {
        Value::String(text) => quote! { #text },
        Value::Bool(value) => quote! { #value },
        Value::Number(number) if number.is_i64() => {
            let number = Literal::i64_unsuffixed(number.as_i64().unwrap_or_default());
            quote! { #number }
        }
        Value::Null => quote! { ::serde_json::Value::Null },
        Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            let text = raw(&value.to_string());
            quote! { ::serde_json::from_str::<::serde_json::Value>(#text).expect("the generator emits JSON") }
        }
    }
}

pub(super) fn raw(text: &str) -> TokenStream {
    let mut hashes = "#".to_owned();
    while text.contains(&format!("\"{hashes}")) {
        hashes.push('#');
    }
    format!("r{hashes}\"{text}\"{hashes}").parse().expect("the text cannot end the literal")
}

pub(super) fn comment_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
