//! Rate limit for refusal events: the first few of each client and reason in a period are written,
//! the rest are counted in one summary event.
//!
//! Clients can cause any number of refusals, which must not fill the disk or the topic. Clients
//! beyond [`EventRateLimits::clients`] share counts. `kill -9` loses the current period's.

use std::{
    collections::HashMap,
    future::Future,
    net::IpAddr,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use merch_chassis::network;
use prometheus::{IntCounterVec, register_int_counter_vec};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::event::{Event, Origin, attribute, event_name};
use crate::proto::{Level, LogMessage};

static SUMMARISED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_log_aggregated_refusals_total",
        "Refusals counted in a summary instead of a log event",
        &["event"]
    )
    .expect("a metric of a valid name is registered once")
});

/// Limits of an [`EventRateLimiter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRateLimits {
    /// Events per client, event name and reason in a period.
    pub single_events: u32,
    /// Clients with separate counts, about 100 bytes each.
    pub clients: usize,
    /// After this time, summaries are written and counts restart.
    pub period: Duration,
}

impl Default for EventRateLimits {
    fn default() -> Self {
        Self { single_events: 5, clients: 1024, period: Duration::from_secs(60) }
    }
}

/// A client whose requests were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// By address; for IPv6, by /64 network.
    Address(IpAddr),
    /// By user.
    User(Uuid),
    /// Unknown.
    Unknown,
}

impl Client {
    /// Returns the client of an address.
    #[must_use]
    pub fn at(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Unknown, |address| Self::Address(network(address)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: Client,
    /// The attacked account, for refusals that cost a password hash.
    account: Option<Uuid>,
    event: &'static str,
    reason: &'static str,
}

/// Refusals counted in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The client; `None` for all those beyond the limit.
    pub client: Option<Client>,
    /// The account, if counted by account.
    pub account: Option<Uuid>,
    /// Name of the suppressed events.
    pub event: &'static str,
    /// Reason of the refusals.
    pub reason: &'static str,
    /// Number of refusals.
    pub count: u64,
    /// Times of the first and the last refusal.
    pub time_range: (SystemTime, SystemTime),
}

#[derive(Debug)]
struct Entry {
    admitted: u32,
    counted: u64,
    time_range: (SystemTime, SystemTime),
}

impl Entry {
    fn new(now: SystemTime) -> Self {
        Self { admitted: 0, counted: 0, time_range: (now, now) }
    }

    fn admit(&mut self, single_events: u32, now: SystemTime) -> bool {
        if self.admitted < single_events {
            self.admitted += 1;
            return true;
        }
        self.count(1, (now, now));
        false
    }

    fn count(&mut self, more: u64, time_range: (SystemTime, SystemTime)) {
        self.time_range = if self.counted == 0 {
            time_range
        } else {
            (self.time_range.0.min(time_range.0), self.time_range.1.max(time_range.1))
        };
        self.counted = self.counted.saturating_add(more);
    }
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<Key, Entry>,
    /// Separate, so that cheap refusals do not use up the table for those that cost a password
    /// hash.
    accounts: HashMap<Key, Entry>,
    /// Counts of the clients beyond the limit.
    others: HashMap<(&'static str, &'static str), Entry>,
}

impl Table {
    fn entry(&mut self, key: Key, max_clients: usize, now: SystemTime) -> &mut Entry {
        let table = if key.account.is_some() { &mut self.accounts } else { &mut self.clients };
        if table.len() < max_clients || table.contains_key(&key) {
            table.entry(key).or_insert_with(|| Entry::new(now))
        } else {
            self.others.entry((key.event, key.reason)).or_insert_with(|| Entry::new(now))
        }
    }

    fn existing(&mut self, key: &Key) -> Option<&mut Entry> {
        let table = if key.account.is_some() { &mut self.accounts } else { &mut self.clients };
        match table.get_mut(key) {
            Some(entry) => Some(entry),
            None => self.others.get_mut(&(key.event, key.reason)),
        }
    }
}

/// Decides which refusals are written as events.
#[derive(Debug)]
pub struct EventRateLimiter {
    limits: EventRateLimits,
    table: Mutex<Table>,
}

impl EventRateLimiter {
    /// Creates a limiter with empty counts.
    #[must_use]
    pub fn new(limits: EventRateLimits) -> Self {
        Self { limits, table: Mutex::default() }
    }

