//! Lowers request bodies, responses and headers.

use indexmap::IndexMap;
use openapiv3::{
    Header as TypedHeader, HeaderStyle, MediaType, ParameterSchemaOrContent, ReferenceOr,
    RequestBody, Response as Typed, StatusCode,
};

use super::{Lowering, parameter::is_header_name, text};
use crate::{
    error::Pointer,
    model::{Body, ComponentKind, Header, Response, Scalar, Shape},
    names,
};

impl Lowering<'_> {
    pub(super) fn body(
        &mut self,
        body: &ReferenceOr<RequestBody>,
        method: &str,
        at: &Pointer,
    ) -> Option<Body> {
        let shared = self.components.request_bodies.clone();
        let (body, at) = self.resolve(body, "requestBodies", &shared, at)?;
        let RequestBody { description, content, required, extensions: _ } = body;
        if !required {
            self.report(
                &at.at("required"),
                "optional bodies are not supported; add `required: true`",
            );
        }
        if ["get", "delete"].contains(&method) {
            self.report(&at, "HTTP defines no body for GET and DELETE; remove it");
        }
        let description = text(description.as_deref());
        self.check_doc_text(description.as_deref(), &at.at("description"));
        let (media_type, component) = self.content(&content, &at.at("content"))?;
        if media_type != "application/json" {
            self.report(
                &at.at("content").at(&media_type),
                "only `application/json` is supported in requests",
            );
        }
        let raw = self.raw_at(&at.at("content").at(&media_type).at("schema"));
        Some(Body { description, component, raw })
    }

    fn content(
        &mut self,
        content: &IndexMap<String, MediaType>,
        at: &Pointer,
    ) -> Option<(String, String)> {
        let [(name, media_type)] = content.iter().collect::<Vec<_>>()[..] else {
            self.report(at, "expected exactly one media type");
            return None;
        };
        let at = at.at(name);
        if !["application/json", "application/problem+json"].contains(&name.as_str()) {
            self.report(
                &at,
                "only `application/json` and `application/problem+json` are supported",
            );
        }
        // Examples: see `gaps`.
        let MediaType { schema, example: _, examples: _, encoding, extensions: _ } = media_type;
        self.report_if(!encoding.is_empty(), &at, "encoding", "`encoding` is not supported");
        let Some(ReferenceOr::Reference { reference }) = schema else {
            self.report(
                &at,
                "expected a `$ref` to /components/schemas, which gives the type its name",
            );
            return None;
        };
        let component = self.component_name(reference, "schemas", &at.at("schema"))?;
        match self
            .types
            .iter()
            .find(|other| other.named && other.rust_name == component)
            .map(|other| &other.kind)
        {
            Some(ComponentKind::Object { .. }) => {}
            Some(ComponentKind::Enum { .. } | ComponentKind::Scalar(_)) => {
                self.report(&at.at("schema"), "expected an object, which can get new members")
            }
            None if self.components.schemas.contains_key(&component) => {}
            None => {
                self.report(&at.at("schema").at("$ref"), format!("`{reference}` does not exist"))
            }
        }
        Some((name.clone(), component))
    }

    pub(super) fn responses(
        &mut self,
        responses: &openapiv3::Responses,
        at: &Pointer,
    ) -> IndexMap<u16, Response> {
        let openapiv3::Responses { default, responses, extensions: _ } = responses;
        self.report_if(
            default.is_some(),
            at,
            "default",
            "`default` is not supported; declare each status",
        );
        let mut lowered = IndexMap::new();
        for (status, response) in responses {
            let at = at.at(status);
            let StatusCode::Code(code) = status else {
                self.report(&at, "ranges of statuses are not supported; declare each status");
                continue;
            };
            let rust_name = http::StatusCode::from_u16(*code)
                .ok()
                .filter(|_| *code >= 200)
                .and_then(|status| names::pascal(status.canonical_reason()?));
            let Some(rust_name) = rust_name else {
                self.report(&at, "expected a registered status of 200 or more");
                continue;
            };
            if let Some(response) = self.response(response, *code, rust_name, &at) {
                lowered.insert(*code, response);
            }
        }
        if !lowered.keys().any(|status| *status < 400) {
            self.report(at, "expected a response with a status below 400");
        }
        lowered
    }

    fn response(
        &mut self,
        response: &ReferenceOr<Typed>,
        status: u16,
        rust_name: String,
        at: &Pointer,
    ) -> Option<Response> {
        let components = self.components.responses.clone();
        let is_shared = matches!(response, ReferenceOr::Reference { .. });
        let (response, at) = self.resolve(response, "responses", &components, at)?;
        let shared = if is_shared { self.shared_response(&at) } else { None };
        let Typed { description, headers, content, links, extensions: _ } = response;
        self.links(&links, &at);
        let mut lowered: Vec<Header> = Vec::new();
        for (name, header) in &headers {
            let Some(header) = self.header(name, header, &at.at("headers").at(name)) else {
                continue;
            };
            if header.rust_name == "body"
                || lowered.iter().any(|other| other.rust_name == header.rust_name)
            {
                self.report(
                    &at.at("headers").at(name),
                    format!(
                        "another field of the response is named `{}`; rename the header",
                        header.rust_name
                    ),
                );
            }
            lowered.push(header);
        }
        let body = if content.is_empty() {
            None
        } else {
            Some(self.content(&content, &at.at("content"))?)
        };
        if [204, 205, 304].contains(&status) && body.is_some() {
            self.report(&at.at("content"), format!("HTTP allows no body with status {status}"));
        }
        Some(Response {
            shared,
            rust_name,
            description: text(Some(&description)).unwrap_or_default(),
            headers: lowered,
            body,
        })
    }

    /// Returns the name of the function with a shared response's metadata.
    fn shared_response(&mut self, at: &Pointer) -> Option<String> {
        let pointer = at.to_string();
        let name = pointer.rsplit('/').next().and_then(names::snake);
        match &name {
            Some(name) => self.declare(&format!("shared_responses::{name}"), at),
            None => self.report(at, "this name cannot become a Rust function name"),
        }
        name
    }

    fn header(
        &mut self,
        name: &str,
        header: &ReferenceOr<TypedHeader>,
        at: &Pointer,
    ) -> Option<Header> {
        if name.eq_ignore_ascii_case("content-type") {
            self.report(at, "OpenAPI ignores this header; remove it, `content` has the media type");
        }
        let shared = self.components.headers.clone();
        let Some(rust_name) = names::snake(name).filter(|_| is_header_name(name)) else {
            self.report(at, format!("`{name}` cannot become a Rust field name"));
            return None;
        };
        let camel = names::pascal(name)?;
        let (header, at) = self.resolve(header, "headers", &shared, at)?;
        // Examples: see `gaps`.
        let TypedHeader {
            description,
            style: HeaderStyle::Simple,
            required,
            deprecated,
            format,
            example: _,
            examples: _,
            extensions: _,
        } = header;
        self.report_if(
            deprecated == Some(true),
            &at,
            "deprecated",
            "a deprecated header is not supported",
        );
        let ParameterSchemaOrContent::Schema(schema) = format else {
            self.report(&at.at("content"), "`content` is not supported in headers; use `schema`");
            return None;
        };
        let at = at.at("schema");
        let schema = self.schema(&schema, &format!("{camel}Header"), &at)?;
        // A date-time's `Display` is not RFC 3339, and a reference would lose the component's name.
        let supported = matches!(schema.shape, Shape::Scalar(scalar) if scalar != Scalar::DateTime);
        if !supported || schema.nullable || schema.keywords.default.is_some() {
            self.report(
                &at,
                "expected an inline string (not `date-time`), integer or boolean, not nullable and \
                 without a default",
            );
        }
        Some(Header {
            name: name.to_owned(),
            rust_name,
            required,
            description: text(description.as_deref()),
            schema,
        })
    }
}
