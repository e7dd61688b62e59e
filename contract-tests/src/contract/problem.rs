//! What holds for every problem, wherever it is declared (RFC 9457, and design of the store).

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::Value;

use super::{
    Exchange, only,
    schema::{self, Schemas},
};

pub(super) struct Problems {
    schema: Validator,
    /// Those that the document names, in the description of `Problem`.
    codes: BTreeSet<String>,
}

impl Problems {
    pub(super) fn new(root: &Value, schemas: &Schemas) -> Self {
        let description = root["components"]["schemas"]["Problem"]["description"].as_str().expect("`Problem` is described");
        let word = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let codes = description.split('`').skip(1).step_by(2).filter(word).filter(|text| *text != "code").map(str::to_owned).collect();
        let reference = serde_json::json!({ "$ref": "#/components/schemas/Problem" });
        Self { schema: schemas.compile(&reference), codes }
    }

    pub(super) fn check(&self, exchange: &Exchange<'_>, faults: &mut Vec<String>) {
        match only(exchange.headers, "content-type") {
            Ok("application/problem+json") => {}
            Ok(other) => faults.push(format!("content-type: expected application/problem+json, got {other:?}")),
            Err(fault) => faults.push(fault),
        }
        let body: Value = match serde_json::from_slice(exchange.body) {
            Ok(body) => body,
            Err(error) => return faults.push(format!("the body is no JSON: {error}")),
        };
        faults.extend(schema::faults(&self.schema, &body));
        let mut expect = |member: &str, expected: &Value| {
            if body[member] != *expected {
                faults.push(format!("body /{member}: expected {expected}, got {}", body[member]));
            }
        };
        expect("status", &Value::from(exchange.status));
        expect("instance", &Value::from(reference(exchange.path.split('?').next().unwrap_or_default())));
        if let Ok(id) = only(exchange.headers, "x-request-id") {
            expect("request_id", &Value::from(id));
        }
        let code = body["code"].as_str().unwrap_or_default();
        expect("type", &Value::from(format!("/problems#{code}")));
        if !self.codes.contains(code) {
            faults.push(format!("body /code: the document does not name {code:?}"));
        }
        let errors = body.get("errors").and_then(Value::as_array).map_or(0, Vec::len);
        if (code == "invalid_request") != (errors > 0) {
            faults.push(format!("body /errors: {code} with {errors} faults"));
        }
        if exchange.status == 401 {
            match only(exchange.headers, "www-authenticate") {
                Ok(challenge) if challenge == "Bearer" || challenge.starts_with("Bearer ") => {}
                Ok(other) => faults.push(format!("www-authenticate: expected Bearer, got {other:?}")),
                Err(fault) => faults.push(fault),
            }
        }
    }
}

/// A path as a URI reference, for those paths that tests ask for: without a host, and with every `%` that begins no code encoded.
fn reference(path: &str) -> String {
    let mut parts = path.split('%');
    let mut reference = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.len() >= 2 && part.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
        reference.push_str(if code { "%" } else { "%25" });
        reference.push_str(part);
    }
    if reference.starts_with("//") { format!("/.{reference}") } else { reference }
}
