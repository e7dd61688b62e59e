//! Paths and operations.

use std::collections::HashMap;

use openapiv3::{Operation as Typed, PathItem, Paths, ReferenceOr, SecurityRequirement};

use super::{Reader, read_external_docs, text};
use crate::{
    error::Pointer,
    model::{BearerScheme, Location, Operation, Tag},
    names,
};

/// What operations are read against.
struct Scope<'a> {
    tags: &'a [Tag],
    schemes: &'a [BearerScheme],
    security: Option<&'a [SecurityRequirement]>,
}

impl Reader<'_> {
    pub(super) fn paths(
        &mut self,
        paths: &Paths,
        tags: &[Tag],
        schemes: &[BearerScheme],
        security: Option<&[SecurityRequirement]>,
    ) -> Vec<Operation> {
        let at = Pointer::root().at("paths");
        let scope = Scope { tags, schemes, security };
        let Paths { paths, extensions: _ } = paths;
        let mut operations: Vec<Operation> = Vec::new();
        let mut templates: HashMap<String, String> = HashMap::new();
        let mut ids: HashMap<String, Pointer> = HashMap::new();
        for (path, item) in paths {
            let at = at.at(path);
            let ReferenceOr::Item(item) = item else {
                self.refuse(&at.at("$ref"), "a path by reference is not supported");
                continue;
            };
            self.path_template(path, &at, &mut templates);
            let PathItem {
                summary,
                description,
                get,
                put,
                post,
                delete,
                options,
                head,
                patch,
                trace,
                servers,
                parameters,
                extensions: _,
            } = item;
            self.refuse_if(
                summary.is_some(),
                &at,
                "summary",
                "a summary of a path is not supported; write it at the operations",
            );
            self.refuse_if(
                description.is_some(),
                &at,
                "description",
                "a description of a path is not supported; write it at the operations",
            );
            self.refuse_if(
                !servers.is_empty(),
                &at,
                "servers",
                "servers of a path are not supported",
            );
            self.refuse_if(
                head.is_some(),
                &at,
                "head",
                "HEAD is served wherever there is GET, and not supported by itself",
            );
            self.refuse_if(options.is_some(), &at, "options", "OPTIONS is not supported");
            self.refuse_if(trace.is_some(), &at, "trace", "TRACE is not supported");
            let shared: Vec<usize> = self.parameters_of(parameters, path, &at);
            let first = operations.len();
            for (method, operation) in
                [("get", get), ("put", put), ("post", post), ("delete", delete), ("patch", patch)]
            {
                let Some(operation) = operation else { continue };
                let at = at.at(method);
                let Some(operation) = self.operation(operation, method, path, &shared, &scope, &at)
                else {
                    continue;
                };
                if let Some(other) = ids.insert(operation.rust_name.clone(), at.at("operationId")) {
                    self.refuse(
                        &at.at("operationId"),
                        format!("makes the same method name as that at {other}"),
                    );
                }
                if operations[first..].iter().any(|other| other.tag != operation.tag) {
                    self.refuse(&at.at("tags"), "the operations of one path have to have one tag: poem-openapi emits a path once for each");
                }
                operations.push(operation);
            }
        }
        operations
    }

    /// Refuses templates that the router, or the document that it emits, would understand as
    /// something else.
    fn path_template(&mut self, path: &str, at: &Pointer, templates: &mut HashMap<String, String>) {
        if path.len() > 1 && (path.ends_with('/') || path.contains("//")) {
            self.refuse(at, "empty segments are not supported in a path");
        }
        let mut shape = String::new();
        let mut seen: Vec<&str> = Vec::new();
        for segment in path.split('/').skip(1) {
            shape.push('/');
            match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
                Some(name) if !name.contains(['{', '}']) => {
                    if seen.contains(&name) {
                        self.refuse(at, format!("the variable `{name}` is there twice"));
                    }
                    seen.push(name);
                    shape.push_str("{}");
                }
                Some(_) => self.refuse(at, "a segment is either one variable or none"),
                None if segment.contains(['{', '}']) => {
                    self.refuse(at, "a segment is either one variable or none")
                }
                None if segment
                    .bytes()
                    .any(|byte| !byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte)) =>
                {
                    self.refuse(at, format!("the segment `{segment}` holds other characters than letters, digits and -._~"));
                }
                None => shape.push_str(segment),
            }
        }
        if let Some(other) = templates.insert(shape, path.to_owned()) {
            self.refuse(at, format!("is the same path as {other}"));
        }
    }

    fn operation(
        &mut self,
        operation: &Typed,
        method: &str,
        path: &str,
        shared: &[usize],
        scope: &Scope<'_>,
        at: &Pointer,
    ) -> Option<Operation> {
        let Typed {
            tags,
            summary,
            description,
            external_docs,
            operation_id,
            parameters,
            request_body,
            responses,
            callbacks,
            deprecated,
            security,
            servers,
            extensions: _,
        } = operation;
        self.refuse_if(!callbacks.is_empty(), at, "callbacks", "callbacks are not supported");
        self.refuse_if(
            !servers.is_empty(),
            at,
            "servers",
            "servers of an operation are not supported",
        );
        let tag = self.tag(tags, scope, &at.at("tags"));
        let names = operation_id
            .as_deref()
            .and_then(|id| Some((id, names::snake(id)?, names::pascal(id)?)));
        let Some((id, rust_name, camel)) = names else {
            self.refuse(&at.at("operationId"), "an `operationId` is expected that makes a Rust name: it names the method and its response");
            return None;
        };
        let response_name = format!("{camel}Response");
        self.claim(&response_name, &at.at("operationId"));
        let (summary, description) = (text(summary.as_deref()), text(description.as_deref()));
        if summary.is_none() && description.is_some() {
            self.refuse(at, "a `summary` is expected where there is a `description`: poem-openapi takes the first paragraph for it");
        }
        if summary.as_deref().is_some_and(|summary| summary.contains('\n')) {
            self.refuse(&at.at("summary"), "one line is expected");
        }
        for (keyword, text) in [("summary", &summary), ("description", &description)] {
            self.doc_text(text.as_deref(), &at.at(keyword));
        }

        let described = external_docs.as_ref().is_some_and(|docs| docs.description.is_some());
        self.refuse_if(
            described,
            &at.at("externalDocs"),
            "description",
            "poem-openapi has only the address of an operation's documentation",
        );

        let mut indices = shared.to_vec();
        for index in self.parameters_of(parameters, path, at) {
            let (name, location) =
                (self.parameters[index].name.clone(), self.parameters[index].location);
            if let Some(overridden) = indices.iter().position(|other| {
                self.parameters[*other].name == name && self.parameters[*other].location == location
            }) {
                if overridden >= shared.len() {
                    self.refuse(
                        &at.at("parameters"),
                        format!("the parameter `{name}` is there twice"),
                    );
                }
                indices.remove(overridden);
            }
            indices.push(index);
        }
        self.path_variables(&indices, path, at);
        indices.sort_by_key(|index| match self.parameters[*index].location {
            Location::Path => 0,
            Location::Query => 1,
            Location::Header => 2,
        });
        let scheme = self.security(
            security.as_deref().or(scope.security),
            scope.schemes,
            &at.at("security"),
        );
        let body =
            request_body.as_ref().and_then(|body| self.body(body, method, &at.at("requestBody")));
        self.arguments(&indices, scheme.map(|index| scope.schemes[index].rust_name.as_str()), at);
        let responses = self.responses(responses, &at.at("responses"));
        Some(Operation {
            id: id.to_owned(),
            rust_name,
            response_name,
            method: method.to_owned(),
            path: path.to_owned(),
            tag: tag?,
            summary,
            description,
            external_docs: external_docs.as_ref().map(read_external_docs),
            deprecated: *deprecated,
            scheme,
            parameters: indices,
            body,
            responses,
        })
    }

    /// poem-openapi takes these texts from doc comments, which lose what stands at the ends of
    /// lines.
    pub(super) fn doc_text(&mut self, text: Option<&str>, at: &Pointer) {
        if text.is_some_and(|text| text.lines().any(|line| line.ends_with([' ', '\t']))) {
            self.refuse(at, "a line ends in white space, which the emitted document would lose; for a hard line break write a backslash");
        }
        if text.is_some_and(|text| text.contains("*/") || text.contains("/*")) {
            self.refuse(at, "`/*` and `*/` are not supported here: they would begin or end a comment of the generated code");
        }
    }

    fn tag(&mut self, names: &[String], scope: &Scope<'_>, at: &Pointer) -> Option<usize> {
        let [name] = names else {
            self.refuse(
                at,
                "exactly one tag is expected: it says which trait the operation belongs to",
            );
            return None;
        };
        let index = scope.tags.iter().position(|tag| tag.name == *name);
        if index.is_none() {
            self.refuse(&at.at(0), format!("the tag `{name}` is none of those at /tags"));
        }
        index
    }

    fn security(
        &mut self,
        requirements: Option<&[SecurityRequirement]>,
        schemes: &[BearerScheme],
        at: &Pointer,
    ) -> Option<usize> {
        match requirements.unwrap_or_default() {
            [] => None,
            [requirement] if requirement.len() == 1 => {
                let (name, scopes) = requirement.first()?;
                if !scopes.is_empty() {
                    self.refuse(&at.at(0).at(name), "a bearer scheme has no scopes");
                }
                let index = schemes.iter().position(|scheme| scheme.name == *name);
                if index.is_none() {
                    self.refuse(
                        &at.at(0).at(name),
                        "is none of the supported schemes at /components/securitySchemes",
                    );
                }
                index
            }
            [_, ..] => {
                self.refuse(
                    at,
                    "either no scheme or exactly one is supported; no combinations, no choice",
                );
                None
            }
        }
    }
}
