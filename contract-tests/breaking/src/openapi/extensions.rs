//! Extensions. Generators read some of them, such as `x-go-name`.

use serde_json::Value;

use super::{Facts, Guard, PROSE};

/// Extensions that only documentation reads.
pub(super) const DOCUMENTATION: [&str; 6] =
    ["x-codeSamples", "x-code-samples", "x-displayName", "x-logo", "x-tagGroups", "x-traitTag"];

/// Only adds a method to generated clients.
const PAGINATION: &str = "x-dropshot-pagination";

/// Records each extension of a document by its JSON pointer.
pub(super) fn of(facts: &mut Facts, document: &Value) {
    walk(facts, "#", document, false);
}

fn walk(facts: &mut Facts, pointer: &str, value: &Value, keys_are_names: bool) {
    match value {
        Value::Object(members) => {
            facts.place(pointer);
            for (key, value) in members {
                if key.starts_with("x-") && !keys_are_names {
                    add(facts, pointer, key, value);
                } else if keys_are_names || !PROSE.contains(&key.as_str()) {
                    let pointer =
                        format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    let keys_are_names = matches!(key.as_str(), "properties" | "headers");
                    walk(facts, &pointer, value, keys_are_names);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(facts, &format!("{pointer}/{index}"), item, false);
            }
        }
        _ => {}
    }
}

fn add(facts: &mut Facts, pointer: &str, key: &str, value: &Value) {
    let guard = match key {
        PAGINATION => Guard::Removal,
        _ if DOCUMENTATION.contains(&key) => return,
        _ => Guard::Both,
    };
    let why = "generators may read it; if only documentation does, add it to \
               contract-tests/breaking/src/openapi/extensions.rs";
    facts.add(pointer, format!("`{key}`"), value.clone(), guard, why);
}
