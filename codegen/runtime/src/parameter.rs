//! Path segments, queries and headers: from what stands on the wire to JSON values for the schemas to judge.

use std::collections::BTreeSet;

use poem::http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use crate::{
    Fault, Location,
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
    pub(crate) fn new(location: Location, name: &'static str, required: bool, schemas: &Schemas, schema: &Value) -> Self {
        let resolved = schemas.resolve(schema);
        let kind = match resolved["type"].as_str() {
            Some("integer") => Kind::Integer,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Boolean,
            Some(_) | None => Kind::String,
        };
        Self { location, name, required, kind, default: resolved.get("default").cloned(), compiled: schemas.compile(schema) }
    }

    /// The value of this parameter among those that were sent, or its default; what is wrong with it goes to `faults`.
    pub(crate) fn value(&self, sent: &[Sent], faults: &mut Vec<Fault>) -> Option<Value> {
        let fault = |detail: &str| Fault::of_parameter(self.location, self.name, detail);
        let mut mine = sent.iter().filter(|sent| sent.is(self));
        let Some(first) = mine.next() else {
            if self.required {
                faults.push(fault("this parameter is missing"));
            }
            return self.default.clone();
        };
        if mine.next().is_some() {
            faults.push(fault("this parameter is repeated"));
            return None;
        }
        let Some(text) = &first.text else {
            faults.push(fault(match self.location {
                Location::Header => "expected visible ASCII characters and spaces",
                Location::Body | Location::Path | Location::Query => "expected UTF-8, percent-encoded where needed",
            }));
            return None;
        };
        match self.kind.parse(text) {
            Ok(value) => {
                self.compiled.parameter_faults(self.location, self.name, &value, faults);
                Some(value)
            }
            Err(detail) => {
                faults.push(fault(detail));
                None
            }
        }
    }
}

impl Kind {
    fn parse(self, text: &str) -> Result<Value, &'static str> {
        match self {
            Self::String => Ok(Value::String(text.to_owned())),
            Self::Integer => integer(text).map(Value::from).ok_or("expected an integer"),
            Self::Number => serde_json::from_str(text).ok().filter(Value::is_number).ok_or("expected a number, written as in JSON"),
            Self::Boolean => match text {
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
    let written_as_json = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    text.parse().ok().filter(|_| written_as_json)
}

/// A parameter as it was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    location: Location,
    name: String,
    /// `None` if it is no text: bytes that are not UTF-8, or a broken percent-encoding.
    text: Option<String>,
}

impl Sent {
    fn is(&self, described: &Described) -> bool {
        self.location == described.location && self.name == described.name
    }

    /// A segment of the path.
    pub(crate) fn segment(name: &str, raw: &str) -> Self {
        Self { location: Location::Path, name: name.to_owned(), text: percent_decode(raw) }
    }

    /// The lines of one header.
    pub(crate) fn header(name: &str, headers: &HeaderMap) -> Vec<Self> {
        let lines: Vec<Option<&str>> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
        let sent = |text: Option<String>| Self { location: Location::Header, name: name.to_owned(), text };
        if lines.len() > 1 && LISTS.iter().any(|list| list.as_str().eq_ignore_ascii_case(name)) {
            return vec![sent(lines.into_iter().collect::<Option<Vec<_>>>().map(|lines| lines.join(", ")))];
        }
        lines.into_iter().map(|line| sent(line.map(str::to_owned))).collect()
    }

    /// The pairs of a query (`application/x-www-form-urlencoded`, as OpenAPI's style `form` writes it).
    ///
    /// A pair that no parameter of `known` has the name of is a fault, once for each name.
    pub(crate) fn query(raw: &str, known: &[Described], faults: &mut Vec<Fault>) -> Vec<Self> {
        let mut pairs = Vec::new();
        let mut unknown = BTreeSet::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (raw_name, raw_text) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode(&raw_name.replace('+', " "));
            match name {
                Some(name) if known.iter().any(|known| known.location == Location::Query && known.name == name) => {
                    pairs.push(Self { location: Location::Query, name, text: percent_decode(&raw_text.replace('+', " ")) });
                }
                unknown_name => {
                    unknown.insert(unknown_name.unwrap_or_else(|| raw_name.to_owned()));
                }
            }
        }
        faults.extend(unknown.into_iter().map(|name| Fault::of_parameter(Location::Query, &name, "this parameter is not known here")));
        pairs
    }
}

/// Decodes `%41` to `A`. `None` where a `%` is followed by something else than two hexadecimal digits, or where the outcome is not UTF-8.
fn percent_decode(raw: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
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
