//! Edits of the contracts.

use contract_breaking::Contracts;
use serde_json::Value;

#[derive(Clone, Copy)]
pub(crate) struct Edit {
    pub(crate) name: &'static str,
    /// Prepares the baseline with what the contracts lack.
    given: fn(&mut Value),
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    OpenApi(fn(&mut Value)),
    /// A file, a text that it contains once, and its replacement.
    Proto(&'static str, &'static str, &'static str),
}

pub(crate) fn openapi(name: &'static str, change: fn(&mut Value)) -> Edit {
    Edit { name, given: |_| {}, change: Change::OpenApi(change) }
}

/// Creates an edit of `openapi.yaml` on a prepared baseline.
pub(crate) fn openapi_given(
    name: &'static str,
    given: fn(&mut Value),
    change: fn(&mut Value),
) -> Edit {
    Edit { name, given, change: Change::OpenApi(change) }
}

pub(crate) fn assistant(name: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit {
        name,
        given: |_| {},
        change: Change::Proto("merch/assistant/v1/assistant.proto", from, to),
    }
}

pub(crate) fn logging(name: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { name, given: |_| {}, change: Change::Proto("merch/logging/v1/logging.proto", from, to) }
}

impl Edit {
    /// Returns the contracts before and after the edit.
    ///
    /// # Panics
    /// If the edit changes nothing.
    pub(crate) fn apply(&self, released: &Contracts) -> (Contracts, Contracts) {
        let mut before = released.clone();
        (self.given)(&mut before.openapi);
        before.openapi_text = yaml(&before.openapi);
        let mut after = before.clone();
        match self.change {
            Change::OpenApi(change) => {
                change(&mut after.openapi);
                after.openapi_text = yaml(&after.openapi);
                assert_ne!(before.openapi, after.openapi, "{} changes nothing", self.name);
            }
            Change::Proto(file, from, to) => {
                let text = after
                    .proto
                    .get_mut(file)
                    .unwrap_or_else(|| panic!("{}: there is no {file}", self.name));
                assert_eq!(
                    text.matches(from).count(),
                    1,
                    "{}: expected once in {file}: {from}",
                    self.name
                );
                *text = text.replace(from, to);
            }
        }
        (before, after)
    }
}

/// JSON is YAML.
fn yaml(document: &Value) -> String {
    serde_json::to_string_pretty(document).expect("a Value is valid JSON")
}

/// Returns the value at a place: keys and indices, separated by spaces.
pub(crate) fn at<'d>(document: &'d mut Value, place: &str) -> &'d mut Value {
    let mut value = document;
    for key in place.split(' ') {
        let next = if value.is_array() {
            key.parse::<usize>().ok().and_then(|index| value.get_mut(index))
        } else {
            value.get_mut(key)
        };
        value = next.unwrap_or_else(|| panic!("nothing at {place}, from {key} on"));
    }
    value
}

fn parent<'d, 'p>(document: &'d mut Value, place: &'p str) -> (&'d mut Value, &'p str) {
    match place.rsplit_once(' ') {
        Some((parent, key)) => (at(document, parent), key),
        None => (document, place),
    }
}

pub(crate) fn set(document: &mut Value, place: &str, value: impl Into<Value>) {
    let (parent, key) = parent(document, place);
    parent
        .as_object_mut()
        .unwrap_or_else(|| panic!("{place} is not a member"))
        .insert(key.to_owned(), value.into());
}

pub(crate) fn remove(document: &mut Value, place: &str) -> Value {
    let (parent, key) = parent(document, place);
    let removed = match parent {
        Value::Array(items) => key
            .parse()
            .ok()
            .filter(|index| *index < items.len())
            .map(|index: usize| items.remove(index)),
        Value::Object(members) => members.shift_remove(key),
        _ => None,
    };
    removed.unwrap_or_else(|| panic!("nothing at {place}"))
}

/// Renames a member and keeps its position.
pub(crate) fn rename(document: &mut Value, place: &str, name: &str) {
    let (parent, key) = parent(document, place);
    let members = parent.as_object_mut().unwrap_or_else(|| panic!("{place} is not a member"));
    let renamed = std::mem::take(members)
        .into_iter()
        .map(|(own, value)| (if own == key { name.to_owned() } else { own }, value))
        .collect();
    assert!(members.is_empty());
    *members = renamed;
    assert!(members.contains_key(name), "nothing at {place}");
}

pub(crate) fn push(document: &mut Value, place: &str, value: impl Into<Value>) {
    at(document, place)
        .as_array_mut()
        .unwrap_or_else(|| panic!("{place} is not a list"))
        .push(value.into());
}

pub(crate) fn take(document: &mut Value, place: &str, item: &str) {
    let items =
        at(document, place).as_array_mut().unwrap_or_else(|| panic!("{place} is not a list"));
    let before = items.len();
    items.retain(|other| other != item);
    assert_eq!(items.len() + 1, before, "expected {item} once at {place}");
}

pub(crate) fn reword(document: &mut Value, place: &str, from: &str, to: &str) {
    let value = at(document, place);
    let text = value.as_str().unwrap_or_else(|| panic!("{place} is not a text"));
    assert!(text.contains(from), "{place} does not contain {from}");
    *value = text.replace(from, to).into();
}

pub(crate) fn refer(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if key == "$ref" && value == from {
                    *value = to.into();
                } else {
                    refer(value, from, to);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, from, to)),
        _ => {}
    }
}
