//! A process that outlives this one by a moment: when this one is gone, it ends what this one
//! started.
//!
//! Nothing in this process can be relied upon for that: a test program leaves by `exit`, upon which
//! no static is dropped, and may be killed. So the keeper waits for the end of a pipe whose other
//! end only this process has.

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

/// Ends its processes when it is dropped, or when this process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Keeps the processes whose ids are in `folder/*/pid`, and the folder.
    pub(crate) fn of(folder: &Path) -> Self {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}
