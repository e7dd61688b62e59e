//! Strict JSON: one value, UTF-8, no key twice at any depth, nested to a bound.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::Fault;

/// How deep arrays and objects may be nested. Deeper than any document's schema, and far from what a thread's stack can bear.
const MAX_DEPTH: usize = 64;

/// Parses a whole body.
///
/// # Errors
/// All keys that are repeated, each with its pointer; or the one fault that makes the body no JSON at all. Of a body that only repeats keys the
/// value is returned as well (the first of each key counts), so that its other faults can be found in the same go.
pub(crate) fn parse(bytes: &[u8]) -> (Option<Value>, Vec<Fault>) {
    let whole = |detail: String| (None, vec![Fault::of_body("", detail)]);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return whole("expected a JSON document, there is none".to_owned());
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return whole(format!("expected JSON in UTF-8; byte {} is not UTF-8", error.valid_up_to())),
    };
    let state = State::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = Strict { state: &state, path: Path::Root, depth: 0 }.deserialize(&mut deserializer);
    let parsed = parsed.and_then(|value| deserializer.end().map(|()| value));
    match parsed {
        Ok(value) => (Some(value), state.repeated.into_inner()),
        Err(_) if state.too_deep.borrow().is_some() => {
            let pointer = state.too_deep.into_inner().unwrap_or_default();
            (None, vec![Fault::of_body(pointer, format!("expected at most {MAX_DEPTH} arrays and objects within each other"))])
        }
        // serde_json's own text may quote what it read.
        Err(error) => {
            whole(format!("expected one JSON document; it breaks off or is malformed at line {}, column {}", error.line(), error.column()))
        }
    }
}

#[derive(Default)]
struct State {
    repeated: RefCell<Vec<Fault>>,
    too_deep: RefCell<Option<String>>,
}

/// Where the parser is, as a list that lives on the stack: nothing is allocated unless there is a fault.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(parent, key) => write!(f, "{parent}/{}", escape(key)),
            Self::Index(parent, index) => write!(f, "{parent}/{index}"),
        }
    }
}

/// A member's name as a token of a JSON pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

struct Strict<'a> {
    state: &'a State,
    path: Path<'a>,
    depth: usize,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth == MAX_DEPTH {
            *self.state.too_deep.borrow_mut() = Some(self.path.to_string());
            return Err(E::custom("nested too deep"));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Strict { state: self.state, path: Path::Index(&self.path, values.len()), depth })? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut values = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let path = Path::Key(&self.path, &key);
            let repeated = values.contains_key(&key);
            if repeated {
                let fault = Fault::of_body(path.to_string(), "this member is repeated");
                self.state.repeated.borrow_mut().push(fault);
            }
            let value = members.next_value_seed(Strict { state: self.state, path, depth })?;
            if !repeated {
                values.insert(key, value);
            }
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_every_value_as_it_is() {
        let text = r#"{"a":[1,-2,18446744073709551615,1.5,1.0,"\u00e9\n",true,null,{}],"":{"b":[]}}"#;
        let (value, faults) = parse(text.as_bytes());
        assert_eq!(value, Some(json!({ "a": [1, -2, u64::MAX, 1.5, 1.0, "é\n", true, null, {}], "": { "b": [] } })));
        assert!(faults.is_empty());
    }

    #[test]
    fn takes_what_is_nested_to_the_bound_and_no_deeper() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(MAX_DEPTH).as_bytes()).1.is_empty());
        for depth in [MAX_DEPTH + 1, 1000, 100_000] {
            let (value, faults) = parse(nested(depth).as_bytes());
            assert_eq!((value, faults.len()), (None, 1));
            assert_eq!(faults[0].pointer, "/0".repeat(MAX_DEPTH));
        }
    }

    #[test]
    fn goes_on_behind_repeated_keys() {
        let (value, faults) = parse(br#"{"a":1,"a":{"b":1,"b":2},"c~/":[{"d":1,"d":1}]}"#);
        assert_eq!(value, Some(json!({ "a": 1, "c~/": [{ "d": 1 }] })));
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a", "/a/b", "/c~0~1/0/d"]);
    }

    #[test]
    fn says_where_it_breaks_off_and_not_at_what() {
        let (value, faults) = parse(b"{\"secret\":\n hunter2}");
        assert_eq!((value, faults.len()), (None, 1));
        assert!(faults[0].detail.contains("line 2, column 2") && !faults[0].detail.contains("hunter2"), "{}", faults[0].detail);
    }
}
