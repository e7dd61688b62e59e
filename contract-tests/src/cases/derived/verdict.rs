//! What is expected of the answer to a request that is wrong in one place, or right at its very
//! bounds.

use serde_json::Value;

use crate::{
    document::Location,
    suite::{Answer, Failure},
};

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// `body`, `path`, `query` or `header`.
    pub(super) part: &'static str,
    /// A JSON Pointer into it; of a parameter `/` and its name.
    pub(super) pointer: String,
    /// Whether what it is in names it as well.
    around: bool,
}

impl Spot {
    /// A member with a value that is wrong.
    pub(super) fn body(pointer: &str) -> Self {
        Self { part: "body", pointer: pointer.to_owned(), around: false }
    }

    /// A member that is missing, too much, or there twice: the document does not say whether it is
    /// named itself, or the object that it is in.
    pub(super) fn at_or_around(pointer: &str) -> Self {
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

    /// Whether a fault's `in` and `pointer` name this place, or what is in it.
    fn is_named_by(&self, part: &str, pointer: &str) -> bool {
        let within = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self.part {
            // A parameter is named by itself; headers are without regard to case.
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

/// That the request was refused for the faults at these places and for no other; `telltale` is what
/// was sent there, which no refusal shows.
pub(super) fn refused(
    answer: &Answer,
    what: &str,
    spots: &[Spot],
    telltale: Option<&str>,
) -> Result<(), Failure> {
    if answer.status != 400 {
        return Err(answer.fail(format!(
            "{what}: the document does not allow it, so expected 400, got {}",
            answer.status
        )));
    }
    answer.problem("invalid_request")?;
    if answer.request().is_malformed() {
        // Who refuses it unread cannot say what of it is wrong.
        return Ok(());
    }
    let faults = faults(answer)?;
    for spot in spots {
        if !faults.iter().any(|(part, pointer)| spot.is_named_by(part, pointer)) {
            let message = format!(
                "{what}: expected a fault with `in` {:?} and `pointer` {:?} among `errors`, got {}: who is to mend the request is not told where",
                spot.part,
                spot.pointer,
                listed(&faults)
            );
            return Err(answer.fail(message));
        }
    }
    if let Some((part, pointer)) = faults
        .iter()
        .find(|(part, pointer)| !spots.iter().any(|spot| spot.is_named_by(part, pointer)))
    {
        return Err(answer.fail(format!("{what}: a fault was found in {part} at {pointer:?}, where the request is as the document has it")));
    }
    match telltale {
        Some(telltale) if is_shown(answer.json(), telltale) => {
            Err(answer.fail(format!("{what}: the refusal shows the value that was sent; the document says that it never does")))
        }
        Some(_) | None => Ok(()),
    }
}

/// That the request was let through to the operation, whatever the operation then made of it.
pub(super) fn accepted(answer: &Answer, what: &str) -> Result<(), Failure> {
    match answer.status {
        400 | 413 | 415 => Err(answer.fail(format!(
            "{what}: the document allows it, but it was refused with {}",
            answer.status
        ))),
        500.. => Err(answer.fail(format!(
            "{what}: the document allows it, but the server failed with {}",
            answer.status
        ))),
        _ => Ok(()),
    }
}

/// That the request was answered in one of two ways: let through, or refused for what is at this
/// place.
pub(super) fn accepted_or_refused(answer: &Answer, what: &str, spot: &Spot) -> Result<(), Failure> {
    if answer.status == 400 {
        refused(answer, what, std::slice::from_ref(spot), None)
    } else {
        accepted(answer, what)
    }
}

/// `in` and `pointer` of all faults.
pub(super) fn faults(answer: &Answer) -> Result<Vec<(String, String)>, Failure> {
    let text = |fault: &Value, member: &str| fault[member].as_str().unwrap_or_default().to_owned();
    let errors = answer.json()["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if errors.is_empty() {
        return Err(answer.fail("expected every fault of the request in `errors`, got none"));
    }
    Ok(errors.iter().map(|fault| (text(fault, "in"), text(fault, "pointer"))).collect())
}

/// Whether a problem shows a value of the request, apart from `instance`, which is the path as it
/// was sent.
fn is_shown(problem: &Value, telltale: &str) -> bool {
    match problem {
        Value::String(text) => text.contains(telltale),
        Value::Array(items) => items.iter().any(|item| is_shown(item, telltale)),
        Value::Object(members) => {
            members.iter().any(|(name, member)| name != "instance" && is_shown(member, telltale))
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
