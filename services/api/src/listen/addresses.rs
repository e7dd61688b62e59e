//! How many connections one client address may have open.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{identity::network, proxies::Proxies};

/// Refused connections are summarised over this time.
const SUMMARY: Duration = Duration::from_secs(60);

/// Open connections of each address.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Counts the open connections of each client address; for IPv6, of each /64.
pub(super) struct Addresses {
    most: usize,
    proxies: Arc<Proxies>,
    open: Counts,
    /// Refused since the last summary.
    refused: Arc<AtomicU64>,
}

impl Addresses {
    /// Allows `most` connections for each address. `proxies` have no limit: all clients behind one
    /// share its address.
    pub(super) fn new(most: usize, proxies: Arc<Proxies>) -> Self {
        let (open, refused) = (Arc::default(), Arc::default());
        Self { most: most.max(1), proxies, open, refused }
    }

    /// Counts one more connection until the returned value is dropped; `None` if the address has as
    /// many as it may have.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Admitted> {
        // A listener on [::] sees IPv4 peers as mapped addresses.
        let peer = peer.to_canonical();
        if self.proxies.trust(peer) {
            return Some(Admitted(None));
        }
        let address = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.most {
            drop(open);
            self.log_refused(peer);
            return None;
        }
        *count += 1;
        Some(Admitted(Some((Arc::clone(&self.open), address))))
    }

    /// Logs the first refused connection of a minute, and the sum of a minute.
    fn log_refused(&self, client_address: IpAddr) {
        if self.refused.fetch_add(1, Ordering::Relaxed) > 0 {
            return;
        }
        tracing::warn!(
            %client_address,
            limit = self.most,
            "connection refused: its client address has too many open (--connections-per-address)"
        );
        let refused = Arc::clone(&self.refused);
        tokio::spawn(async move {
            tokio::time::sleep(SUMMARY).await;
            let refused = refused.swap(0, Ordering::Relaxed);
            let seconds = SUMMARY.as_secs();
            tracing::warn!(refused, seconds, "connections refused: too many of one client address");
        });
    }
}

/// A connection that is counted while this lives.
#[derive(Debug)]
pub(super) struct Admitted(Option<(Counts, IpAddr)>);

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some((open, address)) = self.0.take() else { return };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            // The map has an entry for each address that has a connection, and no more.
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_address_has_its_own_limit_and_a_64_is_one_address() {
        let proxies = Proxies::new("10.0.0.0/8".parse().unwrap());
        let addresses = Addresses::new(2, Arc::new(proxies));
        let admit = |address: &str| addresses.admit(address.parse().unwrap());
        for same in [["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"]] {
            let held: Vec<_> = same[..2].iter().map(|address| admit(address).unwrap()).collect();
            assert!(admit(same[2]).is_none(), "{same:?}");
            assert!(admit("192.0.2.2").is_some() && admit("2001:db8:0:1::1").is_some());
            drop(held);
            assert!(admit(same[2]).is_some(), "a closed connection counts no more");
        }
        let of_proxy: Vec<_> = (0..10).map(|_| admit("10.0.0.1").unwrap()).collect();
        assert_eq!(of_proxy.len(), 10);
        drop(of_proxy);
        assert!(addresses.open.lock().unwrap().is_empty(), "only addresses in use take memory");
    }
}
