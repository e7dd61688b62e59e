//! Access tokens and page tokens.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use merch_api::{SigningKey, fuzzing::AccessTokens};
use merch_contract::{
    grpc::{admin::v1::ListUsersRequest, assistant::v1::ListProductsRequest},
    validation::Validate,
};
use merch_db::fuzzing::Page;
use serde_json::Value;
use sha2::Sha256;
use uuid::Uuid;

const SECRET: [u8; 32] = [42; 32];
const OTHER_SECRET: [u8; 32] = [43; 32];
/// The longest token that a test sends; the server accepts no longer header.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Returns the key of all targets.
pub(crate) fn signing_key() -> SigningKey {
    SigningKey::new(SECRET).expect("the key is long enough")
}

struct Keys {
    tokens: AccessTokens,
    secret_by_id: [(String, [u8; 32]); 2],
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let (current, other) =
        (signing_key(), SigningKey::new(OTHER_SECRET).expect("the key is long enough"));
    let secret_by_id = [(current.id().to_owned(), SECRET), (other.id().to_owned(), OTHER_SECRET)];
    Keys { tokens: AccessTokens::new(&current, &[other]), secret_by_id }
});

/// Verifies access tokens. The input is a token, or a header and claims, each on a line, which get
/// a valid signature.
///
/// # Panics
/// If a valid token is refused, or an accepted one does not pass [`authentic`].
pub fn token(data: &[u8]) {
    let tokens = &KEYS.tokens;
    let text = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => signed(&data[..at], &data[at + 1..]),
        None => String::from_utf8_lossy(data).into_owned(),
    };
    if text.len() > MAX_TOKEN_BYTES {
        return;
    }
    if let Ok(caller) = tokens.verify(&text) {
        assert_eq!(authentic(&text), Some(caller), "an accepted token: {text}");
        for end in [1, 4] {
            assert!(tokens.verify(&text[..text.len() - end]).is_err(), "a shorter signature");
        }
        assert!(tokens.verify(&format!("{text}A")).is_err(), "a longer signature");
    }
    if let Ok((user, version)) = <(u128, i64)>::arbitrary(&mut Unstructured::new(data)) {
        let caller = (Uuid::from_u128(user), version);
        let issued = tokens.issue(caller.0, caller.1);
        assert_eq!(tokens.verify(&issued), Ok(caller), "an issued token");
        assert_eq!(authentic(&issued), Some(caller), "an issued token");
    }
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac(&SECRET, &message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hmac(secret: &[u8], message: &str) -> Hmac<Sha256> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    hmac.update(message.as_bytes());
    hmac
}

/// Returns the caller of a token that RFC 7515, RFC 9068 and the store's rules allow, regardless of
/// the time. Shares no code with the api service.
fn authentic(token: &str) -> Option<(Uuid, i64)> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let json = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (header, claims) = (json(header)?, json(claims)?);
    let (_, secret) = KEYS.secret_by_id.iter().find(|(id, _)| header["kid"] == **id)?;
    hmac(secret, message).verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let is_type = header["typ"].as_str()?.eq_ignore_ascii_case("at+jwt");
    let (issued, expires) = (claims["iat"].as_u64()?, claims["exp"].as_f64()?);
    let audience = &claims["aud"] == "sustech-merch-store-api";
    let holds = header["alg"] == "HS256"
        && is_type
        && header.get("crit").is_none_or(Value::is_null)
        && claims["iss"] == "sustech-merch-store"
        && audience
        && claims["jti"].as_str()?.parse::<Uuid>().is_ok()
        && issued as f64 <= expires;
    let caller = (claims["sub"].as_str()?.parse().ok()?, claims["token_version"].as_i64()?);
    holds.then_some(caller)
}

/// Reads page tokens. The input is a token, and the parts of new ones.
///
/// # Panics
/// If a position changes on its way through a token, or a token is not the one that the position
/// gives, or two methods accept the same token.
pub fn page_token(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && !text.is_empty()
    {
        let pages = Page::decode(text);
        assert!(pages.len() <= 1, "several methods accept {text}: {pages:?}");
        for page in pages {
            assert_eq!(page.encode(), text, "another token of the same position");
        }
    }
    if let Ok(page) = new_page(&mut Unstructured::new(data)) {
        let token = page.encode();
        assert!(token.len() <= 64 + data.len() * 2, "a token of {} bytes", token.len());
        assert_eq!(Page::decode(&token), [page], "{token}");
    }
}

/// Returns a position with a filter that the contract accepts.
fn new_page(input: &mut Unstructured<'_>) -> arbitrary::Result<Page> {
    Ok(match input.int_in_range(0..=3)? {
        0 => {
            let after = i32::arbitrary(input)?;
            let category = Option::<String>::arbitrary(input)?;
            let request = ListProductsRequest { category, ..ListProductsRequest::default() };
            let category = request.category.clone().filter(|_| accepts(&request, "category"));
            Page::Products { after, category }
        }
        1 => Page::Orders {
            before: Some(Uuid::from_u128(u128::arbitrary(input)?)),
            cancelled: Option::arbitrary(input)?,
        },
        2 => {
            let after = Uuid::from_u128(u128::arbitrary(input)?);
            let active = Option::arbitrary(input)?;
            let username_prefix = Option::<String>::arbitrary(input)?;
            let request = ListUsersRequest { username_prefix, ..ListUsersRequest::default() };
            let prefix = request.username_prefix.as_deref().map(str::to_lowercase);
            let prefix = prefix.filter(|_| accepts(&request, "username_prefix"));
            Page::Users { after, prefix, active }
        }
        _ => Page::Everyone { after: Uuid::from_u128(u128::arbitrary(input)?) },
    })
}

fn accepts(request: &impl Validate, field: &str) -> bool {
    request.violations().iter().all(|violation| violation.field != field)
}
