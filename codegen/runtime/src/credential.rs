//! Parses the bearer token of a request (RFC 6750 §2.1, RFC 9110 §11.4).

use std::fmt;

use poem::http::{HeaderMap, header::AUTHORIZATION};

use crate::CredentialFault;

/// A bearer token as sent. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Returns the token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Result<Token, CredentialFault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(CredentialFault::Missing)?;
    if values.next().is_some() {
        return Err(CredentialFault::Repeated);
    }
    let bytes = value.as_bytes();
    let scheme_end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    let (scheme, rest) = bytes.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(CredentialFault::WrongScheme);
    }
    let token = rest.trim_ascii_start();
    let body = token.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let well_formed = body > 0
        && token[..body]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte));
    match std::str::from_utf8(token) {
        Ok(token) if well_formed => Ok(Token(token.to_owned())),
        Ok(_) | Err(_) => Err(CredentialFault::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header value"));
        }
        headers
    }

    #[test]
    fn bearer_scheme_is_case_insensitive() {
        for value in
            ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER   a.b-c_d~e+f/g=="]
        {
            assert_eq!(
                bearer(&headers(&[value.as_bytes()])).expect(value).as_str(),
                "a.b-c_d~e+f/g=="
            );
        }
    }

    #[test]
    fn invalid_credentials_give_their_fault() {
        for (values, fault) in [
            (vec![], CredentialFault::Missing),
            (vec!["x"], CredentialFault::WrongScheme),
            (vec![""], CredentialFault::WrongScheme),
            (vec!["Basic YTpi"], CredentialFault::WrongScheme),
            (vec!["Bearer\tx"], CredentialFault::WrongScheme),
            (vec!["Bearer"], CredentialFault::Malformed),
            (vec!["Bearer "], CredentialFault::Malformed),
            (vec!["Bearer ="], CredentialFault::Malformed),
            (vec!["Bearer a=b"], CredentialFault::Malformed),
            (vec!["Bearer a b"], CredentialFault::Malformed),
            (vec!["Bearer a, Bearer b"], CredentialFault::Malformed),
            (vec!["Bearer \u{e4}"], CredentialFault::Malformed),
            (vec!["Bearer a", "Bearer a"], CredentialFault::Repeated),
        ] {
            let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(bearer(&headers(&values)), Err(fault), "{values:?}");
        }
    }

    #[test]
    fn debug_redacts_the_token() {
        let token = bearer(&headers(&[b"Bearer hush"])).expect("a token");
        assert!(!format!("{token:?}").contains("hush"));
    }
}
