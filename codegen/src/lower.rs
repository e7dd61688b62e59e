//! Lowers `openapiv3`'s types to the model. Each struct is destructured to its last field, so a
//! field of a new `openapiv3` version is a compile error until it is lowered or reported.

mod link;
mod message;
mod operation;
mod parameter;
mod reference;
mod schema;

use std::collections::HashMap;

use indexmap::IndexMap;
use openapiv3::{Components, ExternalDocumentation, OpenAPI, ReferenceOr, SecurityScheme};
use serde_json::Value;

use crate::{
    error::{Diagnostics, Error, Pointer},
    model::{Api, BearerScheme, Component, ExternalDocs, Info, Parameter, Server, Tag},
    names,
    parse::Document,
};

/// Names that generated code uses.
const RESERVED: [&str; 17] = [
    "Apis", "Box", "Clone", "Err", "Fn", "None", "Ok", "Option", "Result", "Send", "Some",
    "String", "Sync", "Tags", "ToString", "Vec", "Self",
];

pub(crate) fn lower(document: &Document) -> Result<Api, Error> {
    let mut lowering = Lowering {
        raw: &document.raw,
        components: document.typed.components.clone().unwrap_or_default(),
        diagnostics: Diagnostics::default(),
        declared: HashMap::new(),
        types: Vec::new(),
        parameters: Vec::new(),
        parameter_indices: IndexMap::new(),
    };
    let api = lowering.document(&document.typed);
    lowering.diagnostics.into_result(api)
}

struct Lowering<'d> {
    raw: &'d Value,
    components: Components,
    diagnostics: Diagnostics,
    /// The pointers of the items that declare Rust names.
    declared: HashMap<String, Pointer>,
    types: Vec<Component>,
    parameters: Vec<Parameter>,
    /// Indices of lowered parameters, by pointer.
    parameter_indices: IndexMap<String, usize>,
}

