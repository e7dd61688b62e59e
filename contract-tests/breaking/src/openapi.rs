//! Breaks of `openapi.yaml` that oasdiff does not detect.
//!
//! Each document is read into facts: what it promises at a place, such as the first tag of an
//! operation. A changed promise is a break. `Guard` defines whether its removal or its addition is
//! one, too. oasdiff reports places that are removed completely.

mod document;
mod extensions;
mod schemas;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::change::{Change, Detector, Findings, Level};
use document::{Document, Operation, text};

/// Keywords of prose.
const PROSE: [&str; 6] = ["description", "summary", "example", "examples", "externalDocs", "title"];

/// Which change of a fact is a break, besides a change of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Removal,
    Addition,
    Both,
}

/// One promise of a document: a property that clients rely on.
#[derive(Clone, Debug)]
struct Fact {
    value: Value,
    guard: Guard,
    /// Why its change is a break.
    why: &'static str,
}

/// Facts by place and by aspect, for example `GET /orders` and `first tag`.
#[derive(Debug, Default)]
struct Facts(BTreeMap<String, BTreeMap<String, Fact>>);

impl Facts {
    /// Records a place. Only facts of places in both documents are compared.
    fn place(&mut self, place: &str) {
        self.0.entry(place.to_owned()).or_default();
    }

    fn add(
        &mut self,
        place: &str,
        aspect: impl Into<String>,
        value: impl Into<Value>,
        guard: Guard,
        why: &'static str,
    ) {
        let fact = Fact { value: value.into(), guard, why };
        self.0.entry(place.to_owned()).or_default().insert(aspect.into(), fact);
    }
}

/// Lists the breaks between two documents that oasdiff does not detect.
#[must_use]
pub fn breaks(old: &Value, new: &Value) -> Vec<Change> {
    let known = Known::of(Document { root: old });
    let (old, new) = (facts(old, &known), facts(new, &known));
    let mut findings = Findings::default();
    for (place, old) in &old.0 {
        let Some(new) = new.0.get(place) else { continue };
        for (aspect, was) in old {
            let what = match new.get(aspect) {
                Some(is) if was.value != is.value => {
                    format!("{aspect} changed from {} to {}", was.value, is.value)
                }
                None if was.guard != Guard::Addition => format!("{aspect} was removed"),
                Some(_) | None => continue,
            };
            findings.add(Level::Major, place, what, was.why);
        }
        for (aspect, is) in new {
            if !old.contains_key(aspect) && is.guard != Guard::Removal {
                findings.add(Level::Major, place, format!("{aspect} was added"), is.why);
            }
        }
    }
    findings.into_changes(Detector::OwnRules)
}

/// Classifies a difference in which neither a rule nor oasdiff found a change.
#[must_use]
pub fn other_changes(old: &Value, new: &Value) -> Vec<Change> {
    let content = |document: &Value| {
        let mut content = without_prose(document);
        if let Some(root) = content.as_object_mut() {
            root.retain(|keyword, _| keyword != "info" && keyword != "tags");
        }
        content
    };
    let codes = |root| Known::of(Document { root }).codes;
    let mut findings = Findings::default();
    if content(old) != content(new) || codes(old) != codes(new) {
        findings.add(Level::Minor, "openapi.yaml", "compatible parts differ", "");
    } else if without_version(old) != without_version(new) {
        findings.add(
            Level::Patch,
            "openapi.yaml",
            "descriptions, examples or other prose differ",
            "",
        );
    }
    findings.into_changes(Detector::OwnRules)
}

/// What the facts of both documents refer to, read from the old one.
struct Known {
    /// The codes of problems that the description of `Problem` lists.
    codes: BTreeSet<String>,
    /// The media types and the names of the schemas of all errors.
    error_bodies: BTreeSet<(String, String)>,
}

impl Known {
    fn of(document: Document<'_>) -> Self {
        let mut codes = quoted_words(&document.root["components"]["schemas"]["Problem"]);
        codes.remove("code");
        let mut error_bodies = BTreeSet::new();
        for operation in document.operations() {
            for (status, response) in document.responses(operation) {
                if is_error(&status) {
                    error_bodies.extend(document.bodies(response).into_iter().flatten());
                }
            }
        }
        Self { codes, error_bodies }
    }

    /// Whether a response has a body, and only bodies of errors.
    fn is_error_body(&self, document: Document<'_>, response: &Value) -> bool {
        document.bodies(response).is_some_and(|bodies| {
            !bodies.is_empty() && bodies.iter().all(|body| self.error_bodies.contains(body))
        })
    }
}

