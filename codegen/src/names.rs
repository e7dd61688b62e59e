//! Converts names of the document to Rust names.

use proc_macro2::{Ident, Span};

/// `Idempotency-Key` → `idempotency_key`, `orderId` → `order_id`; `None` if the result is not an
/// identifier.
pub(crate) fn snake(name: &str) -> Option<String> {
    identifier(words(name).join("_"))
}

/// `place_order` → `PlaceOrder`, `Not Modified` → `NotModified`; `None` if the result is not an
/// identifier.
pub(crate) fn pascal(name: &str) -> Option<String> {
    let capitalised = |word: String| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    identifier(words(name).into_iter().map(capitalised).collect())
}

pub(crate) fn screaming_snake(snake: &str) -> String {
    snake.to_ascii_uppercase()
}

/// Returns an identifier, which is a raw one if the name is a keyword.
pub(crate) fn ident(name: &str) -> Ident {
    if syn::parse_str::<Ident>(name).is_ok() {
        Ident::new(name, Span::call_site())
    } else {
        Ident::new_raw(name, Span::call_site())
    }
}

/// Accepts ASCII letters, digits and `_` after a letter. Rejects keywords that cannot be raw.
fn identifier(name: String) -> Option<String> {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && !["self", "Self", "super", "crate"].contains(&name.as_str())).then_some(name)
}

/// Splits a name into lower-case words: at characters other than letters and digits, and between a
/// lower-case letter and a capital.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    // An apostrophe does not split a word: "I'm".
    for c in name.chars().filter(|c| *c != '\'') {
        if !c.is_alphanumeric() || (c.is_uppercase() && after_small) {
            words.push(String::new());
        }
        after_small = c.is_lowercase() || c.is_numeric();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_names_become_identifiers() {
        assert_eq!(snake("Idempotency-Key").as_deref(), Some("idempotency_key"));
        assert_eq!(snake("orderId").as_deref(), Some("order_id"));
        assert_eq!(snake("ETag").as_deref(), Some("etag"));
        assert_eq!(snake("WWW-Authenticate").as_deref(), Some("www_authenticate"));
        assert_eq!(snake("type").as_deref(), Some("type"));
        assert_eq!(snake("self"), None);
        assert_eq!(snake("3d"), None);
        assert_eq!(snake("größe"), None);
        assert_eq!(snake("-"), None);
        assert_eq!(pascal("place_order").as_deref(), Some("PlaceOrder"));
        assert_eq!(pascal("OrderManager").as_deref(), Some("OrderManager"));
        assert_eq!(pascal("Not Modified").as_deref(), Some("NotModified"));
        assert_eq!(pascal("I'm a teapot").as_deref(), Some("ImATeapot"));
        assert_eq!(pascal("bearerAuth").as_deref(), Some("BearerAuth"));
        assert_eq!(pascal("self"), None);
        assert_eq!(ident("type").to_string(), "r#type");
        assert_eq!(ident("limit").to_string(), "limit");
    }
}
