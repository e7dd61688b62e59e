//! Trusted proxies: the client's address from `X-Forwarded-For`, and whether to trust the ids of a
//! request.
//!
//! Every client can send `X-Forwarded-For`, and each proxy appends its peer's address. So entries
//! count from the last one, and only while the address before them is a trusted proxy.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::lookup_host;
use tokio_util::sync::CancellationToken;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Shorter than the interval of resolved names, so that a new proxy is trusted soon.
const UNRESOLVED_INTERVAL: Duration = Duration::from_millis(100);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// The last addresses stay trusted during a short outage of DNS; after it, another host may have
/// them.
const MAX_STALE: Duration = Duration::from_secs(60);

/// The addresses, networks and host names that are trusted. None by default.
///
/// As text, separated by commas: `10.0.0.0/8, 2001:db8::1, nginx`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    hosts: Vec<String>,
}

impl TrustedProxies {
    fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.hosts.is_empty()
    }
}

impl FromStr for TrustedProxies {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let mut proxies = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match parse_network(entry) {
                Some(network) => proxies.networks.push(network),
                None if is_host_name(entry) => proxies.hosts.push(entry.to_ascii_lowercase()),
                None => return Err(InvalidProxy { entry: entry.to_owned() }),
            }
        }
        Ok(proxies)
    }
}

/// The entry is not an address, a network or a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProxy {
    entry: String,
}

impl fmt::Display for InvalidProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected addresses such as 192.0.2.1, networks such as 10.0.0.0/8 or host names such \
             as nginx, separated by commas; got `{}`",
            self.entry
        )
    }
}

impl std::error::Error for InvalidProxy {}

/// Parses `10.0.0.0/8` or a single address.
fn parse_network(text: &str) -> Option<IpNet> {
    // The standard library's parser refuses octets with leading zeros, ipnet's does not.
    match text.split_once('/') {
        Some((address, prefix)) => IpNet::new(address.parse().ok()?, prefix.parse().ok()?).ok(),
        None => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

/// RFC 1123 §2.1, with underscores as in container names. A numeric last label is a mistyped
/// address.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_number =
        text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253 && text.split('.').all(label) && !last_is_number
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) address: Option<IpAddr>,
    /// Whether to trust the request's ids; always if no proxy is configured.
    pub(crate) trusted: bool,
}

#[derive(Debug)]
pub(crate) struct Proxies {
    trusted: TrustedProxies,
    resolved: RwLock<HashMap<String, Resolved>>,
}

#[derive(Clone, Debug)]
struct Resolved {
    addresses: Vec<IpAddr>,
    resolved_at: Instant,
}

impl Proxies {
    pub(crate) fn new(trusted: TrustedProxies) -> Self {
        Self { trusted, resolved: RwLock::default() }
    }

