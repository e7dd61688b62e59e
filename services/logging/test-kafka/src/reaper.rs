//! Kills the brokers when this process exits, because statics are not dropped at exit. The reaper
//! is a child process that waits until a pipe closes.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r _
for file in "$1"/*/pid; do
  [ -f "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null
done
rm -rf "$1"
"#;

/// Kills processes when it is dropped, or when this process ends.
#[derive(Debug)]
pub struct Reaper(Child);

impl Reaper {
    /// Watches the processes with ids in `directory/*/pid`, and removes the directory.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "reaper"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}
