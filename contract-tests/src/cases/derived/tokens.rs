//! Invalid tokens made from a valid one, a JWT by the document (`bearerFormat`). The suite does not
//! rely on its content.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

/// A key from public examples.
pub(super) const KEY: &[u8] = b"your-256-bit-secret-your-256-bit-secret";

/// Header, claims and signature; a token that is not a JWT is all claims.
fn parts(token: &str) -> (&str, &str, &str) {
    let mut parts = token.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(claims), Some(signature)) => (header, claims, signature),
        (_, _, _) => ("", token, ""),
    }
}

fn read(part: &str) -> Value {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    serde_json::from_slice(&bytes).ok().filter(Value::is_object).unwrap_or_else(|| json!({}))
}

fn written(part: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part.to_string())
}

pub(super) fn truncated(token: &str) -> String {
    const REMOVED_CHARACTERS: usize = 10;
    token.chars().take(token.chars().count().saturating_sub(REMOVED_CHARACTERS).max(1)).collect()
}

/// Changes a character in the middle of the signature: the last one has unused bits.
pub(super) fn other_signature(token: &str) -> String {
    let (header, claims, signature) = parts(token);
    let changed = if signature.is_empty() { claims } else { signature };
    let middle = changed.chars().count() / 2;
    let swap = |(at, letter): (usize, char)| match (at == middle, letter) {
        (true, 'A') => 'B',
        (true, _) => 'A',
        (false, letter) => letter,
    };
    let changed: String = changed.chars().enumerate().map(swap).collect();
    if signature.is_empty() { changed } else { format!("{header}.{claims}.{changed}") }
}

pub(super) fn without_signature(token: &str) -> String {
    let (header, claims, _) = parts(token);
    format!("{header}.{claims}.")
}

pub(super) fn signature_of(token: &str, other: &str) -> String {
    let ((header, claims, _), (_, _, signature)) = (parts(token), parts(other));
    format!("{header}.{claims}.{signature}")
}

pub(super) fn valid_for_longer(token: &str) -> String {
    const YEAR_SECONDS: i64 = 365 * 24 * 3600;
    let (header, claims, signature) = parts(token);
    let mut claims = read(claims);
    claims["exp"] = json!(claims["exp"].as_i64().unwrap_or_default() + YEAR_SECONDS);
    format!("{header}.{}.{signature}", written(&claims))
}

pub(super) fn unsigned(token: &str, algorithm: &str) -> String {
    let (header, claims, _) = parts(token);
    let mut header = read(header);
    header["alg"] = json!(algorithm);
    format!("{}.{claims}.", written(&header))
}

/// Signs with another key (RFC 7515 §5.1, RFC 7518 §3.2).
pub(super) fn signed_with(token: &str, key: &[u8]) -> String {
    let (header, claims, _) = parts(token);
    let mut header = read(header);
    header["alg"] = json!("HS256");
    let signed = format!("{}.{claims}", written(&header));
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &Value, key: &[u8]) -> String {
        signed_with(
            &format!("{}.{}.x", written(&json!({ "alg": "HS256", "kid": "k" })), written(claims)),
            key,
        )
    }

    #[test]
    fn forgeries_differ_from_the_token() {
        let (one, other) = (
            token(&json!({ "sub": "1", "exp": 5 }), b"key"),
            token(&json!({ "sub": "2", "exp": 5 }), b"key"),
        );
        for token in [one.as_str(), "a.b.c", "opaque-token-without-dots", "x"] {
            for forged in [
                truncated(token),
                other_signature(token),
                without_signature(token),
                signature_of(token, &other),
                valid_for_longer(token),
                unsigned(token, "none"),
                signed_with(token, KEY),
            ] {
                // A token of one character cannot be shortened.
                assert!(forged != token || token == "x", "{token}");
            }
        }
        assert_eq!(parts(&other_signature(&one)).1, parts(&one).1);
        assert_eq!(read(parts(&valid_for_longer(&one)).1)["exp"], 5 + 365 * 24 * 3600);
        assert_eq!(read(parts(&unsigned(&one, "nOnE")).0)["alg"], "nOnE");
    }

    #[test]
    fn signatures_match_their_key() {
        // RFC 7515, appendix A.1, without the line breaks of its header; computed by another
        // program.
        let (one, other) =
            (token(&json!({ "sub": "1" }), b"key"), token(&json!({ "sub": "1" }), b"yek"));
        assert_eq!((parts(&one).0, parts(&one).1), (parts(&other).0, parts(&other).1));
        assert_ne!(parts(&one).2, parts(&other).2);
        assert_eq!(signed_with(&one, b"key"), one);
        assert_eq!(parts(&one).2.len(), 43);
    }
}