    /// Returns whether to write this refusal. Otherwise counts it for [`write_summaries`].
    #[must_use]
    pub fn admit(&self, client: Client, event: &'static str, reason: &'static str) -> bool {
        self.admit_key(Key { client, account: None, event, reason })
    }

    /// Like [`Self::admit`], with a count per account, to show an attack on one account.
    #[must_use]
    pub fn admit_on_account(
        &self,
        client: Client,
        account: Uuid,
        event: &'static str,
        reason: &'static str,
    ) -> bool {
        self.admit_key(Key { client, account: Some(account), event, reason })
    }

    /// Takes back an admission whose event failed to be written.
    pub fn release(
        &self,
        client: Client,
        account: Option<Uuid>,
        event: &'static str,
        reason: &'static str,
    ) {
        if let Some(entry) = self.table().existing(&Key { client, account, event, reason }) {
            entry.admitted = entry.admitted.saturating_sub(1);
        }
    }

    fn admit_key(&self, key: Key) -> bool {
        let (now, event) = (SystemTime::now(), key.event);
        let admitted =
            self.table().entry(key, self.limits.clients, now).admit(self.limits.single_events, now);
        if !admitted {
            SUMMARISED.with_label_values(&[event]).inc();
        }
        admitted
    }

    fn take_summaries(&self) -> Vec<Summary> {
        let Table { clients, accounts, others } = std::mem::take(&mut *self.table());
        let clients =
            clients.into_iter().chain(accounts).map(|(key, Entry { counted, time_range, .. })| {
                let Key { client, account, event, reason } = key;
                Summary { client: Some(client), account, event, reason, count: counted, time_range }
            });
        let others =
            others.into_iter().map(|((event, reason), Entry { counted, time_range, .. })| {
                Summary { client: None, account: None, event, reason, count: counted, time_range }
            });
        clients.chain(others).filter(|summary| summary.count > 0).collect()
    }

