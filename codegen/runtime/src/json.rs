//! Validates a JSON body in one pass over its text, with strict JSON syntax.
//!
//! Keeps only the current scalar and the data that detects repeated members and items. Memory is
//! proportional to the body; a tree of [`Value`]s needs up to a hundred times as much.

use std::{
    borrow::Cow,
    fmt,
    hash::{BuildHasher as _, RandomState},
};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{
    Fault, Faults,
    faults::Escaped,
    schema::{CompiledSchema, Properties},
};

/// Maximum nesting of arrays and objects; safe for a thread's stack.
const MAX_DEPTH: usize = 64;

/// Validates a body: UTF-8, one JSON value, limited nesting, unique members, and `schema`. An
/// unknown member or a value of the wrong type is one fault; its contents are parsed but not
/// validated.
///
/// Invalid JSON gives one fault.
pub(crate) fn validate(bytes: &[u8], schema: &CompiledSchema, faults: &mut Faults) {
    let mut whole = |detail: fmt::Arguments<'_>| faults.add(|| Fault::of_body("", detail));
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return whole(format_args!("expected a JSON document, got an empty body"));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            return whole(format_args!("expected JSON in UTF-8; byte {at} is not UTF-8"));
        }
    };
    let mut outcome = Outcome::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let schema = Some(schema);
    let visitor = ValueVisitor {
        outcome: &mut outcome,
        schema,
        path: InstancePath::Root,
        depth: 0,
        digests: None,
    };
    let parsed = visitor.deserialize(&mut deserializer).and_then(|_| deserializer.end());
    match (parsed, outcome.too_deep) {
        (Ok(()), _) => faults.append(outcome.faults),
        (Err(_), Some(fault)) => faults.add(|| fault),
        // serde_json's message may quote the input.
        (Err(error), None) => whole(format_args!(
            "expected one JSON document; it is truncated or malformed at line {}, column {}",
            error.line(),
            error.column()
        )),
    }
}

/// The result of the validation so far.
#[derive(Default)]
struct Outcome {
    faults: Faults,
    too_deep: Option<Fault>,
}

/// The position in the body, as a list on the stack; formatted only for a fault.
enum InstancePath<'a> {
    Root,
    Key(&'a InstancePath<'a>, &'a str),
    Index(&'a InstancePath<'a>, usize),
}

impl fmt::Display for InstancePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(parent, key) => write!(f, "{parent}/{}", Escaped(key)),
            Self::Index(parent, index) => write!(f, "{parent}/{index}"),
        }
    }
}

/// Validates the value at `path`. Returns its digest, or 0 without `digests`.
struct ValueVisitor<'a, 'p> {
    outcome: &'a mut Outcome,
    /// `None` below a fault: the value is parsed but not validated.
    schema: Option<&'a CompiledSchema>,
    path: InstancePath<'p>,
    depth: usize,
    /// The hash keys; present below an array with `uniqueItems`.
    digests: Option<&'a RandomState>,
}

impl ValueVisitor<'_, '_> {
    fn descend<E: serde::de::Error>(&mut self) -> Result<usize, E> {
        if self.depth == MAX_DEPTH {
            let detail = format_args!("expected at most {MAX_DEPTH} nested arrays and objects");
            self.outcome.too_deep = Some(Fault::of_body(&self.path, detail));
            return Err(E::custom("nested too deep"));
        }
        Ok(self.depth + 1)
    }

    /// Validates a scalar. For an array or object, the caller passes an empty one to check the
    /// type.
    fn check_assertions(&mut self, value: &Value) {
        if let Some(schema) = self.schema {
            schema.faults(value, &mut self.outcome.faults, |detail| {
                Fault::of_body(&self.path, detail)
            });
        }
    }

    fn fault(&mut self, detail: impl fmt::Display) {
        self.outcome.faults.add(|| Fault::of_body(&self.path, detail));
    }

