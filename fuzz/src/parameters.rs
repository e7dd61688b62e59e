//! Queries, paths and headers as parameters of operations, and the idempotency key.

use std::{borrow::Cow, sync::LazyLock};

use contract_tests::document::{Location, Operation};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use jsonschema::Validator;
use merch_contract::{grpc::assistant::v1::NewOrder, validation::Validate as _};
use poem::Request;
use poem_contract_runtime::{
    Faults, Limits, Rejection, RequestValidator, ValidRequest,
    fuzzing::{parameter, validate},
};
use serde_json::Value;

use crate::{
    document::{DOCUMENT, location, parameter_validator},
    runtime,
};

/// A parameter with the contract suite's check of its values.
struct Checked {
    parameter: &'static contract_tests::document::Parameter,
    schema: Validator,
}

struct Checks {
    operation: &'static Operation,
    validator: RequestValidator,
    parameters: Vec<Checked>,
}

static CHECKS: LazyLock<Vec<Checks>> = LazyLock::new(|| {
    let checks = DOCUMENT.operations().iter().map(|operation| Checks {
        operation,
        validator: parameter_validator(operation),
        parameters: operation
            .parameters
            .iter()
            .map(|parameter| {
                let schema = DOCUMENT.validator(&parameter.schema).expect("the schema is valid");
                Checked { parameter, schema }
            })
            .collect(),
    });
    checks.collect()
});

/// Reads the parameters of a request: a line with method and target, and lines with headers.
///
/// # Panics
/// If the server and this module's parser differ in a value, or in whether the request is valid.
pub fn query(data: &[u8]) {
    let Some((method, uri, headers)) = parse_head(data) else { return };
    let Some(operation) = DOCUMENT.operation_of(method.as_str(), uri.path()) else { return };
    let checks = CHECKS
        .iter()
        .find(|checks| checks.operation.id == operation.id)
        .expect("each operation has checks");
    check(checks, &uri, &headers);
}

/// Returns whether the request is valid.
fn check(checks: &Checks, uri: &Uri, headers: &HeaderMap) -> bool {
    let validated = validated(&checks.validator, uri, headers);
    let expected = expected(checks, uri, headers);
    match (&validated, &expected) {
        (Ok(valid), Some(values)) => {
            for (Checked { parameter: of, .. }, value) in checks.parameters.iter().zip(values) {
                let got = parameter(valid, location(of.location), &of.name);
                assert_eq!(got, value.as_ref(), "the value of {}", of.name);
            }
        }
        (Err(faults), None) => {
            assert!(!faults.is_empty(), "a refused request has a fault");
            let bytes: usize =
                faults.listed().iter().map(|fault| fault.pointer.len() + fault.detail.len()).sum();
            assert!(bytes <= Faults::MAX_TEXT_BYTES && faults.listed().len() <= Faults::MAX_LISTED);
        }
        (Ok(_), None) => panic!("accepted, although the document forbids it: {uri} {headers:?}"),
        (Err(faults), Some(values)) => panic!("refused, {faults:?}, but valid: {values:?}"),
    }
    expected.is_some()
}

