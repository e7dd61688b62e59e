//! Refusals under a flood: the first few of each client and reason in a period are events of their
//! own, the rest are counted, and one event tells the count.
//!
//! What a client can cause without end must not fill a disk or a topic. The table is bounded:
//! clients beyond [`FloodLimits::clients`] share one count for each kind and reason, so that no
//! client gains room by changing addresses. Counts are in memory until their period ends, and
//! written at a shutdown: a process that is killed loses the counts of the current period, at most.

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

use super::event::{Event, Origin, attribute, word};
use crate::proto::{Level, LogMessage};

static SUMMARISED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_log_summarised_refusals_total",
        "Refusals that have no log event of their own and are counted in a summary",
        &["event"]
    )
    .expect("a metric of a valid name is registered once")
});

/// How many refusals become events of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimits {
    /// Of each client, kind and reason, in each period.
    pub single_events: u32,
    /// Clients that are told apart in a period. An entry takes about 100 bytes.
    pub clients: usize,
    /// After so long, what was counted is written and counting begins anew.
    pub period: Duration,
}

impl Default for FloodLimits {
    fn default() -> Self {
        Self { single_events: 5, clients: 1024, period: Duration::from_secs(60) }
    }
}

/// Who was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// From this address; of IPv6 the first 64 bits count, as a client has all addresses with them.
    Address(IpAddr),
    /// A user who is logged in.
    User(Uuid),
    /// It is not known.
    Unknown,
}

impl Client {
    /// By its address, if it has one.
    #[must_use]
    pub fn at(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Unknown, |address| Self::Address(network(address)))
    }
}

/// The key by which refusals are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: Client,
    /// The account that was tried, where each refusal cost a password hash.
    account: Option<Uuid>,
    event: &'static str,
    reason: &'static str,
}

/// Refusals that were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Who was refused; `None`: clients beyond the bound of the table, together.
    pub client: Option<Client>,
    /// The account that was tried, if each account is counted.
    pub account: Option<Uuid>,
    /// The word of the event that each of them would have been.
    pub event: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
    /// When the first and the last of them were.
    pub between: (SystemTime, SystemTime),
}

#[derive(Debug)]
struct Entry {
    singles: u32,
    counted: u64,
    between: (SystemTime, SystemTime),
}

impl Entry {
    fn new(now: SystemTime) -> Self {
        Self { singles: 0, counted: 0, between: (now, now) }
    }

    /// Whether one more gets an event of its own.
    fn admit(&mut self, single_events: u32, now: SystemTime) -> bool {
        if self.singles < single_events {
            self.singles += 1;
            return true;
        }
        self.count(1, (now, now));
        false
    }

    fn count(&mut self, more: u64, between: (SystemTime, SystemTime)) {
        self.between = if self.counted == 0 {
            between
        } else {
            (self.between.0.min(between.0), self.between.1.max(between.1))
        };
        self.counted = self.counted.saturating_add(more);
    }
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<Key, Entry>,
    /// The same of refusals that cost a password hash each, so that cheap ones leave them room.
    accounts: HashMap<Key, Entry>,
    /// Of clients for whom there is no room, by the word and the reason, of which there are few.
    others: HashMap<(&'static str, &'static str), Entry>,
}

impl Table {
    fn entry(&mut self, key: Key, most: usize, now: SystemTime) -> &mut Entry {
        let table = if key.account.is_some() { &mut self.accounts } else { &mut self.clients };
        if table.len() < most || table.contains_key(&key) {
            table.entry(key).or_insert_with(|| Entry::new(now))
        } else {
            self.others.entry((key.event, key.reason)).or_insert_with(|| Entry::new(now))
        }
    }

    /// Returns the entry that counts `key`; `None` if nothing was refused in this period.
    fn existing(&mut self, key: &Key) -> Option<&mut Entry> {
        let table = if key.account.is_some() { &mut self.accounts } else { &mut self.clients };
        match table.get_mut(key) {
            Some(entry) => Some(entry),
            None => self.others.get_mut(&(key.event, key.reason)),
        }
    }
}

