//! Access tokens: JWTs (RFC 7519) in the profile of RFC 9068, signed with HS256 only.

use std::{fmt, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    errors::ErrorKind, get_current_timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

/// This store is issuer and audience.
const ISSUER: &str = "sustech-merch-store";
const AUDIENCE: &str = "sustech-merch-store-api";
/// Distinguishes access tokens from other JWTs (RFC 9068 §2.1).
const TYPE: &str = "at+jwt";
/// Tolerated difference between the clocks of two replicas, in seconds. Each differs by at most 5 s
/// from the database's (`merch_chassis::clock`).
const LEEWAY: u64 = 10;

/// The minimum for HS256: the length of its output (RFC 7518 §3.2).
const MIN_SECRET_BYTES: usize = 32;

/// A secret for signing tokens. Its `Debug` form has only the key id, and its memory is overwritten
/// on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    id: String,
    secret: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// Creates a key from at least 32 bytes. The key id (`kid`) is derived from them, so that all
    /// replicas with this secret agree on it.
    ///
    /// # Errors
    /// If the secret is too short.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<Self, WeakKey> {
        let secret = Zeroizing::new(secret.into());
        if secret.len() < MIN_SECRET_BYTES {
            return Err(WeakKey { bytes: secret.len() });
        }
        let digest = Sha256::new().chain_update("merch key id\0").chain_update(&secret).finalize();
        let id = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, secret })
    }

    /// The key id, as in the tokens.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The secret is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeakKey {
    bytes: usize,
}

impl fmt::Display for WeakKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected a signing key of at least {MIN_SECRET_BYTES} random bytes, got {}; make one \
             with `openssl rand -base64 48`",
            self.bytes
        )
    }
}

impl std::error::Error for WeakKey {}

/// The caller of a verified token. The db service checks the version in each statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    pub(crate) user_id: Uuid,
    pub(crate) token_version: i64,
}

/// The `reason` of a refused token, for its event only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    Missing,
    /// A credential of another scheme.
    WrongScheme,
    Repeated,
    Malformed,
    /// Not signed by a known key with HS256.
    BadSignature,
    Expired,
    NotYetValid,
    /// Another issuer, audience or type.
    WrongClaims,
    /// The user has logged out, changed the password or been deactivated since.
    Revoked,
}

impl TokenError {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongScheme => "wrong_scheme",
            Self::Repeated => "repeated",
            Self::Malformed => "malformed",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongClaims => "wrong_claims",
            Self::Revoked => "revoked",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: Uuid,
    token_version: i64,
}

pub(crate) struct Tokens {
    header: Header,
    signing: EncodingKey,
    verifying: Vec<(String, DecodingKey)>,
    validation: Validation,
    lifetime: Duration,
}

impl Tokens {
    /// `current` signs; `others` only verify.
    pub(crate) fn new(current: &SigningKey, others: &[SigningKey], lifetime: Duration) -> Self {
        super::hmac_provider::install();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "nbf", "exp"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        Self {
            header: Header {
                typ: Some(TYPE.to_owned()),
                kid: Some(current.id.clone()),
                ..Header::new(Algorithm::HS256)
            },
            signing: EncodingKey::from_secret(&current.secret),
            verifying: std::iter::once(current)
                .chain(others)
                .map(|key| (key.id.clone(), DecodingKey::from_secret(&key.secret)))
                .collect(),
            validation,
            lifetime,
        }
    }

    /// The lifetime of a new token, in whole seconds.
    pub(crate) fn lifetime_seconds(&self) -> i32 {
        i32::try_from(self.lifetime.as_secs()).unwrap_or(i32::MAX)
    }

