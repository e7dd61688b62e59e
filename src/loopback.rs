//! HTTP clients that use no proxy for loopback URLs.
//!
//! reqwest uses the environment's proxies (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`)
//! for every host. A request to 127.0.0.1 would send its password or token to the proxy, and reach
//! the proxy's machine.

use reqwest::{ClientBuilder, Url};

/// Disables the environment's proxies if `url` is a loopback URL: `localhost`, a name below
/// `.localhost` (RFC 6761 §6.3), 127.0.0.0/8, `::1`, or an unspecified address, which connects to
/// this machine too.
///
/// Use it for a client that sends to `url` only and follows no redirect.
pub fn without_proxy(builder: ClientBuilder, url: &Url) -> ClientBuilder {
    if is_loopback(url) { builder.no_proxy() } else { builder }
}

/// Creates a builder for clients that send to `base_url` only: see [`without_proxy`].
pub fn client_builder(base_url: &str) -> ClientBuilder {
    match Url::parse(base_url) {
        Ok(url) => without_proxy(ClientBuilder::new(), &url),
        // The first request reports the invalid URL.
        Err(_) => ClientBuilder::new(),
    }
}

/// Whether the host of `url` is this machine: see [`without_proxy`].
pub fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match address.parse::<std::net::IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address.is_unspecified()
        }
        Err(_) => {
            let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loopback_spelling_is_recognised() {
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "127.255.255.254:8080",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:0:0:1]:8080",
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "shop.localhost",
            "a.b.localhost.",
            "0.0.0.0",
            "[::]",
            "user:password@localhost",
        ] {
            assert!(is_loopback(&Url::parse(&format!("http://{host}/")).unwrap()), "{host}");
        }
        for host in [
            "128.0.0.1",
            "126.255.255.255",
            "10.0.0.1",
            "[::2]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
            "localhost.example.com",
            "notlocalhost",
            "127.0.0.1.example.com",
            "localhost@example.com",
            "example.com",
        ] {
            assert!(!is_loopback(&Url::parse(&format!("http://{host}/")).unwrap()), "{host}");
        }
    }
}
