//! A document with everything spelled out that OpenAPI lets one leave to a default or to a place
//! above.
//!
//! `redocly diff` compares what is written: to it a parameter that moved from a path to its
//! operations is gone. So where it sees a break, it is asked again with both documents in this
//! form, and that answer counts.

use serde_json::{Value, json};

use super::read::{METHODS, Side, written};

/// The document in that form; what it means is the same.
pub(crate) fn spelled_out(document: &Value) -> Value {
    let side = Side { root: document };
    let mut spelled = document.clone();
    let security = document.get("security").cloned().unwrap_or_else(|| json!([]));
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let (item, _) = side.follow(item);
        let mut item = item.clone();
        for method in METHODS {
            let Some(operation) =
                side.operations().get(&(super::read::shape(path), method)).copied()
            else {
                continue;
            };
            let parameters: Vec<Value> =
                side.parameters(operation).into_values().map(parameter).collect();
            item[method]["parameters"] = parameters.into();
            if item[method].get("security").is_none() {
                item[method]["security"] = security.clone();
            }
        }
        if let Some(item) = item.as_object_mut() {
            item.shift_remove("parameters");
        }
        spelled["paths"][path] = item;
    }
    if let Some(root) = spelled.as_object_mut() {
        root.shift_remove("security");
    }
    spelled
}

fn parameter(parameter: &Value) -> Value {
    let mut spelled = parameter.clone();
    for keyword in ["style", "explode", "allowReserved"] {
        if let Some(value) = written(parameter, keyword) {
            spelled[keyword] = value;
        }
    }
    spelled["required"] = super::is_true(parameter, "required").into();
    spelled
}
