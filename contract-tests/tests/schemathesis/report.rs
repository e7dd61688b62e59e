//! What a run of Schemathesis has done, from its events: a run that reached nothing finds nothing,
//! and must not pass.

use std::collections::{BTreeMap, BTreeSet};

use contract_tests::document::{Document, Operation};
use serde_json::Value;

/// The answers of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Statuses by operation: `POST /orders`.
    operations: BTreeMap<String, BTreeSet<u64>>,
    /// Statuses of requests that a link led to, by link: `POST /orders -> [201] ReadOrder -> GET
    /// /orders/{order_id}`.
    links: BTreeMap<String, BTreeSet<u64>>,
}

impl Report {
    /// Reads events, one JSON object a line.
    pub(crate) fn read(events: &str) -> Result<Self, String> {
        let mut report = Self::default();
        for line in events.lines() {
            let event: Value =
                serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
            let recorder = &event["ScenarioFinished"]["recorder"];
            for (id, case) in recorder["cases"].as_object().into_iter().flatten() {
                let Some(status) = recorder["interactions"][id]["response"]["status_code"].as_u64()
                else {
                    continue;
                };
                let value = &case["value"];
                let (Some(method), Some(path)) = (value["method"].as_str(), value["path"].as_str())
                else {
                    return Err(format!("a case without method or path: {case}"));
                };
                report.operations.entry(format!("{method} {path}")).or_default().insert(status);
                if let Some(link) = case["transition"]["id"].as_str()
                    && case["is_transition_applied"] == true
                {
                    report.links.entry(link.to_owned()).or_default().insert(status);
                }
            }
        }
        Ok(report)
    }

    /// Adds what another run has done.
    pub(crate) fn add(&mut self, other: Self) {
        for (into, from) in
            [(&mut self.operations, other.operations), (&mut self.links, other.links)]
        {
            for (key, statuses) in from {
                into.entry(key).or_default().extend(statuses);
            }
        }
    }

    /// Those of some operations that never answered with success.
    pub(crate) fn without_success(&self, operations: &[String]) -> Vec<String> {
        missing(operations, &self.operations, |status| (200..300).contains(status))
    }

    /// Those of some links that never led to success; what has not changed is one.
    pub(crate) fn not_followed(&self, links: &[String]) -> Vec<String> {
        missing(links, &self.links, |status| (200..400).contains(status))
    }
}

fn missing(
    wanted: &[String],
    seen: &BTreeMap<String, BTreeSet<u64>>,
    success: impl Fn(&u64) -> bool,
) -> Vec<String> {
    let found =
        |key: &&String| seen.get(*key).is_some_and(|statuses| statuses.iter().any(&success));
    wanted.iter().filter(|key| !found(key)).cloned().collect()
}

/// Every operation of `openapi.yaml`, as Schemathesis names it: `POST /orders`.
pub(crate) fn operations() -> Vec<String> {
    Document::embedded().operations().iter().map(name).collect()
}

/// Every link of `openapi.yaml`, as Schemathesis names it.
pub(crate) fn links() -> Vec<String> {
    let document = Document::embedded();
    let led_to = |id: &Value| {
        let found = id.as_str().and_then(|id| document.operation(id));
        found.map(name).unwrap_or_else(|| panic!("a link leads to {id}, which is no operation"))
    };
    let mut links = Vec::new();
    for operation in document.operations() {
        let item =
            &document.root()["paths"][&operation.path][operation.method.as_str().to_lowercase()];
        for (status, response) in item["responses"].as_object().into_iter().flatten() {
            for (link, target) in response["links"].as_object().into_iter().flatten() {
                links.push(format!(
                    "{} -> [{status}] {link} -> {}",
                    name(operation),
                    led_to(&target["operationId"])
                ));
            }
        }
    }
    links
}

fn name(operation: &Operation) -> String {
    format!("{} {}", operation.method, operation.path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(transition: Option<(&str, bool)>, status: u16) -> String {
        let mut case = json!({ "value": { "method": "GET", "path": "/orders/{order_id}" } });
        if let Some((id, applied)) = transition {
            case["transition"] = json!({ "id": id });
            case["is_transition_applied"] = json!(applied);
        }
        json!({ "ScenarioFinished": { "recorder": { "cases": { "a": case }, "interactions": { "a": { "response": { "status_code": status } } } } } })
            .to_string()
    }

    #[test]
    fn what_was_never_a_success_is_named() {
        let wanted = ["GET /orders/{order_id}".to_owned(), "POST /orders".to_owned()];
        let report = Report::read(&format!("{}\n{}", event(None, 404), event(None, 401))).unwrap();
        assert_eq!(report.without_success(&wanted), wanted);
        let report = Report::read(&event(None, 200)).unwrap();
        assert_eq!(report.without_success(&wanted), wanted[1..]);
    }

    #[test]
    fn a_link_counts_when_it_was_applied_and_led_somewhere() {
        let link = "POST /orders -> [201] ReadOrder -> GET /orders/{order_id}".to_owned();
        assert!(links().contains(&link), "{:?}", links());
        for (applied, status, followed) in [
            (true, 200, true),
            (true, 304, true),
            (false, 200, false),
            (true, 404, false),
            (true, 401, false),
        ] {
            let report = Report::read(&event(Some((&link, applied)), status)).unwrap();
            assert_eq!(
                report.not_followed(std::slice::from_ref(&link)).is_empty(),
                followed,
                "{applied} {status}"
            );
        }
    }

    #[test]
    fn every_operation_and_link_is_asked_for() {
        assert_eq!((operations().len(), links().len()), (14, 18));
    }
}
