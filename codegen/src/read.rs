//! From `openapiv3`'s types to the model. Every struct is taken apart to its last field, so that a
//! keyword that is read by nothing cannot be dropped by accident: it is an error of the Rust
//! compiler here, or a refusal there.

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
    error::{Error, Pointer, Refusals},
    model::{Api, BearerScheme, Component, ExternalDocs, Info, Parameter, Server, Tag},
    names,
    parse::Document,
};

/// Names that generated code uses itself, and that no type of the document can have.
const RESERVED: [&str; 17] = [
    "Apis", "Box", "Clone", "Err", "Fn", "None", "Ok", "Option", "Result", "Send", "Some",
    "String", "Sync", "Tags", "ToString", "Vec", "Self",
];

/// Reads a document.
pub(crate) fn read(document: &Document) -> Result<Api, Error> {
    let mut reader = Reader {
        raw: &document.raw,
        components: document.typed.components.clone().unwrap_or_default(),
        refusals: Refusals::default(),
        types: HashMap::new(),
        model: Vec::new(),
        parameters: Vec::new(),
        shared: IndexMap::new(),
    };
    let api = reader.document(&document.typed);
    reader.refusals.unless_any(api)
}

/// What is known while a document is read.
struct Reader<'d> {
    raw: &'d Value,
    components: Components,
    refusals: Refusals,
    /// Names of Rust types, and what has them.
    types: HashMap<String, Pointer>,
    model: Vec<Component>,
    parameters: Vec<Parameter>,
    /// Parameters of `components` that have been read, by pointer: their indices.
    shared: IndexMap<String, usize>,
}

impl Reader<'_> {
    fn refuse(&mut self, at: &Pointer, reason: impl Into<String>) {
        self.refusals.refuse(at, reason);
    }

    /// Refuses what must be absent.
    fn refuse_if(&mut self, present: bool, at: &Pointer, keyword: &str, reason: &str) {
        if present {
            self.refuse(&at.at(keyword), reason);
        }
    }

    /// Takes a name for a type, or refuses: two things of one name would be one type.
    fn claim(&mut self, rust_name: &str, at: &Pointer) {
        // Modules of their own: parameters, and functions that describe responses.
        let unqualified = rust_name.rsplit("::").next().unwrap_or_default();
        if RESERVED.contains(&unqualified) {
            self.refuse(at, format!("the type would be named `{unqualified}`, which generated code uses itself; choose another name"));
        } else if let Some(other) = self.types.get(rust_name).filter(|other| *other != at) {
            let reason = format!(
                "the type would be named `{rust_name}`, as that of {other} is; choose another name"
            );
            self.refuse(at, reason);
        } else {
            self.types.insert(rust_name.to_owned(), at.clone());
        }
    }

    fn document(&mut self, typed: &OpenAPI) -> Api {
        let root = Pointer::root();
        // The version was looked at when the text was parsed. Extensions: see `gaps`.
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
        self.reachability();
        self.arrays_of_times();
        let operations = self.paths(paths, &tags, &schemes, security.as_deref());
        if operations.is_empty() {
            self.refuse(&root.at("paths"), "there is no operation to serve");
        }
        for (index, tag) in tags.iter().enumerate() {
            if !operations.iter().any(|operation| operation.tag == index) {
                let reason = format!(
                    "no operation has the tag `{}`: there would be a trait without methods",
                    tag.name
                );
                self.refuse(&root.at("tags").at(index), reason);
            }
        }
        for scheme in &schemes {
            if !operations.iter().any(|operation| {
                operation.scheme.is_some_and(|index| schemes[index].name == scheme.name)
            }) {
                self.refuse(
                    &root.at("components").at("securitySchemes").at(&scheme.name),
                    "no operation uses this scheme, so that the server could not show it",
                );
            }
        }
        let request_schemas = self.request_schemas(&operations);
        Api {
            info,
            servers,
            external_docs: external_docs.as_ref().map(read_external_docs),
            tags,
            schemes,
            components: std::mem::take(&mut self.model),
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
        let mut read = Vec::new();
        for (index, server) in servers.iter().enumerate() {
            let openapiv3::Server { url, description, variables, extensions: _ } = server;
            self.refuse_if(
                variables.is_some(),
                &at.at(index),
                "variables",
                "variables of servers are not supported",
            );
            read.push(Server { url: url.clone(), description: text(description.as_deref()) });
        }
        read
    }

    fn tags(&mut self, tags: &[openapiv3::Tag]) -> Vec<Tag> {
        let at = Pointer::root().at("tags");
        if tags.is_empty() {
            self.refuse(&at, "tags are expected: each becomes a trait");
        }
        if tags.len() > 16 {
            self.refuse(
                &at,
                "more than 16 tags are not supported: poem-openapi joins that many APIs at most",
            );
        }
        let mut read: Vec<Tag> = Vec::new();
        for (index, tag) in tags.iter().enumerate() {
            let at = at.at(index);
            let openapiv3::Tag { name, description, external_docs, extensions: _ } = tag;
            let Some(rust_name) = names::pascal(name) else {
                self.refuse(&at.at("name"), format!("`{name}` makes no name of a Rust trait"));
                continue;
            };
            self.claim(&rust_name, &at.at("name"));
            self.claim(&format!("{rust_name}Api"), &at.at("name"));
            read.push(Tag {
                name: name.clone(),
                rust_name,
                description: text(description.as_deref()),
                external_docs: external_docs.as_ref().map(read_external_docs),
            });
        }
        read
    }

    /// Reads schemas and schemes; parameters, responses, headers and bodies are read where they are
    /// used.
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
        self.refuse_if(
            !examples.is_empty(),
            &at,
            "examples",
            "shared examples are not supported; write them where they are used",
        );
        self.refuse_if(
            !links.is_empty(),
            &at,
            "links",
            "shared links are not supported; write each at its response",
        );
        self.refuse_if(!callbacks.is_empty(), &at, "callbacks", "callbacks are not supported");

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
            self.refuse(
                at,
                "only `type: http` with `scheme: bearer` is supported, written out here",
            );
            return None;
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            self.refuse(
                &at.at("scheme"),
                format!("the scheme `{scheme}` is not supported, only `bearer` is"),
            );
        }
        let Some(rust_name) = names::pascal(name) else {
            self.refuse(at, format!("`{name}` makes no name of a Rust type"));
            return None;
        };
        self.claim(&rust_name, at);
        Some(BearerScheme {
            name: name.to_owned(),
            rust_name,
            description: text(description.as_deref()),
            bearer_format: bearer_format.clone(),
        })
    }
}

fn read_external_docs(docs: &ExternalDocumentation) -> ExternalDocs {
    let ExternalDocumentation { description, url, extensions: _ } = docs;
    ExternalDocs { url: url.clone(), description: text(description.as_deref()) }
}

/// A text as CommonMark reads it: line breaks at its ends are YAML's and mean nothing.
fn text(text: Option<&str>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}
