//! Paths in commands that are printed to be pasted into a shell.

use std::path::Path;

/// `path` as one word of a POSIX shell: as it is, or in single quotes.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_alphanumeric() || "/._-+,:@%".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_same_path() {
        for (path, word) in [
            ("/a/merch-data", "/a/merch-data"),
            ("/a b", "'/a b'"),
            ("/a'b", "'/a'\\''b'"),
            ("/a?b$(x)", "'/a?b$(x)'"),
            ("/店", "/店"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