    /// # Errors
    /// If `jsonwebtoken` fails to sign, which HS256 never does.
    pub(crate) fn issue(&self, caller: Caller) -> Result<String, jsonwebtoken::errors::Error> {
        let now = get_current_timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: caller.user_id,
            iat: now,
            nbf: now,
            exp: now + u64::from(self.lifetime_seconds().unsigned_abs()),
            jti: Uuid::now_v7(),
            token_version: caller.token_version,
        };
        encode(&self.header, &claims, &self.signing)
    }

    pub(crate) fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        let header = decode_header(token).map_err(|error| token_error(error.kind()))?;
        // The key id selects the key; `validation` fixes the algorithm.
        let key = self.verifying.iter().find(|(id, _)| header.kid.as_ref() == Some(id));
        let (_, key) = key.ok_or(TokenError::BadSignature)?;
        let token = decode::<Claims>(token, key, &self.validation)
            .map_err(|error| token_error(error.kind()))?;
        // The header is authentic from here on. No critical extension is supported (RFC 7515
        // §4.1.11).
        if token.header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let Claims { iat, exp, .. } = token.claims;
        if iat > get_current_timestamp().saturating_add(LEEWAY) {
            return Err(TokenError::NotYetValid);
        }
        if exp < iat {
            return Err(TokenError::WrongClaims);
        }
        if !token.header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE)) {
            return Err(TokenError::WrongClaims);
        }
        Ok(Caller { user_id: token.claims.sub, token_version: token.claims.token_version })
    }
}