impl Lowering<'_> {
    fn report(&mut self, at: &Pointer, reason: impl Into<String>) {
        self.diagnostics.report(at, reason);
    }

    fn report_if(&mut self, present: bool, at: &Pointer, keyword: &str, reason: &str) {
        if present {
            self.report(&at.at(keyword), reason);
        }
    }

    /// Declares a Rust name. Reports a reserved or repeated one.
    fn declare(&mut self, rust_name: &str, at: &Pointer) {
        // Names in a module of the generated code have its path: `parameters::Limit`.
        let unqualified = rust_name.rsplit("::").next().unwrap_or_default();
        if RESERVED.contains(&unqualified) {
            self.report(
                at,
                format!(
                    "the Rust name would be `{unqualified}`, which generated code uses; choose \
                     another name"
                ),
            );
        } else if let Some(other) = self.declared.get(rust_name).filter(|other| *other != at) {
            let reason = format!(
                "the Rust name would be `{rust_name}`, the same as that of {other}; choose another \
                 name"
            );
            self.report(at, reason);
        } else {
            self.declared.insert(rust_name.to_owned(), at.clone());
        }
    }

    fn document(&mut self, typed: &OpenAPI) -> Api {
        let root = Pointer::root();
        // `parse` has checked the version. Extensions: see `gaps`.
        let OpenAPI {
            openapi: _,
            info,
            servers,
            paths,
            components: _,
            security,
            tags,
            external_docs,
            extensions: _,
        } = typed;
        let info = Self::info(info);
        let servers = self.servers(servers);
        let tags = self.tags(tags);
        let schemes = self.components();
        self.check_reachability();
        self.check_arrays_of_times();
        let operations = self.paths(paths, &tags, &schemes, security.as_deref());
        if operations.is_empty() {
            self.report(&root.at("paths"), "expected at least one operation");
        }
        for (index, tag) in tags.iter().enumerate() {
            if !operations.iter().any(|operation| operation.tag == index) {
                let reason = format!("no operation has the tag `{}`; remove it", tag.name);
                self.report(&root.at("tags").at(index), reason);
            }
        }
        for scheme in &schemes {
            if !operations.iter().any(|operation| {
                operation.scheme.is_some_and(|index| schemes[index].name == scheme.name)
            }) {
                self.report(
                    &root.at("components").at("securitySchemes").at(&scheme.name),
                    "no operation uses this scheme; remove it",
                );
            }
        }
        let request_schemas = self.request_schemas(&operations);
        Api {
            info,
            servers,
            external_docs: external_docs.as_ref().map(lower_external_docs),
            tags,
            schemes,
            components: std::mem::take(&mut self.types),
            parameters: std::mem::take(&mut self.parameters),
            operations,
            request_schemas,
        }
    }

    fn info(info: &openapiv3::Info) -> Info {
        let openapiv3::Info {
            title,
            description,
            terms_of_service,
            contact,
            license,
            version,
            extensions: _,
        } = info;
        Info {
            title: title.clone(),
            version: version.clone(),
            description: text(description.as_deref()),
            terms_of_service: terms_of_service.clone(),
            contact: contact.as_ref().map(
                |openapiv3::Contact { name, url, email, extensions: _ }| {
                    (name.clone(), url.clone(), email.clone())
                },
            ),
            license: license
                .as_ref()
                .map(|openapiv3::License { name, url, extensions: _ }| (name.clone(), url.clone())),
        }
    }

    fn servers(&mut self, servers: &[openapiv3::Server]) -> Vec<Server> {
        let at = Pointer::root().at("servers");
        let mut lowered = Vec::new();
        for (index, server) in servers.iter().enumerate() {
            let openapiv3::Server { url, description, variables, extensions: _ } = server;
            self.report_if(
                variables.is_some(),
                &at.at(index),
                "variables",
                "server variables are not supported; write the URL in full",
            );
            lowered.push(Server { url: url.clone(), description: text(description.as_deref()) });
        }
        lowered
    }

    fn tags(&mut self, tags: &[openapiv3::Tag]) -> Vec<Tag> {
        let at = Pointer::root().at("tags");
        if tags.is_empty() {
            self.report(&at, "expected at least one tag; each becomes a trait");
        }
        if tags.len() > 16 {
            self.report(&at, "expected at most 16 tags, the limit of poem-openapi");
        }
        let mut lowered: Vec<Tag> = Vec::new();
        for (index, tag) in tags.iter().enumerate() {
            let at = at.at(index);
            let openapiv3::Tag { name, description, external_docs, extensions: _ } = tag;
            let Some(rust_name) = names::pascal(name) else {
                self.report(&at.at("name"), format!("`{name}` cannot become a Rust trait name"));
                continue;
            };
            self.declare(&rust_name, &at.at("name"));
            self.declare(&format!("{rust_name}Api"), &at.at("name"));
            lowered.push(Tag {
                name: name.clone(),
                rust_name,
                description: text(description.as_deref()),
                external_docs: external_docs.as_ref().map(lower_external_docs),
            });
        }
        lowered
    }

    /// Lowers schemas and security schemes. Other components are lowered where they are used.
    fn components(&mut self) -> Vec<BearerScheme> {
        let at = Pointer::root().at("components");
        let Components {
            schemas,
            responses: _,
            parameters: _,
            examples,
            request_bodies: _,
            headers: _,
            security_schemes,
            links,
            callbacks,
            extensions: _,
        } = self.components.clone();
        self.report_if(
            !examples.is_empty(),
            &at,
            "examples",
            "shared examples are not supported; write them inline",
        );
        self.report_if(
            !links.is_empty(),
            &at,
            "links",
            "shared links are not supported; write each at its response",
        );
        self.report_if(!callbacks.is_empty(), &at, "callbacks", "callbacks are not supported");

        let mut schemes = Vec::new();
        for (name, scheme) in &security_schemes {
            schemes.extend(self.scheme(name, scheme, &at.at("securitySchemes").at(name)));
        }
        for (name, schema) in &schemas {
            self.component(name, schema, &at.at("schemas").at(name));
        }
        schemes
    }

    fn scheme(
        &mut self,
        name: &str,
        scheme: &ReferenceOr<SecurityScheme>,
        at: &Pointer,
    ) -> Option<BearerScheme> {
        let ReferenceOr::Item(SecurityScheme::HTTP {
            scheme,
            bearer_format,
            description,
            extensions: _,
        }) = scheme
        else {
            self.report(at, "expected an inline scheme with `type: http` and `scheme: bearer`");
            return None;
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            self.report(
                &at.at("scheme"),
                format!("the scheme `{scheme}` is not supported; use `bearer`"),
            );
        }
        let Some(rust_name) = names::pascal(name) else {
            self.report(at, format!("`{name}` cannot become a Rust type name"));
            return None;
        };
        self.declare(&rust_name, at);
        Some(BearerScheme {
            name: name.to_owned(),
            rust_name,
            description: text(description.as_deref()),
            bearer_format: bearer_format.clone(),
        })
    }
}

fn lower_external_docs(docs: &ExternalDocumentation) -> ExternalDocs {
    let ExternalDocumentation { description, url, extensions: _ } = docs;
    ExternalDocs { url: url.clone(), description: text(description.as_deref()) }
}

/// Trims a CommonMark text; returns `None` if it is empty.
fn text(text: Option<&str>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}
