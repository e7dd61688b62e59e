//! The journey of `contract-tests/clients/journey.json`, checked against `openapi.yaml` here so
//! that no driver has to.

use std::collections::{BTreeMap, BTreeSet};

use contract_tests::document::Document;
use serde_json::{Map, Value};

use crate::driver::root;

/// Steps that a language's client cannot express: language and step. The list may only shrink.
///
/// progenitor's types enforce the schema, so the client itself refuses these values.
const UNSUPPORTED_STEPS: [(&str, &str); 5] = [
    ("rust", "a short new password"),
    ("rust", "a short password"),
    ("rust", "a product id below its minimum"),
    ("rust", "a username with a space"),
    ("rust", "a missing password"),
];

/// Statuses that no typed client can cause: it sends small JSON to a healthy server.
const UNREACHABLE_STATUSES: [u16; 5] = [413, 415, 429, 500, 503];
/// The only parameter of these operations is an id, which most languages type as a UUID.
const WITHOUT_400: [&str; 4] = ["cancel_order", "deactivate_user", "get_order", "get_user"];
/// Codes that no operation declares, or whose status no client can cause.
const UNREACHABLE_CODES: [&str; 9] = [
    "body_too_large",
    "headers_too_large",
    "internal_error",
    "method_not_allowed",
    "route_not_found",
    "too_many_attempts",
    "too_many_writes",
    "unavailable",
    "unsupported_media_type",
];

#[derive(Clone, Debug)]
pub(crate) struct Journey(Value);

impl Journey {
    pub(crate) fn read() -> Self {
        let path = root().join("contract-tests/clients/journey.json");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(
            serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        )
    }

    pub(crate) fn steps(&self) -> Vec<Step<'_>> {
        self.0["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| Step(step.as_object().unwrap()))
            .collect()
    }

    pub(crate) fn until(mut self, name: &str) -> Self {
        let place = self.place(name);
        self.0["steps"].as_array_mut().unwrap().truncate(place + 1);
        self
    }

    pub(crate) fn with(mut self, name: &str, pointer: &str, value: Value) -> Self {
        let place = self.place(name);
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let parent = self.0["steps"][place]
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("the step {name:?} has {parent}"));
        parent.as_object_mut().unwrap().insert(member.replace("~1", "/"), value);
        self
    }

    /// The number of a step, from 1.
    pub(crate) fn number(&self, name: &str) -> usize {
        self.place(name) + 1
    }

    fn place(&self, name: &str) -> usize {
        self.steps()
            .iter()
            .position(|step| step.name() == name)
            .unwrap_or_else(|| panic!("the journey has the step {name:?}"))
    }

    /// Expected events of the steps that a language runs.
    pub(crate) fn events(&self, language: &str) -> BTreeMap<String, usize> {
        let mut events = BTreeMap::new();
        for step in self.steps().iter().filter(|step| step.not_in(language).is_none()) {
            for word in step.0.get("events").and_then(Value::as_array).into_iter().flatten() {
                *events.entry(word.as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        events
    }

    pub(crate) fn text(&self) -> String {
        self.0.to_string()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'j>(&'j Map<String, Value>);

impl<'j> Step<'j> {
    pub(crate) fn name(self) -> &'j str {
        self.0["name"].as_str().unwrap()
    }

    pub(crate) fn operation(self) -> &'j str {
        self.0["operation"].as_str().unwrap()
    }

    pub(crate) fn status(self) -> u16 {
        u16::try_from(self.0["expect"]["status"].as_u64().unwrap()).unwrap()
    }

    /// Returns why a language skips the step.
    pub(crate) fn not_in(self, language: &str) -> Option<&'j str> {
        self.0.get("not_in")?.get(language)?.as_str()
    }
}

