//! Cross-origin resource sharing. poem's middleware would refuse the store's own pages, whose
//! browsers send `Origin`, too.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};

use crate::pages::PageName;

const EXPOSED_HEADERS: &str = "ETag, Location, Retry-After, X-Request-Id";
/// Scripts can read a 405 only if the preflight allows the method.
const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, If-Match, \
    If-None-Match, X-Request-Id, traceparent";
/// In seconds; Chromium's maximum.
const MAX_AGE: &str = "7200";

/// The origins whose scripts may call the API from a browser. None by default.
///
/// As text: `https://shop.example,http://127.0.0.1:3000`, or `*` for every origin. Scripts may send
/// credentials (`Access-Control-Allow-Credentials`) from listed origins, not with `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsOrigins(Allowed);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Allowed {
    #[default]
    None,
    Any,
    List(Vec<HeaderValue>),
}

/// The entry is not an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOrigin {
    entry: String,
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected origins such as https://shop.example or http://127.0.0.1:3000, without paths \
             and separated by commas, or * for every origin; got `{}`",
            self.entry
        )
    }
}

impl std::error::Error for InvalidOrigin {}

impl FromStr for CorsOrigins {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let entries: Vec<_> = entries.collect();
        match entries[..] {
            [] => return Ok(Self(Allowed::None)),
            ["*"] => return Ok(Self(Allowed::Any)),
            [..] => {}
        }
        let mut origins = Vec::new();
        for entry in entries {
            let origin = origin(entry).ok_or_else(|| InvalidOrigin { entry: entry.to_owned() })?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        Ok(Self(Allowed::List(origins)))
    }
}

/// Normalises an origin as browsers send it: in lower case, without the default port.
fn origin(text: &str) -> Option<HeaderValue> {
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (address, port) = literal.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let label = |label: &str| {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                !label.is_empty() && label.bytes().all(fits)
            };
            (host.split('.').all(label).then(|| host.to_owned())?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!(":{}", digits.parse::<u16>().ok().filter(|port| *port > 0)?)
        }
        Some(_) => return None,
        None if port.is_empty() => String::new(),
        None => return None,
    };
    let port = if port == default_port { "" } else { port.as_str() };
    HeaderValue::from_str(&format!("{scheme}://{host}{port}")).ok()
}

impl CorsOrigins {
    /// Returns `Access-Control-Allow-Origin`; `None` if the origin is not allowed.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (sent.next(), sent.next()) else { return None };
        match &self.0 {
            Allowed::None => None,
            Allowed::Any => Some(HeaderValue::from_static("*")),
            Allowed::List(origins) => origins.contains(origin).then(|| origin.clone()),
        }
    }

    /// Returns the response to an allowed preflight request; [`finish`](Self::finish) adds the
    /// origin.
    pub(super) fn preflight(&self, request: &Request) -> Option<Response> {
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
            && self.allowed(request.headers()).is_some();
        asks.then(|| {
            let mut response = Response::builder()
                .status(StatusCode::NO_CONTENT)
                .header(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS)
                .header(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)
                .header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE)
                .finish();
            response.set_data(PageName("preflight"));
            response
        })
    }

    pub(super) fn finish(&self, allowed: Option<HeaderValue>, headers: &mut HeaderMap) {
        let named = matches!(self.0, Allowed::List(_));
        if named {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = allowed else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED_HEADERS),
        );
        if named {
            let credentials = header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
            headers.insert(credentials, HeaderValue::from_static("true"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_normalised() {
        for (text, sent) in [
            ("https://shop.example", "https://shop.example"),
            ("HTTPS://Shop.Example", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example:80", "http://shop.example"),
            ("http://shop.example:443", "http://shop.example:443"),
            ("http://localhost:03000", "http://localhost:3000"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[2001:DB8:0:0::1]", "http://[2001:db8::1]"),
        ] {
            let origins: CorsOrigins = text.parse().unwrap();
            assert_eq!(
                origins.0,
                Allowed::List(vec![HeaderValue::from_str(sent).unwrap()]),
                "{text}"
            );
        }
        assert_eq!("".parse(), Ok(CorsOrigins::default()));
        assert_eq!("*".parse(), Ok(CorsOrigins(Allowed::Any)));
        let two: CorsOrigins = " http://a , http://b,http://a:80".parse().unwrap();
        assert!(matches!(two.0, Allowed::List(origins) if origins.len() == 2));
    }

    #[test]
    fn invalid_origins_are_refused() {
        for wrong in [
            "shop.example",
            "https://shop.example/",
            "https://shop.example/app",
            "https://",
            "https://:443",
            "https://a:",
            "https://a:0",
            "https://a:65536",
            "https://a:b",
            "https://user@a",
            "https://*.example",
            "https://a..b",
            "https://caf\u{e9}.example",
            "https://[::1",
            "https://[a]",
            "https://a?b",
            "null",
            "ftp://a",
            "file://",
            "*,https://a",
            "https://a,*",
            "https://a https://b",
        ] {
            let refusal = wrong.parse::<CorsOrigins>().unwrap_err().to_string();
            assert!(
                refusal.starts_with("expected origins such as https://shop.example"),
                "{refusal}"
            );
        }
    }
}
