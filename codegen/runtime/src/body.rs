//! Request bodies: what they are declared to be, and reading them up to a bound.

use futures_util::TryStreamExt as _;
use poem::{
    Body,
    http::{HeaderMap, header},
};

use crate::{Fault, Rejection};

/// The one media type that operations take.
pub(crate) const JSON: &str = "application/json";

/// Is there exactly one `Content-Type`, and is it JSON in UTF-8?
pub(crate) fn check_media_type(headers: &HeaderMap) -> Result<(), Rejection> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next().map(|value| value.as_bytes()), values.next()) {
        (Some(value), None) if is_json(value) => Ok(()),
        (Some(_) | None, _) => Err(Rejection::UnsupportedMediaType { expected: JSON }),
    }
}

/// `application/json`, alone or with `charset=utf-8`: RFC 8259 knows no parameter, many clients
/// send this one.
fn is_json(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let media_type = parts.next().unwrap_or_default();
    // RFC 9110 §5.6.6 lets a parameter be empty.
    let mut parts = parts.filter(|part| !part.is_empty());
    media_type.eq_ignore_ascii_case(JSON.as_bytes())
        && match (parts.next(), parts.next()) {
            (None, _) => true,
            (Some(parameter), None) => {
                parameter.eq_ignore_ascii_case(b"charset=utf-8")
                    || parameter.eq_ignore_ascii_case(b"charset=\"utf-8\"")
            }
            (Some(_), Some(_)) => false,
        }
}

/// Is the body sent as it is? An encoded one would only be found not to be JSON.
pub(crate) fn check_content_coding(headers: &HeaderMap) -> Result<(), Rejection> {
    let codings = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    // RFC 9110 §8.4.1: without regard to case; §5.6.1: members of a list may be empty. `identity`
    // should not be sent, and does no harm.
    let identity = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    if codings.map(<[u8]>::trim_ascii).all(identity) {
        Ok(())
    } else {
        Err(Rejection::UnsupportedContentCoding)
    }
}

/// Reads a body of at most `limit` bytes. A body that is declared to be longer is refused before
/// anything of it is read.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Vec<u8>, Rejection> {
    // What is no number never gets here: hyper refuses it. What is one too great for a `u64` is too
    // great for us.
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.is_some_and(|length| length.parse::<usize>().map_or(true, |length| length > limit))
    {
        return Err(Rejection::BodyTooLarge { limit });
    }
    let mut bytes = Vec::new();
    let mut stream = std::pin::pin!(body.into_bytes_stream());
    loop {
        match stream.try_next().await {
            Ok(Some(chunk)) if chunk.len() > limit - bytes.len() => {
                return Err(Rejection::BodyTooLarge { limit });
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(_) => {
                let fault =
                    Fault::of_body("", "expected a whole body; it broke off while it was read");
                return Err(Rejection::InvalidRequest { faults: fault.into() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    #[test]
    fn takes_bodies_that_are_not_encoded() {
        let check = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            check_content_coding(&headers)
        };
        for taken in [
            &[][..],
            &["identity"],
            &["Identity"],
            &["identity, identity"],
            &["identity", "identity"],
            &[""],
        ] {
            assert_eq!(check(taken), Ok(()), "{taken:?}");
        }
        for refused in
            [&["gzip"][..], &["GZIP"], &["identity, br"], &["identity", "zstd"], &["unheard-of"]]
        {
            assert_eq!(check(refused), Err(Rejection::UnsupportedContentCoding), "{refused:?}");
        }
    }

    #[test]
    fn knows_json_by_its_media_type() {
        for value in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json; charset=\"utf-8\"",
            "application/json;",
        ] {
            assert!(is_json(value.as_bytes()), "{value}");
        }
        for value in [
            "",
            "text/plain",
            "application/jsonx",
            "application/problem+json",
            "application/json; charset=latin1",
            "application/json; charset=utf-8; q=1",
            "application/json; version=2",
            "application/json, application/json",
        ] {
            assert!(!is_json(value.as_bytes()), "{value}");
        }
    }
}
