use std::path::Path;

pub(crate) fn shell_quote(path: &Path) -> String {
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
    fn quoted_paths_round_trip() {
        for (path, word) in [
            ("/a/merch-data", "/a/merch-data"),
            ("/a b", "'/a b'"),
            ("/a'b", "'/a'\\''b'"),
            ("/a?b$(x)", "'/a?b$(x)'"),
            ("/店", "/店"),
        ] {
            assert_eq!(shell_quote(Path::new(path)), word);
        }
    }
}