    fn scalar(mut self, value: Value) -> u64 {
        self.check_assertions(&value);
        match (self.digests, value) {
            (None, _) | (Some(_), Value::Array(_) | Value::Object(_)) => 0,
            (Some(digests), Value::Null) => digests.hash_one(0),
            (Some(digests), Value::Bool(value)) => digests.hash_one((1, value)),
            (Some(digests), Value::String(text)) => digests.hash_one((2, text)),
            // JSON Schema considers 1 and 1.0 equal.
            (Some(digests), Value::Number(number)) => match (number.as_i128(), number.as_f64()) {
                (Some(integer), _) => digests.hash_one((3, integer)),
                (None, Some(float)) if float.fract() == 0.0 && float.abs() < 2_f64.powi(100) =>
                {
                    #[allow(clippy::cast_possible_truncation, reason = "it is whole and fits")]
                    digests.hash_one((3, float as i128))
                }
                (None, float) => digests.hash_one((4, float.unwrap_or_default().to_bits())),
            },
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueVisitor<'_, '_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueVisitor<'_, '_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<u64, E> {
        Ok(self.scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<u64, E> {
        Ok(self.scalar(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
        Ok(self.scalar(Value::Number(value.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<u64, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(self.scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<u64, E> {
        if self.schema.is_none() && self.digests.is_none() {
            return Ok(0);
        }
        Ok(self.scalar(Value::String(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(self.scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<u64, A::Error> {
        let depth = self.descend()?;
        let items = self.schema.and_then(CompiledSchema::items);
        if items.is_none() {
            self.check_assertions(&Value::Array(Vec::new()));
        }
        let keys = RandomState::new();
        let unique = items.is_some_and(|items| items.unique);
        // Equal items need equal digests, so all depths share one set of keys.
        let digests = self.digests.or(unique.then_some(&keys));
        let (mut count, mut different) = (0, Vec::new());
        let mut all = Digest::new(5);
        while let Some(digest) = sequence.next_element_seed(ValueVisitor {
            outcome: &mut *self.outcome,
            schema: items.map(|items| &items.schema),
            path: InstancePath::Index(&self.path, count),
            depth,
            digests,
        })? {
            count += 1;
            all.in_order(digests, digest);
            if unique {
                different.push(digest);
            }
        }
        if let Some(items) = items {
            self.check_count(items.min, items.max, count, "item");
            different.sort_unstable();
            different.dedup();
            if unique && different.len() < count {
                self.fault("expected unique items");
            }
        }
        Ok(all.end(self.digests))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<u64, A::Error> {
        let depth = self.descend()?;
        let properties = self.schema.and_then(CompiledSchema::properties);
        if properties.is_none() {
            self.check_assertions(&Value::Object(Map::new()));
        }
        let known = properties.map_or(&[][..], |properties: &Properties| &properties.properties);
        let mut seen = vec![false; known.len()];
        let mut count = 0;
        let mut all = Digest::new(6);
        while let Some(MemberName(name)) = map.next_key::<MemberName<'_>>()? {
            let index = known.iter().position(|member| member.name == name);
            let path = InstancePath::Key(&self.path, &name);
            let mut schema = None;
            match index {
                Some(index) if seen[index] => {
                    self.outcome.faults.add(|| Fault::of_body(&path, "repeated member"));
                }
                Some(index) => {
                    seen[index] = true;
                    count += 1;
                    schema = Some(&known[index].schema);
                }
                None if properties.is_some() => {
                    count += 1;
                    self.outcome.faults.add(|| Fault::of_body(&path, "unknown member"));
                }
                None => {}
            }
            let visitor = ValueVisitor {
                outcome: &mut *self.outcome,
                schema,
                path,
                depth,
                digests: self.digests,
            };
            let digest = map.next_value_seed(visitor)?;
            all.in_any_order(self.digests, &name, digest);
        }
        for (member, seen) in known.iter().zip(seen) {
            if member.required && !seen {
                let path = InstancePath::Key(&self.path, &member.name);
                self.outcome.faults.add(|| Fault::of_body(&path, "missing member"));
            }
        }
        if let Some(properties) = properties {
            self.check_count(properties.min, properties.max, count, "member");
        }
        Ok(all.end(self.digests))
    }
}

impl ValueVisitor<'_, '_> {
    fn check_count(&mut self, min: usize, max: usize, count: usize, unit: &str) {
        let units = |number: usize| if number == 1 { "" } else { "s" };
        if count < min {
            self.fault(format_args!("expected at least {min} {unit}{}", units(min)));
        }
        if count > max {
            self.fault(format_args!("expected at most {max} {unit}{}", units(max)));
        }
    }
}

/// The digest of an array or object, updated item by item.
struct Digest(u64);

impl Digest {
    const fn new(kind: u64) -> Self {
        Self(kind)
    }

    fn in_order(&mut self, digests: Option<&RandomState>, item: u64) {
        if let Some(digests) = digests {
            self.0 = digests.hash_one((self.0, item));
        }
    }

    fn in_any_order(&mut self, digests: Option<&RandomState>, name: &str, member: u64) {
        if let Some(digests) = digests {
            self.0 = self.0.wrapping_add(digests.hash_one((name, member)));
        }
    }

    fn end(self, digests: Option<&RandomState>) -> u64 {
        digests.map_or(0, |digests| digests.hash_one((7, self.0)))
    }
}

/// A member's name, borrowed from the text unless it contains an escape.
struct MemberName<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for MemberName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(MemberNameVisitor)
    }
}

struct MemberNameVisitor;

impl<'de> Visitor<'de> for MemberNameVisitor {
    type Value = MemberName<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<MemberName<'de>, E> {
        Ok(MemberName(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<MemberName<'de>, E> {
        Ok(MemberName(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
