//! Reads the events of a run: a run that reached nothing must not pass.

use std::collections::{BTreeMap, BTreeSet};

use contract_tests::document::{Document, Operation};
use serde_json::Value;

#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Statuses by operation: `POST /orders`.
    operations: BTreeMap<String, BTreeSet<u64>>,
    /// Statuses by link: `POST /orders -> [201] ReadOrder -> GET /orders/{order_id}`.
    links: BTreeMap<String, BTreeSet<u64>>,
}

impl Report {
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

    pub(crate) fn add(&mut self, other: Self) {
        for (into, from) in
            [(&mut self.operations, other.operations), (&mut self.links, other.links)]
        {
            for (key, statuses) in from {
                into.entry(key).or_default().extend(statuses);
            }
        }
    }

    /// Returns the operations that never succeeded.
    pub(crate) fn without_success(&self, operations: &[String]) -> Vec<String> {
        missing(operations, &self.operations, |status| (200..300).contains(status))
    }

    /// Links that never led to success; 304 counts as one.
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

/// Operations of `openapi.yaml`, as Schemathesis names them: `POST /orders`.
pub(crate) fn operations() -> Vec<String> {
    Document::embedded().operations().iter().map(name).collect()
}

/// Links of `openapi.yaml`, as Schemathesis names them.
pub(crate) fn links() -> Vec<String> {
    let document = Document::embedded();
    let target_name = |id: &Value| {
        let found = id.as_str().and_then(|id| document.operation(id));
        found.map(name).unwrap_or_else(|| panic!("a link leads to {id}, which is not an operation"))
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
                    target_name(&target["operationId"])
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
    fn missing_successes_are_reported() {
        let wanted = ["GET /orders/{order_id}".to_owned(), "POST /orders".to_owned()];
        let report = Report::read(&format!("{}\n{}", event(None, 404), event(None, 401))).unwrap();
        assert_eq!(report.without_success(&wanted), wanted);
        let report = Report::read(&event(None, 200)).unwrap();
        assert_eq!(report.without_success(&wanted), wanted[1..]);
    }

    #[test]
    fn links_count_only_when_followed() {
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
    fn report_covers_operations_and_links() {
        assert_eq!((operations().len(), links().len()), (14, 18));
    }
}
