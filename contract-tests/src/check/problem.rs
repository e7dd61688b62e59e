//! Rules for every problem (RFC 9457, and descriptions of the document).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Exchange, RequestContext, body, single_header, text};
use crate::document::{self, Content, Document, UndeclaredMembers};

const STACK_TRACES: [&str; 8] = [
    "Traceback (most recent call last)",
    "stack backtrace:",
    "panicked at",
    "goroutine 1 [",
    "\\n\\tat ",
    "\\n    at ",
    "java.lang.",
    "SQLSTATE",
];

pub(super) fn check(
    document: &Document,
    exchange: &Exchange<'_>,
    sent: &RequestContext<'_>,
    faults: &mut Vec<String>,
) {
    if exchange.method == "HEAD" {
        return body::check_absent(exchange, faults);
    }
    match single_header(exchange.headers, "content-type") {
        Ok(media_type) => {
            let essence = media_type.split(';').next().unwrap_or_default().trim();
            if !essence.eq_ignore_ascii_case("application/problem+json") {
                faults.push(format!(
                    "content-type: expected application/problem+json, got {media_type:?}"
                ));
            }
        }
        Err(fault) => faults.push(fault),
    }
    check_with(document, None, &BTreeSet::new(), exchange, sent, faults);
}

/// Checks a problem; `codes` are those of its response, `content` its schema, if any.
pub(super) fn check_with(
    document: &Document,
    content: Option<&Content>,
    codes: &BTreeSet<String>,
    exchange: &Exchange<'_>,
    sent: &RequestContext<'_>,
    faults: &mut Vec<String>,
) {
    if document.undeclared_members() == UndeclaredMembers::Forbidden
        && let Ok(media_type) = single_header(exchange.headers, "content-type")
        && media_type != "application/problem+json"
    {
        faults.push(format!("content-type: expected application/problem+json, got {media_type:?}"));
    }
    let Some(problem) = body::read(exchange.body, faults) else { return };
    match (content, &document.problem) {
        (Some(content), _) => {
            faults.extend(document::faults(&content.validator, &problem));
            body::check_values(document, &content.schema, &problem, faults);
        }
        (None, Some(validator)) => {
            faults.extend(document::faults(validator, &problem));
            body::check_values(
                document,
                &serde_json::json!({ "$ref": "#/components/schemas/Problem" }),
                &problem,
                faults,
            );
        }
        (None, None) => {}
    }
    let mut expect = |member: &str, expected: &[Value]| {
        if problem.get(member).is_none_or(|value| !expected.contains(value)) {
            let expected: Vec<String> = expected.iter().map(Value::to_string).collect();
            let got = problem.get(member).map_or_else(|| "nothing".to_owned(), Value::to_string);
            faults.push(format!("body /{member}: expected {}, got {got}", expected.join(" or ")));
        }
    };
    expect("status", &[exchange.status.into()]);
    // A server that refuses the request unread may not have the path.
    if !(sent.malformed && exchange.status == 400) {
        let mut instances =
            allowed_instances(document.undeclared_members(), exchange.path, sent.prefix);
        let instance = problem.get("instance").and_then(Value::as_str);
        instances.extend(instance.filter(|got| is_one_cut(got, &instances)).map(str::to_owned));
        let instances: Vec<Value> = instances.into_iter().map(Value::from).collect();
        expect("instance", &instances);
    }
    if let Ok(id) = single_header(exchange.headers, "x-request-id") {
        expect("request_id", &[id.into()]);
    }
    let code = text(&problem, "code");
    let kind = text(&problem, "type");
    match document.undeclared_members() {
        UndeclaredMembers::Forbidden => expect("type", &[format!("/problems#{code}").into()]),
        // The URI of the explanation is the server's choice.
        UndeclaredMembers::AsSchema
            if kind.rsplit_once('#').is_none_or(|(_, fragment)| fragment != code) =>
        {
            faults.push(format!("body /type: expected \"#{code}\" at its end, got {kind:?}"));
        }
        UndeclaredMembers::AsSchema => {}
    }
    let named = if codes.is_empty() { &document.codes } else { codes };
    if !named.is_empty() && !named.contains(code) {
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        faults.push(format!(
            "body /code: expected {}, as the response declares, got {code:?}",
            named.join(" or ")
        ));
    }
    let errors = problem.get("errors").and_then(Value::as_array).map_or(0, Vec::len);
    if (code == "invalid_request") != (errors > 0) {
        faults.push(format!(
            "body /errors: expected faults exactly with the code invalid_request, got {errors} \
             with {code:?}"
        ));
    }
    let body = String::from_utf8_lossy(exchange.body);
    if let Some(trace) = STACK_TRACES.iter().find(|trace| body.contains(*trace)) {
        faults.push(format!("expected no stack trace in a problem, got {trace:?}"));
    }
}

