//! Limits of concurrent TLS handshakes, per address and in total.
//!
//! At the limit, new connections never wait: the oldest handshake is evicted, of the same address
//! or of the address with the most. Handshakes take milliseconds, so the oldest are stalled.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::network;

const MAX_PER_ADDRESS: usize = 32;
const MAX: usize = 256;

#[derive(Clone, Debug, Default)]
pub(super) struct Handshakes(Arc<Mutex<Vec<Handshake>>>);

#[derive(Debug)]
struct Handshake {
    peer: SocketAddr,
    evict: CancellationToken,
}

impl Handshakes {
    /// Spawns the handshake of `peer`, which drops its [`Slot`] at the end. Returns the evicted
    /// peer.
    pub(super) fn start<F>(
        &self,
        peer: SocketAddr,
        handshake: impl FnOnce(Slot) -> F,
    ) -> Option<SocketAddr>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (slot, evicted) = self.add(peer);
        let evict = slot.evict.clone();
        // Without the lock: a runtime that shuts down drops the future and its slot here.
        tokio::spawn(evict.run_until_cancelled_owned(handshake(slot)));
        evicted.map(|evicted| {
            evicted.evict.cancel();
            evicted.peer
        })
    }

    fn add(&self, peer: SocketAddr) -> (Slot, Option<Handshake>) {
        let evict = CancellationToken::new();
        let mut running = self.running();
        let networks: Vec<_> =
            running.iter().map(|handshake| network(handshake.peer.ip())).collect();
        let evicted =
            eviction_index(&networks, network(peer.ip())).map(|index| running.remove(index));
        running.push(Handshake { peer, evict: evict.clone() });
        (Slot { evict, all: self.clone() }, evicted)
    }

    fn running(&self) -> MutexGuard<'_, Vec<Handshake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    evict: CancellationToken,
    all: Handshakes,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.all.running().retain(|handshake| handshake.evict != self.evict);
    }
}

fn eviction_index(running: &[IpAddr], new_peer: IpAddr) -> Option<usize> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for address in running {
        *counts.entry(*address).or_default() += 1;
    }
    if counts.get(&new_peer).is_some_and(|count| *count >= MAX_PER_ADDRESS) {
        return running.iter().position(|address| *address == new_peer);
    }
    if running.len() < MAX {
        return None;
    }
    let most = counts.values().max()?;
    running.iter().position(|address| counts.get(address) == Some(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn oldest_handshake_of_the_address_is_evicted() {
        let mut running = vec![address(1)];
        running.extend([address(2); MAX_PER_ADDRESS]);
        assert_eq!(eviction_index(&running, address(2)), Some(1));
        assert_eq!(eviction_index(&running, address(1)), None);
        assert_eq!(eviction_index(&running[..MAX_PER_ADDRESS], address(2)), None);
    }

    #[test]
    fn at_the_total_limit_the_busiest_address_is_evicted() {
        let mut running = vec![address(0)];
        running.extend((1..=u8::MAX).map(address));
        assert_eq!(running.len(), MAX);
        running[9] = address(7);
        assert_eq!(eviction_index(&running, address(0)), Some(7));
        assert_eq!(eviction_index(&running[..MAX - 1], address(0)), None);
    }
}
