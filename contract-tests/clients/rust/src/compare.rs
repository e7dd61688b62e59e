//! Compares a response with the expectation.

use serde_json::Value;

use crate::{Stop, operations::Outcome, values::Variables};

pub(crate) fn all(expect: &Value, outcome: &Outcome, variables: &Variables) -> Result<(), Stop> {
    for (name, expected) in expect["headers"].as_object().into_iter().flatten() {
        compare(
            name,
            expected,
            outcome
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(Value::from)
                .as_ref(),
            variables,
        )?;
    }
    if let Some(code) = expect.get("code") {
        compare("/code", code, outcome.body.pointer("/code"), variables)?;
        compare("/status", &outcome.status.into(), outcome.body.pointer("/status"), variables)?;
        let request_id = outcome.headers.get("x-request-id").and_then(|value| value.to_str().ok());
        let request_id = request_id
            .ok_or_else(|| Stop::Difference("expected X-Request-Id, got nothing".to_owned()))?;
        compare("/request_id", &request_id.into(), outcome.body.pointer("/request_id"), variables)?;
    }
    for (pointer, expected) in expect["body"].as_object().into_iter().flatten() {
        compare(pointer, expected, outcome.body.pointer(pointer), variables)?;
    }
    Ok(())
}

/// Compares one value; an absent value equals `null`.
fn compare(
    place: &str,
    expected: &Value,
    got: Option<&Value>,
    variables: &Variables,
) -> Result<(), Stop> {
    let got = got.unwrap_or(&Value::Null);
    let difference =
        |expected: &str| Err(Stop::Difference(format!("expected {place} {expected}, got {got}")));
    match expected["$type"].as_str() {
        Some("string") if got.as_str().is_some_and(|text| !text.is_empty()) => Ok(()),
        Some("string") => difference("any text"),
        Some("integer") if got.is_i64() || got.is_u64() => Ok(()),
        Some("integer") => difference("any integer"),
        Some(other) => Err(Stop::Invalid(format!("the type {other:?} is not known"))),
        None => {
            let expected = variables.fill(expected).map_err(Stop::Invalid)?;
            if expected == *got { Ok(()) } else { difference(&expected.to_string()) }
        }
    }
}
