//! Lowers paths and operations.

use std::collections::HashMap;

use openapiv3::{Operation as Typed, PathItem, Paths, ReferenceOr, SecurityRequirement};

use super::{Lowering, lower_external_docs, text};
use crate::{
    error::Pointer,
    model::{BearerScheme, Location, Operation, Tag},
    names,
};

struct Scope<'a> {
    tags: &'a [Tag],
    schemes: &'a [BearerScheme],
    security: Option<&'a [SecurityRequirement]>,
}

impl Lowering<'_> {
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
                self.report(
                    &at.at("$ref"),
                    "a `$ref` to a path is not supported; write the path inline",
                );
                continue;
            };
            self.check_path_template(path, &at, &mut templates);
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
            self.report_if(
                summary.is_some(),
                &at,
                "summary",
                "a summary of a path is not supported; write it at the operations",
            );
            self.report_if(
                description.is_some(),
                &at,
                "description",
                "a description of a path is not supported; write it at the operations",
            );
            self.report_if(
                !servers.is_empty(),
                &at,
                "servers",
                "servers of a path are not supported",
            );
            self.report_if(head.is_some(), &at, "head", "HEAD is served for each GET; remove it");
            self.report_if(options.is_some(), &at, "options", "OPTIONS is not supported");
            self.report_if(trace.is_some(), &at, "trace", "TRACE is not supported");
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
                    self.report(
                        &at.at("operationId"),
                        format!(
                            "the Rust method would have the same name as that of {other}; choose \
                             another id"
                        ),
                    );
                }
                if operations[first..].iter().any(|other| other.tag != operation.tag) {
                    self.report(
                        &at.at("tags"),
                        "expected one tag for all operations of a path: poem-openapi emits a path \
                         once for each tag",
                    );
                }
                operations.push(operation);
            }
        }
        operations
    }

    /// Reports templates that poem's router or the emitted document would interpret differently.
    fn check_path_template(
        &mut self,
        path: &str,
        at: &Pointer,
        templates: &mut HashMap<String, String>,
    ) {
        if path.len() > 1 && (path.ends_with('/') || path.contains("//")) {
            self.report(at, "empty segments are not supported in a path");
        }
        let mut shape = String::new();
        let mut seen: Vec<&str> = Vec::new();
        for segment in path.split('/').skip(1) {
            shape.push('/');
            match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
                Some(name) if !name.contains(['{', '}']) => {
                    if seen.contains(&name) {
                        self.report(at, format!("repeated variable `{name}`"));
                    }
                    seen.push(name);
                    shape.push_str("{}");
                }
                Some(_) => {
                    self.report(at, "expected a segment that is one variable or contains none")
                }
                None if segment.contains(['{', '}']) => {
                    self.report(at, "expected a segment that is one variable or contains none")
                }
                None if segment
                    .bytes()
                    .any(|byte| !byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte)) =>
                {
                    self.report(
                        at,
                        format!(
                            "the segment `{segment}` has unsupported characters; use letters, \
                             digits and -._~"
                        ),
                    );
                }
                None => shape.push_str(segment),
            }
        }
        if let Some(other) = templates.insert(shape, path.to_owned()) {
            self.report(at, format!("is the same path as {other}"));
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
        self.report_if(!callbacks.is_empty(), at, "callbacks", "callbacks are not supported");
        self.report_if(
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
            self.report(
                &at.at("operationId"),
                "expected an `operationId` that can become a Rust name: it names the method and \
                 its response",
            );
            return None;
        };
        let response_name = format!("{camel}Response");
        self.declare(&response_name, &at.at("operationId"));
        let (summary, description) = (text(summary.as_deref()), text(description.as_deref()));
        if summary.is_none() && description.is_some() {
            self.report(
                at,
                "expected a `summary` beside the `description`: poem-openapi would take the first \
                 paragraph",
            );
        }
        if summary.as_deref().is_some_and(|summary| summary.contains('\n')) {
            self.report(&at.at("summary"), "expected one line");
        }
        for (keyword, text) in [("summary", &summary), ("description", &description)] {
            self.check_doc_text(text.as_deref(), &at.at(keyword));
        }

        let described = external_docs.as_ref().is_some_and(|docs| docs.description.is_some());
        self.report_if(
            described,
            &at.at("externalDocs"),
            "description",
            "poem-openapi has only the URL of an operation's `externalDocs`; remove the \
             description",
        );

        let mut indices = shared.to_vec();
        for index in self.parameters_of(parameters, path, at) {
            let (name, location) =
                (self.parameters[index].name.clone(), self.parameters[index].location);
            if let Some(overridden) = indices.iter().position(|other| {
                self.parameters[*other].name == name && self.parameters[*other].location == location
            }) {
                if overridden >= shared.len() {
                    self.report(&at.at("parameters"), format!("repeated parameter `{name}`"));
                }
                indices.remove(overridden);
            }
            indices.push(index);
        }
        self.check_path_variables(&indices, path, at);
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
        self.check_arguments(
            &indices,
            scheme.map(|index| scope.schemes[index].rust_name.as_str()),
            at,
        );
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
            external_docs: external_docs.as_ref().map(lower_external_docs),
            deprecated: *deprecated,
            scheme,
            parameters: indices,
            body,
            responses,
        })
    }

    /// poem-openapi takes these texts from doc comments, which lose trailing white space.
    pub(super) fn check_doc_text(&mut self, text: Option<&str>, at: &Pointer) {
        if text.is_some_and(|text| text.lines().any(|line| line.ends_with([' ', '\t']))) {
            self.report(
                at,
                "the emitted document loses trailing white space; for a hard line break, write a \
                 backslash",
            );
        }
        if text.is_some_and(|text| text.contains("*/") || text.contains("/*")) {
            self.report(
                at,
                "`/*` and `*/` are not supported: they would start or end a comment in the \
                 generated code",
            );
        }
    }

    fn tag(&mut self, names: &[String], scope: &Scope<'_>, at: &Pointer) -> Option<usize> {
        let [name] = names else {
            self.report(at, "expected exactly one tag: it selects the trait");
            return None;
        };
        let index = scope.tags.iter().position(|tag| tag.name == *name);
        if index.is_none() {
            self.report(&at.at(0), format!("the tag `{name}` is not declared in /tags"));
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
                    self.report(&at.at(0).at(name), "a bearer scheme has no scopes");
                }
                let index = schemes.iter().position(|scheme| scheme.name == *name);
                if index.is_none() {
                    self.report(
                        &at.at(0).at(name),
                        "/components/securitySchemes declares no such supported scheme",
                    );
                }
                index
            }
            [_, ..] => {
                self.report(
                    at,
                    "expected no scheme or exactly one; combinations and alternatives are not \
                     supported",
                );
                None
            }
        }
    }
}
