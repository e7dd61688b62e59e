//! The operator's credential: how strong it has to be, and how one that was sent is compared with
//! it.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Bytes of an admin token, at least.
const LEAST: usize = 32;

/// The admin token. Only its digest is kept, so that the token itself is in no log and no core dump
/// of this service.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

/// Why a text cannot be the admin token. Never shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeakAdminToken {
    /// So few bytes.
    Short(usize),
    /// It has a blank, a control character or a character beyond ASCII, none of which a header can
    /// carry.
    Unprintable,
}

impl AdminToken {
    /// Takes a token of at least 32 bytes, all of them visible ASCII characters.
    ///
    /// # Errors
    /// If it is shorter or has others.
    pub fn new(token: &str) -> Result<Self, WeakAdminToken> {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WeakAdminToken::Unprintable);
        }
        if token.len() < LEAST {
            return Err(WeakAdminToken::Short(token.len()));
        }
        Ok(Self(digest(token.as_bytes())))
    }

    /// Whether `sent` is this token. The time that it takes says nothing but the length of what was
    /// sent.
    pub(crate) fn is(&self, sent: &[u8]) -> bool {
        self.0.ct_eq(&digest(sent)).into()
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
            Self::Short(got) => write!(formatter, "expected at least {LEAST} random bytes, got {got}; `openssl rand -hex 32` makes one"),
            Self::Unprintable => {
                formatter.write_str("expected visible ASCII characters alone, got others; `openssl rand -hex 32` makes one")
            }
        }
    }
}

impl std::error::Error for WeakAdminToken {}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn only_the_token_itself_is_it() {
        let token = AdminToken::new(TOKEN).unwrap();
        assert!(token.is(TOKEN.as_bytes()));
        for other in [
            "",
            "0123456789abcdef0123456789abcdeF",
            "0123456789abcdef0123456789abcdef0",
            "0123456789abcdef0123456789abcde",
        ] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn a_weak_one_is_refused_and_not_shown() {
        assert_eq!(AdminToken::new(&TOKEN[1..]).unwrap_err(), WeakAdminToken::Short(31));
        assert_eq!(
            AdminToken::new(&TOKEN.replace('0', " ")).unwrap_err(),
            WeakAdminToken::Unprintable
        );
        assert!(WeakAdminToken::Short(31).to_string().contains("at least 32 random bytes, got 31"));
    }
}
