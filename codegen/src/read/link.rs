//! Links, from a response to an operation that may come next. The server does nothing for them;
//! what is seen to here is that each leads somewhere.

use indexmap::IndexMap;
use openapiv3::{Link, LinkOperation, ReferenceOr};
use serde_json::Value;

use super::Reader;
use crate::error::Pointer;

impl Reader<'_> {
    /// Refuses links to operations, parameters and members that do not exist. `response` is where
    /// the response stands.
    pub(super) fn links(
        &mut self,
        links: &IndexMap<String, ReferenceOr<Link>>,
        response: &Pointer,
    ) {
        for (name, link) in links {
            let at = response.at("links").at(name);
            let ReferenceOr::Item(link) = link else {
                self.refuse(&at, "a shared link is not supported; write it out here");
                continue;
            };
            let Link { description: _, operation, request_body, parameters, server, extensions: _ } =
                link;
            self.refuse_if(
                server.is_some(),
                &at,
                "server",
                "a link to another server is not supported",
            );
            let LinkOperation::OperationId(id) = operation else {
                self.refuse(&at.at("operationRef"), "name the operation by its `operationId`");
                continue;
            };
            let source = Exchange::around(self.raw, response);
            let Some(target) =
                operations(self.raw).find(|(operation, _)| operation["operationId"] == id.as_str())
            else {
                self.refuse(&at.at("operationId"), format!("no operation is named `{id}`"));
                continue;
            };
            let known: Vec<(&str, &str)> = parameters_of(self.raw, target).collect();
            for (key, value) in parameters {
                let at = at.at("parameters").at(key);
                if !known
                    .iter()
                    .any(|(location, name)| key == name || *key == format!("{location}.{name}"))
                {
                    self.refuse(&at, format!("`{id}` has no parameter of this name"));
                }
                source.refuse_dangling(value, &at, self);
            }
            if let Some(body) = request_body {
                let at = at.at("requestBody");
                if target.0["requestBody"].is_null() {
                    self.refuse(&at, format!("`{id}` takes no body"));
                }
                source.refuse_dangling(body, &at, self);
            }
        }
    }
}

/// An operation and its path item, raw.
type Raw<'d> = (&'d Value, &'d Value);

fn operations(root: &Value) -> impl Iterator<Item = Raw<'_>> {
    let items = root["paths"].as_object().into_iter().flatten();
    items.flat_map(|(_, item)| {
        item.as_object().into_iter().flatten().map(move |(_, operation)| (operation, item))
    })
}

/// Location and name of each parameter.
fn parameters_of<'d>(
    root: &'d Value,
    (operation, item): Raw<'d>,
) -> impl Iterator<Item = (&'d str, &'d str)> {
    let parameters = [operation, item]
        .into_iter()
        .filter_map(|holder| holder["parameters"].as_array())
        .flatten();
    parameters.filter_map(move |parameter| {
        let parameter = followed(root, parameter);
        Some((parameter["in"].as_str()?, parameter["name"].as_str()?))
    })
}

fn followed<'d>(root: &'d Value, value: &'d Value) -> &'d Value {
    let target = value["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer));
    target.unwrap_or(value)
}

/// The request and the response that a link's expressions can speak of.
struct Exchange<'d> {
    root: &'d Value,
    response: &'d Value,
    /// None of a shared response: it belongs to several operations.
    operation: Option<Raw<'d>>,
}

impl<'d> Exchange<'d> {
    fn around(root: &'d Value, response: &Pointer) -> Self {
        let at = response.to_string();
        let mut tokens = at.splitn(5, '/').skip(1);
        let operation = match (tokens.next(), tokens.next(), tokens.next()) {
            (Some("paths"), Some(path), Some(method)) => root
                .pointer(&format!("/paths/{path}"))
                .and_then(|item| Some((item.get(method)?, item))),
            (_, _, _) => None,
        };
        Self { root, response: root.pointer(&at).unwrap_or(&Value::Null), operation }
    }

    /// Refuses every expression in a value that names nothing. Text that does not begin with `$` is
    /// a constant.
    fn refuse_dangling(&self, value: &Value, at: &Pointer, reader: &mut Reader<'_>) {
        match value {
            Value::String(text) if text.contains("{$") => {
                reader.refuse(
                    at,
                    "an expression within a text is not supported; the whole text has to be one",
                );
            }
            Value::String(text) if text.starts_with('$') => {
                if let Err(reason) = self.resolve(text) {
                    reader.refuse(at, reason);
                }
            }
            Value::Object(members) => members
                .iter()
                .for_each(|(key, value)| self.refuse_dangling(value, &at.at(key), reader)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(index, value)| self.refuse_dangling(value, &at.at(index), reader)),
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// Whether what a runtime expression names is declared.
    fn resolve(&self, expression: &str) -> Result<(), String> {
        if ["$url", "$method", "$statusCode"].contains(&expression) {
            return Ok(());
        }
        let (message, source) = expression.split_once('.').unwrap_or((expression, ""));
        let (part, name) = source.split_once(['.', '#']).unwrap_or((source, ""));
        let of_request = message == "$request";
        let operation = || {
            self.operation.ok_or("a shared response belongs to several requests; write the response out to speak of one")
        };
        match (message, part) {
            ("$response", "header") => {
                let headers = self.response["headers"].as_object().into_iter().flatten();
                let declared =
                    headers.into_iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
                declared.then_some(()).ok_or(format!("the response declares no header `{name}`"))
            }
            ("$request", "path" | "query" | "header") => {
                let declared =
                    parameters_of(self.root, operation()?).any(|(location, parameter)| {
                        location == part
                            && (parameter == name
                                || part == "header" && parameter.eq_ignore_ascii_case(name))
                    });
                declared
                    .then_some(())
                    .ok_or(format!("the request has no {part} parameter `{name}`"))
            }
            ("$request" | "$response", "body") => {
                let message = if of_request {
                    followed(self.root, &operation()?.0["requestBody"])
                } else {
                    self.response
                };
                let content =
                    message["content"].as_object().and_then(|content| content.values().next());
                let schema = content
                    .map(|content| &content["schema"])
                    .ok_or("there is no body to speak of")?;
                self.member(schema, name)
            }
            (_, _) => Err(format!("`{expression}` is no runtime expression of OpenAPI 3.0")),
        }
    }

    /// Whether a schema has something at a JSON pointer.
    fn member(&self, schema: &Value, pointer: &str) -> Result<(), String> {
        let mut schema = followed(self.root, schema);
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let below = match token.parse::<usize>() {
                Ok(_) if schema["items"].is_object() => &schema["items"],
                Ok(_) | Err(_) => &schema["properties"][&token],
            };
            if below.is_null() {
                return Err(format!("the body's schema has nothing at `{pointer}`"));
            }
            schema = followed(self.root, below);
        }
        if pointer.is_empty() || pointer.starts_with('/') {
            Ok(())
        } else {
            Err(format!("`{pointer}` is no JSON pointer"))
        }
    }
}
