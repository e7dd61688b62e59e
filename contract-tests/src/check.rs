//! Checks responses against the document.

mod body;
mod headers;
mod problem;

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::document::{self, Document, Operation, Response, UndeclaredMembers};
pub(crate) use headers::single_header;

/// A request and its response.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// With the query, without the prefix of the base URL.
    pub path: &'a str,
    /// The status code.
    pub status: u16,
    /// The response headers.
    pub headers: &'a HeaderMap,
    /// The response body.
    pub body: &'a [u8],
}

/// Properties of the request that the response must or must not reflect.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestContext<'a> {
    /// The valid `X-Request-Id` that was sent: the response must echo it.
    pub request_id: Option<&'a str>,
    /// The path of the base URL, without a trailing slash. `instance` may include it or not.
    pub prefix: &'a str,
    /// Passwords and the token of the request: no response may contain them.
    pub secrets: &'a [String],
    /// Whether a server or gateway may refuse the request with 400 unread: see
    /// [`Request::is_malformed`](crate::http::Request::is_malformed). The response then belongs to
    /// no operation.
    pub malformed: bool,
}

const NON_OPERATION_PATHS: [&str; 5] =
    ["/docs", "/openapi.yaml", "/openapi.json", "/problems", "/reference"];

/// Oversized headers: refused before routing, so no operation declares it (docs/errors.md).
pub(crate) const BEFORE_ANY_OPERATION: u16 = 431;

impl Document {
    /// Returns every deviation from the document; empty if there is none.
    #[must_use]
    pub fn check(&self, exchange: &Exchange<'_>) -> Vec<String> {
        self.check_with_request(exchange, &RequestContext::default())
    }

    /// Like [`Document::check`], and checks what the response reflects of its request.
    #[must_use]
    pub fn check_with_request(
        &self,
        exchange: &Exchange<'_>,
        sent: &RequestContext<'_>,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        let refused_unread = sent.malformed && exchange.status == 400;
        match (
            single_header(exchange.headers, "x-request-id"),
            sent.request_id.filter(|_| !refused_unread),
        ) {
            (Err(fault), _) => faults.push(fault),
            (Ok(id), Some(sent)) if id != sent => {
                faults.push(format!("x-request-id: expected {sent:?}, as it was sent, got {id:?}"))
            }
            (Ok(_), _) => {}
        }
        body::check_secrets(exchange, sent.secrets, &mut faults);
        let path = exchange.path.split('?').next().unwrap_or_default();
        match self.operation_of(exchange.method, path) {
            _ if refused_unread => problem::check(self, exchange, sent, &mut faults),
            Some(operation) => self.check_operation(operation, exchange, sent, &mut faults),
            None => self.check_no_operation(path, exchange, sent, &mut faults),
        }
        faults
    }

    fn check_operation(
        &self,
        operation: &Operation,
        exchange: &Exchange<'_>,
        sent: &RequestContext<'_>,
        faults: &mut Vec<String>,
    ) {
        match operation.responses.get(&exchange.status) {
            Some(response) => self.check_response(response, exchange, sent, faults),
            None if exchange.status == BEFORE_ANY_OPERATION => {
                problem::check(self, exchange, sent, faults)
            }
            // The document declares no HEAD; this repository's store has it for every GET.
            None if exchange.method == "HEAD"
                && exchange.status == 405
                && self.undeclared_members() == UndeclaredMembers::AsSchema => {}
            None => {
                let declared: Vec<String> =
                    operation.responses.keys().map(u16::to_string).collect();
                faults.push(format!(
                    "status: {} declares no {}, but {}",
                    operation.id,
                    exchange.status,
                    declared.join(", ")
                ));
            }
        }
    }

    fn check_response(
        &self,
        response: &Response,
        exchange: &Exchange<'_>,
        sent: &RequestContext<'_>,
        faults: &mut Vec<String>,
    ) {
        for header in &response.headers {
            headers::check(header, exchange.headers, faults);
        }
        headers::check_without_declaration(response, exchange, faults);
        if exchange.method == "HEAD" || response.content.is_empty() {
            body::check_absent(exchange, faults);
            return;
        }
        let media_type = match single_header(exchange.headers, "content-type") {
            Ok(value) => value,
            Err(fault) => return faults.push(fault),
        };
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let Some(content) = response.content.get(&essence) else {
            let declared: Vec<&str> = response.content.keys().map(String::as_str).collect();
            return faults.push(format!(
                "content-type: expected {}, got {media_type:?}",
                declared.join(" or ")
            ));
        };
        if essence == "application/problem+json" {
            problem::check_with(self, Some(content), &response.codes, exchange, sent, faults);
        } else if let Some(value) = body::read(exchange.body, faults) {
            faults.extend(document::faults(&content.validator, &value));
            body::check_values(self, &content.schema, &value, faults);
        }
    }

    fn check_no_operation(
        &self,
        path: &str,
        exchange: &Exchange<'_>,
        sent: &RequestContext<'_>,
        faults: &mut Vec<String>,
    ) {
        let is_page = NON_OPERATION_PATHS.iter().any(|page| {
            path == *page || path.strip_prefix(page).is_some_and(|rest| rest.starts_with('/'))
        });
        if is_page && exchange.status < 400 {
            return;
        }
        let mut declared: BTreeSet<&str> =
            self.operations_at(path).map(|operation| operation.method.as_str()).collect();
        let known = !declared.is_empty() || NON_OPERATION_PATHS.contains(&path);
        let expected: &[u16] =
            if known { &[405, BEFORE_ANY_OPERATION] } else { &[404, 405, BEFORE_ANY_OPERATION] };
        if !expected.contains(&exchange.status) {
            let expected: Vec<String> = expected.iter().map(u16::to_string).collect();
            faults.push(format!(
                "status: expected {1}, as {0} {path} is not an operation, got {2}",
                exchange.method,
                expected.join(" or "),
                exchange.status
            ));
        }
        if exchange.status == 405 {
            if declared.is_empty() {
                declared.insert("GET");
            }
            headers::check_allow(&declared, self.undeclared_members(), exchange, faults);
        }
        problem::check(self, exchange, sent, faults);
    }
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
