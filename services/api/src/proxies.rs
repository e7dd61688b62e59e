//! Proxies in front of this service whose word is taken: for where a request comes from, and for
//! its ids.
//!
//! Every client can send `X-Forwarded-For`. A trusted proxy appends the address that it saw. So the
//! last entry is taken if the peer of the connection is such a proxy, the entry before it if that
//! address is such a proxy as well, and so on; nothing of the header otherwise.

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
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::lookup_host;
use tokio_util::sync::CancellationToken;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How often host names are looked up: a container that was replaced has another address.
const AGAIN: Duration = Duration::from_secs(1);
/// The same while a name has no addresses: a proxy that has just been started should not be a
/// stranger for long.
const WHILE_UNKNOWN: Duration = Duration::from_millis(100);
/// How long one look-up may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long a name's addresses are kept while looking it up fails. A name server that is away
/// for a moment must not make all clients look like one; an address must not stay trusted when
/// somebody else may have it.
const KEEP: Duration = Duration::from_secs(60);

/// Who is trusted: single addresses, networks and host names. By default nobody.
///
/// As text: with commas between them, `10.0.0.0/8, 2001:db8::1, nginx`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
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
            match Network::parse(entry) {
                Some(network) => proxies.networks.push(network),
                None if is_host_name(entry) => proxies.hosts.push(entry.to_ascii_lowercase()),
                None => return Err(InvalidProxy { entry: entry.to_owned() }),
            }
        }
        Ok(proxies)
    }
}

/// What is neither an address nor a network nor a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProxy {
    entry: String,
}

impl fmt::Display for InvalidProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected addresses such as 192.0.2.1, networks such as 10.0.0.0/8 or host names such as nginx, with commas between them, got `{}`",
            self.entry
        )
    }
}

impl std::error::Error for InvalidProxy {}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// `10.0.0.0/8`, or one address.
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(longest);
        (bits <= longest).then_some(Self { first, bits })
    }

    fn has(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits())
                    .checked_shr(32 - u32::from(self.bits))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits())
                    .checked_shr(128 - u32::from(self.bits))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// RFC 1123 §2.1, and the underscores that container engines allow. What ends in a number is an
/// address that was mistyped, and no name.
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

/// Where a request comes from, and whether what it says of itself is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// The client's address, as far as it is known.
    pub(crate) address: Option<IpAddr>,
    /// Whether the request's ids are taken: those of a trusted proxy, and anybody's where no proxy
    /// is set.
    pub(crate) believed: bool,
}

/// The trusted proxies with the addresses that their names have at the moment.
#[derive(Debug)]
pub(crate) struct Proxies {
    trusted: TrustedProxies,
    found: RwLock<HashMap<String, Found>>,
}

#[derive(Clone, Debug)]
struct Found {
    addresses: Vec<IpAddr>,
    at: Instant,
}

impl Proxies {
    pub(crate) fn new(trusted: TrustedProxies) -> Self {
        Self { trusted, found: RwLock::default() }
    }

    /// Judges a request by the peer of its connection and by its headers.
    pub(crate) fn sender(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Sender {
        if self.trusted.is_empty() {
            return Sender { address: peer, believed: true };
        }
        match peer {
            // A proxy that says nothing that can be read is where the request comes from.
            Some(peer) if self.trust(peer) => {
                Sender { address: Some(self.client_of(peer, headers)), believed: true }
            }
            Some(_) | None => Sender { address: peer, believed: false },
        }
    }

    /// Returns the address of the client for which `proxy`, a trusted one, sent a request: the last
    /// entry of `X-Forwarded-For` that is not itself a trusted proxy's. Entries before that one are
    /// the client's own claims. Where an entry cannot be read, the proxy that wrote it is the
    /// client.
    fn client_of(&self, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = proxy;
        for entry in headers.get_all(FORWARDED_FOR).iter().rev().flat_map(entries) {
            let Some(address) = entry else { break };
            client = address;
            if !self.trust(address) {
                break;
            }
        }
        client
    }

    /// Whether this address, in its canonical form, is a trusted proxy's.
    pub(crate) fn trust(&self, peer: IpAddr) -> bool {
        if self.trusted.networks.iter().any(|network| network.has(peer)) {
            return true;
        }
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        found.values().any(|found| found.addresses.contains(&peer))
    }

    /// Looks the names up again and again until the shutdown.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        // Each name by itself, so that one which is not answered for does not hold up the others.
        let following = self.trusted.hosts.iter().map(|host| {
            let shutdown = &shutdown;
            async move {
                let again = async || {
                    tokio::time::sleep(if self.is_known(host) { AGAIN } else { WHILE_UNKNOWN })
                        .await;
                    self.look_up_one(host, system).await;
                };
                while shutdown.run_until_cancelled(again()).await.is_some() {}
            }
        });
        join_all(following).await;
    }

    /// Looks all names up once. It takes 5 seconds at most.
    pub(crate) async fn look_up(&self) {
        self.look_up_by(system).await;
    }

    async fn look_up_by<F: Future<Output = io::Result<Vec<IpAddr>>>>(
        &self,
        look_up: impl Fn(String) -> F,
    ) {
        join_all(self.trusted.hosts.iter().map(|host| self.look_up_one(host, &look_up))).await;
    }