    pub(crate) fn sender(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Sender {
        if self.trusted.is_empty() {
            return Sender { address: peer, trusted: true };
        }
        match peer {
            Some(peer) if self.is_trusted(peer) => {
                Sender { address: Some(self.client_of(peer, headers)), trusted: true }
            }
            Some(_) | None => Sender { address: peer, trusted: false },
        }
    }

    /// Returns the last address in `X-Forwarded-For` that is not a trusted proxy's; clients may
    /// have forged earlier ones. An invalid entry counts as the proxy that appended it.
    fn client_of(&self, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = proxy;
        for entry in headers.get_all(X_FORWARDED_FOR).iter().rev().flat_map(entries) {
            let Some(address) = entry else { break };
            client = address;
            if !self.is_trusted(address) {
                break;
            }
        }
        client
    }

    /// `peer` is in canonical form.
    pub(crate) fn is_trusted(&self, peer: IpAddr) -> bool {
        if self.trusted.networks.iter().any(|network| network.contains(&peer)) {
            return true;
        }
        let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
        resolved.values().any(|resolved| resolved.addresses.contains(&peer))
    }

    pub(crate) async fn refresh(&self, shutdown: CancellationToken) {
        // Independently, so that a slow lookup does not delay the others.
        let refreshing = self.trusted.hosts.iter().map(|host| {
            let shutdown = &shutdown;
            async move {
                let refresh_once = async || {
                    tokio::time::sleep(if self.is_resolved(host) {
                        REFRESH_INTERVAL
                    } else {
                        UNRESOLVED_INTERVAL
                    })
                    .await;
                    self.resolve(host, system_resolver).await;
                };
                while shutdown.run_until_cancelled(refresh_once()).await.is_some() {}
            }
        });
        join_all(refreshing).await;
    }

    /// Takes at most 5 s.
    pub(crate) async fn resolve_all(&self) {
        self.resolve_all_with(system_resolver).await;
    }

    async fn resolve_all_with<F: Future<Output = io::Result<Vec<IpAddr>>>>(
        &self,
        lookup: impl Fn(String) -> F,
    ) {
        join_all(self.trusted.hosts.iter().map(|host| self.resolve(host, &lookup))).await;
    }

    async fn resolve<F: Future<Output = io::Result<Vec<IpAddr>>>>(
        &self,
        host: &str,
        lookup: impl Fn(String) -> F,
    ) {
        let result = tokio::time::timeout(LOOKUP_TIMEOUT, lookup(host.to_owned())).await;
        let result = match result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(addresses) if addresses.is_empty() => Err(io::ErrorKind::NotFound.into()),
            result => result,
        };
        let mut resolved = self.resolved.write().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(addresses) => {
                let addresses: Vec<_> =
                    addresses.into_iter().map(|address| address.to_canonical()).collect();
                let previous = resolved.insert(
                    host.to_owned(),
                    Resolved { addresses: addresses.clone(), resolved_at: Instant::now() },
                );
                if previous.is_none_or(|previous| !same_addresses(&previous.addresses, &addresses))
                {
                    tracing::info!(host, ?addresses, "resolved trusted proxy");
                }
            }
            Err(error)
                if resolved
                    .get(host)
                    .is_some_and(|previous| previous.resolved_at.elapsed() >= MAX_STALE) =>
            {
                resolved.remove(host);
                tracing::warn!(
                    host,
                    %error,
                    "failed to resolve trusted proxy; its last addresses are no longer trusted"
                );
            }
            // The last addresses stay valid for a while, and a new proxy may not have started yet.
            Err(error) => tracing::debug!(host, %error, "failed to resolve trusted proxy"),
        }
    }

    fn is_resolved(&self, host: &str) -> bool {
        self.resolved.read().unwrap_or_else(PoisonError::into_inner).contains_key(host)
    }
}

async fn system_resolver(host: String) -> io::Result<Vec<IpAddr>> {
    Ok(lookup_host((host.as_str(), 0)).await?.map(|address| address.ip()).collect())
}