fn variables_in(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => found.extend(
            text.split("${").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())),
        ),
        Value::Array(elements) => elements.iter().for_each(|element| variables_in(element, found)),
        Value::Object(members) => members.values().for_each(|member| variables_in(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn reachable_statuses_are_covered() {
    let journey = Journey::read();
    let taken: BTreeSet<(String, u16)> =
        journey.steps().iter().map(|step| (step.operation().to_owned(), step.status())).collect();
    let mut wanted = Document::embedded().declared();
    wanted.retain(|(operation, status)| {
        !UNREACHABLE_STATUSES.contains(status)
            && (*status != 400 || !WITHOUT_400.contains(&operation.as_str()))
    });
    let missing: Vec<_> = wanted.difference(&taken).collect();
    let undeclared: Vec<_> = taken.difference(&wanted).collect();
    assert!(
        missing.is_empty() && undeclared.is_empty(),
        "the journey lacks {missing:?} and has the undeclared {undeclared:?}"
    );
}

#[test]
fn reachable_codes_are_covered() {
    let document = Document::embedded();
    let wanted: BTreeSet<&str> = document
        .codes
        .iter()
        .map(String::as_str)
        .filter(|code| !UNREACHABLE_CODES.contains(code))
        .collect();
    let journey = Journey::read();
    let taken: BTreeSet<&str> =
        journey.steps().iter().filter_map(|step| step.0["expect"].get("code")?.as_str()).collect();
    assert_eq!(taken, wanted);
}

#[test]
fn every_list_is_walked() {
    let document = Document::embedded();
    let paged = document.operations().iter().filter(|operation| {
        operation.parameters.iter().any(|parameter| parameter.name == "page_token")
    });
    let paged: BTreeSet<&str> = paged.map(|operation| operation.id.as_str()).collect();
    let journey = Journey::read();
    let walked: BTreeSet<&str> = journey
        .steps()
        .iter()
        .filter(|step| step.0.contains_key("walk"))
        .map(|step| step.operation())
        .collect();
    assert_eq!(walked, paged);
}

#[test]
fn problems_have_codes_and_secured_calls_have_tokens() {
    let document = Document::embedded();
    for step in Journey::read().steps() {
        let operation = document
            .operation(step.operation())
            .unwrap_or_else(|| panic!("{:?} is not an operation", step.operation()));
        assert_eq!(
            step.0["expect"].get("code").is_some(),
            step.status() >= 400,
            "{:?}: only problems have a code",
            step.name()
        );
        let refused = step.0["expect"].get("code").is_some_and(|code| code == "token_missing");
        assert_eq!(
            step.0.contains_key("token"),
            operation.secured && !refused,
            "{:?}: only secured calls have a token",
            step.name()
        );
    }
}

#[test]
fn variables_are_set_before_use() {
    let mut known: BTreeSet<String> = ["unique", "sold_out_product"].map(str::to_owned).into();
    let mut names = BTreeSet::new();
    for step in Journey::read().steps() {
        assert!(names.insert(step.name().to_owned()), "two steps are called {:?}", step.name());
        let mut used = BTreeSet::new();
        for member in ["token", "path", "query", "header", "body"] {
            variables_in(step.0.get(member).unwrap_or(&Value::Null), &mut used);
        }
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{:?} sends {unknown:?}, which no step has set", step.name());
        for name in step
            .0
            .get("keep")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            assert!(known.insert(name.clone()), "{:?} sets {name:?} again", step.name());
        }
        let mut expected = BTreeSet::new();
        variables_in(&step.0["expect"], &mut expected);
        let unknown: Vec<_> = expected.difference(&known).collect();
        assert!(unknown.is_empty(), "{:?} expects {unknown:?}, which no step has set", step.name());
    }
}

#[test]
fn unsupported_steps_are_listed() {
    let mut found = BTreeSet::new();
    let journey = Journey::read();
    for step in journey.steps() {
        for (language, reason) in
            step.0.get("not_in").and_then(Value::as_object).into_iter().flatten()
        {
            assert!(
                reason.as_str().is_some_and(|reason| reason.len() > 20),
                "{:?}: expected the reason for {language}",
                step.name()
            );
            found.insert((language.as_str(), step.name()));
        }
    }
    assert_eq!(found, UNSUPPORTED_STEPS.into());
}
