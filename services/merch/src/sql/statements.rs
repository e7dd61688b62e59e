//! Splits SQL at semicolons outside of quotes and comments. Triggers, whose bodies contain
//! semicolons, are not supported; the store has none.

pub(super) fn statements(text: &str) -> Vec<&str> {
    let (mut statements, mut start) = (Vec::new(), 0);
    for end in semicolons(text).ends.into_iter().chain([text.len()]) {
        let statement = text[start..end].trim();
        if !is_blank(statement) {
            statements.push(statement);
        }
        start = (end + 1).min(text.len());
    }
    statements
}

/// Whether the last statement ends with a semicolon and no quote or comment is open.
pub(super) fn complete(text: &str) -> bool {
    let found = semicolons(text);
    !found.open && found.ends.last().is_some_and(|last| is_blank(&text[last + 1..]))
}

struct Semicolons {
    ends: Vec<usize>,
    /// Within quotes or a `/* */` comment.
    open: bool,
}

fn semicolons(text: &str) -> Semicolons {
    let (bytes, mut ends, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        // The offset behind this token; `None` if it does not end.
        let next = match bytes[at] {
            b';' => {
                ends.push(at);
                Some(at + 1)
            }
            // A doubled quote ends one string and starts another, with the same result.
            quote @ (b'\'' | b'"' | b'`') => skip_past(bytes, at + 1, &[quote]),
            b'[' => skip_past(bytes, at + 1, b"]"),
            b'-' if bytes[at..].starts_with(b"--") => {
                Some(skip_past(bytes, at + 2, b"\n").unwrap_or(bytes.len()))
            }
            b'/' if bytes[at..].starts_with(b"/*") => skip_past(bytes, at + 2, b"*/"),
            _ => Some(at + 1),
        };
        match next {
            Some(next) => at = next,
            None => return Semicolons { ends, open: true },
        }
    }
    Semicolons { ends, open: false }
}

fn skip_past(bytes: &[u8], from: usize, end: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(end.len()).position(|window| window == end).map(|place| from + place + end.len())
}

fn is_blank(text: &str) -> bool {
    without_comments(text).is_empty()
}

pub(super) fn first_word(statement: &str) -> &str {
    let rest = without_comments(statement);
    rest.split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default()
}

fn without_comments(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        rest = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(comment), _) => {
                comment.split_once('\n').map_or("", |(_, rest)| rest).trim_start()
            }
            (None, Some(comment)) => {
                comment.split_once("*/").map_or("", |(_, rest)| rest).trim_start()
            }
            (None, None) => return rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_and_commented_semicolons_are_ignored() {
        let text = "SELECT ';', \"a;b\", [c;d], 'it''s;' -- and; so on\n; /* ; */ ;; SELECT 2";
        assert_eq!(
            statements(text),
            ["SELECT ';', \"a;b\", [c;d], 'it''s;' -- and; so on", "SELECT 2"]
        );
        assert_eq!(statements(" ; -- nothing\n"), [] as [&str; 0]);
        assert_eq!(
            statements("SELECT 'open;"),
            ["SELECT 'open;"],
            "SQLite says what is wrong with it"
        );
    }

    #[test]
    fn first_word_skips_comments() {
        for statement in
            ["BEGIN", " BEGIN IMMEDIATE", "-- it\n/* begins */BEGIN;", "BEGIN/* now */"]
        {
            assert_eq!(first_word(statement), "BEGIN", "{statement}");
        }
        assert_eq!(first_word("-- nothing"), "");
    }

    #[test]
    fn statements_are_complete_with_a_semicolon() {
        for text in ["SELECT 1;", "SELECT 1; \n", "SELECT ';'; -- done", "SELECT 1; /* done */\n"] {
            assert!(complete(text), "{text}");
        }
        for text in [
            "",
            "SELECT 1",
            "SELECT ';",
            "SELECT 1; SELECT 2",
            "SELECT 1; /* open",
            "-- ;",
            "SELECT é;'",
        ] {
            assert!(!complete(text), "{text}");
        }
    }
}
