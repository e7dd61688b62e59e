//! The expected responses to invalid requests and to valid requests at their bounds.

use serde_json::Value;

use crate::{
    document::Location,
    suite::{Answer, Failure},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FaultLocation {
    /// `body`, `path`, `query` or `header`.
    pub(super) part: &'static str,
    /// A JSON Pointer; `/` and the name of a parameter.
    pub(super) pointer: String,
    /// Whether the fault may name the parent instead.
    around: bool,
}

impl FaultLocation {
    pub(super) fn body(pointer: &str) -> Self {
        Self { part: "body", pointer: pointer.to_owned(), around: false }
    }

    /// A missing, undeclared or repeated member: the document leaves open whether the fault names
    /// it or its object.
    pub(super) fn member_or_parent(pointer: &str) -> Self {
        Self { around: true, ..Self::body(pointer) }
    }

    pub(super) fn parameter(location: Location, name: &str) -> Self {
        let part = match location {
            Location::Path => "path",
            Location::Query => "query",
            Location::Header => "header",
        };
        Self { part, pointer: format!("/{}", super::members::escape(name)), around: false }
    }

    /// Whether a fault's `in` and `pointer` name this location, or one below it.
    fn is_named_by(&self, part: &str, pointer: &str) -> bool {
        let within = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self.part {
            // A parameter is named itself; header names ignore case.
            "header" => part == self.part && pointer.eq_ignore_ascii_case(&self.pointer),
            "body" => {
                part == self.part
                    && (within(&self.pointer, pointer)
                        || (self.around && within(pointer, &self.pointer)))
            }
            _ => part == self.part && pointer == self.pointer,
        }
    }
}

/// Expects a refusal for exactly these faults. The response must not contain `canary`.
pub(super) fn refused(
    answer: &Answer,
    what: &str,
    locations: &[FaultLocation],
    canary: Option<&str>,
) -> Result<(), Failure> {
    if answer.status != 400 {
        return Err(answer.fail(format!(
            "{what}: expected 400, as the document forbids it, got {}",
            answer.status
        )));
    }
    answer.problem("invalid_request")?;
    if answer.request().is_malformed() {
        // A server that refuses the request unread cannot report faults.
        return Ok(());
    }
    let faults = faults(answer)?;
    for location in locations {
        if !faults.iter().any(|(part, pointer)| location.is_named_by(part, pointer)) {
            let message = format!(
                "{what}: expected a fault with `in` {:?} and `pointer` {:?} among `errors`, got {}",
                location.part,
                location.pointer,
                listed(&faults)
            );
            return Err(answer.fail(message));
        }
    }
    if let Some((part, pointer)) = faults.iter().find(|(part, pointer)| {
        !locations.iter().any(|location| location.is_named_by(part, pointer))
    }) {
        return Err(answer.fail(format!(
            "{what}: got a fault in {part} at {pointer:?}, where the request is valid"
        )));
    }
    match canary {
        Some(canary) if is_echoed(answer.json(), canary) => Err(answer.fail(format!(
            "{what}: the refusal echoes the sent value, which the document forbids"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Expects that validation passed; the operation may then return anything.
pub(super) fn accepted(answer: &Answer, what: &str) -> Result<(), Failure> {
    match answer.status {
        400 | 413 | 415 => Err(answer.fail(format!(
            "{what}: expected success, as the document allows it, got {}",
            answer.status
        ))),
        500.. => {
            Err(answer.fail(format!("{what}: expected success or 400, got {}", answer.status)))
        }
        _ => Ok(()),
    }
}

/// Expects one of two results: accepted, or refused for this fault.
pub(super) fn accepted_or_refused(
    answer: &Answer,
    what: &str,
    location: &FaultLocation,
) -> Result<(), Failure> {
    if answer.status == 400 {
        refused(answer, what, std::slice::from_ref(location), None)
    } else {
        accepted(answer, what)
    }
}

pub(super) fn faults(answer: &Answer) -> Result<Vec<(String, String)>, Failure> {
    let text = |fault: &Value, member: &str| fault[member].as_str().unwrap_or_default().to_owned();
    let errors = answer.json()["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if errors.is_empty() {
        return Err(answer.fail("expected every fault of the request in `errors`, got none"));
    }
    Ok(errors.iter().map(|fault| (text(fault, "in"), text(fault, "pointer"))).collect())
}

/// Whether a problem echoes a value, apart from `instance`.
fn is_echoed(problem: &Value, canary: &str) -> bool {
    match problem {
        Value::String(text) => text.contains(canary),
        Value::Array(items) => items.iter().any(|item| is_echoed(item, canary)),
        Value::Object(members) => {
            members.iter().any(|(name, member)| name != "instance" && is_echoed(member, canary))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn listed(faults: &[(String, String)]) -> String {
    faults
        .iter()
        .map(|(part, pointer)| format!("{part} {pointer:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}
