//! Judges a JSON body while it is parsed: strict JSON, and what its schema says of it.
//!
//! Nothing of the body is kept but the value at hand, which is judged by itself, and what tells
//! repeated members and items from new ones. So a body costs memory in proportion to its bytes,
//! whatever it consists of; a tree of [`Value`]s costs up to a hundred times as much.

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
    schema::{Compiled, Members},
};

/// How deep arrays and objects may be nested. Deeper than any document's schema, and far from what
/// a thread's stack can bear.
const MAX_DEPTH: usize = 64;

/// Judges a whole body: one JSON value, UTF-8, nested to a bound, no member twice, and as `schema`
/// wants it. A member that the schema does not know, and a value of another type, is one fault;
/// what is in it is only parsed.
///
/// Of a body that is no JSON the one fault is added that makes it none.
pub(crate) fn judge(bytes: &[u8], schema: &Compiled, faults: &mut Faults) {
    let mut whole = |detail: fmt::Arguments<'_>| faults.add(|| Fault::of_body("", detail));
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return whole(format_args!("expected a JSON document, there is none"));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            return whole(format_args!("expected JSON in UTF-8; byte {at} is not UTF-8"));
        }
    };
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let schema = Some(schema);
    let judge = Judge { found: &mut found, schema, path: Path::Root, depth: 0, digests: None };
    let parsed = judge.deserialize(&mut deserializer).and_then(|_| deserializer.end());
    match (parsed, found.too_deep) {
        (Ok(()), _) => faults.append(found.faults),
        (Err(_), Some(fault)) => faults.add(|| fault),
        // serde_json's own text may quote what it read.
        (Err(error), None) => whole(format_args!(
            "expected one JSON document; it breaks off or is malformed at line {}, column {}",
            error.line(),
            error.column()
        )),
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    faults: Faults,
    too_deep: Option<Fault>,
}

/// Where the parser is, as a list that lives on the stack: nothing is allocated unless there is a
/// fault.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(parent, key) => write!(f, "{parent}/{}", Escaped(key)),
            Self::Index(parent, index) => write!(f, "{parent}/{index}"),
        }
    }
}

/// Judges the value at `path`. Yields a digest of it if `digests` are wanted, else 0.
struct Judge<'a, 'p> {
    found: &'a mut Found,
    /// `None` where a fault was found above: then the value is only parsed.
    schema: Option<&'a Compiled>,
    path: Path<'p>,
    depth: usize,
    /// The keys of the digests; there below an array whose items have to differ.
    digests: Option<&'a RandomState>,
}

impl Judge<'_, '_> {
    fn deeper<E: serde::de::Error>(&mut self) -> Result<usize, E> {
        if self.depth == MAX_DEPTH {
            let detail =
                format_args!("expected at most {MAX_DEPTH} arrays and objects within each other");
            self.found.too_deep = Some(Fault::of_body(&self.path, detail));
            return Err(E::custom("nested too deep"));
        }
        Ok(self.depth + 1)
    }

    /// Judges a value by itself: a single one, or an empty one in place of an array or an object.
    fn single(&mut self, value: &Value) {
        if let Some(schema) = self.schema {
            schema
                .faults(value, &mut self.found.faults, |detail| Fault::of_body(&self.path, detail));
        }
    }

    fn fault(&mut self, detail: impl fmt::Display) {
        self.found.faults.add(|| Fault::of_body(&self.path, detail));
    }

    /// Judges a value that has no parts.
    fn leaf(mut self, value: Value) -> u64 {
        self.single(&value);
        match (self.digests, value) {
            (None, _) | (Some(_), Value::Array(_) | Value::Object(_)) => 0,
            (Some(digests), Value::Null) => digests.hash_one(0),
            (Some(digests), Value::Bool(value)) => digests.hash_one((1, value)),
            (Some(digests), Value::String(text)) => digests.hash_one((2, text)),
            // As JSON Schema compares them, 1 is 1.0.
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

impl<'de> DeserializeSeed<'de> for Judge<'_, '_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Judge<'_, '_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<u64, E> {
        Ok(self.leaf(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<u64, E> {
        Ok(self.leaf(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
        Ok(self.leaf(Value::Number(value.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<u64, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(self.leaf(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<u64, E> {
        // What is only parsed needs no copy.
        if self.schema.is_none() && self.digests.is_none() {
            return Ok(0);
        }
        Ok(self.leaf(Value::String(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(self.leaf(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<u64, A::Error> {
        let depth = self.deeper()?;
        let items = self.schema.and_then(Compiled::items);
        if items.is_none() {
            self.single(&Value::Array(Vec::new()));
        }
        let keys = RandomState::new();
        let unique = items.is_some_and(|items| items.unique);
        // One and the same keys at every depth, or equal items would have different digests.
        let digests = self.digests.or(unique.then_some(&keys));
        let (mut count, mut different) = (0, Vec::new());
        let mut all = Digest::new(5);
        while let Some(digest) = sequence.next_element_seed(Judge {
            found: &mut *self.found,
            schema: items.map(|items| &items.schema),
            path: Path::Index(&self.path, count),
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
            self.length(items.least, items.most, count, "item");
            different.sort_unstable();
            different.dedup();
            if unique && different.len() < count {
                self.fault("expected items that differ from each other");
            }
        }
        Ok(all.end(self.digests))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<u64, A::Error> {
        let depth = self.deeper()?;
        let members = self.schema.and_then(Compiled::members);
        if members.is_none() {
            self.single(&Value::Object(Map::new()));
        }
        let known = members.map_or(&[][..], |members: &Members| &members.known);
        let mut seen = vec![false; known.len()];
        let mut count = 0;
        let mut all = Digest::new(6);
        while let Some(Name(name)) = map.next_key::<Name<'_>>()? {
            let index = known.iter().position(|member| member.name == name);
            let path = Path::Key(&self.path, &name);
            let mut schema = None;
            match index {
                Some(index) if seen[index] => {
                    self.found.faults.add(|| Fault::of_body(&path, "this member is repeated"));
                }
                Some(index) => {
                    seen[index] = true;
                    count += 1;
                    schema = Some(&known[index].schema);
                }
                None if members.is_some() => {
                    count += 1;
                    self.found
                        .faults
                        .add(|| Fault::of_body(&path, "this member is not known here"));
                }
                None => {}
            }
            let judge =
                Judge { found: &mut *self.found, schema, path, depth, digests: self.digests };
            let digest = map.next_value_seed(judge)?;
            all.in_any_order(self.digests, &name, digest);
        }
        for (member, seen) in known.iter().zip(seen) {
            if member.required && !seen {
                let path = Path::Key(&self.path, &member.name);
                self.found.faults.add(|| Fault::of_body(&path, "this member is missing"));
            }
        }
        if let Some(members) = members {
            self.length(members.least, members.most, count, "member");
        }
        Ok(all.end(self.digests))
    }
}

impl Judge<'_, '_> {
    fn length(&mut self, least: usize, most: usize, count: usize, unit: &str) {
        let units = |number: usize| if number == 1 { "" } else { "s" };
        if count < least {
            self.fault(format_args!("expected at least {least} {unit}{}", units(least)));
        }
        if count > most {
            self.fault(format_args!("expected at most {most} {unit}{}", units(most)));
        }
    }
}

/// The digest of an array or an object, as its parts come.
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

/// The name of a member, as it stands in the text unless an escape is in it.
struct Name<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
