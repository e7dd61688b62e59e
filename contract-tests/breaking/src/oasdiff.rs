//! Runs oasdiff with `.oasdiff.yaml` of a checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    change::{Change, Detector, Findings, Level},
    tool::{ToolError, run},
};

/// The configuration, below a checkout. It names the file with the severity levels.
const CONFIG: &str = ".oasdiff.yaml";

pub(crate) struct Oasdiff<'a> {
    pub(crate) program: &'a Path,
    pub(crate) root: &'a Path,
}

impl Oasdiff<'_> {
    /// Lists the changes between two documents, at paths below the root. Its warnings count as
    /// breaks.
    pub(crate) fn changes(&self, old: &Path, new: &Path) -> Result<Vec<Change>, ToolError> {
        let mut command = Command::new(self.program);
        command.current_dir(self.root).arg("changelog").arg(old).arg(new);
        command.args(["--config", CONFIG, "--format", "json", "--fail-on", "WARN"]);
        let output = run(self.program, &mut command)?;
        let failed = || ToolError::failed(self.program, &output);
        let reported: Vec<Value> = serde_json::from_slice(&output.stdout).map_err(|_| failed())?;
        let mut findings = Findings::default();
        let mut breaks = false;
        for change in &reported {
            let text = |member: &str| change[member].as_str().unwrap_or_default();
            let level = match change["level"].as_u64() {
                Some(1) => Level::Minor,
                Some(2 | 3) => Level::Major,
                _ => return Err(failed()),
            };
            breaks |= level == Level::Major;
            let place = match (text("operation"), text("path")) {
                ("", _) => text("section").to_owned(),
                (method, path) => format!("{method} {path}"),
            };
            let (place, what) = split_status(place, text("text"));
            findings.add(level, place, what, text("id"));
        }
        // Status 1 means breaks; any other error leaves the list incomplete.
        match output.status.code() {
            Some(0) if !breaks => {}
            Some(1) if breaks => {}
            _ => return Err(failed()),
        }
        Ok(findings.into_changes(Detector::Oasdiff))
    }

    /// Fails unless oasdiff reports a removed path, and a changed `operationId`, which is a break
    /// only by the severity levels of the project.
    pub(crate) fn self_test(&self) -> Result<(), ToolError> {
        let directory = tempfile::tempdir()?;
        let write = |name: &str, paths: Value| {
            let info = json!({ "title": "Self-test", "version": "1.0.0" });
            let document = json!({ "openapi": "3.0.3", "info": info, "paths": paths });
            let path = directory.path().join(name);
            fs::write(&path, document.to_string()).map(|()| path)
        };
        let operation = |id: &str| json!({ "get": { "operationId": id, "responses": { "200": { "description": "OK" } } } });
        let old: PathBuf =
            write("old.yaml", json!({ "/kept": operation("a"), "/removed": operation("c") }))?;
        let new = write("new.yaml", json!({ "/kept": operation("b") }))?;
        let changes = self.changes(&old, &new)?;
        let reports = |id: &str| {
            changes.iter().any(|change| change.level == Level::Major && change.why == id)
        };
        if reports("api-operation-id-removed") && reports("api-path-removed-without-deprecation") {
            return Ok(());
        }
        Err(ToolError::Ineffective {
            program: self.program.to_owned(),
            known_break: "a removed path and a changed operationId",
            config: CONFIG,
            expected: "`severity-levels: contract-tests/breaking/severity-levels.txt`",
        })
    }
}

/// Moves the status from the text to the place, so that equal changes of several statuses become one.
fn split_status(place: String, text: &str) -> (String, &str) {
    let status =
        text.strip_suffix('`').and_then(|text| text.rsplit_once(" for the response status `"));
    match status {
        Some((what, status)) => (format!("{place} {status}"), what),
        None => (place, text),
    }
}