/// Compares regardless of order, which differs between DNS responses.
fn same_addresses(one: &[IpAddr], other: &[IpAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

/// Returns the entries of `X-Forwarded-For`, last first; `None` for what is not an address.
fn entries(value: &HeaderValue) -> impl Iterator<Item = Option<IpAddr>> {
    value.to_str().unwrap_or_default().rsplit(',').map(|entry| {
        let entry = entry.trim();
        let address = entry
            .parse::<IpAddr>()
            .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()));
        let address =
            address.or_else(|_| entry.trim_start_matches('[').trim_end_matches(']').parse());
        address.ok().map(|address| address.to_canonical())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies(text: &str) -> Proxies {
        Proxies::new(text.parse().unwrap())
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                X_FORWARDED_FOR,
                poem::http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn trusted_proxies_parse_addresses_networks_and_names() {
        let read: TrustedProxies =
            " 10.0.0.0/8,192.0.2.1, 2001:db8::/32 ,NGINX, a_b.example,".parse().unwrap();
        assert_eq!(
            (read.networks.len(), read.hosts.as_slice()),
            (3, ["nginx".to_owned(), "a_b.example".to_owned()].as_slice())
        );
        assert!("".parse::<TrustedProxies>().unwrap().is_empty());
        for wrong in [
            "10.0.0.0/33",
            "010.0.0.0/8",
            "2001:db8::/129",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "http://nginx",
            "nginx:80",
            "-a",
            "a b",
            "::1::",
            "a..b",
            "*",
        ] {
            let error = wrong.parse::<TrustedProxies>().unwrap_err().to_string();
            assert!(
                error.starts_with("expected addresses")
                    && error.ends_with(&format!("got `{wrong}`")),
                "{error}"
            );
        }
    }

    #[test]
    fn networks_contain_only_their_addresses() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "10.0.0.0", "9.255.255.255"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            let network = parse_network(network).unwrap();
            assert!(
                network.contains(&ip(inside)) && !network.contains(&ip(outside)),
                "{network:?}"
            );
        }
    }

    #[test]
    fn without_proxies_the_peer_is_the_client() {
        let sender = proxies("").sender(Some(ip("192.0.2.1")), &headers(&["203.0.113.9"]));
        assert_eq!(sender, Sender { address: Some(ip("192.0.2.1")), trusted: true });
    }

    #[test]
    fn headers_of_untrusted_peers_are_ignored() {
        let sender =
            proxies("10.0.0.0/8,nginx").sender(Some(ip("192.0.2.1")), &headers(&["203.0.113.9"]));
        assert_eq!(sender, Sender { address: Some(ip("192.0.2.1")), trusted: false });
        assert_eq!(
            proxies("10.0.0.0/8").sender(None, &headers(&["203.0.113.9"])),
            Sender { address: None, trusted: false }
        );
    }

    #[test]
    fn client_address_comes_from_the_trusted_proxy() {
        let proxy = ip("10.0.0.1");
        for (values, client) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["203.0.113.9,"], "10.0.0.1"),
            (&["203.0.113.9, unknown"], "10.0.0.1"),
            (&["203.0.113.9 "], "203.0.113.9"),
            (&["203.0.113.256"], "10.0.0.1"),
            (&["203.0.113.9", "caf\u{e9}"], "10.0.0.1"),
            (&["for=203.0.113.9"], "10.0.0.1"),
            // A chain of trusted proxies, after an entry that the client sent.
            (&["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9", "10.0.0.3, 10.0.0.2"], "203.0.113.9"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["unknown, 10.0.0.2"], "10.0.0.2"),
        ] {
            let sender = proxies("10.0.0.0/8").sender(Some(proxy), &headers(values));
            assert_eq!(sender, Sender { address: Some(ip(client)), trusted: true }, "{values:?}");
        }
    }

    #[tokio::test]
    async fn trust_follows_the_current_addresses_of_a_name() {
        let proxies = proxies("nginx");
        let (first, second) = (ip("10.0.0.1"), ip("10.0.0.2"));
        assert!(!proxies.is_trusted(first));
        proxies.resolve_all_with(async |host| Ok(vec![first; usize::from(host == "nginx")])).await;
        assert!(proxies.is_trusted(first) && !proxies.is_trusted(second));
        proxies.resolve_all_with(async |_| Ok(vec![ip("::ffff:10.0.0.2")])).await;
        assert!(!proxies.is_trusted(first) && proxies.is_trusted(second));
        proxies.resolve_all_with(async |_| Err(io::ErrorKind::NotFound.into())).await;
        assert!(proxies.is_trusted(second), "a short outage of DNS changes nothing");
        proxies.resolved.write().unwrap().get_mut("nginx").unwrap().resolved_at -= MAX_STALE;
        proxies.resolve_all_with(async |_| Err(io::ErrorKind::NotFound.into())).await;
        assert!(!proxies.is_trusted(second), "the address is stale");
    }

    #[tokio::test]
    async fn host_names_resolve_through_the_system() {
        let proxies = proxies("localhost");
        proxies.resolve_all().await;
        assert!(proxies.is_trusted(ip("127.0.0.1")) || proxies.is_trusted(ip("::1")));
    }
}
