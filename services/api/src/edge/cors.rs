//! Cross-origin resource sharing: which other origins' scripts may use this API from a browser.
//!
//! poem's own middleware refuses every request from an origin that is not listed. A browser sends
//! `Origin` with requests of the store's own pages as well, and those are served here.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};

use crate::pages::PageName;

/// The headers of an answer that a script may read, besides those that it always may.
const EXPOSED: &str = "ETag, Location, Retry-After, X-Request-Id";
/// The methods of the document. A method that a path does not have is answered 405, which a script
/// can read only if the preflight allows it.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// The headers that the document takes.
const HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id, traceparent";
/// How long a browser may keep the answer to a preflight, in seconds: two hours, Chromium's
/// maximum.
const MAX_AGE: &str = "7200";

/// The origins whose scripts may use this API. By default none.
///
/// As text: `https://shop.example,http://127.0.0.1:3000`, or `*` for every origin. With named
/// origins a script may send credentials (`Access-Control-Allow-Credentials`), with `*` it may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsOrigins(Allowed);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Allowed {
    #[default]
    Nothing,
    Everything,
    These(Vec<HeaderValue>),
}

/// What is no origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOrigin {
    entry: String,
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected origins such as https://shop.example or http://127.0.0.1:3000, without a path and with commas between them, or * alone for every origin, got `{}`",
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
            [] => return Ok(Self(Allowed::Nothing)),
            ["*"] => return Ok(Self(Allowed::Everything)),
            [..] => {}
        }
        let mut origins = Vec::new();
        for entry in entries {
            let origin = origin(entry).ok_or_else(|| InvalidOrigin { entry: entry.to_owned() })?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        Ok(Self(Allowed::These(origins)))
    }
}

/// An origin as a browser sends it: in lower case, and without the scheme's own port.
fn origin(text: &str) -> Option<HeaderValue> {
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let own_port = match scheme {
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
        // Written in the shortest way, as browsers do.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!(":{}", digits.parse::<u16>().ok().filter(|port| *port > 0)?)
        }
        Some(_) => return None,
        None if port.is_empty() => String::new(),
        None => return None,
    };
    let port = if port == own_port { "" } else { port.as_str() };
    HeaderValue::from_str(&format!("{scheme}://{host}{port}")).ok()
}

impl CorsOrigins {
    /// The origin of a request, as `Access-Control-Allow-Origin` names it; `None`: not allowed.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (sent.next(), sent.next()) else { return None };
        match &self.0 {
            Allowed::Nothing => None,
            Allowed::Everything => Some(HeaderValue::from_static("*")),
            Allowed::These(origins) => origins.contains(origin).then(|| origin.clone()),
        }
    }

    /// The answer to the question of a browser whether an allowed origin may send a request;
    /// [`finish`](Self::finish) says which origin. `None`: it is no such question.
    pub(super) fn preflight(&self, request: &Request) -> Option<Response> {
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
            && self.allowed(request.headers()).is_some();
        asks.then(|| {
            let mut response = Response::builder()
                .status(StatusCode::NO_CONTENT)
                .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
                .header(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS)
                .header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE)
                .finish();
            response.set_data(PageName("preflight"));
            response
        })
    }

    /// Adds to an answer what a browser needs to give it to a script of the origin `allowed`.
    pub(super) fn finish(&self, allowed: Option<HeaderValue>, headers: &mut HeaderMap) {
        let named = matches!(self.0, Allowed::These(_));
        if named {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = allowed else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
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
    fn origins_are_read_as_browsers_send_them() {
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
                Allowed::These(vec![HeaderValue::from_str(sent).unwrap()]),
                "{text}"
            );
        }
        assert_eq!("".parse(), Ok(CorsOrigins::default()));
        assert_eq!("*".parse(), Ok(CorsOrigins(Allowed::Everything)));
        let two: CorsOrigins = " http://a , http://b,http://a:80".parse().unwrap();
        assert!(matches!(two.0, Allowed::These(origins) if origins.len() == 2));
    }

    #[test]
    fn what_is_no_origin_is_refused_in_one_sentence() {
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
