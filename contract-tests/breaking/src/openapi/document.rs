//! Reads one document: references, operations, parameters, responses.

use std::collections::BTreeMap;

use serde_json::{Value, json};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

#[derive(Clone, Copy)]
pub(super) struct Document<'d> {
    pub(super) root: &'d Value,
}

/// An operation and the path item that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Operation<'d> {
    path: &'d str,
    method: &'static str,
    item: &'d Value,
    pub(super) value: &'d Value,
}

impl Operation<'_> {
    pub(super) fn place(self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }
}

impl<'d> Document<'d> {
    /// Follows references. Returns the target and its name, which is the last part of the last
    /// reference.
    pub(super) fn resolve(self, value: &'d Value) -> (&'d Value, Option<&'d str>) {
        const MAX_DEPTH: usize = 32;
        let (mut value, mut name) = (value, None);
        for _ in 0..MAX_DEPTH {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { break };
            let pointer = reference.strip_prefix('#');
            let Some(target) = pointer.and_then(|pointer| self.root.pointer(pointer)) else {
                break;
            };
            (value, name) = (target, reference.rsplit('/').next());
        }
        (value, name)
    }

    pub(super) fn operations(self) -> impl Iterator<Item = Operation<'d>> {
        let items = self.root["paths"].as_object().into_iter().flatten();
        items.flat_map(move |(path, item)| {
            let (item, _) = self.resolve(item);
            METHODS.into_iter().filter_map(move |method| {
                item.get(method).map(|value| Operation { path, method, item, value })
            })
        })
    }

    /// Returns the parameters of an operation and of its path. A parameter of the operation comes
    /// after the one of the path that it replaces.
    pub(super) fn parameters(self, operation: Operation<'d>) -> impl Iterator<Item = &'d Value> {
        [operation.item, operation.value]
            .into_iter()
            .filter_map(|owner| owner["parameters"].as_array())
            .flatten()
            .map(move |parameter| self.resolve(parameter).0)
    }

    /// Returns the servers of an operation: its own, those of its path, or those of the document.
    pub(super) fn servers(self, operation: Operation<'d>) -> Vec<Value> {
        let servers = [operation.value, operation.item, self.root]
            .into_iter()
            .find_map(|owner| owner.get("servers")?.as_array().filter(|list| !list.is_empty()));
        servers.cloned().unwrap_or_else(|| vec![json!({ "url": "/" })])
    }

    pub(super) fn responses(
        self,
        operation: Operation<'d>,
    ) -> impl Iterator<Item = (String, &'d Value)> {
        self.entries(operation.value, "responses")
            .map(|(status, response)| (status.to_ascii_uppercase(), response))
    }

    /// Returns the resolved objects of a member by their names: `headers`, `content`, `links`, …
    pub(super) fn entries(
        self,
        value: &'d Value,
        member: &str,
    ) -> impl Iterator<Item = (&'d str, &'d Value)> {
        let entries = value.get(member).and_then(Value::as_object).into_iter().flatten();
        entries.map(move |(name, value)| (name.as_str(), self.resolve(value).0))
    }

    /// Returns the media types of a response with the names of their schemas, or nothing if a
    /// schema has no name.
    pub(super) fn bodies(self, response: &'d Value) -> Option<Vec<(String, String)>> {
        self.entries(response, "content")
            .map(|(media_type, value)| {
                let (_, name) = self.resolve(value.get("schema")?);
                Some((media_type.to_ascii_lowercase(), name?.to_owned()))
            })
            .collect()
    }
}

pub(super) fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the keywords that define how a parameter is written, with the defaults of OpenAPI.
pub(super) fn serialisation(parameter: &Value) -> BTreeMap<&'static str, Value> {
    let default_style = match text(parameter, "in") {
        "query" | "cookie" => "form",
        _ => "simple",
    };
    let style = parameter["style"].as_str().unwrap_or(default_style);
    let flag = |keyword: &str, default: bool| parameter[keyword].as_bool().unwrap_or(default);
    let media_type = parameter["content"].as_object().and_then(|content| content.keys().next());
    BTreeMap::from([
        ("style", style.into()),
        ("explode", flag("explode", style == "form").into()),
        ("allowReserved", flag("allowReserved", false).into()),
        ("content", media_type.cloned().into()),
    ])
}
