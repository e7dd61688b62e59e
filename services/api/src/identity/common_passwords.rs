//! Passwords that are refused when they are set, as they are guessed first: the most common ones,
//! and those that are equal to something that others know of the user.

use std::{collections::HashSet, sync::LazyLock};

use unicode_normalization::UnicodeNormalization as _;

/// One password a line, in lower case; `common_passwords/NOTICE.md` says where they come from.
static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("common_passwords/list.txt").lines().collect());

/// Returns whether a password is one of the most common ones or equal to one of `own`: the user's
/// sid, username and email, or the part of the email before its `@`.
///
/// Compatible characters (NFKC), letter case, invisible characters and white space around the
/// password make no difference here; nothing but those is guessable, too. A password itself stays
/// the bytes that were sent.
pub(crate) fn is_guessable(password: &str, own: [&str; 3]) -> bool {
    let folded = fold(password);
    let local_parts = own.iter().filter_map(|text| text.rsplit_once('@')).map(|(local, _)| local);
    folded.is_empty()
        || COMMON.contains(folded.as_str())
        || own.into_iter().chain(local_parts).any(|text| fold(text) == folded)
}

fn fold(text: &str) -> String {
    let visible = text.nfkc().filter(|character| !is_invisible(*character)).collect::<String>();
    visible.trim().to_lowercase()
}

/// Control characters and those that are not shown: `Default_Ignorable_Code_Point` of Unicode 17.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [&str; 3] = ["12110301", "Alice.Liddell", "alice.in@wonderland.example"];

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
            assert!(is_guessable(password, OWN), "{password}");
        }
        for password in [
            "correct horse",
            "correct horse battery staple",
            "password of bob",
            "\u{1f468}\u{200d}\u{1f469} \u{2764}\u{fe0f}",
        ] {
            assert!(!is_guessable(password, OWN), "{password}");
        }
    }

    #[test]
    fn what_others_know_of_the_user_is_guessable() {
        for password in [
            "12110301",
            "alice.liddell",
            "ALICE.LIDDELL",
            "alice.in@wonderland.example",
            "Alice.In",
        ] {
            assert!(is_guessable(password, OWN), "{password}");
        }
        assert!(!is_guessable("alice.liddell-2", OWN));
    }

    #[test]
    fn the_list_holds_what_can_be_a_password_here_and_in_the_form_that_is_looked_up() {
        assert!(COMMON.len() > 10_000, "{}", COMMON.len());
        for password in COMMON.iter() {
            assert!(password.len() >= 8 && fold(password) == **password, "{password}");
        }
    }
}