/// `ErrorKind` is non-exhaustive: unknown kinds count as malformed.
fn token_error(error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidSignature
        | ErrorKind::InvalidAlgorithm
        | ErrorKind::MissingAlgorithm
        | ErrorKind::UnsupportedAlgorithm => TokenError::BadSignature,
        ErrorKind::InvalidIssuer
        | ErrorKind::InvalidAudience
        | ErrorKind::InvalidSubject
        | ErrorKind::MissingRequiredClaim(_) => TokenError::WrongClaims,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn key(byte: u8) -> SigningKey {
        SigningKey::new([byte; 32]).unwrap()
    }

    fn tokens() -> Tokens {
        Tokens::new(&key(1), &[], DAY)
    }

    fn caller() -> Caller {
        Caller { user_id: Uuid::now_v7(), token_version: 3 }
    }

    fn good_claims() -> Value {
        let now = get_current_timestamp();
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": Uuid::now_v7(), "iat": now, "nbf": now,
            "exp": now + 60, "jti": Uuid::now_v7(), "token_version": 1,
        })
    }

    fn good_header() -> Header {
        Header { typ: Some(TYPE.to_owned()), kid: Some(key(1).id), ..Header::new(Algorithm::HS256) }
    }

    fn signed(header: &Header, claims: &Value, secret: u8) -> String {
        crate::identity::hmac_provider::install();
        encode(header, claims, &EncodingKey::from_secret(&key(secret).secret)).unwrap()
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good_claims();
        claims[name] = value;
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = good_claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    #[test]
    fn token_has_only_the_expected_claims() {
        let caller = caller();
        let token = tokens().issue(caller).unwrap();
        assert_eq!(tokens().verify(&token), Ok(caller));
        let part = |index| -> Value {
            serde_json::from_slice(
                &URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap(),
            )
            .unwrap()
        };
        assert_eq!(part(0), json!({"typ": "at+jwt", "alg": "HS256", "kid": key(1).id}));
        let claims = part(1);
        assert_eq!(
            claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
            DAY.as_secs()
        );
        let mut names: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "nbf", "sub", "token_version"]);
    }

    #[test]
    fn reference_token_is_valid() {
        assert!(tokens().verify(&signed(&good_header(), &good_claims(), 1)).is_ok());
    }

    #[test]
    fn invalid_tokens_are_refused() {
        let now = get_current_timestamp();
        let header = good_header;
        let cases = [
            ("another key", signed(&header(), &good_claims(), 2), TokenError::BadSignature),
            (
                "another key's id",
                signed(&Header { kid: Some(key(2).id), ..header() }, &good_claims(), 2),
                TokenError::BadSignature,
            ),
            (
                "no key id",
                signed(&Header { kid: None, ..header() }, &good_claims(), 1),
                TokenError::BadSignature,
            ),
            (
                "HS512",
                signed(&Header { alg: Algorithm::HS512, ..header() }, &good_claims(), 1),
                TokenError::BadSignature,
            ),
            (
                "a plain JWT",
                signed(&Header { typ: Some("JWT".to_owned()), ..header() }, &good_claims(), 1),
                TokenError::WrongClaims,
            ),
            (
                "no type",
                signed(&Header { typ: None, ..header() }, &good_claims(), 1),
                TokenError::WrongClaims,
            ),
            ("expired", signed(&header(), &with("exp", json!(now - 60)), 1), TokenError::Expired),
            (
                "not yet valid",
                signed(&header(), &with("nbf", json!(now + 60)), 1),
                TokenError::NotYetValid,
            ),
            (
                "another issuer",
                signed(&header(), &with("iss", json!("another")), 1),
                TokenError::WrongClaims,
            ),
            (
                "another audience",
                signed(&header(), &with("aud", json!("another")), 1),
                TokenError::WrongClaims,
            ),
            ("no issuer", signed(&header(), &without("iss"), 1), TokenError::Malformed),
            ("no audience", signed(&header(), &without("aud"), 1), TokenError::Malformed),
            ("no expiry", signed(&header(), &without("exp"), 1), TokenError::Malformed),
            (
                "issued in the future",
                signed(&header(), &with("iat", json!(now + 60)), 1),
                TokenError::NotYetValid,
            ),
            (
                "issued at the maximum time",
                signed(&header(), &with("iat", json!(u64::MAX)), 1),
                TokenError::NotYetValid,
            ),
            (
                "a critical extension",
                signed(
                    &Header { crit: Some(vec!["b64".to_owned()]), ..header() },
                    &good_claims(),
                    1,
                ),
                TokenError::Malformed,
            ),
            (
                "no critical extension",
                signed(&Header { crit: Some(Vec::new()), ..header() }, &good_claims(), 1),
                TokenError::Malformed,
            ),
            ("no nbf", signed(&header(), &without("nbf"), 1), TokenError::Malformed),
            ("no id", signed(&header(), &without("jti"), 1), TokenError::Malformed),
            ("no version", signed(&header(), &without("token_version"), 1), TokenError::Malformed),
            (
                "a subject that is not a user id",
                signed(&header(), &with("sub", json!("alice")), 1),
                TokenError::Malformed,
            ),
        ];
        for (what, token, refusal) in cases {
            assert_eq!(tokens().verify(&token), Err(refusal), "{what}");
        }
    }

    #[test]
    fn unsigned_and_tampered_tokens_are_refused() {
        let token = signed(&good_header(), &good_claims(), 1);
        let parts: Vec<&str> = token.split('.').collect();
        let none = URL_SAFE_NO_PAD
            .encode(format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{}"}}"#, key(1).id));
        let forged = URL_SAFE_NO_PAD.encode(good_claims().to_string());
        for text in [
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{forged}.{}", parts[0], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{token}x"),
            "a.b.c".to_owned(),
            "x".to_owned(),
            String::new(),
            ".".repeat(100),
        ] {
            assert!(tokens().verify(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_keys_verify_but_do_not_sign() {
        let old = Tokens::new(&key(1), &[], DAY);
        let new = Tokens::new(&key(2), &[key(1)], DAY);
        let caller = caller();
        assert_eq!(new.verify(&old.issue(caller).unwrap()), Ok(caller));
        assert_eq!(old.verify(&new.issue(caller).unwrap()), Err(TokenError::BadSignature));
    }

    #[test]
    fn short_keys_are_refused_and_secrets_not_printed() {
        let error = SigningKey::new(*b"ten bytes!").unwrap_err().to_string();
        assert!(
            error.starts_with("expected a signing key of at least 32 random bytes, got 10"),
            "{error}"
        );
        assert!(SigningKey::new([7; 31]).is_err());
        let printed =
            format!("{:?}", SigningKey::new(*b"0123456789abcdef0123456789abcdef").unwrap());
        assert!(!printed.contains("0123456789abcdef") && !printed.contains("48, 49"), "{printed}");
    }
}
