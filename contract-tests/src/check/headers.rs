//! The headers of an answer: those that its operation declares, and those that its status asks for.

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::Exchange;
use crate::document::{self, Header, Members, Response};

/// The value of a header that is there once.
pub(crate) fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            value.to_str().map_err(|_| format!("{name}: expected ASCII, got {value:?}"))
        }
        (Some(_), Some(_)) => Err(format!("{name}: expected once, is there more than once")),
        (None, _) => Err(format!("{name}: expected, is not there")),
    }
}

/// One that is declared.
pub(super) fn check(header: &Header, headers: &HeaderMap, faults: &mut Vec<String>) {
    if !header.required && !headers.contains_key(&header.name) {
        return;
    }
    match only(headers, &header.name) {
        Ok(text) => {
            // `+5` and `05` are numbers to Rust, and not to RFC 9110.
            let digits = !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && (text == "0" || !text.starts_with('0'));
            let value = match text.parse::<i64>() {
                Ok(number) if header.integer && digits => Value::from(number),
                Ok(_) | Err(_) => Value::from(text),
            };
            let of_value = document::faults(&header.validator, &value).into_iter();
            faults.extend(
                of_value.map(|fault| {
                    format!("{}: {}", header.name, fault.trim_start_matches("body : "))
                }),
            );
            if header.name.eq_ignore_ascii_case("www-authenticate") && !is_bearer(text) {
                faults.push(format!("WWW-Authenticate: expected the scheme Bearer, got {text:?}"));
            }
        }
        Err(fault) => faults.push(fault),
    }
}

/// What RFC 9110 asks for whether or not the document declares it.
pub(super) fn check_without_declaration(
    response: &Response,
    exchange: &Exchange<'_>,
    faults: &mut Vec<String>,
) {
    let declared =
        |name: &str| response.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    if exchange.status == 401 && !declared("www-authenticate") {
        match only(exchange.headers, "www-authenticate") {
            Ok(challenge) if is_bearer(challenge) => {}
            Ok(other) => {
                faults.push(format!("WWW-Authenticate: expected the scheme Bearer, got {other:?}"))
            }
            Err(fault) => faults.push(fault),
        }
    }
}

/// `Bearer`, with or without parameters; names of schemes have no case.
fn is_bearer(challenge: &str) -> bool {
    challenge.split([' ', ',']).next().unwrap_or_default().eq_ignore_ascii_case("bearer")
}

/// `Allow` has every method of the path and none that it has not.
pub(super) fn check_allow(
    declared: &BTreeSet<&str>,
    members: Members,
    exchange: &Exchange<'_>,
    faults: &mut Vec<String>,
) {
    let allow = match only(exchange.headers, "allow") {
        Ok(allow) => allow,
        Err(fault) => return faults.push(fault),
    };
    let allowed: BTreeSet<&str> =
        allow.split(',').map(str::trim).filter(|method| !method.is_empty()).collect();
    let mut wanted = declared.clone();
    let may_be: &[&str] = match members {
        // The document does not say whether there is HEAD and OPTIONS.
        Members::AsDeclared => &["HEAD", "OPTIONS"],
        Members::None => {
            if wanted.contains("GET") {
                wanted.insert("HEAD");
            }
            &[]
        }
    };
    let complete =
        wanted.is_subset(&allowed) && allowed.difference(&wanted).all(|more| may_be.contains(more));
    if !complete || allowed.contains(exchange.method) {
        let wanted: Vec<&str> = wanted.into_iter().collect();
        faults.push(format!("Allow: expected {}, got {allow:?}", wanted.join(", ")));
    }
}
