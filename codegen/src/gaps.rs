//! What a document says and poem-openapi 5.1 cannot emit: one closed list.
//!
//! [`drift::compare`](crate::drift::compare) overlooks what is on it, on the contract's side only,
//! and nothing else. None of it may change what the server does: each entry has a test of the
//! *behaviour* in `tests/gaps.rs`.

use serde_json::Value;

/// An entry of the list.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// What is not emitted.
    pub name: &'static str,
    /// Why, and what the server does all the same.
    pub why: &'static str,
    /// Whether a keyword with a value, at a place, is this.
    pub(crate) covers: fn(Place, &str, &Value) -> bool,
}

/// The kinds of objects that a document is made of, as far as the list needs them told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A schema.
    Schema,
    /// A parameter, a header, or a media type: what OpenAPI gives `example` and `examples` besides
    /// its schema's.
    Exemplified,
    /// A response.
    Response,
    /// All tags together, as [`drift`](crate::drift) sees them.
    Tags,
    /// A map from names to something: its keys are no keywords.
    Names,
    /// Anything else.
    Other,
}

/// The list.
pub const GAPS: &[Gap] = &[
    Gap {
        name: "additionalProperties: false",
        why: "poem-openapi's `MetaSchema` holds a schema for additional properties, but no truth value. The server refuses members that a closed \
              schema does not name, because it validates with the document's own schemas.",
        covers: |place, keyword, value| {
            place == Place::Schema
                && keyword == "additionalProperties"
                && *value == Value::Bool(false)
        },
    },
    Gap {
        name: "extensions",
        why: "poem-openapi has no place for `x-…`. They change nothing in what a server does; what reads them reads the document.",
        covers: |place, keyword, _| place != Place::Names && keyword.starts_with("x-"),
    },
    Gap {
        name: "examples outside of schemas",
        why: "poem-openapi has examples in schemas only, not at parameters, headers and media types. The server accepts those of requests, and its \
              types can hold those of responses.",
        covers: |place, keyword, _| {
            place == Place::Exemplified && (keyword == "example" || keyword == "examples")
        },
    },
    Gap {
        name: "links",
        why: "poem-openapi has no place for them. They say which operation may come next, and with what; the server answers with what they speak of, \
              and each is seen to lead to an operation, a parameter and a member that there are.",
        covers: |place, keyword, _| place == Place::Response && keyword == "links",
    },
    Gap {
        name: "the order of tags",
        why: "poem-openapi sorts tags by name. The order of the document is for pages that show it; requests know nothing of it.",
        covers: |place, keyword, _| place == Place::Tags && keyword == "order",
    },
];

/// Whether a keyword with a value, at a place, is on the list.
pub(crate) fn covered(place: Place, keyword: &str, value: &Value) -> bool {
    GAPS.iter().any(|gap| (gap.covers)(place, keyword, value))
}
