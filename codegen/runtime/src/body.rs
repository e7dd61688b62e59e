//! Checks the media type and coding of request bodies and reads them up to a limit.

use futures_util::TryStreamExt as _;
use poem::{
    Body,
    http::{HeaderMap, header},
};

use crate::{Fault, Rejection};

/// The only media type that operations accept.
pub(crate) const JSON: &str = "application/json";

/// Requires exactly one `Content-Type`: JSON in UTF-8.
pub(crate) fn check_media_type(headers: &HeaderMap) -> Result<(), Rejection> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next().map(|value| value.as_bytes()), values.next()) {
        (Some(value), None) if is_json(value) => Ok(()),
        (Some(_) | None, _) => Err(Rejection::UnsupportedMediaType { expected: JSON }),
    }
}

/// Accepts `application/json`, optionally with `charset=utf-8`. RFC 8259 has no parameter, but many
/// clients send this one.
fn is_json(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let media_type = parts.next().unwrap_or_default();
    // RFC 9110 §5.6.6 allows empty parameters.
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

pub(crate) fn check_content_coding(headers: &HeaderMap) -> Result<(), Rejection> {
    let codings = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    // RFC 9110 §8.4.1: codings ignore case. §5.6.1: list members may be empty.
    let identity = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    if codings.map(<[u8]>::trim_ascii).all(identity) {
        Ok(())
    } else {
        Err(Rejection::UnsupportedContentCoding)
    }
}

/// Reads a body of at most `limit` bytes. Rejects a longer `Content-Length` before it reads the
/// body.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Vec<u8>, Rejection> {
    // hyper rejects a `Content-Length` that is not a number. A parse error here is an overflow.
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
                let fault = Fault::of_body(
                    "",
                    "expected a complete body; the connection failed while it was read",
                );
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
    fn only_identity_content_coding_is_accepted() {
        let check = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            check_content_coding(&headers)
        };
        for accepted in [
            &[][..],
            &["identity"],
            &["Identity"],
            &["identity, identity"],
            &["identity", "identity"],
            &[""],
        ] {
            assert_eq!(check(accepted), Ok(()), "{accepted:?}");
        }
        for rejected in
            [&["gzip"][..], &["GZIP"], &["identity, br"], &["identity", "zstd"], &["unheard-of"]]
        {
            assert_eq!(check(rejected), Err(Rejection::UnsupportedContentCoding), "{rejected:?}");
        }
    }

    #[test]
    fn only_json_media_types_are_accepted() {
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