    fn restore(&self, summaries: Vec<Summary>) {
        let mut table = self.table();
        for Summary { client, account, event, reason, count, time_range } in summaries {
            let entry = match client {
                Some(client) => table.entry(
                    Key { client, account, event, reason },
                    self.limits.clients,
                    time_range.0,
                ),
                None => {
                    table.others.entry((event, reason)).or_insert_with(|| Entry::new(time_range.0))
                }
            };
            entry.count(count, time_range);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the summaries after each period, and when `stop` is cancelled after the last refusal.
/// `write` stores all events or none; after an error they are retried.
pub async fn write_summaries<E: std::fmt::Debug, F: Future<Output = Result<(), E>>>(
    limiter: &EventRateLimiter,
    origin: &Origin,
    write: impl Fn(Vec<LogMessage>) -> F,
    stop: CancellationToken,
) {
    loop {
        let stopped =
            stop.run_until_cancelled(tokio::time::sleep(limiter.limits.period)).await.is_none();
        let summaries = limiter.take_summaries();
        if !summaries.is_empty() {
            let events = summaries.iter().map(|summary| event(origin, summary).build()).collect();
            if let Err(error) = write(events).await {
                let refusals: u64 = summaries.iter().map(|summary| summary.count).sum();
                if stopped {
                    tracing::error!(
                        ?error,
                        refusals,
                        "failed to write refusal summaries at shutdown; the counts are lost"
                    );
                } else {
                    tracing::warn!(
                        ?error,
                        refusals,
                        "failed to write refusal summaries; keeping the counts"
                    );
                    limiter.restore(summaries);
                }
            }
        }
        if stopped {
            return;
        }
    }
}

fn event(origin: &Origin, summary: &Summary) -> Event {
    let Summary { client, account, event, reason, count, time_range } = summary;
    let message = match client {
        Some(_) => "Refusals of a client above the event limit were counted.",
        None => "Refusals of several clients above the event limit were counted.",
    };
    let event = origin
        .event(Level::Warn, event_name::REFUSALS_SUMMARISED, message)
        .attribute(attribute::EVENT, event)
        .attribute(attribute::REASON, reason)
        .attribute(attribute::COUNT, count)
        .attribute(attribute::FIRST_AT, rfc3339(time_range.0))
        .attribute(attribute::LAST_AT, rfc3339(time_range.1));
    let event = match account {
        Some(account) => event.on_user(*account),
        None => event,
    };
    match client {
        Some(Client::Address(IpAddr::V6(network))) => {
            event.attribute(attribute::CLIENT_ADDRESS, format_args!("{network}/64"))
        }
        Some(Client::Address(address @ IpAddr::V4(_))) => {
            event.attribute(attribute::CLIENT_ADDRESS, address)
        }
        Some(Client::User(id)) => event.by_user(*id),
        Some(Client::Unknown) | None => event,
    }
}

/// Empty past the year 9999, which RFC 3339 cannot express.
fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv6Addr, sync::Arc};

    use super::*;
    use crate::rules;

    const EVENT: &str = event_name::TOKEN_REFUSED;

    fn limiter(single_events: u32, clients: usize) -> EventRateLimiter {
        EventRateLimiter::new(EventRateLimits {
            single_events,
            clients,
            period: Duration::from_secs(60),
        })
    }

    fn address(text: &str) -> Client {
        Client::at(Some(text.parse().unwrap()))
    }

    fn admitted(
        limiter: &EventRateLimiter,
        client: Client,
        reason: &'static str,
        times: u32,
    ) -> usize {
        (0..times).filter(|_| limiter.admit(client, EVENT, reason)).count()
    }

    #[test]
    fn events_beyond_the_limit_are_counted() {
        let limiter = limiter(5, 1024);
        assert_eq!(admitted(&limiter, address("192.0.2.1"), "malformed", 10_000), 5);
        assert_eq!(admitted(&limiter, address("192.0.2.1"), "expired", 3), 3);
        assert_eq!(admitted(&limiter, address("192.0.2.2"), "malformed", 5), 5);
        let summaries = limiter.take_summaries();
        assert_eq!(summaries.len(), 1, "{summaries:?}");
        assert_eq!(
            (summaries[0].client, summaries[0].reason, summaries[0].count),
            (Some(address("192.0.2.1")), "malformed", 9_995)
        );
        assert_eq!(limiter.take_summaries(), []);
        assert_eq!(admitted(&limiter, address("192.0.2.1"), "malformed", 10), 5, "a new period");
    }

    #[test]
    fn account_counts_are_independent_of_client_counts() {
        let limiter = limiter(5, 100);
        let (own, victim) = (Uuid::now_v7(), Uuid::now_v7());
        let refused = |account| {
            limiter.admit_on_account(
                address("192.0.2.1"),
                account,
                event_name::LOG_IN_FAILED,
                "wrong_password",
            )
        };
        // Cheap refusals from many networks.
        for network in 0..200 {
            let _ = limiter.admit(address(&format!("198.51.100.{network}")), EVENT, "malformed");
        }
        assert_eq!((0..9).filter(|_| refused(own)).count(), 5);
        assert_eq!((0..9).filter(|_| refused(victim)).count(), 5);
        let summaries = limiter.take_summaries();
        let counted = summaries.iter().find(|summary| summary.account == Some(victim)).unwrap();
        assert_eq!((counted.client, counted.count), (Some(address("192.0.2.1")), 4));
        let message = event(&Origin::new("api"), counted).build();
        assert_eq!(message.subject, format!("user:{victim}"));
    }

    #[test]
    fn changing_addresses_does_not_raise_the_limit() {
        let limiter = limiter(5, 100);
        let within: usize = (0..1000)
            .map(|host| admitted(&limiter, address(&format!("2001:db8::{host:x}")), "malformed", 1))
            .sum();
        assert_eq!(within, 5);
        // Each is a client, up to the limit; the rest share a count.
        let networks: usize = (0..50_000_u32)
            .map(|network| {
                let network =
                    Ipv6Addr::from_bits((0x2001_0db9_u128 << 96) | (u128::from(network) << 64));
                admitted(&limiter, Client::at(Some(network.into())), "malformed", 1)
            })
            .sum();
        assert_eq!(networks, 99 + 5);
        let table = limiter.table();
        assert_eq!((table.clients.len(), table.others.len()), (100, 1));
        drop(table);
        let summaries = limiter.take_summaries();
        assert_eq!(summaries.iter().map(|summary| summary.count).sum::<u64>(), 51_000 - 5 - 99 - 5);
        assert_eq!(summaries.iter().filter(|summary| summary.client.is_none()).count(), 1);
    }

    #[test]
    fn released_event_admits_the_next_one() {
        let limiter = limiter(2, 1);
        let user = Uuid::now_v7();
        let on_account = || {
            limiter.admit_on_account(
                address("192.0.2.1"),
                user,
                event_name::LOG_IN_FAILED,
                "wrong_password",
            )
        };
        // The table holds one client.
        for client in ["192.0.2.1", "192.0.2.2"].map(address) {
            assert_eq!(admitted(&limiter, client, "malformed", 3), 2);
            for _ in 0..3 {
                limiter.release(client, None, EVENT, "malformed");
                assert_eq!(admitted(&limiter, client, "malformed", 3), 1);
            }
        }
        assert!(on_account() && on_account() && !on_account());
        limiter.release(
            address("192.0.2.1"),
            Some(user),
            event_name::LOG_IN_FAILED,
            "wrong_password",
        );
        assert!(on_account() && !on_account());
        limiter.take_summaries();
        limiter.release(address("192.0.2.1"), None, EVENT, "malformed");
        assert_eq!(admitted(&limiter, address("192.0.2.1"), "malformed", 3), 2);
    }

    #[derive(Clone, Default)]
    struct Disk {
        full: Arc<Mutex<bool>>,
        refused: Arc<Mutex<usize>>,
        written: Arc<Mutex<Vec<LogMessage>>>,
    }

    impl Disk {
        async fn write(self, events: Vec<LogMessage>) -> Result<(), &'static str> {
            if *self.full.lock().unwrap() {
                *self.refused.lock().unwrap() += 1;
                return Err("the disk is full");
            }
            self.written.lock().unwrap().extend(events);
            Ok(())
        }
    }

