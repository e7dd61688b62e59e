//! Headers: conditions, proxies, host, trace, request id, credential.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::LazyLock,
};

use http::{HeaderMap, HeaderValue, Version, header, uri::Authority};
use merch_api::{TrustedProxies, fuzzing as api};
use merch_chassis::grpc::trace::Trace;
use poem::Request;
use poem_contract_runtime::fuzzing::bearer;
use regex::Regex;

use crate::parameters::parse_headers;

/// The state of the resource in conditional requests.
const VERSION: i64 = 7;

/// Reads the headers of a request: lines `name: value`.
///
/// # Panics
/// If a parser differs from the grammar of its RFC, or a client can forge what a proxy reports.
pub fn headers(data: &[u8]) {
    let headers = parse_headers(data.split(|byte| *byte == b'\n'));
    for value in headers.values() {
        if let Ok(text) = value.to_str() {
            check_conditions(text);
            check_trace(text);
        }
    }
    check_host(&headers);
    check_ids(&headers);
    check_forwarded(&headers);
    check_credential(&headers);
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is valid")
}

/// A list of entity tags, with empty elements (RFC 9110 §5.6.1, §8.8.3).
static TAG_LIST: LazyLock<Regex> = LazyLock::new(|| {
    let tag = r#"(?:W/)?"[!\x23-\x7e]*""#;
    regex(&format!(r"^[ \t]*(?:,[ \t]*)*{tag}(?:[ \t]*,(?:[ \t]*{tag})?)*[ \t]*$"))
});
static TAG: LazyLock<Regex> = LazyLock::new(|| regex(r#"(W/)?"([!\x23-\x7e]*)""#));

fn check_conditions(text: &str) {
    let is_any = text.trim_matches([' ', '\t']) == "*";
    let is_list = TAG_LIST.is_match(text);
    let tags = || TAG.captures_iter(text).map(|tag| (tag.get(1).is_some(), tag[2].to_owned()));
    let expected = match (is_any, is_list) {
        (true, _) => Some(true),
        (false, true) => Some(tags().any(|(_, opaque)| opaque == VERSION.to_string())),
        (false, false) => None,
    };
    assert_eq!(api::if_none_match(text, &api::entity_tag(VERSION)), expected, "{text:?}");

    let versions = api::if_match(text);
    let expected = match (is_any, is_list) {
        (true, _) => Some(Vec::new()),
        (false, true) => {
            let strong = tags().filter(|(weak, _)| !weak).map(|(_, opaque)| opaque);
            let versions = strong.filter_map(|opaque| {
                let version = opaque.parse::<i64>().ok()?;
                (version > 0 && version.to_string() == opaque).then_some(version)
            });
            let versions: BTreeSet<i64> = versions.collect();
            Some(if versions.is_empty() { vec![0] } else { versions.into_iter().collect() })
        }
        (false, false) => None,
    };
    assert_eq!(versions, expected, "{text:?}");
    for version in versions.into_iter().flatten().filter(|version| *version > 0) {
        assert_eq!(api::if_match(&api::entity_tag(version)), Some(vec![version]));
    }
}

/// W3C Trace Context §3.2.2; later versions may append members.
static TRACEPARENT: LazyLock<Regex> =
    LazyLock::new(|| regex("^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$"));

fn check_trace(text: &str) {
    let expected = TRACEPARENT.captures(text).and_then(|parts| {
        let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        let is_version = &parts[1] != "ff" && (&parts[1] != "00" || parts.get(5).is_none());
        (is_version && !is_zero(&parts[2]) && !is_zero(&parts[3])).then(|| parts[2].to_owned())
    });
    let trace = Trace::parse(text);
    assert_eq!(trace.as_ref().map(Trace::id), expected.as_deref(), "{text:?}");
    if let Some(trace) = trace {
        let next = Trace::parse(&trace.traceparent());
        assert_eq!(next.as_ref().map(Trace::id), Some(trace.id()), "the next call of a trace");
    }
}

fn request(headers: &HeaderMap) -> Request {
    let mut request = Request::builder().version(Version::HTTP_11).uri_str("/").finish();
    *request.headers_mut() = headers.clone();
    request
}

fn check_host(headers: &HeaderMap) {
    let is_valid = api::has_valid_host(&request(headers));
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return assert!(!is_valid, "expected exactly one host: {headers:?}");
    };
    if !is_valid {
        return;
    }
    // Another parser; it also refuses characters of RFC 3986 that this one accepts.
    if let Ok(authority) = Authority::try_from(host.as_bytes()) {
        assert!(!authority.as_str().contains('@'), "a user in {host:?}");
        assert!(!authority.host().is_empty(), "no host in {host:?}");
        assert!(!authority.host().contains(['/', '?', '#', '\\', ' ']), "{host:?}");
    }
    let text = host.to_str().expect("a valid host is ASCII");
    let forbidden = |byte: u8| !byte.is_ascii_graphic() || b"@/?#\\\"<>^`{|}".contains(&byte);
    assert!(!text.bytes().any(forbidden), "{host:?}");
}

fn check_ids(headers: &HeaderMap) {
    let (id, trace) = api::ids(&request(headers));
    assert!((1..=128).contains(&id.len()), "{id:?}");
    assert!(HeaderValue::from_str(&id).is_ok(), "{id:?}");
    let is_sent =
        headers.get_all("x-request-id").iter().any(|sent| sent.as_bytes() == id.as_bytes());
    assert!(is_sent || id.parse::<uuid::Uuid>().is_ok(), "neither sent nor new: {id:?}");
    if let Some(trace) = trace {
        assert!(trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}

fn check_forwarded(headers: &HeaderMap) {
    let trusted: TrustedProxies = "10.0.0.0/8, 2001:db8::/32".parse().expect("these are networks");
    let is_proxy = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[..2] == [0x2001, 0xdb8],
    };
    let (proxy, stranger) = (IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)), [203, 0, 113, 9].into());
    let (address, trusts) = api::sender(&trusted, Some(stranger), headers);
    assert_eq!((address, trusts), (Some(stranger), false), "the header of a stranger");
    let (address, trusts) = api::sender(&trusted, Some(proxy), headers);
    let client = address.expect("the peer has an address");
    assert!(trusts, "the header of a proxy");
    assert!(!matches!(client, IpAddr::V6(client) if client.to_ipv4_mapped().is_some()), "{client}");

    // What a client sends precedes what the proxies append.
    let mut forged = HeaderMap::new();
    let first = HeaderValue::from_static("192.0.2.1, 10.0.0.7, x, [::1]:80");
    forged.append("x-forwarded-for", first);
    for value in headers.get_all("x-forwarded-for") {
        forged.append("x-forwarded-for", value.clone());
    }
    let (with_forged, _) = api::sender(&trusted, Some(proxy), &forged);
    if !is_proxy(client) {
        assert_eq!(with_forged, Some(client), "a client forged its address: {headers:?}");
    }
}

/// `Bearer`, blanks, and a `b64token` (RFC 6750 §2.1).
static BEARER: LazyLock<Regex> =
    LazyLock::new(|| regex("^(?i:bearer) [ \\t\\n\\x0c\\r]*([A-Za-z0-9._~+/-]+=*)$"));

fn check_credential(headers: &HeaderMap) {
    let values: Vec<&HeaderValue> = headers.get_all(header::AUTHORIZATION).iter().collect();
    let expected = match values[..] {
        [value] => {
            value.to_str().ok().and_then(|value| Some(BEARER.captures(value)?[1].to_owned()))
        }
        _ => None,
    };
    let token = bearer(headers).ok();
    assert_eq!(token.as_ref().map(|token| token.as_str()), expected.as_deref(), "{values:?}");
}
