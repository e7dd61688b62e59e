//! Guessable passwords: common ones, and the user's own identifiers.

use std::{collections::HashSet, sync::LazyLock};

use unicode_normalization::UnicodeNormalization as _;

/// One password per line, in lower case; `common_passwords/NOTICE.md` names the sources.
static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("common_passwords/list.txt").lines().collect());

/// Returns whether a password is common, or equal to an identifier (sid, username, email) or to the
/// email's local part. Ignores compatibility forms (NFKC), case, invisible characters and
/// surrounding white space.
pub(crate) fn is_guessable(password: &str, identifiers: [&str; 3]) -> bool {
    let normalized = normalize(password);
    let local_parts =
        identifiers.iter().filter_map(|text| text.rsplit_once('@')).map(|(local, _)| local);
    normalized.is_empty()
        || COMMON.contains(normalized.as_str())
        || identifiers.into_iter().chain(local_parts).any(|text| normalize(text) == normalized)
}

fn normalize(text: &str) -> String {
    let visible = text.nfkc().filter(|character| !is_invisible(*character)).collect::<String>();
    visible.trim().to_lowercase()
}

/// Control characters and `Default_Ignorable_Code_Point` of Unicode 17.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
                | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTIFIERS: [&str; 3] = ["12110301", "Alice.Liddell", "alice.in@wonderland.example"];

    #[test]
    fn common_passwords_are_guessable_in_any_form() {
        for password in [
            "password",
            "PassWord1",
            "12345678",
            "00000000",
            "iloveyou1",
            "qwertyuiop",
            " trustno1 ",
            "        ",
            "\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}",
            "\u{200b}password",
            "pass\u{ad}word\u{feff} ",
            "p\u{200d}assword\u{e0041}",
            "\u{ff50}\u{ff41}\u{ff53}\u{ff53}\u{ff57}\u{ff4f}\u{ff52}\u{ff44}",
        ] {
            assert!(is_guessable(password, IDENTIFIERS), "{password}");
        }
        for password in [
            "correct horse",
            "correct horse battery staple",
            "password of bob",
            "\u{1f468}\u{200d}\u{1f469} \u{2764}\u{fe0f}",
        ] {
            assert!(!is_guessable(password, IDENTIFIERS), "{password}");
        }
    }

    #[test]
    fn identifiers_of_the_user_are_guessable() {
        for password in [
            "12110301",
            "alice.liddell",
            "ALICE.LIDDELL",
            "alice.in@wonderland.example",
            "Alice.In",
        ] {
            assert!(is_guessable(password, IDENTIFIERS), "{password}");
        }
        assert!(!is_guessable("alice.liddell-2", IDENTIFIERS));
    }

    #[test]
    fn common_passwords_are_normalized() {
        assert!(COMMON.len() > 10_000, "{}", COMMON.len());
        for password in COMMON.iter() {
            assert!(password.len() >= 8 && normalize(password) == **password, "{password}");
        }
    }
}
