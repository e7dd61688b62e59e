//! Runs `buf breaking`.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    change::{Change, Detector, Findings, Level},
    tool::{ToolError, run},
};

/// buf. It reads `buf.yaml` of the directory that it runs in.
pub(crate) struct Buf<'a> {
    pub(crate) program: &'a Path,
}

impl Buf<'_> {
    /// Lists the breaks between the protos of a directory with a `buf.yaml` and those of another
    /// directory.
    pub(crate) fn breaks(
        &self,
        directory: &Path,
        against: &Path,
    ) -> Result<Vec<Change>, ToolError> {
        const VIOLATIONS: i32 = 100;
        let mut command = Command::new(self.program);
        command
            .current_dir(directory)
            .args(["breaking", "--error-format", "json", "--against"])
            .arg(against);
        let output = run(self.program, &mut command)?;
        let failed = || ToolError::failed(self.program, &output);
        if output.status.success() {
            return Ok(Vec::new());
        }
        if output.status.code() != Some(VIOLATIONS) {
            return Err(failed());
        }
        let mut findings = Findings::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let violation: Value = serde_json::from_str(line).map_err(|_| failed())?;
            let text = |member: &str| violation[member].as_str().unwrap_or_default();
            // A removed item has no line.
            let line = violation["start_line"]
                .as_u64()
                .map_or_else(String::new, |line| format!(":{line}"));
            let place = format!("{}{line}", text("path"));
            let what = text("message").trim_end_matches('.');
            findings.add(Level::Major, place, what, text("type"));
        }
        let breaks = findings.into_changes(Detector::Buf);
        if breaks.is_empty() { Err(failed()) } else { Ok(breaks) }
    }

    /// Fails unless buf reports a renumbered and renamed field under the `buf.yaml` of `root`.
    pub(crate) fn self_test(&self, root: &Path) -> Result<(), ToolError> {
        let directory = tempfile::tempdir()?;
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        for (directory, field) in [(&old, "name = 1"), (&new, "title = 2")] {
            let package = directory.join("proto/trial/v1");
            fs::create_dir_all(&package)?;
            fs::write(
                package.join("trial.proto"),
                format!(
                    "syntax = \"proto3\";\n\npackage trial.v1;\n\nmessage Trial {{\n  string {field};\n}}\n"
                ),
            )?;
        }
        fs::copy(root.join("buf.yaml"), new.join("buf.yaml"))?;
        let breaks = self.breaks(&new, &old.join("proto"))?;
        // Only FILE and PACKAGE report FIELD_NO_DELETE; weaker categories accept a rename.
        if breaks.iter().any(|change| change.why == "FIELD_NO_DELETE") {
            return Ok(());
        }
        Err(ToolError::Ineffective {
            program: self.program.to_owned(),
            known_break: "a renumbered and renamed field",
            config: "buf.yaml",
            expected: "`FILE` under `breaking.use`, and no exception",
        })
    }
}
