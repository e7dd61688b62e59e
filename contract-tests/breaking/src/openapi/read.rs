//! Finds its way through one document: references, operations, parameters.

use std::collections::BTreeMap;

use serde_json::Value;

pub(super) const METHODS: [&str; 8] =
    ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// One of the two documents.
#[derive(Clone, Copy)]
pub(super) struct Side<'d> {
    pub(super) root: &'d Value,
}

/// An operation and the path that it stands at.
#[derive(Clone, Copy)]
pub(super) struct Operation<'d> {
    pub(super) path: &'d str,
    pub(super) item: &'d Value,
    pub(super) value: &'d Value,
}

/// What makes two operations the same one to a client: the path with nameless parameters, and the
/// method.
pub(super) type Route = (String, &'static str);

/// What makes two parameters the same one: the location, and the name; in a path, the place.
pub(super) type Slot = (String, String);

impl<'d> Side<'d> {
    /// What a reference refers to in the end, or the value itself, and the last name on the way
    /// there.
    pub(super) fn follow(self, value: &'d Value) -> (&'d Value, Option<&'d str>) {
        let (mut value, mut name) = (value, None);
        // A circle of references is no document that compiles; here it only must not hang.
        for _ in 0..32 {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let Some(target) =
                    reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer))
                else {
                    break;
                };
                (value, name) = (target, reference.rsplit('/').next());
            } else if let Some([only]) =
                value.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
                && says_nothing_else(value)
            {
                // The usual way to give a reference words of its own.
                value = only;
            } else {
                break;
            }
        }
        (value, name)
    }

    pub(super) fn operations(self) -> BTreeMap<Route, Operation<'d>> {
        let mut operations = BTreeMap::new();
        for (path, item) in self.root["paths"].as_object().into_iter().flatten() {
            let (item, _) = self.follow(item);
            for method in METHODS {
                if let Some(value) = item.get(method) {
                    operations.insert((shape(path), method), Operation { path, item, value });
                }
            }
        }
        operations
    }

    /// The parameters of an operation, with those of its path that it does not replace.
    pub(super) fn parameters(self, operation: Operation<'d>) -> BTreeMap<Slot, &'d Value> {
        let mut parameters = BTreeMap::new();
        for list in [&operation.item["parameters"], &operation.value["parameters"]] {
            for parameter in list.as_array().into_iter().flatten() {
                let (parameter, _) = self.follow(parameter);
                let (location, name) = (text(parameter, "in"), text(parameter, "name"));
                let name = match location {
                    "header" => name.to_ascii_lowercase(),
                    "path" => names(operation.path)
                        .position(|own| own == name)
                        .map_or_else(|| name.to_owned(), |at| format!("#{at}")),
                    _ => name.to_owned(),
                };
                parameters.insert((location.to_owned(), name), parameter);
            }
        }
        parameters
    }

    /// A member that holds objects by their names: `headers`, `content`, `links`, …
    pub(super) fn entries(
        self,
        value: &'d Value,
        member: &str,
        fold: fn(&str) -> String,
    ) -> BTreeMap<String, (&'d str, &'d Value)> {
        let entries = value.get(member).and_then(Value::as_object).into_iter().flatten();
        entries.map(|(name, value)| (fold(name), (name.as_str(), self.follow(value).0))).collect()
    }
}

/// The text of a member, empty if there is none.
pub(super) fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// The names of a path's parameters, in their order.
pub(super) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

/// The path without the names of its parameters.
pub(super) fn shape(path: &str) -> String {
    let mut shape = String::new();
    for (index, part) in path.split('{').enumerate() {
        match part.split_once('}') {
            Some((_, after)) if index > 0 => {
                shape.push_str("{}");
                shape.push_str(after);
            }
            _ => shape.push_str(part),
        }
    }
    shape
}

fn says_nothing_else(value: &Value) -> bool {
    value.as_object().is_some_and(|members| {
        members.keys().all(|keyword| keyword == "allOf" || super::PROSE.contains(&keyword.as_str()))
    })
}

/// How a value is written, with the defaults of OpenAPI spelled out.
pub(super) fn written(parameter: &Value, keyword: &str) -> Option<Value> {
    let style = || match parameter.get("style").and_then(Value::as_str) {
        Some(style) => style,
        None if matches!(text(parameter, "in"), "query" | "cookie") => "form",
        None => "simple",
    };
    match keyword {
        "style" => Some(style().into()),
        "explode" => {
            Some(parameter.get("explode").cloned().unwrap_or_else(|| (style() == "form").into()))
        }
        "allowReserved" => Some(super::is_true(parameter, keyword).into()),
        _ => parameter.get(keyword).cloned(),
    }
}
