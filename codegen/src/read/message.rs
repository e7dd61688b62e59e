//! Bodies of requests, and responses with their headers.

use indexmap::IndexMap;
use openapiv3::{
    Header as TypedHeader, HeaderStyle, MediaType, ParameterSchemaOrContent, ReferenceOr,
    RequestBody, Response as Typed, StatusCode,
};

use super::{Reader, parameter::is_header_name, text};
use crate::{
    error::Pointer,
    model::{Body, ComponentKind, Header, Response, Scalar, Shape},
    names,
    status::reason,
};

impl Reader<'_> {
    pub(super) fn body(
        &mut self,
        body: &ReferenceOr<RequestBody>,
        method: &str,
        at: &Pointer,
    ) -> Option<Body> {
        let shared = self.components.request_bodies.clone();
        let (body, at) = self.follow(body, "requestBodies", &shared, at)?;
        let RequestBody { description, content, required, extensions: _ } = body;
        if !required {
            self.refuse(
                &at.at("required"),
                "a body that may be absent is not supported; say `required: true`",
            );
        }
        if ["get", "delete"].contains(&method) {
            self.refuse(&at, "a body of a GET or DELETE has no meaning in HTTP");
        }
        let description = text(description.as_deref());
        self.doc_text(description.as_deref(), &at.at("description"));
        let (media_type, component) = self.content(&content, &at.at("content"))?;
        if media_type != "application/json" {
            self.refuse(
                &at.at("content").at(&media_type),
                "only `application/json` is supported in requests",
            );
        }
        let raw = self.raw_at(&at.at("content").at(&media_type).at("schema"));
        Some(Body { description, component, raw })
    }

    /// One media type, and the component that its schema refers to.
    fn content(
        &mut self,
        content: &IndexMap<String, MediaType>,
        at: &Pointer,
    ) -> Option<(String, String)> {
        let [(name, media_type)] = content.iter().collect::<Vec<_>>()[..] else {
            self.refuse(at, "exactly one media type is supported");
            return None;
        };
        let at = at.at(name);
        if !["application/json", "application/problem+json"].contains(&name.as_str()) {
            self.refuse(
                &at,
                "only `application/json` and `application/problem+json` are supported",
            );
        }
        // Examples: see `gaps`.
        let MediaType { schema, example: _, examples: _, encoding, extensions: _ } = media_type;
        self.refuse_if(!encoding.is_empty(), &at, "encoding", "`encoding` is not supported");
        let Some(ReferenceOr::Reference { reference }) = schema else {
            self.refuse(
                &at,
                "a schema by reference to /components/schemas is expected, so that it has a name",
            );
            return None;
        };
        let component = self.component_name(reference, "schemas", &at.at("schema"))?;
        match self
            .model
            .iter()
            .find(|other| other.named && other.rust_name == component)
            .map(|other| &other.kind)
        {
            Some(ComponentKind::Object { .. }) => {}
            Some(ComponentKind::Enum { .. } | ComponentKind::Scalar(_)) => {
                self.refuse(&at.at("schema"), "a body has to be an object, so that it can grow")
            }
            None if self.components.schemas.contains_key(&component) => {}
            None => self.refuse(
                &at.at("schema").at("$ref"),
                format!("refers to `{reference}`, which does not exist"),
            ),
        }
        Some((name.clone(), component))
    }

    pub(super) fn responses(
        &mut self,
        responses: &openapiv3::Responses,
        at: &Pointer,
    ) -> IndexMap<u16, Response> {
        let openapiv3::Responses { default, responses, extensions: _ } = responses;
        self.refuse_if(
            default.is_some(),
            at,
            "default",
            "`default` is not supported: a status that is not declared cannot be returned",
        );
        let mut read = IndexMap::new();
        for (status, response) in responses {
            let at = at.at(status);
            let StatusCode::Code(code) = status else {
                self.refuse(&at, "ranges of statuses are not supported");
                continue;
            };
            let rust_name = reason(*code).and_then(names::pascal).filter(|_| *code >= 200);
            let Some(rust_name) = rust_name else {
                self.refuse(&at, "is no final status that HTTP has a name for");
                continue;
            };
            if let Some(response) = self.response(response, *code, rust_name, &at) {
                read.insert(*code, response);
            }
        }
        if !read.keys().any(|status| *status < 400) {
            self.refuse(at, "a response below 400 is expected");
        }
        read
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
        let (response, at) = self.follow(response, "responses", &components, at)?;
        let shared = if is_shared { self.shared_response(&at) } else { None };
        let Typed { description, headers, content, links, extensions: _ } = response;
        // They change nothing in the server: see `gaps`.
        self.links(&links, &at);
        let mut read: Vec<Header> = Vec::new();
        for (name, header) in &headers {
            let Some(header) = self.header(name, header, &at.at("headers").at(name)) else {
                continue;
            };
            if header.rust_name == "body"
                || read.iter().any(|other| other.rust_name == header.rust_name)
            {
                self.refuse(
                    &at.at("headers").at(name),
                    format!(
                        "another member of the response is named `{}` already",
                        header.rust_name
                    ),
                );
            }
            read.push(header);
        }
        let body = if content.is_empty() {
            None
        } else {
            Some(self.content(&content, &at.at("content"))?)
        };
        if [204, 205, 304].contains(&status) && body.is_some() {
            self.refuse(
                &at.at("content"),
                format!("a response of status {status} has no body in HTTP"),
            );
        }
        Some(Response {
            shared,
            rust_name,
            description: text(Some(&description)).unwrap_or_default(),
            headers: read,
            body,
        })
    }

    /// The name of the function that describes a response of `components`.
    fn shared_response(&mut self, at: &Pointer) -> Option<String> {
        let pointer = at.to_string();
        let name = pointer.rsplit('/').next().and_then(names::snake);
        match &name {
            Some(name) => self.claim(&format!("described::{name}"), at),
            None => self.refuse(at, "this name makes no name of a Rust function"),
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
            self.refuse(
                at,
                "OpenAPI ignores this header; the media type of the content describes it",
            );
        }
        let shared = self.components.headers.clone();
        let Some(rust_name) = names::snake(name).filter(|_| is_header_name(name)) else {
            self.refuse(at, format!("`{name}` makes no name of a Rust field"));
            return None;
        };
        let camel = names::pascal(name)?;
        let (header, at) = self.follow(header, "headers", &shared, at)?;
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
        self.refuse_if(
            deprecated == Some(true),
            &at,
            "deprecated",
            "a deprecated header is not supported",
        );
        let ParameterSchemaOrContent::Schema(schema) = format else {
            self.refuse(
                &at.at("content"),
                "a header that is a document of its own is not supported; give it a `schema`",
            );
            return None;
        };
        let at = at.at("schema");
        let schema = self.schema(&schema, &format!("{camel}Header"), &at)?;
        // Times are printed otherwise than RFC 3339 writes them, and a component's name would be
        // lost.
        let supported = matches!(schema.shape, Shape::Scalar(scalar) if scalar != Scalar::DateTime);
        if !supported || schema.nullable || schema.notes.default.is_some() {
            self.refuse(
                &at,
                "a header has to be a string (no time), an integer or a truth value, written out here, not nullable and without a default",
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
