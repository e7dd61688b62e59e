//! The two programs that are asked as well: `redocly diff` and `buf breaking`.
//!
//! Both follow a configuration that somebody may empty by accident, and then find nothing: so each
//! is first shown a break that it has to see.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    change::{Change, Level, Witness},
    openapi::spelled_out,
};

/// A program that could not be asked, or whose silence means nothing.
#[derive(Debug, Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("{program} could not be started: {error}; tools/install brings it", program = program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It ended without a judgement.
    #[error("{program} gave no judgement ({status}):\n{output}", program = program.display())]
    Failed {
        /// Which.
        program: PathBuf,
        /// How it ended.
        status: String,
        /// What it said.
        output: String,
    },
    /// It does not see a break that is known to be one.
    #[error(
        "{program} does not see that an operation was removed or a field renumbered, so it would see no break at all: {config} must have {expected}",
        program = program.display()
    )]
    Blind {
        /// Which.
        program: PathBuf,
        /// Its configuration.
        config: &'static str,
        /// What has to stand there.
        expected: &'static str,
    },
    /// Files for a trial could not be written.
    #[error("a temporary folder cannot be used: {0}")]
    Temporary(#[from] io::Error),
}

/// `redocly`, with the configuration of a checkout.
pub(crate) struct Redocly<'a> {
    pub(crate) program: &'a Path,
    pub(crate) root: &'a Path,
}

impl Redocly<'_> {
    /// The breaks between two documents, at two paths below the root.
    ///
    /// It compares what is written. Where that is a break, it is asked again with what OpenAPI
    /// leaves to defaults and places above spelled out.
    pub(crate) fn breaks(
        &self,
        old: (&Path, &Value),
        new: (&Path, &Value),
    ) -> Result<Vec<Change>, ToolError> {
        let breaks = self.diff(old.0, new.0)?;
        if breaks.is_empty() {
            return Ok(breaks);
        }
        let folder = tempfile::tempdir()?;
        let write = |name: &str, document: &Value| {
            let path = folder.path().join(name);
            fs::write(&path, spelled_out(document).to_string()).map(|()| path)
        };
        self.diff(&write("old.yaml", old.1)?, &write("new.yaml", new.1)?)
    }

    fn diff(&self, old: &Path, new: &Path) -> Result<Vec<Change>, ToolError> {
        let mut command = Command::new(self.program);
        command.current_dir(self.root).arg("diff").arg(old).arg(new);
        command.args(["--config", "redocly-diff.yaml", "--fail-on", "major", "--format", "json"]);
        command
            .env("REDOCLY_TELEMETRY", "off")
            .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
            .env("NO_COLOR", "1");
        let output = run(&mut command, self.program)?;
        let report: Value =
            serde_json::from_slice(&output.stdout).map_err(|_| failed(self.program, &output))?;
        let mut breaks = Vec::new();
        for change in report["changes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|change| change["impact"] == "major")
        {
            for verdict in change["verdicts"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                breaks.push(Change {
                    level: Level::Major,
                    witness: Witness::Redocly,
                    place: text(&change["path"]),
                    what: text(&verdict["message"]).trim_end_matches('.').to_owned(),
                    why: text(&verdict["ruleId"]),
                });
            }
        }
        // It also fails when it could not follow a reference; then what it has not found means
        // nothing.
        if output.status.success() == breaks.is_empty() {
            Ok(breaks)
        } else {
            Err(failed(self.program, &output))
        }
    }

    /// Fails unless a removed operation is seen.
    pub(crate) fn sees(&self) -> Result<(), ToolError> {
        let folder = tempfile::tempdir()?;
        let operation = json!({ "responses": { "200": { "description": "Done." } } });
        let document = |paths: Value| {
            json!({ "openapi": "3.0.3", "info": { "title": "A trial", "version": "1.0.0" }, "paths": paths }).to_string()
        };
        let (old, new) = (folder.path().join("old.yaml"), folder.path().join("new.yaml"));
        fs::write(
            &old,
            document(json!({ "/kept": { "get": operation }, "/removed": { "get": operation } })),
        )?;
        fs::write(&new, document(json!({ "/kept": { "get": operation } })))?;
        if self.diff(&old, &new)?.is_empty() {
            let (config, expected) = ("redocly-diff.yaml", "`diff-recommended` under `extends`");
            return Err(ToolError::Blind { program: self.program.to_owned(), config, expected });
        }
        Ok(())
    }
}

/// `buf`, with the configuration of a checkout.
pub(crate) struct Buf<'a> {
    pub(crate) program: &'a Path,
}

impl Buf<'_> {
    /// The breaks between the protos of a folder with a `buf.yaml` and those of another folder.
    pub(crate) fn breaking(&self, folder: &Path, against: &Path) -> Result<Vec<Change>, ToolError> {
        const VIOLATIONS: i32 = 100;
        let mut command = Command::new(self.program);
        command
            .current_dir(folder)
            .args(["breaking", "--error-format", "json", "--against"])
            .arg(against);
        let output = run(&mut command, self.program)?;
        if output.status.success() {
            return Ok(Vec::new());
        }
        if output.status.code() != Some(VIOLATIONS) {
            return Err(failed(self.program, &output));
        }
        let breaks: Result<Vec<Change>, ToolError> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| {
                let violation: Value =
                    serde_json::from_str(line).map_err(|_| failed(self.program, &output))?;
                let text = |member: &str| violation[member].as_str().unwrap_or_default().to_owned();
                // What is gone has no line any more.
                let line = violation["start_line"]
                    .as_u64()
                    .map_or_else(String::new, |line| format!(":{line}"));
                Ok(Change {
                    level: Level::Major,
                    witness: Witness::Buf,
                    place: format!("{}{line}", text("path")),
                    what: text("message").trim_end_matches('.').to_owned(),
                    why: text("type"),
                })
            })
            .collect();
        breaks.and_then(|breaks| {
            if breaks.is_empty() { Err(failed(self.program, &output)) } else { Ok(breaks) }
        })
    }

    /// Fails unless a renumbered and renamed field is seen under the configuration of `root`.
    pub(crate) fn sees(&self, root: &Path) -> Result<(), ToolError> {
        let folder = tempfile::tempdir()?;
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        for (folder, field) in [(&old, "name = 1"), (&new, "title = 2")] {
            let package = folder.join("proto/trial/v1");
            fs::create_dir_all(&package)?;
            fs::write(
                package.join("trial.proto"),
                format!(
                    "syntax = \"proto3\";\n\npackage trial.v1;\n\nmessage Trial {{\n  string {field};\n}}\n"
                ),
            )?;
        }
        fs::copy(root.join("buf.yaml"), new.join("buf.yaml"))?;
        let breaks = self.breaking(&new, &old.join("proto"))?;
        // FILE says that the field is gone; the weaker categories would let a renaming pass.
        if !breaks.iter().any(|change| change.why == "FIELD_NO_DELETE") {
            let (config, expected) = ("buf.yaml", "`FILE` under `breaking.use`, and no exception");
            return Err(ToolError::Blind { program: self.program.to_owned(), config, expected });
        }
        Ok(())
    }
}

fn run(command: &mut Command, program: &Path) -> Result<Output, ToolError> {
    command.output().map_err(|error| ToolError::Start { program: program.to_owned(), error })
}

fn failed(program: &Path, output: &Output) -> ToolError {
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    ToolError::Failed {
        program: program.to_owned(),
        status: output.status.to_string(),
        output: text,
    }
}
