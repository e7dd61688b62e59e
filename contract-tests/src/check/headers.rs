//! Headers that the operation declares or the status requires.

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::Exchange;
use crate::document::{self, Header, Response, UndeclaredMembers};

/// The value of a header that occurs exactly once.
pub(crate) fn single_header<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            value.to_str().map_err(|_| format!("{name}: expected ASCII, got {value:?}"))
        }
        (Some(_), Some(_)) => Err(format!("{name}: expected once, got several")),
        (None, _) => Err(format!("{name}: expected once, got none")),
    }
}

pub(super) fn check(header: &Header, headers: &HeaderMap, faults: &mut Vec<String>) {
    if !header.required && !headers.contains_key(&header.name) {
        return;
    }
    match single_header(headers, &header.name) {
        Ok(text) => {
            // Rust parses `+5` and `05`; RFC 9110 forbids them.
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

/// What RFC 9110 requires without a declaration.
pub(super) fn check_without_declaration(
    response: &Response,
    exchange: &Exchange<'_>,
    faults: &mut Vec<String>,
) {
    let declared =
        |name: &str| response.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    if exchange.status == 401 && !declared("www-authenticate") {
        match single_header(exchange.headers, "www-authenticate") {
            Ok(challenge) if is_bearer(challenge) => {}
            Ok(other) => {
                faults.push(format!("WWW-Authenticate: expected the scheme Bearer, got {other:?}"))
            }
            Err(fault) => faults.push(fault),
        }
    }
}

fn is_bearer(challenge: &str) -> bool {
    challenge.split([' ', ',']).next().unwrap_or_default().eq_ignore_ascii_case("bearer")
}

/// `Allow` lists exactly the methods of the path.
pub(super) fn check_allow(
    declared: &BTreeSet<&str>,
    members: UndeclaredMembers,
    exchange: &Exchange<'_>,
    faults: &mut Vec<String>,
) {
    let allow = match single_header(exchange.headers, "allow") {
        Ok(allow) => allow,
        Err(fault) => return faults.push(fault),
    };
    let allowed: BTreeSet<&str> =
        allow.split(',').map(str::trim).filter(|method| !method.is_empty()).collect();
    let mut wanted = declared.clone();
    let may_be: &[&str] = match members {
        // The document does not declare whether HEAD and OPTIONS exist.
        UndeclaredMembers::AsSchema => &["HEAD", "OPTIONS"],
        UndeclaredMembers::Forbidden => {
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
