//! Path segments, queries and headers: from what stands on the wire to JSON values for the schemas
//! to judge.

use poem::http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use crate::{
    Fault, Faults, Location,
    schema::{Compiled, Schemas},
};

/// Headers that are lists by RFC 9110, so that several lines of them are one value in pieces.
const LISTS: [HeaderName; 2] = [header::IF_MATCH, header::IF_NONE_MATCH];

/// A parameter of an operation.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) location: Location,
    pub(crate) name: &'static str,
    required: bool,
    kind: Kind,
    default: Option<Value>,
    compiled: Compiled,
}

/// How text becomes a JSON value.
#[derive(Clone, Copy, Debug)]
enum Kind {
    String,
    Integer,
    Number,
    Boolean,
}

impl Described {
    pub(crate) fn new(
        location: Location,
        name: &'static str,
        required: bool,
        schemas: &Schemas,
        schema: &Value,
    ) -> Self {
        let resolved = schemas.resolve(schema);
        let kind = match resolved["type"].as_str() {
            Some("integer") => Kind::Integer,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Boolean,
            Some(_) | None => Kind::String,
        };
        Self {
            location,
            name,
            required,
            kind,
            default: resolved.get("default").cloned(),
            compiled: schemas.compile(schema),
        }
    }

    /// The value of this parameter as it was sent, or its default; what is wrong with it goes to
    /// `faults`.
    pub(crate) fn value(&self, sent: Sent, faults: &mut Faults) -> Option<Value> {
        let mut refuse = |detail: &str| {
            faults.add(|| Fault::of_parameter(self.location, self.name, detail));
            None
        };
        let text = match sent {
            Sent::Never if self.required => {
                refuse("this parameter is missing");
                return self.default.clone();
            }
            Sent::Never => return self.default.clone(),
            Sent::Repeated => return refuse("this parameter is repeated"),
            Sent::Once(None) => {
                return refuse(match self.location {
                    Location::Header => "expected visible ASCII characters and spaces",
                    Location::Body | Location::Path | Location::Query => {
                        "expected UTF-8, percent-encoded where needed"
                    }
                });
            }
            Sent::Once(Some(text)) => text,
        };
        match self.kind.parse(text) {
            Ok(value) => {
                self.compiled.faults(&value, faults, |detail| {
                    Fault::of_parameter(self.location, self.name, detail)
                });
                Some(value)
            }
            Err(detail) => refuse(detail),
        }
    }
}

impl Kind {
    fn parse(self, text: String) -> Result<Value, &'static str> {
        match self {
            Self::String => Ok(Value::String(text)),
            Self::Integer => integer(&text).map(Value::from).ok_or("expected an integer"),
            Self::Number => serde_json::from_str(&text)
                .map(Value::Number)
                .map_err(|_| "expected a number, written as in JSON"),
            Self::Boolean => match text.as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err("expected true or false"),
            },
        }
    }
}

/// An integer as JSON writes it: no plus, no leading zeros, no fraction, no exponent.
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let written_as_json = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    text.parse().ok().filter(|_| written_as_json)
}

/// The place of a parameter among those of its operation.
pub(crate) fn position(parameters: &[Described], location: Location, name: &str) -> Option<usize> {
    parameters.iter().position(|parameter| parameter.location == location && parameter.name == name)
}

/// A parameter as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Never,
    /// With this text. `None` if it is no text: bytes that are not UTF-8, or a broken
    /// percent-encoding.
    Once(Option<String>),
    /// More than once; none of them counts, so none is kept.
    Repeated,
}

impl Sent {
    fn add(&mut self, text: impl FnOnce() -> Option<String>) {
        *self = match self {
            Self::Never => Self::Once(text()),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }

    /// Adds a segment of the path.
    pub(crate) fn segment(&mut self, raw: &str) {
        self.add(|| percent_decode(raw));
    }

    /// Adds the lines of one header.
    pub(crate) fn header(&mut self, name: &str, headers: &HeaderMap) {
        let lines = headers.get_all(name).iter().map(|value| value.to_str().ok());
        if LISTS.iter().any(|list| list.as_str().eq_ignore_ascii_case(name)) {
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

/// Adds the pairs of a query (`application/x-www-form-urlencoded`, as OpenAPI's style `form` writes
/// it) to the parameters of the same places.
///
/// A pair that no parameter has the name of is a fault, once for each name that is listed.
pub(crate) fn query(raw: &str, parameters: &[Described], sent: &mut [Sent], faults: &mut Faults) {
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (raw_name, raw_text) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode(&raw_name.replace('+', " "));
        match name.as_deref().and_then(|name| position(parameters, Location::Query, name)) {
            Some(index) => sent[index].add(|| percent_decode(&raw_text.replace('+', " "))),
            None => faults.add_once(|| {
                let name = name.as_deref().unwrap_or(raw_name);
                Fault::of_parameter(Location::Query, name, "this parameter is not known here")
            }),
        }
    }
}

/// Decodes `%41` to `A`. `None` where a `%` is followed by something else than two hexadecimal
/// digits, or where the outcome is not UTF-8.
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