fn facts(root: &Value, known: &Known) -> Facts {
    let document = Document { root };
    let mut facts = Facts::default();
    let version: Vec<&str> = text(root, "openapi").splitn(3, '.').take(2).collect();
    let why = "generators support only some versions of OpenAPI";
    facts.add("openapi.yaml", "`openapi`", version.join("."), Guard::Removal, why);
    codes(&mut facts, "schema Problem", &root["components"]["schemas"]["Problem"], known);
    for operation in document.operations() {
        let place = operation.place();
        // oasdiff ignores the removal of drafts.
        if operation.value.get("x-stability-level").is_some() {
            let why = "clients call it";
            facts.add("openapi.yaml", format!("operation {place}"), true, Guard::Removal, why);
        }
        operation_facts(&mut facts, document, operation, &place, known);
        for (status, response) in document.responses(operation) {
            let place = format!("{place} {status}");
            response_facts(&mut facts, document, response, &place);
            codes(&mut facts, &place, response, known);
        }
    }
    schemas::of(&mut facts, document);
    extensions::of(&mut facts, root);
    facts
}

fn operation_facts(
    facts: &mut Facts,
    document: Document<'_>,
    operation: Operation<'_>,
    place: &str,
    known: &Known,
) {
    let why = "generated code has a class for each first tag";
    facts.add(place, "the first tag", operation.value["tags"][0].clone(), Guard::Removal, why);
    let servers = document.servers(operation);
    let why = "generated clients call the first server";
    facts.add(place, "the first server", text(&servers[0], "url"), Guard::Removal, why);
    for server in &servers {
        let aspect = format!("server `{}`", text(server, "url"));
        facts.add(place, aspect, without_prose(server), Guard::Removal, "clients call it");
    }
    for parameter in document.parameters(operation) {
        let (location, name) = (text(parameter, "in"), text(parameter, "name"));
        let name = if location == "header" { name.to_ascii_lowercase() } else { name.to_owned() };
        let place = format!("{place}, {location} parameter `{name}`");
        for (keyword, value) in document::serialisation(parameter) {
            let why = "clients write the value in another format";
            facts.add(&place, format!("`{keyword}`"), value, Guard::Removal, why);
        }
    }
    for (status, response) in document.responses(operation) {
        if !is_error(&status) {
            let why = "clients know only the declared successes";
            facts.add(place, format!("status {status}"), true, Guard::Addition, why);
        } else if !known.is_error_body(document, response) {
            let aspect = format!("status {status} without the body of other errors");
            let why = "clients read all errors in one way";
            facts.add(place, aspect, true, Guard::Addition, why);
        }
    }
}

fn response_facts(facts: &mut Facts, document: Document<'_>, response: &Value, place: &str) {
    facts.place(place);
    for (name, header) in document.entries(response, "headers") {
        if let Some(pattern) = document.resolve(&header["schema"]).0.get("pattern") {
            let aspect = format!("the pattern of header `{}`", name.to_ascii_lowercase());
            let why = "clients rely on the format of the value";
            facts.add(place, aspect, pattern.clone(), Guard::Removal, why);
        }
    }
    for (name, link) in document.entries(response, "links") {
        let aspect = format!("link `{name}`");
        facts.add(place, aspect, without_prose(link), Guard::Removal, "programs follow it");
    }
}

/// Records the codes of problems that a description names.
fn codes(facts: &mut Facts, place: &str, described: &Value, known: &Known) {
    facts.place(place);
    for code in quoted_words(described).intersection(&known.codes) {
        let aspect = format!("code `{code}` in the description");
        facts.add(place, aspect, true, Guard::Removal, "programs compare it");
    }
}

/// Returns the snake_case words between backticks in a description.
fn quoted_words(value: &Value) -> BTreeSet<String> {
    let is_word = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let quoted = text(value, "description").split('`').skip(1).step_by(2);
    quoted.filter(is_word).map(str::to_owned).collect()
}

fn is_error(status: &str) -> bool {
    status.starts_with('4') || status.starts_with('5')
}

fn without_version(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(info) = document.get_mut("info").and_then(Value::as_object_mut) {
        info.remove("version");
    }
    document
}

/// Removes descriptions, examples and other members that only documentation shows.
fn without_prose(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(keyword, _)| {
                let keyword = keyword.as_str();
                !PROSE.contains(&keyword) && !extensions::DOCUMENTATION.contains(&keyword)
            });
            let stripped = kept.map(|(keyword, value)| {
                let value = match value {
                    // Members of a schema may be called `description`.
                    Value::Object(members) if keyword == "properties" => members
                        .iter()
                        .map(|(name, value)| (name.clone(), without_prose(value)))
                        .collect(),
                    _ => without_prose(value),
                };
                (keyword.clone(), value)
            });
            stripped.collect()
        }
        Value::Array(items) => items.iter().map(without_prose).collect(),
        _ => value.clone(),
    }
}
