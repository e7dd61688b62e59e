//! Checks links. They do not change the server.

use indexmap::IndexMap;
use openapiv3::{Link, LinkOperation, ReferenceOr};
use serde_json::Value;

use super::Lowering;
use crate::error::Pointer;

impl Lowering<'_> {
    /// Reports links to unknown operations, parameters and members. `response` is the pointer of
    /// the response.
    pub(super) fn links(
        &mut self,
        links: &IndexMap<String, ReferenceOr<Link>>,
        response: &Pointer,
    ) {
        for (name, link) in links {
            let at = response.at("links").at(name);
            let ReferenceOr::Item(link) = link else {
                self.report(&at, "a shared link is not supported; write it inline");
                continue;
            };
            let Link { description: _, operation, request_body, parameters, server, extensions: _ } =
                link;
            self.report_if(
                server.is_some(),
                &at,
                "server",
                "a link to another server is not supported",
            );
            let LinkOperation::OperationId(id) = operation else {
                self.report(
                    &at.at("operationRef"),
                    "`operationRef` is not supported; use `operationId`",
                );
                continue;
            };
            let source = Exchange::new(self.raw, response);
            let Some(target) =
                operations(self.raw).find(|(operation, _)| operation["operationId"] == id.as_str())
            else {
                self.report(&at.at("operationId"), format!("no operation has the id `{id}`"));
                continue;
            };
            let known: Vec<(&str, &str)> = parameters_of(self.raw, target).collect();
            for (key, value) in parameters {
                let at = at.at("parameters").at(key);
                if !known
                    .iter()
                    .any(|(location, name)| key == name || *key == format!("{location}.{name}"))
                {
                    self.report(&at, format!("`{id}` has no parameter of this name"));
                }
                source.check_expressions(value, &at, self);
            }
            if let Some(body) = request_body {
                let at = at.at("requestBody");
                if target.0["requestBody"].is_null() {
                    self.report(&at, format!("`{id}` has no request body"));
                }
                source.check_expressions(body, &at, self);
            }
        }
    }
}

/// A raw operation and its path item.
type RawOperation<'d> = (&'d Value, &'d Value);

fn operations(root: &Value) -> impl Iterator<Item = RawOperation<'_>> {
    let items = root["paths"].as_object().into_iter().flatten();
    items.flat_map(|(_, item)| {
        item.as_object().into_iter().flatten().map(move |(_, operation)| (operation, item))
    })
}

fn parameters_of<'d>(
    root: &'d Value,
    (operation, item): RawOperation<'d>,
) -> impl Iterator<Item = (&'d str, &'d str)> {
    let parameters = [operation, item]
        .into_iter()
        .filter_map(|holder| holder["parameters"].as_array())
        .flatten();
    parameters.filter_map(move |parameter| {
        let parameter = dereference(root, parameter);
        Some((parameter["in"].as_str()?, parameter["name"].as_str()?))
    })
}

fn dereference<'d>(root: &'d Value, value: &'d Value) -> &'d Value {
    let target = value["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer));
    target.unwrap_or(value)
}

/// The request and response that a link's runtime expressions refer to.
struct Exchange<'d> {
    root: &'d Value,
    response: &'d Value,
    /// `None` for a shared response, which belongs to several operations.
    operation: Option<RawOperation<'d>>,
}

impl<'d> Exchange<'d> {
    fn new(root: &'d Value, response: &Pointer) -> Self {
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

    /// Reports each runtime expression in a value that refers to nothing declared. Text without a
    /// leading `$` is a constant.
    fn check_expressions(&self, value: &Value, at: &Pointer, lowering: &mut Lowering<'_>) {
        match value {
            Value::String(text) if text.contains("{$") => {
                lowering.report(
                    at,
                    "an expression inside a text is not supported; write the expression alone",
                );
            }
            Value::String(text) if text.starts_with('$') => {
                if let Err(reason) = self.resolve(text) {
                    lowering.report(at, reason);
                }
            }
            Value::Object(members) => members
                .iter()
                .for_each(|(key, value)| self.check_expressions(value, &at.at(key), lowering)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(index, value)| self.check_expressions(value, &at.at(index), lowering)),
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    fn resolve(&self, expression: &str) -> Result<(), String> {
        if ["$url", "$method", "$statusCode"].contains(&expression) {
            return Ok(());
        }
        let (message, source) = expression.split_once('.').unwrap_or((expression, ""));
        let (part, name) = source.split_once(['.', '#']).unwrap_or((source, ""));
        let of_request = message == "$request";
        let operation = || {
            self.operation
                .ok_or("a shared response belongs to several requests; write the response inline")
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
                    dereference(self.root, &operation()?.0["requestBody"])
                } else {
                    self.response
                };
                let content =
                    message["content"].as_object().and_then(|content| content.values().next());
                let schema =
                    content.map(|content| &content["schema"]).ok_or("the message has no body")?;
                self.resolve_pointer(schema, name)
            }
            (_, _) => Err(format!("`{expression}` is not a runtime expression of OpenAPI 3.0")),
        }
    }

    /// Checks that a schema describes a value at a JSON pointer.
    fn resolve_pointer(&self, schema: &Value, pointer: &str) -> Result<(), String> {
        let mut schema = dereference(self.root, schema);
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let below = match token.parse::<usize>() {
                Ok(_) if schema["items"].is_object() => &schema["items"],
                Ok(_) | Err(_) => &schema["properties"][&token],
            };
            if below.is_null() {
                return Err(format!("the schema of the body has no member at `{pointer}`"));
            }
            schema = dereference(self.root, below);
        }
        if pointer.is_empty() || pointer.starts_with('/') {
            Ok(())
        } else {
            Err(format!("`{pointer}` is not a JSON pointer"))
        }
    }
}
