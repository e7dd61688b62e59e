//! What a change of `openapi.yaml` does to those who were built against the one before.
//!
//! The rules deny by default: two documents are walked side by side, what is known to be harmless
//! is let through, and everything else is a break, also a keyword that nobody here has thought of.
//! Two principles decide what is harmless:
//!
//! - **Direction.** What the store takes may grow, what it answers may shrink: a request that was
//!   good stays good, and an answer is one that an old client has been told of. New members of
//!   answers are told of, as response schemas are open.
//! - **Generated code.** Names that the document gives (operations, first tags, parameters,
//!   members, objects, enums), types and formats are in code that was generated from it. A name
//!   that a generator makes up for a nameless schema is not promised.

mod bounds;
mod operations;
mod prose;
mod read;
mod schemas;
mod security;
mod spelled;

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value};

use crate::change::{Change, Findings, Level};
use read::Side;
pub(crate) use spelled::spelled_out;

/// Every difference between two documents that means something, by place, and one [`Level::Patch`]
/// if only words do.
#[must_use]
pub fn compare(old: &Value, new: &Value) -> Vec<Change> {
    let mut comparison = Comparison {
        old: Side { root: old },
        new: Side { root: new },
        findings: Findings::default(),
        seen: HashSet::new(),
        reached: BTreeSet::new(),
        codes: prose::codes(old),
    };
    comparison.document();
    let Comparison { mut findings, .. } = comparison;
    prose::compare_codes(old, new, &mut findings);
    let mut changes = findings.into_changes();
    if changes.is_empty() && without_version(old) != without_version(new) {
        let mut words = Findings::default();
        words.add(
            Level::Patch,
            "openapi.yaml",
            "descriptions, examples or other words for people differ",
            "",
        );
        changes = words.into_changes();
    }
    changes
}

/// Which way a value travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    /// From the client to the store.
    Request,
    /// From the store to the client.
    Response,
}

/// Two documents on their walk.
struct Comparison<'d> {
    old: Side<'d>,
    new: Side<'d>,
    findings: Findings,
    /// Pairs of schemas that were compared, by where they are in memory: schemas may be recursive.
    seen: HashSet<(usize, usize, Way)>,
    /// The named schemas of the old document that its operations use.
    reached: BTreeSet<&'d str>,
    /// The words for programs that the old document names.
    codes: BTreeSet<String>,
}

/// Words for people.
const PROSE: [&str; 6] = ["description", "summary", "example", "examples", "externalDocs", "title"];

/// Extensions that only documentation reads. Any other may steer a generator, as `x-go-name` does.
const DOCUMENTATION: [&str; 6] =
    ["x-codeSamples", "x-code-samples", "x-displayName", "x-logo", "x-tagGroups", "x-traitTag"];

const UNKNOWN: &str = "not known to be harmless";

impl<'d> Comparison<'d> {
    fn document(&mut self) {
        let (old, new) = (self.old.root, self.new.root);
        let line = |document: &Value| {
            document["openapi"]
                .as_str()
                .map(|text| text.splitn(3, '.').take(2).collect::<Vec<_>>().join("."))
        };
        if line(old) != line(new) {
            self.findings.breaking(
                "openapi.yaml",
                "`openapi`, the language of the document, is another",
                "generators know one or the other",
            );
        }
        self.rest(
            "openapi.yaml",
            old,
            new,
            &["openapi", "info", "servers", "tags", "paths", "components", "security"],
        );
        self.servers("openapi.yaml", old.get("servers"), new.get("servers"));
        self.operations();
        self.names();
    }

    /// Named schemas that operations of the old document use have to stay.
    fn names(&mut self) {
        for name in std::mem::take(&mut self.reached) {
            if self.new.root["components"]["schemas"].get(name).is_none() {
                self.findings.breaking(
                    format!("schema {name}"),
                    "the schema of this name is gone",
                    "generated code has a type of this name",
                );
            }
        }
    }

    /// Compares what no rule has looked at: all keywords but `handled` and words for people.
    fn rest(&mut self, place: &str, old: &Value, new: &Value, handled: &[&str]) {
        let nothing = Map::new();
        let (old, new) = (old.as_object().unwrap_or(&nothing), new.as_object().unwrap_or(&nothing));
        for keyword in union(old, new) {
            if handled.contains(&keyword)
                || PROSE.contains(&keyword)
                || DOCUMENTATION.contains(&keyword)
            {
                continue;
            }
            let what = match (old.get(keyword), new.get(keyword)) {
                (left, right) if left == right => continue,
                (None, _) if keyword == "x-dropshot-pagination" => {
                    self.findings.compatible(place, "generated clients walk the pages of it");
                    continue;
                }
                (None, Some(_)) => format!("`{keyword}` is new"),
                (Some(_), None) => format!("`{keyword}` is gone"),
                (_, _) => format!("`{keyword}` is another"),
            };
            let why = match keyword {
                "x-dropshot-pagination" => "generated clients have a stream over the pages",
                extension if extension.starts_with("x-") => {
                    "an extension may steer a generator; one that only documentation reads belongs on the list in contract-tests/breaking/src/openapi.rs"
                }
                _ => UNKNOWN,
            };
            self.findings.breaking(place, what, why);
        }
    }
}

/// The keys of both, each once.
fn union<'m>(old: &'m Map<String, Value>, new: &'m Map<String, Value>) -> Vec<&'m str> {
    old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))).map(String::as_str).collect()
}

/// Whether a keyword is there and `true`.
fn is_true(object: &Value, keyword: &str) -> bool {
    object.get(keyword) == Some(&Value::Bool(true))
}

fn without_version(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(info) = document.get_mut("info").and_then(Value::as_object_mut) {
        info.remove("version");
    }
    document
}