fn validated(
    validator: &RequestValidator,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<ValidRequest, Faults> {
    // The query reaches the validator as data of the request.
    let mut request = Request::builder().uri(uri.clone()).finish();
    *request.headers_mut() = headers.clone();
    poem_contract_runtime::fuzzing::take_query(&mut request);
    let limits = Limits { body_bytes: 0 };
    match runtime().block_on(validate(validator, &mut request, limits)) {
        Ok(valid) => Ok(valid),
        Err(Rejection::InvalidRequest { faults }) => Err(faults),
        Err(rejection) => panic!("unexpected for parameters: {rejection:?}"),
    }
}

/// Returns the values of all parameters, or `None` if the document forbids the request.
fn expected(checks: &Checks, uri: &Uri, headers: &HeaderMap) -> Option<Vec<Option<Value>>> {
    let has_query = checks
        .parameters
        .iter()
        .any(|Checked { parameter, .. }| parameter.location == Location::Query);
    let pairs = if has_query { query_pairs(uri.query().unwrap_or_default())? } else { Vec::new() };
    let is_declared = |name: &str| {
        checks
            .parameters
            .iter()
            .any(|of| of.parameter.location == Location::Query && of.parameter.name == name)
    };
    if !pairs.iter().all(|(name, _)| is_declared(name)) {
        return None;
    }
    checks.parameters.iter().map(|of| value(checks, of, &pairs, uri, headers)).collect()
}

fn value(
    checks: &Checks,
    of: &Checked,
    pairs: &[(String, String)],
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<Option<Value>> {
    let parameter = of.parameter;
    let sent: Vec<Cow<'_, str>> = match parameter.location {
        Location::Query => pairs
            .iter()
            .filter(|(name, _)| *name == parameter.name)
            .map(|(_, value)| value.into())
            .collect(),
        Location::Path => {
            let template = checks.operation.path.split('/');
            let segment = template
                .zip(uri.path().split('/'))
                .find(|(template, _)| template.trim_matches(['{', '}']) == parameter.name);
            let (_, raw) = segment?;
            vec![decoded(raw)?.into()]
        }
        Location::Header => {
            let lines = headers.get_all(&parameter.name).iter().map(|line| line.to_str().ok());
            let lines = lines.collect::<Option<Vec<_>>>()?;
            match parameter.name.to_ascii_lowercase().as_str() {
                "if-match" | "if-none-match" if !lines.is_empty() => vec![lines.join(", ").into()],
                _ => lines.into_iter().map(Cow::from).collect(),
            }
        }
    };
    let schema = DOCUMENT.resolve(&parameter.schema);
    let text = match &*sent {
        [] if parameter.required => return None,
        [] => return Some(schema.get("default").cloned()),
        [text] => text,
        [_, _, ..] => return None,
    };
    let value = match schema["type"].as_str() {
        Some("integer") => {
            let number: i64 = text.parse().ok()?;
            // As JSON writes it: without a plus sign and leading zeros.
            (number.to_string() == **text || **text == *"-0").then_some(number)?.into()
        }
        _ => Value::String(text.to_string()),
    };
    of.schema.is_valid(&value).then_some(Some(value))
}

/// Returns the decoded pairs, or `None` for invalid escapes or text that is not UTF-8.
fn query_pairs(query: &str) -> Option<Vec<(String, String)>> {
    let decoded = |text: &str| decoded(&text.replace('+', " "));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    });
    pairs.collect()
}

fn decoded(text: &str) -> Option<String> {
    let is_escape = |escape: &str| {
        let digits = escape.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    // The decoder keeps invalid escapes.
    let escapes = text.split('%').skip(1).all(is_escape);
    let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    escapes.then(|| text.into_owned())
}

/// Compares the three checks of an idempotency key: of the server, of the contract suite, and of the
/// db service.
///
/// # Panics
/// If they differ.
pub fn idempotency_key(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let checks = CHECKS
        .iter()
        .find(|checks| checks.operation.id == "place_order")
        .expect("the document declares place_order");
    let headers: HeaderMap =
        [(HeaderName::from_static("idempotency-key"), value)].into_iter().collect();
    let uri = Uri::from_static("/orders");
    let accepted = check(checks, &uri, &headers);
    let text = std::str::from_utf8(data);
    if let Ok(text) = text {
        let order = NewOrder { idempotency_key: text.to_owned(), ..NewOrder::default() };
        let violations = order.violations();
        let allows = violations.iter().all(|violation| violation.field != "idempotency_key");
        // For the db service, an empty text means no key.
        assert_eq!(accepted, allows && !text.is_empty(), "{text:?}");
    } else {
        assert!(!accepted, "a key that is not text");
    }
}

/// Parses `METHOD TARGET`, and lines with headers.
pub(crate) fn parse_head(data: &[u8]) -> Option<(Method, Uri, HeaderMap)> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut line = lines.next()?.splitn(2, |byte| *byte == b' ');
    let method = Method::from_bytes(line.next()?).ok()?;
    let uri = Uri::try_from(line.next()?).ok()?;
    Some((method, uri, parse_headers(lines)))
}

/// Parses lines `name: value`; skips what is not a header.
pub(crate) fn parse_headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&line[..colon]),
            // As hyper does.
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()),
        ) else {
            continue;
        };
        headers.append(name, value);
    }
    headers
}