    async fn look_up_one<F: Future<Output = io::Result<Vec<IpAddr>>>>(
        &self,
        host: &str,
        look_up: impl Fn(String) -> F,
    ) {
        let answer = tokio::time::timeout(PATIENCE, look_up(host.to_owned())).await;
        let answer = match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(addresses) if addresses.is_empty() => Err(io::ErrorKind::NotFound.into()),
            answer => answer,
        };
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(addresses) => {
                let addresses: Vec<_> =
                    addresses.into_iter().map(|address| address.to_canonical()).collect();
                let known = found.insert(
                    host.to_owned(),
                    Found { addresses: addresses.clone(), at: Instant::now() },
                );
                if known.is_none_or(|known| !same(&known.addresses, &addresses)) {
                    tracing::info!(host, ?addresses, "a trusted proxy was found");
                }
            }
            Err(error) if found.get(host).is_some_and(|known| known.at.elapsed() >= KEEP) => {
                found.remove(host);
                tracing::warn!(host, %error, "a trusted proxy cannot be found any more: nobody is taken for it now");
            }
            // For a while the last answer holds. A proxy that was never found may not have been
            // started yet.
            Err(error) => tracing::debug!(host, %error, "a trusted proxy cannot be found"),
        }
    }

    fn is_known(&self, host: &str) -> bool {
        self.found.read().unwrap_or_else(PoisonError::into_inner).contains_key(host)
    }
}

/// The system's own resolver.
async fn system(host: String) -> io::Result<Vec<IpAddr>> {
    Ok(lookup_host((host.as_str(), 0)).await?.map(|address| address.ip()).collect())
}

/// Name servers change the order from answer to answer.
fn same(one: &[IpAddr], other: &[IpAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

/// Returns the entries of one `X-Forwarded-For`, last first: addresses, each with a port perhaps;
/// `None` for something else.
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
                FORWARDED_FOR,
                poem::http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn entries_are_addresses_networks_and_names() {
        let read: TrustedProxies =
            " 10.0.0.0/8,192.0.2.1, 2001:db8::/32 ,NGINX, a_b.example,".parse().unwrap();
        assert_eq!(
            (read.networks.len(), read.hosts.as_slice()),
            (3, ["nginx".to_owned(), "a_b.example".to_owned()].as_slice())
        );
        assert!("".parse::<TrustedProxies>().unwrap().is_empty());
        for wrong in [
            "10.0.0.0/33",
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
    fn a_network_has_its_addresses_and_no_other() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "10.0.0.0", "9.255.255.255"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            let network = Network::parse(network).unwrap();
            assert!(network.has(ip(inside)) && !network.has(ip(outside)), "{network:?}");
        }
    }

    #[test]
    fn without_proxies_the_peer_is_the_client_and_everybodys_ids_are_taken() {
        let sender = proxies("").sender(Some(ip("192.0.2.1")), &headers(&["203.0.113.9"]));
        assert_eq!(sender, Sender { address: Some(ip("192.0.2.1")), believed: true });
    }

    #[test]
    fn a_stranger_is_who_connects_and_nothing_it_says_is_believed() {
        let sender =
            proxies("10.0.0.0/8,nginx").sender(Some(ip("192.0.2.1")), &headers(&["203.0.113.9"]));
        assert_eq!(sender, Sender { address: Some(ip("192.0.2.1")), believed: false });
        assert_eq!(
            proxies("10.0.0.0/8").sender(None, &headers(&["203.0.113.9"])),
            Sender { address: None, believed: false }
        );
    }

    #[test]
    fn a_trusted_proxy_says_who_the_client_is() {
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
            // A chain of trusted proxies; what the client claims stands before them.
            (&["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9", "10.0.0.3, 10.0.0.2"], "203.0.113.9"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["unknown, 10.0.0.2"], "10.0.0.2"),
        ] {
            let sender = proxies("10.0.0.0/8").sender(Some(proxy), &headers(values));
            assert_eq!(sender, Sender { address: Some(ip(client)), believed: true }, "{values:?}");
        }
    }

    #[tokio::test]
    async fn a_name_is_whoever_has_it_now() {
        let proxies = proxies("nginx");
        let (first, second) = (ip("10.0.0.1"), ip("10.0.0.2"));
        assert!(!proxies.trust(first));
        proxies.look_up_by(async |host| Ok(vec![first; usize::from(host == "nginx")])).await;
        assert!(proxies.trust(first) && !proxies.trust(second));
        proxies.look_up_by(async |_| Ok(vec![ip("::ffff:10.0.0.2")])).await;
        assert!(!proxies.trust(first) && proxies.trust(second));
        proxies.look_up_by(async |_| Err(io::ErrorKind::NotFound.into())).await;
        assert!(proxies.trust(second), "a name server that is away for a moment changes nothing");
        proxies.found.write().unwrap().get_mut("nginx").unwrap().at -= KEEP;
        proxies.look_up_by(async |_| Err(io::ErrorKind::NotFound.into())).await;
        assert!(!proxies.trust(second), "whoever has that address now is a stranger");
    }

    #[tokio::test]
    async fn names_are_looked_up_by_the_system() {
        let proxies = proxies("localhost");
        proxies.look_up().await;
        assert!(proxies.trust(ip("127.0.0.1")) || proxies.trust(ip("::1")));
    }
}
