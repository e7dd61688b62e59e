//! Decodes path segments, queries and headers to JSON values and validates them.

use poem::http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use crate::{
    Fault, Faults, Location,
    schema::{CompiledSchema, Schemas},
};

/// Headers that RFC 9110 defines as lists: their lines are joined.
const LIST_HEADERS: [HeaderName; 2] = [header::IF_MATCH, header::IF_NONE_MATCH];

#[derive(Debug)]
pub(crate) struct CompiledParameter {
    pub(crate) location: Location,
    pub(crate) name: &'static str,
    required: bool,
    scalar_type: ScalarType,
    default: Option<Value>,
    compiled: CompiledSchema,
}

/// The JSON type that a parameter's text is parsed to.
#[derive(Clone, Copy, Debug)]
enum ScalarType {
    String,
    Integer,
    Boolean,
}

impl CompiledParameter {
    pub(crate) fn new(
        location: Location,
        name: &'static str,
        required: bool,
        schemas: &Schemas,
        schema: &Value,
    ) -> Self {
        let resolved = schemas.resolve(schema);
        let scalar_type = match resolved["type"].as_str() {
            Some("integer") => ScalarType::Integer,
            Some("boolean") => ScalarType::Boolean,
            Some(_) | None => ScalarType::String,
        };
        Self {
            location,
            name,
            required,
            scalar_type,
            default: resolved.get("default").cloned(),
            compiled: schemas.compile(schema),
        }
    }

    /// Returns the sent value or the default. Adds violations to `faults`.
    pub(crate) fn value(&self, sent: RawValue, faults: &mut Faults) -> Option<Value> {
        let mut fault = |detail: &str| {
            faults.add(|| Fault::of_parameter(self.location, self.name, detail));
            None
        };
        let text = match sent {
            RawValue::Absent if self.required => {
                fault("missing parameter");
                return self.default.clone();
            }
            RawValue::Absent => return self.default.clone(),
            RawValue::Repeated => return fault("repeated parameter"),
            RawValue::Single(None) => {
                return fault(match self.location {
                    Location::Header => "expected visible ASCII characters and spaces",
                    Location::Body | Location::Path | Location::Query => {
                        "expected UTF-8, percent-encoded where needed"
                    }
                });
            }
            RawValue::Single(Some(text)) => text,
        };
        match self.scalar_type.parse(text) {
            Ok(value) => {
                self.compiled.faults(&value, faults, |detail| {
                    Fault::of_parameter(self.location, self.name, detail)
                });
                Some(value)
            }
            Err(detail) => fault(detail),
        }
    }
}

impl ScalarType {
    fn parse(self, text: String) -> Result<Value, &'static str> {
        match self {
            Self::String => Ok(Value::String(text)),
            Self::Integer => integer(&text).map(Value::from).ok_or("expected an integer"),
            Self::Boolean => match text.as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err("expected true or false"),
            },
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let written_as_json = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    text.parse().ok().filter(|_| written_as_json)
}

pub(crate) fn position(
    parameters: &[CompiledParameter],
    location: Location,
    name: &str,
) -> Option<usize> {
    parameters.iter().position(|parameter| parameter.location == location && parameter.name == name)
}

/// The text of a parameter in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RawValue {
    Absent,
    /// `None` for invalid UTF-8 or invalid percent-encoding.
    Single(Option<String>),
    /// A repeated parameter is a fault, so its values are not kept.
    Repeated,
}

impl RawValue {
    fn add(&mut self, text: impl FnOnce() -> Option<String>) {
        *self = match self {
            Self::Absent => Self::Single(text()),
            Self::Single(_) | Self::Repeated => Self::Repeated,
        };
    }

    pub(crate) fn segment(&mut self, raw: &str) {
        self.add(|| percent_decode(raw));
    }

    pub(crate) fn header(&mut self, name: &str, headers: &HeaderMap) {
        let lines = headers.get_all(name).iter().map(|value| value.to_str().ok());
        if LIST_HEADERS.iter().any(|list| list.as_str().eq_ignore_ascii_case(name)) {
            let lines: Vec<Option<&str>> = lines.collect();
            if !lines.is_empty() {
                self.add(|| {
                    lines.into_iter().collect::<Option<Vec<_>>>().map(|lines| lines.join(", "))
                });
            }
        } else {
            lines.for_each(|line| self.add(|| line.map(str::to_owned)));
        }
    }
}

/// Adds the pairs of a query (`application/x-www-form-urlencoded`, OpenAPI's style `form`) to
/// `sent`.
///
/// An unknown name is a fault; equal faults are listed once.
pub(crate) fn query(
    raw: &str,
    parameters: &[CompiledParameter],
    sent: &mut [RawValue],
    faults: &mut Faults,
) {
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (raw_name, raw_text) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode(&raw_name.replace('+', " "));
        match name.as_deref().and_then(|name| position(parameters, Location::Query, name)) {
            Some(index) => sent[index].add(|| percent_decode(&raw_text.replace('+', " "))),
            None => faults.add_once(|| {
                let name = name.as_deref().unwrap_or(raw_name);
                Fault::of_parameter(Location::Query, name, "unknown parameter")
            }),
        }
    }
}

/// Decodes `%41` to `A`. Returns `None` for an invalid escape or invalid UTF-8.
fn percent_decode(raw: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || {
                    bytes
                        .next()
                        .and_then(|digit| char::from(digit).to_digit(16))
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                digit()? * 16 + digit()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
#[path = "parameter_tests.rs"]
mod tests;