/// Tells the first few refusals from a flood. Shared by all that refuse.
#[derive(Debug)]
pub struct Flood {
    limits: FloodLimits,
    table: Mutex<Table>,
}

impl Flood {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(limits: FloodLimits) -> Self {
        Self { limits, table: Mutex::default() }
    }

    /// Whether this refusal is to be written as an event. If not, it is counted: [`summarise`]
    /// tells of it.
    #[must_use]
    pub fn admit(&self, client: Client, event: &'static str, reason: &'static str) -> bool {
        self.admit_key(Key { client, account: None, event, reason })
    }

    /// The same for a refusal that cost a password hash: each account is counted by itself, so that
    /// the account that is attacked is seen.
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

    /// Takes back what [`Self::admit`], or [`Self::admit_on_account`] for an `account`, admitted:
    /// its event could not be written. The next such refusal is admitted in its place.
    pub fn take_back(
        &self,
        client: Client,
        account: Option<Uuid>,
        event: &'static str,
        reason: &'static str,
    ) {
        if let Some(entry) = self.table().existing(&Key { client, account, event, reason }) {
            entry.singles = entry.singles.saturating_sub(1);
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

    /// Begins a new period; what was counted in the last one.
    fn take(&self) -> Vec<Summary> {
        let Table { clients, accounts, others } = std::mem::take(&mut *self.table());
        let clients =
            clients.into_iter().chain(accounts).map(|(key, Entry { counted, between, .. })| {
                let Key { client, account, event, reason } = key;
                Summary { client: Some(client), account, event, reason, count: counted, between }
            });
        let others = others.into_iter().map(|((event, reason), Entry { counted, between, .. })| {
            Summary { client: None, account: None, event, reason, count: counted, between }
        });
        clients.chain(others).filter(|summary| summary.count > 0).collect()
    }

    /// What could not be written is counted on.
    fn put_back(&self, summaries: Vec<Summary>) {
        let mut table = self.table();
        for Summary { client, account, event, reason, count, between } in summaries {
            let entry = match client {
                Some(client) => table.entry(
                    Key { client, account, event, reason },
                    self.limits.clients,
                    between.0,
                ),
                None => {
                    table.others.entry((event, reason)).or_insert_with(|| Entry::new(between.0))
                }
            };
            entry.count(count, between);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what `flood` counted, at the end of each period and once more when `stop` is cancelled:
/// call that when nothing refuses any more. `write` makes the events durable, all or none; what it
/// fails to write is counted on and tried again.
pub async fn summarise<E: std::fmt::Debug, F: Future<Output = Result<(), E>>>(
    flood: &Flood,
    origin: &Origin,
    write: impl Fn(Vec<LogMessage>) -> F,
    stop: CancellationToken,
) {
    loop {
        let stopped =
            stop.run_until_cancelled(tokio::time::sleep(flood.limits.period)).await.is_none();
        let summaries = flood.take();
        if !summaries.is_empty() {
            let events = summaries.iter().map(|summary| event(origin, summary).build()).collect();
            if let Err(error) = write(events).await {
                let refusals: u64 = summaries.iter().map(|summary| summary.count).sum();
                if stopped {
                    tracing::error!(
                        ?error,
                        refusals,
                        "failed to write the counts of refusals at the end; they are lost"
                    );
                } else {
                    tracing::warn!(
                        ?error,
                        refusals,
                        "failed to write the counts of refusals; counting on"
                    );
                    flood.put_back(summaries);
                }
            }
        }
        if stopped {
            return;
        }
    }
}

fn event(origin: &Origin, summary: &Summary) -> Event {
    let Summary { client, account, event, reason, count, between } = summary;
    let message = match client {
        Some(_) => "A client was refused more often than has events of their own.",
        None => "Many clients were refused more often than has events of their own.",
    };
    let told = origin
        .event(Level::Warn, word::REFUSALS_SUMMARISED, message)
        .attribute(attribute::EVENT, event)
        .attribute(attribute::REASON, reason)
        .attribute(attribute::COUNT, count)
        .attribute(attribute::FIRST_AT, rfc3339(between.0))
        .attribute(attribute::LAST_AT, rfc3339(between.1));
    let told = match account {
        Some(account) => told.on_user(*account),
        None => told,
    };
    match client {
        Some(Client::Address(IpAddr::V6(network))) => {
            told.attribute(attribute::CLIENT_ADDRESS, format_args!("{network}/64"))
        }
        Some(Client::Address(address @ IpAddr::V4(_))) => {
            told.attribute(attribute::CLIENT_ADDRESS, address)
        }
        Some(Client::User(id)) => told.by_user(*id),
        Some(Client::Unknown) | None => told,
    }
}

/// A clock that is past the year 9999 has no such form; the event has its own time nevertheless.
fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv6Addr, sync::Arc};

    use super::*;
    use crate::rules;

    const EVENT: &str = word::TOKEN_REFUSED;

    fn flood(single_events: u32, clients: usize) -> Flood {
        Flood::new(FloodLimits { single_events, clients, period: Duration::from_secs(60) })
    }

    fn address(text: &str) -> Client {
        Client::at(Some(text.parse().unwrap()))
    }

    fn admitted(flood: &Flood, client: Client, reason: &'static str, times: u32) -> usize {
        (0..times).filter(|_| flood.admit(client, EVENT, reason)).count()
    }

    #[test]
    fn the_first_few_are_events_and_the_rest_a_count() {
        let flood = flood(5, 1024);
        assert_eq!(admitted(&flood, address("192.0.2.1"), "malformed", 10_000), 5);
        assert_eq!(admitted(&flood, address("192.0.2.1"), "expired", 3), 3);
        assert_eq!(admitted(&flood, address("192.0.2.2"), "malformed", 5), 5);
        let summaries = flood.take();
        assert_eq!(summaries.len(), 1, "{summaries:?}");
        assert_eq!(
            (summaries[0].client, summaries[0].reason, summaries[0].count),
            (Some(address("192.0.2.1")), "malformed", 9_995)
        );
        assert_eq!(flood.take(), []);
        assert_eq!(admitted(&flood, address("192.0.2.1"), "malformed", 10), 5, "a new period");
    }

    #[test]
    fn the_account_that_is_guessed_is_seen_whatever_else_is_refused() {
        let flood = flood(5, 100);
        let (own, victim) = (Uuid::now_v7(), Uuid::now_v7());
        let refused = |account| {
            flood.admit_on_account(
                address("192.0.2.1"),
                account,
                word::LOG_IN_FAILED,
                "wrong_password",
            )
        };
        // Cheap refusals from many networks fill the table of clients.
        for network in 0..200 {
            let _ = flood.admit(address(&format!("198.51.100.{network}")), EVENT, "malformed");
        }
        assert_eq!((0..9).filter(|_| refused(own)).count(), 5);
        assert_eq!((0..9).filter(|_| refused(victim)).count(), 5);
        let summaries = flood.take();
        let counted = summaries.iter().find(|summary| summary.account == Some(victim)).unwrap();
        assert_eq!((counted.client, counted.count), (Some(address("192.0.2.1")), 4));
        let message = event(&Origin::new("api"), counted).build();
        assert_eq!(message.subject, format!("user:{victim}"));
    }

    #[test]
    fn changing_addresses_gains_nothing() {
        let flood = flood(5, 100);
        // One network of IPv6 is one client.
        let within: usize = (0..1000)
            .map(|host| admitted(&flood, address(&format!("2001:db8::{host:x}")), "malformed", 1))
            .sum();
        assert_eq!(within, 5);
        // Each of these is another one: as many as there is room for, and a few of the rest.
        let networks: usize = (0..50_000_u32)
            .map(|network| {
                let network =
                    Ipv6Addr::from_bits((0x2001_0db9_u128 << 96) | (u128::from(network) << 64));
                admitted(&flood, Client::at(Some(network.into())), "malformed", 1)
            })
            .sum();
        assert_eq!(networks, 99 + 5);
        let table = flood.table();
        assert_eq!((table.clients.len(), table.others.len()), (100, 1));
        drop(table);
        let summaries = flood.take();
        assert_eq!(summaries.iter().map(|summary| summary.count).sum::<u64>(), 51_000 - 5 - 99 - 5);
        assert_eq!(summaries.iter().filter(|summary| summary.client.is_none()).count(), 1);
    }

    #[test]
    fn a_refusal_whose_event_was_not_written_leaves_its_place_to_the_next_one() {
        let flood = flood(2, 1);
        let user = Uuid::now_v7();
        let on_account = || {
            flood.admit_on_account(
                address("192.0.2.1"),
                user,
                word::LOG_IN_FAILED,
                "wrong_password",
            )
        };
        // There is room for one client: the other one is counted with the rest.
        for client in ["192.0.2.1", "192.0.2.2"].map(address) {
            assert_eq!(admitted(&flood, client, "malformed", 3), 2);
            for _ in 0..3 {
                flood.take_back(client, None, EVENT, "malformed");
                assert_eq!(admitted(&flood, client, "malformed", 3), 1);
            }
        }
        assert!(on_account() && on_account() && !on_account());
        flood.take_back(address("192.0.2.1"), Some(user), word::LOG_IN_FAILED, "wrong_password");
        assert!(on_account() && !on_account());
        // A new period has no more places than any other.
        flood.take();
        flood.take_back(address("192.0.2.1"), None, EVENT, "malformed");
        assert_eq!(admitted(&flood, address("192.0.2.1"), "malformed", 3), 2);
    }

    /// What was written, while the disk is not full.
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
    async fn counts_are_written_after_each_period_and_survive_a_full_disk() {
        let period = Duration::from_millis(20);
        let flood = Flood::new(FloodLimits { single_events: 1, clients: 1, period });
        let (disk, stop) = (Disk::default(), CancellationToken::new());
        *disk.full.lock().unwrap() = true;
        assert_eq!(admitted(&flood, address("2001:db8::1"), "malformed", 10), 1);
        let watching = async {
            until(|| *disk.refused.lock().unwrap() > 1).await;
            *disk.full.lock().unwrap() = false;
            until(|| !disk.written.lock().unwrap().is_empty()).await;
            stop.cancel();
        };
        let origin = Origin::new("api");
        tokio::join!(
            summarise(&flood, &origin, |events| disk.clone().write(events), stop.clone()),
            watching
        );
        let written = disk.written.lock().unwrap();
        assert_eq!(written.len(), 1);
        assert_eq!(rules::check(&written[0]), []);
        assert_eq!(
            (written[0].event.as_str(), written[0].attributes["event"].as_str()),
            (word::REFUSALS_SUMMARISED, EVENT)
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
    async fn what_is_counted_when_the_process_stops_is_written() {
        let flood = flood(1, 1);
        let (disk, stop, user) = (Disk::default(), CancellationToken::new(), Uuid::now_v7());
        let _ = admitted(&flood, Client::User(user), "malformed", 3);
        let _ = admitted(&flood, address("192.0.2.1"), "malformed", 3);
        stop.cancel();
        summarise(&flood, &Origin::new("db"), |events| disk.clone().write(events), stop).await;
        let written = disk.written.lock().unwrap();
        let told: Vec<_> = written
            .iter()
            .map(|event| (event.attributes["count"].as_str(), event.actor.clone()))
            .collect();
        assert_eq!(told, [("2", format!("user:{user}")), ("2", "anonymous".to_owned())]);
        assert!(
            !written[1].attributes.contains_key("client_address"),
            "there was room for one client"
        );
    }
}
