//! The limit of open connections for a client address (IPv6: for a /64).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::read_limit::MemoryBudget;
use crate::{identity::network, proxies::Proxies};

const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

type Usages = Arc<Mutex<HashMap<IpAddr, Usage>>>;

#[derive(Debug)]
struct Usage {
    open: usize,
    memory: Arc<MemoryBudget>,
}

pub(super) struct AddressLimit {
    max_connections: usize,
    max_memory: usize,
    proxies: Arc<Proxies>,
    open: Usages,
    /// Connections refused since the last summary.
    refused: Arc<AtomicU64>,
}

impl AddressLimit {
    /// `proxies` have no limit, as their clients share one address.
    pub(super) fn new(max_connections: usize, max_memory: usize, proxies: Arc<Proxies>) -> Self {
        let (open, refused) = (Arc::default(), Arc::default());
        Self { max_connections: max_connections.max(1), max_memory, proxies, open, refused }
    }

    pub(super) fn try_acquire(&self, peer: IpAddr) -> Option<AddressPermit> {
        // A listener on [::] reports IPv4 peers as mapped addresses.
        let peer = peer.to_canonical();
        if self.proxies.is_trusted(peer) {
            return Some(AddressPermit(None));
        }
        let address = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = || Usage { open: 0, memory: MemoryBudget::new(self.max_memory) };
        let usage = open.entry(address).or_insert_with(idle);
        if usage.open >= self.max_connections {
            drop(open);
            self.log_refused(peer);
            return None;
        }
        usage.open += 1;
        let memory = Arc::clone(&usage.memory);
        Some(AddressPermit(Some(Permit { usages: Arc::clone(&self.open), address, memory })))
    }

    /// Logs the first refused connection, and a minute later the total.
    fn log_refused(&self, client_address: IpAddr) {
        if self.refused.fetch_add(1, Ordering::Relaxed) > 0 {
            return;
        }
        tracing::warn!(
            %client_address,
            limit = self.max_connections,
            "refused connection: client address is at its limit (--connections-per-address)"
        );
        let refused = Arc::clone(&self.refused);
        tokio::spawn(async move {
            tokio::time::sleep(SUMMARY_INTERVAL).await;
            let refused = refused.swap(0, Ordering::Relaxed);
            let seconds = SUMMARY_INTERVAL.as_secs();
            tracing::warn!(
                refused,
                seconds,
                "refused connections of client addresses at their limit"
            );
        });
    }
}

#[derive(Debug)]
pub(super) struct AddressPermit(Option<Permit>);

#[derive(Debug)]
struct Permit {
    usages: Usages,
    address: IpAddr,
    memory: Arc<MemoryBudget>,
}

impl AddressPermit {
    /// `None` if the address has no limit.
    pub(super) fn memory(&self) -> Option<Arc<MemoryBudget>> {
        self.0.as_ref().map(|permit| Arc::clone(&permit.memory))
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let Some(Permit { usages, address, .. }) = self.0.take() else { return };
        let mut open = usages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(usage) = open.get_mut(&address) {
            usage.open -= 1;
            if usage.open == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_limited_by_address_or_slash_64() {
        let proxies = Proxies::new("10.0.0.0/8".parse().unwrap());
        let limit = AddressLimit::new(2, 1000, Arc::new(proxies));
        let try_acquire = |address: &str| limit.try_acquire(address.parse().unwrap());
        for same in [
            ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"],
            ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"],
        ] {
            let held: Vec<_> =
                same[..2].iter().map(|address| try_acquire(address).unwrap()).collect();
            let [first, second] = [0, 1].map(|index| held[index].memory().unwrap());
            assert!(Arc::ptr_eq(&first, &second), "they share a memory budget");
            assert!(try_acquire(same[2]).is_none(), "{same:?}");
            assert!(try_acquire("192.0.2.2").is_some() && try_acquire("2001:db8:0:1::1").is_some());
            drop(held);
            assert!(try_acquire(same[2]).is_some(), "a closed connection releases its permit");
        }
        let of_proxy: Vec<_> = (0..10).map(|_| try_acquire("10.0.0.1").unwrap()).collect();
        assert_eq!(of_proxy.len(), 10);
        assert!(of_proxy[0].memory().is_none());
        drop(of_proxy);
        assert!(limit.open.lock().unwrap().is_empty(), "only addresses in use have an entry");
    }
}
