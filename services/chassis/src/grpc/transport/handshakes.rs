//! TLS handshakes that are under way, bounded for each address and in total.
//!
//! A peer proves nothing before its handshake is done. So a connection is never kept waiting for
//! others to finish: when there are too many, the oldest one gives way, of the address that takes
//! part or, in total, of the address that has the most. A handshake takes milliseconds, so the
//! oldest are those of peers that do not go on with it.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::network;

/// Handshakes of one address, or of one IPv6 /64.
const MAX_PER_ADDRESS: usize = 32;
/// Handshakes in total.
const MAX: usize = 256;

/// The handshakes of one listener that are under way, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshakes(Arc<Mutex<Vec<Handshake>>>);

#[derive(Debug)]
struct Handshake {
    peer: SocketAddr,
    give_way: CancellationToken,
}

impl Handshakes {
    /// Starts the handshake of `peer` as a task, which drops the [`Slot`] when it is done. Returns
    /// the peer whose connection was closed for it, if there were too many.
    pub(super) fn start<F>(
        &self,
        peer: SocketAddr,
        handshake: impl FnOnce(Slot) -> F,
    ) -> Option<SocketAddr>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (slot, closed) = self.add(peer);
        let give_way = slot.give_way.clone();
        // Not under the lock: a runtime that shuts down drops the future here, and its slot.
        tokio::spawn(give_way.run_until_cancelled_owned(handshake(slot)));
        closed.map(|closed| {
            closed.give_way.cancel();
            closed.peer
        })
    }

    /// Lists a handshake. Returns, too, the one that gives way to it.
    fn add(&self, peer: SocketAddr) -> (Slot, Option<Handshake>) {
        let give_way = CancellationToken::new();
        let mut running = self.running();
        let networks: Vec<_> =
            running.iter().map(|handshake| network(handshake.peer.ip())).collect();
        let closed = excess(&networks, network(peer.ip())).map(|index| running.remove(index));
        running.push(Handshake { peer, give_way: give_way.clone() });
        (Slot { give_way, all: self.clone() }, closed)
    }

    /// No code that can panic runs under the lock.
    fn running(&self) -> MutexGuard<'_, Vec<Handshake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one handshake among those under way, until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    /// Equal to that of its [`Handshake`] alone.
    give_way: CancellationToken,
    all: Handshakes,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.all.running().retain(|handshake| handshake.give_way != self.give_way);
    }
}

/// Returns the index of the handshake that gives way to one of `comer`. `running` are the addresses
/// of those under way, the oldest first.
fn excess(running: &[IpAddr], comer: IpAddr) -> Option<usize> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for address in running {
        *counts.entry(*address).or_default() += 1;
    }
    if counts.get(&comer).is_some_and(|count| *count >= MAX_PER_ADDRESS) {
        return running.iter().position(|address| *address == comer);
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
    fn one_address_has_a_share_and_the_oldest_gives_way() {
        let mut running = vec![address(1)];
        running.extend([address(2); MAX_PER_ADDRESS]);
        assert_eq!(excess(&running, address(2)), Some(1));
        assert_eq!(excess(&running, address(1)), None);
        assert_eq!(excess(&running[..MAX_PER_ADDRESS], address(2)), None);
    }

    #[test]
    fn when_all_are_taken_the_address_with_the_most_gives_way() {
        let mut running = vec![address(0)];
        running.extend((1..=u8::MAX).map(address));
        assert_eq!(running.len(), MAX);
        running[9] = address(7);
        assert_eq!(excess(&running, address(0)), Some(7));
        assert_eq!(excess(&running[..MAX - 1], address(0)), None);
    }
}