/// Allowed values of `instance`: the requested path as a URI reference, in any spelling. A long one
/// may also be cut.
fn allowed_instances(members: UndeclaredMembers, path: &str, prefix: &str) -> Vec<String> {
    let path = path.split('?').next().unwrap_or_default();
    let mut spellings = vec![reference(path)];
    if members == UndeclaredMembers::AsSchema {
        spellings.extend([path.to_owned(), percent_decoded(path)]);
    }
    if !prefix.is_empty() {
        // A server behind a proxy that strips the prefix does not see it.
        spellings.extend(spellings.clone().iter().map(|spelling| format!("{prefix}{spelling}")));
    }
    let mut known = BTreeSet::new();
    spellings.retain(|spelling| known.insert(spelling.clone()));
    spellings
}

/// Whether an `instance` is the start of one of the allowed values, with or without an ellipsis.
fn is_one_cut(instance: &str, allowed: &[String]) -> bool {
    const LONG: usize = 128;
    let ellipsis = ["%E2%80%A6", "\u{2026}", "..."];
    let start = ellipsis.iter().find_map(|suffix| instance.strip_suffix(suffix));
    let start = start.unwrap_or(instance);
    // A cut percent-encoding leaves a stray `%`, which is encoded.
    let stray = start.rfind("%25").filter(|at| start.len() - at <= "%25C".len());
    let with_stray = stray.map(|at| format!("{}%{}", &start[..at], &start[at + "%25".len()..]));
    allowed.iter().any(|whole| {
        let is_start = |start: &str| start.len() >= LONG && whole.starts_with(start);
        is_start(start) || with_stray.as_deref().is_some_and(is_start)
    })
}

fn percent_decoded(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            Some(_) | None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A path as a URI reference (RFC 3986): without a host, with other characters and stray `%` encoded.
fn reference(path: &str) -> String {
    let mut reference = if path.starts_with("//") { "/.".to_owned() } else { String::new() };
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let is_code = after.get(..2).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit));
        let is_kept = match first {
            b'%' => is_code,
            other => other.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(other),
        };
        if is_kept {
            reference.push(char::from(*first));
        } else {
            reference.push_str(&format!("%{first:02X}"));
        }
        rest = after;
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the api writes them.
    #[test]
    fn escaped_and_cut_instances_are_allowed() {
        let is_allowed = |path: &str, instance: &str| {
            let allowed = allowed_instances(UndeclaredMembers::Forbidden, path, "");
            allowed.iter().any(|whole| whole == instance) || is_one_cut(instance, &allowed)
        };
        let (long, encoded) = ("x".repeat(300), "/%C3%A9".repeat(50));
        let start = &long[..252];
        for (path, instance) in [
            ("/orders?limit=1", "/orders"),
            (
                "/orders/a|b\"c{d}e^f\\g`<h>[i]",
                "/orders/a%7Cb%22c%7Bd%7De%5Ef%5Cg%60%3Ch%3E%5Bi%5D",
            ),
            ("/caf\u{e9}/50%/%zz/%C3%A9", "/caf%C3%A9/50%25/%25zz/%C3%A9"),
            ("//evil.example/x", "/.//evil.example/x"),
            (&format!("/{long}"), &format!("/{start}%E2%80%A6")),
            (&encoded, &format!("{}%E2%80%A6", &encoded[..252])),
            (&encoded, &format!("{}%25%E2%80%A6", &encoded[..253])),
            (&encoded, &format!("{}%25C%E2%80%A6", &encoded[..253])),
        ] {
            assert!(is_allowed(path, instance), "{path}: {instance}");
        }
        for (path, instance) in [
            ("/orders", "/ord%E2%80%A6"),
            ("/orders", "/users"),
            ("/orders/a|b", "/orders/a|b"),
            (&format!("/{long}"), &format!("/{}%E2%80%A6", &long[..50])),
            (&format!("/{long}"), &format!("/y{start}%E2%80%A6")),
        ] {
            assert!(!is_allowed(path, instance), "{path}: {instance}");
        }
    }
}
