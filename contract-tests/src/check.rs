//! Every way in which an answer is not as the document declares it.

mod body;
mod headers;
mod problem;

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::document::{self, Document, Members, Operation, Response};
pub(crate) use headers::only;

/// A request and its answer, as far as they are held against the document.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// With the query, without the prefix of the base URL.
    pub path: &'a str,
    /// The answer's.
    pub status: u16,
    /// The answer's.
    pub headers: &'a HeaderMap,
    /// The answer's.
    pub body: &'a [u8],
}

/// What of the request has to show in the answer, or must not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent<'a> {
    /// `X-Request-Id`, if one was sent that the document allows: the answer has the same.
    pub request_id: Option<&'a str>,
    /// The path of the base URL, without a slash at its end. `instance` may have it or not: who
    /// stands behind a proxy does not know it.
    pub prefix: &'a str,
    /// What nobody may read in an answer: passwords, and the token of the request.
    pub secrets: &'a [String],
    /// Whether a server, or a gateway in front of it, may refuse the request with 400 before it has
    /// read all of it: see [`Request::is_malformed`](crate::http::Request::is_malformed). That
    /// answer belongs to no operation, and its request id may be another one.
    pub malformed: bool,
}

/// Paths of the store that are no operations: pages and the document itself.
const PAGES: [&str; 5] = ["/docs", "/openapi.yaml", "/openapi.json", "/problems", "/reference"];

/// Headers that are too large: answered before any operation is looked for, so that none declares
/// it (docs/errors.md).
pub(crate) const BEFORE_ANY_OPERATION: u16 = 431;

impl Document {
    /// Every way in which an answer is not as this document declares it; empty if it is.
    #[must_use]
    pub fn check(&self, exchange: &Exchange<'_>) -> Vec<String> {
        self.check_sent(exchange, &Sent::default())
    }

    /// As [`Document::check`], and what the answer has to do with its request.
    #[must_use]
    pub fn check_sent(&self, exchange: &Exchange<'_>, sent: &Sent<'_>) -> Vec<String> {
        let mut faults = Vec::new();
        let refused_unread = sent.malformed && exchange.status == 400;
        match (only(exchange.headers, "x-request-id"), sent.request_id.filter(|_| !refused_unread))
        {
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
        sent: &Sent<'_>,
        faults: &mut Vec<String>,
    ) {
        match operation.responses.get(&exchange.status) {
            Some(response) => self.check_response(response, exchange, sent, faults),
            None if exchange.status == BEFORE_ANY_OPERATION => {
                problem::check(self, exchange, sent, faults)
            }
            // The document does not say that there is HEAD wherever there is GET; ours has it.
            None if exchange.method == "HEAD"
                && exchange.status == 405
                && self.members() == Members::AsDeclared => {}
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
        sent: &Sent<'_>,
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
        let media_type = match only(exchange.headers, "content-type") {
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
        sent: &Sent<'_>,
        faults: &mut Vec<String>,
    ) {
        let is_page = PAGES.iter().any(|page| {
            path == *page || path.strip_prefix(page).is_some_and(|rest| rest.starts_with('/'))
        });
        if is_page && exchange.status < 400 {
            return;
        }
        let mut declared: BTreeSet<&str> =
            self.operations_at(path).map(|operation| operation.method.as_str()).collect();
        let known = !declared.is_empty() || PAGES.contains(&path);
        let expected: &[u16] =
            if known { &[405, BEFORE_ANY_OPERATION] } else { &[404, 405, BEFORE_ANY_OPERATION] };
        if !expected.contains(&exchange.status) {
            let expected: Vec<String> = expected.iter().map(u16::to_string).collect();
            faults.push(format!(
                "status: {} {path} is no operation: expected {}, got {}",
                exchange.method,
                expected.join(" or "),
                exchange.status
            ));
        }
        if exchange.status == 405 {
            if declared.is_empty() {
                declared.insert("GET");
            }
            headers::check_allow(&declared, self.members(), exchange, faults);
        }
        if exchange.method != "HEAD" {
            problem::check(self, exchange, sent, faults);
        }
    }
}

/// The value at a member, as a text.
fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
