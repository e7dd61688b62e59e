//! Checks the `Host` header: exactly one valid value (RFC 9112 §3.2), so that a proxy and this
//! server agree on the host.

use std::net::Ipv6Addr;

use poem::{
    Request,
    http::{HeaderValue, Version, header},
};
use poem_contract_runtime::{Fault, Location};

/// Checks the header, which HTTP/1.0 requests may omit. The fault does not contain the value.
pub(super) fn check(request: &Request) -> Result<(), Fault> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let valid = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        // The absolute target takes precedence (RFC 9112 §3.2.2).
        (Some(host), None) => {
            is_valid(host)
                && authority.is_none_or(|authority| {
                    host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
                })
        }
        (Some(_), Some(_)) => false,
    };
    if valid {
        return Ok(());
    }
    let expected = "expected exactly one host with an optional port, such as shop.example:8080, \
        equal to the host of an absolute request target";
    Err(Fault::of_parameter(Location::Header, "host", expected))
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2; the scheme `http` allows no empty host (§4.2.1).
fn is_valid(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let (host, port) = match text.strip_prefix('[').map(|text| text.split_once(']')) {
        Some(Some((literal, port))) if literal.parse::<Ipv6Addr>().is_ok() => (literal, port),
        Some(_) => return false,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = match port.strip_prefix(':') {
        // An empty port means the default port (RFC 3986 §3.2.3).
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits.is_empty() || digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    let is_name = text.starts_with('[') || is_reg_name(host);
    !host.is_empty() && is_name && is_port
}

/// `reg-name` of RFC 3986 §3.2.2, which includes IPv4 addresses.
fn is_reg_name(host: &str) -> bool {
    let mut bytes = host.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()];
                digits.iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, hosts: &[&str]) -> bool {
        let mut request = Request::builder().version(version).finish();
        for host in hosts {
            let host = HeaderValue::from_bytes(host.as_bytes()).unwrap();
            request.headers_mut().append(header::HOST, host);
        }
        check(&request).is_ok()
    }

    #[test]
    fn absolute_target_must_match_the_host() {
        let with_target = |target: &str, host: &str| {
            let request = Request::builder()
                .version(Version::HTTP_11)
                .uri(target.parse().unwrap())
                .header(header::HOST, host)
                .finish();
            check(&request).is_ok()
        };
        assert!(with_target("http://shop.example:8080/products", "Shop.example:8080"));
        for target in [
            "http://evil.example/products",
            "http://shop.example/products",
            "http://u@shop.example:8080/products",
        ] {
            assert!(!with_target(target, "shop.example:8080"), "{target}");
        }
    }

    #[test]
    fn exactly_one_valid_host_is_accepted() {
        for host in [
            "shop.example",
            "SHOP.example:8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:8443",
            "api_1:8080",
            "xn--caf-dma.example",
            "shop.example:",
            "a%41b",
        ] {
            assert!(checked(Version::HTTP_11, &[host]), "{host}");
            assert!(!checked(Version::HTTP_11, &[host, host]), "{host} twice");
        }
        for host in [
            "",
            ":80",
            "a b",
            "a, b",
            "a:b",
            "a:80:80",
            "a:99999",
            "a:-1",
            "user@a",
            "a/b",
            "a?b",
            "a#b",
            "[",
            "[200\"",
            "[shop.example",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "[shop.example]",
            "[fe80::1%25eth0]",
            "a%4",
            "a%zz",
            "caf\u{e9}",
            "a\\b",
            "a\tb",
            "<a>",
        ] {
            assert!(!checked(Version::HTTP_11, &[host]), "{host:?}");
            assert!(!checked(Version::HTTP_10, &[host]), "{host:?}");
        }
        assert!(!checked(Version::HTTP_11, &[]));
        assert!(checked(Version::HTTP_10, &[]));
        assert!(!checked(Version::HTTP_10, &["a", "a"]));
    }
}
