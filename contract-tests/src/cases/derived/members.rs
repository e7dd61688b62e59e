//! The members of a body that a schema describes, and bodies made of their examples.

use serde_json::{Map, Value, json};

use super::{
    judge::Judge,
    strings::{self, Style},
};
use crate::document::Document;

/// Schemas within schemas, at most: those of a document may be circles.
const DEEPEST: usize = 8;

/// A member of a body, at any depth.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Where it stands in a body that has everything (RFC 6901).
    pub(super) pointer: String,
    /// Its name; of an item of an array the index.
    pub(super) name: String,
    /// What stands there, with no reference.
    pub(super) schema: Value,
    /// Whether its object may be without it.
    pub(super) required: bool,
}

impl Member {
    /// The pointer of the object or the array that it is in.
    pub(super) fn parent(&self) -> &str {
        self.pointer.rsplit_once('/').map_or("", |(parent, _)| parent)
    }
}

/// All members of a schema.
pub(super) fn of(document: &Document, schema: &Value) -> Vec<Member> {
    let mut members = Vec::new();
    walk(document, schema, "", 0, &mut members);
    members
}

/// The pointers of all objects of a schema that are closed.
pub(super) fn closed_objects(document: &Document, schema: &Value) -> Vec<String> {
    let closed = |schema: &Value| schema["additionalProperties"] == false;
    let mut pointers = Vec::new();
    if closed(document.resolve(schema)) {
        pointers.push(String::new());
    }
    pointers.extend(
        of(document, schema)
            .into_iter()
            .filter(|member| closed(&member.schema))
            .map(|member| member.pointer),
    );
    pointers
}

fn walk(
    document: &Document,
    schema: &Value,
    pointer: &str,
    depth: usize,
    members: &mut Vec<Member>,
) {
    let schema = document.resolve(schema);
    if depth == DEEPEST {
        return;
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let pointer = format!("{pointer}/{}", escape(name));
        let required = schema["required"]
            .as_array()
            .is_some_and(|required| required.iter().any(|required| required == name));
        members.push(Member {
            pointer: pointer.clone(),
            name: name.clone(),
            schema: document.resolve(member).clone(),
            required,
        });
        walk(document, member, &pointer, depth + 1, members);
    }
    if let Some(items) = schema.get("items") {
        let pointer = format!("{pointer}/0");
        members.push(Member {
            pointer: pointer.clone(),
            name: "0".to_owned(),
            schema: document.resolve(items).clone(),
            required: false,
        });
        walk(document, items, &pointer, depth + 1, members);
    }
}

/// A member's name as a token of a JSON Pointer.
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Which members a body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All that are declared.
    Full,
    /// Those that have to be there.
    Least,
}

/// A body that the schema allows, made of examples; of what must be unique, and of passwords, a new
/// one each time.
pub(super) fn sample(document: &Document, schema: &Value, extent: Extent) -> Option<Value> {
    Sampler { document, judge: Judge::new(document), extent }.value(schema, 0)
}

struct Sampler<'d> {
    document: &'d Document,
    judge: Judge<'d>,
    extent: Extent,
}

impl Sampler<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Option<Value> {
        let schema = self.document.resolve(schema);
        if depth == DEEPEST {
            return None;
        }
        if let Some(properties) = schema["properties"].as_object() {
            let required = |name: &str| {
                schema["required"]
                    .as_array()
                    .is_some_and(|required| required.iter().any(|required| required == name))
            };
            let mut object = Map::new();
            for (name, member) in properties {
                if self.extent == Extent::Full || required(name) {
                    match self.value(member, depth + 1) {
                        Some(value) => drop(object.insert(name.clone(), value)),
                        None if required(name) => return None,
                        None => {}
                    }
                }
            }
            return Some(Value::Object(object));
        }
        if schema["type"] == "array" && schema.get("example").is_none() {
            let least = schema["minItems"].as_u64().unwrap_or(0).max(1);
            return (0..least)
                .map(|_| self.value(&schema["items"], depth + 1))
                .collect::<Option<Vec<_>>>()
                .map(Value::Array);
        }
        let has_to_be_new = is_unique(schema) || schema["format"] == "password";
        let new =
            has_to_be_new.then(|| strings::fresh(self.judge, schema)).flatten().map(Value::from);
        let candidates = [
            new,
            schema.get("example").cloned(),
            schema["enum"].get(0).cloned(),
            self.invented(schema),
        ];
        candidates.into_iter().flatten().find(|candidate| self.judge.allows(schema, candidate))
    }

    /// For what has no example.
    fn invented(&self, schema: &Value) -> Option<Value> {
        match schema["type"].as_str() {
            Some("string") => strings::fresh(self.judge, schema)
                .or_else(|| {
                    strings::of_length(self.judge, schema, strings::lengths(schema).0, Style::Plain)
                })
                .map(Value::from),
            Some("integer" | "number") => {
                // A bound that does not count itself has a neighbour that it counts.
                let inside = [("minimum", 1), ("maximum", -1)]
                    .into_iter()
                    .filter_map(|(bound, inwards)| Some(json!(schema[bound].as_i64()? + inwards)));
                let bounds = ["minimum", "maximum"]
                    .into_iter()
                    .map(|bound| schema[bound].clone())
                    .filter(Value::is_number);
                [json!(1)]
                    .into_iter()
                    .chain(bounds)
                    .chain(inside)
                    .find(|candidate| self.judge.allows(schema, candidate))
            }
            Some("boolean") => Some(json!(true)),
            Some("object") => Some(json!({})),
            Some(_) | None => None,
        }
    }
}

/// Whether the document says of a value, in words, that no two of a kind share it.
pub(super) fn is_unique(schema: &Value) -> bool {
    schema["description"]
        .as_str()
        .is_some_and(|description| description.to_lowercase().contains("unique"))
}

/// What stands in the document behind these names.
pub(super) fn at<'d>(document: &'d Document, names: &[&str]) -> Option<&'d Value> {
    names.iter().try_fold(document.root(), |value, name| document.resolve(value).get(*name))
}

/// The text of a body, with the value at the pointer replaced by a piece of JSON as it stands;
/// `None` if nothing stands there.
pub(super) fn with_text(body: &Value, pointer: &str, text: &str) -> Option<String> {
    const PLACE: &str = "\u{E000}here\u{E000}";
    let mut body = body.clone();
    *body.pointer_mut(pointer)? = json!(PLACE);
    Some(body.to_string().replacen(&json!(PLACE).to_string(), text, 1))
}

/// The body without the member at the pointer.
pub(super) fn without(body: &Value, pointer: &str) -> Option<Value> {
    let mut body = body.clone();
    let (parent, name) = pointer.rsplit_once('/')?;
    body.pointer_mut(parent)?
        .as_object_mut()?
        .shift_remove(&name.replace("~1", "/").replace("~0", "~"))?;
    Some(body)
}

/// The body with one more member in the object at the pointer.
pub(super) fn with_member(body: &Value, object: &str, name: &str, value: Value) -> Option<Value> {
    let mut body = body.clone();
    body.pointer_mut(object)?.as_object_mut()?.insert(name.to_owned(), value);
    Some(body)
}
