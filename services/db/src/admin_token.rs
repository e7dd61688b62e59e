use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const MIN_BYTES: usize = 32;

/// The admin token. Only its digest is stored, so no log or core dump contains it.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

/// Why a text is rejected as the admin token. Never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeakAdminToken {
    /// The token has too few bytes.
    Short(usize),
    /// The token has a character that is not visible ASCII, which a header cannot carry.
    Unprintable,
}

impl AdminToken {
    /// Accepts at least 32 bytes, all visible ASCII characters.
    ///
    /// # Errors
    /// If the token is shorter or has other characters.
    pub fn new(token: &str) -> Result<Self, WeakAdminToken> {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WeakAdminToken::Unprintable);
        }
        if token.len() < MIN_BYTES {
            return Err(WeakAdminToken::Short(token.len()));
        }
        Ok(Self(digest(token.as_bytes())))
    }

    /// Compares in constant time; the duration shows only the length of `candidate`.
    pub(crate) fn matches(&self, candidate: &[u8]) -> bool {
        self.0.ct_eq(&digest(candidate)).into()
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AdminToken(redacted)")
    }
}

impl fmt::Display for WeakAdminToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(got) => write!(
                formatter,
                "expected at least {MIN_BYTES} random bytes, got \
                {got}; generate one with `openssl rand -hex 32`"
            ),
            Self::Unprintable => formatter.write_str(
                "expected only visible ASCII characters, got others; generate \
                    one with `openssl rand -hex 32`",
            ),
        }
    }
}

impl std::error::Error for WeakAdminToken {}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn only_the_exact_token_matches() {
        let token = AdminToken::new(TOKEN).unwrap();
        assert!(token.matches(TOKEN.as_bytes()));
        for other in [
            "",
            "0123456789abcdef0123456789abcdeF",
            "0123456789abcdef0123456789abcdef0",
            "0123456789abcdef0123456789abcde",
        ] {
            assert!(!token.matches(other.as_bytes()), "{other}");
        }
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn weak_token_is_refused_and_not_shown() {
        assert_eq!(AdminToken::new(&TOKEN[1..]).unwrap_err(), WeakAdminToken::Short(31));
        assert_eq!(
            AdminToken::new(&TOKEN.replace('0', " ")).unwrap_err(),
            WeakAdminToken::Unprintable
        );
        assert!(WeakAdminToken::Short(31).to_string().contains("at least 32 random bytes, got 31"));
    }
}
