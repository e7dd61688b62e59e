//! The parts of a document that poem-openapi 5.1 cannot emit.
//!
//! [`drift::compare`](crate::drift::compare) skips them on the contract's side. The server still
//! behaves as the document requires: `tests/gaps.rs` has a test for each gap.

use serde_json::Value;

/// A part of a document that poem-openapi cannot emit.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// The name of the gap.
    pub name: &'static str,
    /// Why poem-openapi cannot emit it, and how the server behaves.
    pub why: &'static str,
    /// Whether a keyword of an object belongs to the gap.
    pub(crate) covers: fn(ObjectKind, &str, &Value) -> bool,
}

/// The kind of an object in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// A Schema Object.
    Schema,
    /// A Parameter, Header or Media Type Object, which have `example` and `examples`.
    WithExamples,
    /// A Response Object.
    Response,
    /// All tags, as [`drift`](crate::drift) normalizes them.
    Tags,
    /// A map from names to objects; its keys are not keywords.
    Map,
    /// Any other object.
    Other,
}

/// All gaps.
pub const GAPS: &[Gap] = &[
    Gap {
        name: "additionalProperties: false",
        why: "poem-openapi's `MetaSchema` has no boolean for additional properties. The server \
              rejects unknown members, because it validates with the document's own schemas.",
        covers: |kind, keyword, value| {
            kind == ObjectKind::Schema
                && keyword == "additionalProperties"
                && *value == Value::Bool(false)
        },
    },
    Gap {
        name: "extensions",
        why: "poem-openapi has no `x-…` keywords. They do not change the server; their readers use \
              the source document.",
        covers: |kind, keyword, _| kind != ObjectKind::Map && keyword.starts_with("x-"),
    },
    Gap {
        name: "examples outside of schemas",
        why: "poem-openapi has examples in schemas only, not at parameters, headers and media \
              types. The server accepts those of requests, and its types can hold those of \
              responses.",
        covers: |kind, keyword, _| {
            kind == ObjectKind::WithExamples && (keyword == "example" || keyword == "examples")
        },
    },
    Gap {
        name: "links",
        why: "poem-openapi has no links. They do not change the server; each refers to a declared \
              operation, parameter and member.",
        covers: |kind, keyword, _| kind == ObjectKind::Response && keyword == "links",
    },
    Gap {
        name: "the order of tags",
        why: "poem-openapi sorts tags by name. The order matters to readers of the document only.",
        covers: |kind, keyword, _| kind == ObjectKind::Tags && keyword == "order",
    },
];

pub(crate) fn is_gap(kind: ObjectKind, keyword: &str, value: &Value) -> bool {
    GAPS.iter().any(|gap| (gap.covers)(kind, keyword, value))
}
