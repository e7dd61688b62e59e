//! Access tokens of many users, signed by the benchmark with the key of the store.

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use uuid::Uuid;

/// Copies a token of the store for other users.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    key: &'static [u8],
    header: String,
    claims: Value,
}

impl Tokens {
    /// Reads header and claims of a token that the store has issued.
    pub(crate) fn like(token: &str, key: &'static [u8]) -> Result<Self> {
        let mut parts = token.split('.');
        let header = parts.next().context("a token has a header")?.to_owned();
        let claims = URL_SAFE_NO_PAD.decode(parts.next().context("a token has claims")?)?;
        Ok(Self { key, header, claims: serde_json::from_slice(&claims)? })
    }

    pub(crate) fn of(&self, user: Uuid) -> String {
        let mut claims = self.claims.clone();
        claims["sub"] = user.to_string().into();
        claims["jti"] = Uuid::now_v7().to_string().into();
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mac = Hmac::<Sha256>::new_from_slice(self.key).expect("any length is allowed");
        let signature = mac.chain_update(signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_differs_in_user_and_id_only() {
        let claims = serde_json::json!({ "iss": "store", "sub": "a", "jti": "b", "exp": 7 });
        let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let user = Uuid::now_v7();
        let copy = Tokens::like(&token, b"key").unwrap().of(user);
        let copied = Tokens::like(&copy, b"key").unwrap();
        assert_eq!(copied.header, "e30");
        assert_eq!(copied.claims["sub"], user.to_string());
        assert_eq!(
            (&copied.claims["iss"], &copied.claims["exp"]),
            (&claims["iss"], &claims["exp"])
        );
        assert_ne!(copied.claims["jti"], "b");
    }
}
