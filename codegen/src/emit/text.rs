//! Literals and doc comments.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use serde_json::Value;

/// A text as `///` lines.
pub(super) fn docs(text: &str) -> TokenStream {
    let lines =
        text.lines().map(|line| if line.is_empty() { String::new() } else { format!(" {line}") });
    quote! { #(#[doc = #lines])* }
}

/// A text as one attribute, which poem-openapi reads as it is; line by line it would lose what
/// lines are indented by.
pub(super) fn verbatim(text: &str) -> TokenStream {
    let text = if text.contains('\n') { text.to_owned() } else { format!(" {text}") };
    quote! { #[doc = #text] }
}

/// `Some("…")` or `None`.
pub(super) fn option(text: Option<&String>) -> TokenStream {
    match text {
        Some(text) => quote! { Some(#text) },
        None => quote! { None },
    }
}

/// A JSON value as an argument that becomes a `serde_json::Value`.
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
            quote! { ::serde_json::from_str::<::serde_json::Value>(#text).expect("the generator writes JSON") }
        }
    }
}

/// A raw string literal, for text that has quotes in it.
pub(super) fn raw(text: &str) -> TokenStream {
    let mut hashes = "#".to_owned();
    while text.contains(&format!("\"{hashes}")) {
        hashes.push('#');
    }
    format!("r{hashes}\"{text}\"{hashes}").parse().expect("the text cannot end the literal")
}

/// A text in a comment of one line.
pub(super) fn comment_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
