//! Files and folders that are for their owner only.

use std::path::Path;

/// Warns if other users of this machine have any right to `path`. `what` says what they may do with it, `mode` what it should be: `600`.
#[cfg(unix)]
pub(crate) fn warn_if_others_may_use(path: &Path, what: &str, mode: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    if let Ok(metadata) = path.metadata() {
        let found = metadata.permissions().mode() & 0o777;
        if found & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = format!("{found:o}"), "other users of this machine may {what}; `chmod {mode}` it");
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn warn_if_others_may_use(_: &Path, _: &str, _: &str) {}