    async fn until(holds: impl Fn() -> bool) {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn summaries_are_kept_while_the_disk_is_full() {
        let period = Duration::from_millis(20);
        let limiter =
            EventRateLimiter::new(EventRateLimits { single_events: 1, clients: 1, period });
        let (disk, stop) = (Disk::default(), CancellationToken::new());
        *disk.full.lock().unwrap() = true;
        assert_eq!(admitted(&limiter, address("2001:db8::1"), "malformed", 10), 1);
        let watching = async {
            until(|| *disk.refused.lock().unwrap() > 1).await;
            *disk.full.lock().unwrap() = false;
            until(|| !disk.written.lock().unwrap().is_empty()).await;
            stop.cancel();
        };
        let origin = Origin::new("api");
        tokio::join!(
            write_summaries(&limiter, &origin, |events| disk.clone().write(events), stop.clone()),
            watching
        );
        let written = disk.written.lock().unwrap();
        assert_eq!(written.len(), 1);
        assert_eq!(rules::check(&written[0]), []);
        assert_eq!(
            (written[0].event.as_str(), written[0].attributes["event"].as_str()),
            (event_name::REFUSALS_SUMMARISED, EVENT)
        );
        assert_eq!(
            (
                written[0].attributes["count"].as_str(),
                written[0].attributes["client_address"].as_str()
            ),
            ("9", "2001:db8::/64")
        );
    }

    #[tokio::test]
    async fn summaries_are_written_at_shutdown() {
        let limiter = limiter(1, 1);
        let (disk, stop, user) = (Disk::default(), CancellationToken::new(), Uuid::now_v7());
        let _ = admitted(&limiter, Client::User(user), "malformed", 3);
        let _ = admitted(&limiter, address("192.0.2.1"), "malformed", 3);
        stop.cancel();
        write_summaries(&limiter, &Origin::new("db"), |events| disk.clone().write(events), stop)
            .await;
        let written = disk.written.lock().unwrap();
        let event: Vec<_> = written
            .iter()
            .map(|event| (event.attributes["count"].as_str(), event.actor.clone()))
            .collect();
        assert_eq!(event, [("2", format!("user:{user}")), ("2", "anonymous".to_owned())]);
        assert!(
            !written[1].attributes.contains_key("client_address"),
            "the table holds one client"
        );
    }
}
