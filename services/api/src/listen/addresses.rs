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

use super::arrival::Memory;
use crate::{identity::network, proxies::Proxies};

/// Refused connections are summarised over this time.
const SUMMARY: Duration = Duration::from_secs(60);

/// The connections of each address.
type Counts = Arc<Mutex<HashMap<IpAddr, Count>>>;

#[derive(Debug)]
struct Count {
    open: usize,
    /// What their requests hold.
    memory: Arc<Memory>,
}

/// Counts the open connections of each client address; for IPv6, of each /64.
pub(super) struct Addresses {
    most: usize,
    most_memory: usize,
    proxies: Arc<Proxies>,
    open: Counts,
    /// Refused since the last summary.
    refused: Arc<AtomicU64>,
}

impl Addresses {
    /// Allows `most` connections for each address, and `most_memory` bytes for requests on them.
    /// `proxies` have no limit: all clients behind one share its address.
    pub(super) fn new(most: usize, most_memory: usize, proxies: Arc<Proxies>) -> Self {
        let (open, refused) = (Arc::default(), Arc::default());
        Self { most: most.max(1), most_memory, proxies, open, refused }
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
        let none = || Count { open: 0, memory: Memory::new(self.most_memory) };
        let count = open.entry(address).or_insert_with(none);
        if count.open >= self.most {
            drop(open);
            self.log_refused(peer);
            return None;
        }
        count.open += 1;
        let memory = Arc::clone(&count.memory);
        Some(Admitted(Some(Admission { counts: Arc::clone(&self.open), address, memory })))
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
pub(super) struct Admitted(Option<Admission>);

#[derive(Debug)]
struct Admission {
    counts: Counts,
    address: IpAddr,
    memory: Arc<Memory>,
}

impl Admitted {
    /// The memory of its address; `None` if that has no limit.
    pub(super) fn memory(&self) -> Option<Arc<Memory>> {
        self.0.as_ref().map(|admission| Arc::clone(&admission.memory))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some(Admission { counts, address, .. }) = self.0.take() else { return };
        let mut open = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&address) {
            count.open -= 1;
            // The map has an entry for each address that has a connection, and no more.
            if count.open == 0 {
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
        let addresses = Addresses::new(2, 1000, Arc::new(proxies));
        let admit = |address: &str| addresses.admit(address.parse().unwrap());
        for same in [
            ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"],
            ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"],
        ] {
            let held: Vec<_> = same[..2].iter().map(|address| admit(address).unwrap()).collect();
            let [first, second] = [0, 1].map(|index| held[index].memory().unwrap());
            assert!(Arc::ptr_eq(&first, &second), "they share their memory");
            assert!(admit(same[2]).is_none(), "{same:?}");
            assert!(admit("192.0.2.2").is_some() && admit("2001:db8:0:1::1").is_some());
            drop(held);
            assert!(admit(same[2]).is_some(), "a closed connection counts no more");
        }
        let of_proxy: Vec<_> = (0..10).map(|_| admit("10.0.0.1").unwrap()).collect();
        assert_eq!(of_proxy.len(), 10);
        assert!(of_proxy[0].memory().is_none());
        drop(of_proxy);
        assert!(addresses.open.lock().unwrap().is_empty(), "only addresses in use take memory");
    }
}
