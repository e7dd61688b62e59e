//! What the checker compares with the history: the tables, snapshots of sums, and the topic.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::history::{Moment, Order};

/// The deployment under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Deployment {
    /// Two api, two db and two logging services, PostgreSQL with a synchronous standby, and Kafka.
    Roles,
    /// One process with SQLite and its own broker.
    Embedded,
}

/// One snapshot of all tables, read after the last fault, when the outbox was empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tables {
    /// All orders.
    pub orders: BTreeMap<Uuid, StoredOrder>,
    /// The orders of idempotency keys, by user and key.
    #[serde(with = "pairs")]
    pub keys: BTreeMap<(Uuid, String), Uuid>,
    /// All users, with their names.
    pub users: BTreeMap<Uuid, String>,
    /// Pieces left, by product.
    pub stock: BTreeMap<i64, i64>,
    /// Pieces that a restock added, by its idempotency key.
    pub restocks: BTreeMap<String, i64>,
    /// Ids of the events in the outbox, shipped or not.
    pub outbox: BTreeSet<Uuid>,
    /// Events in the outbox that are dead letters.
    pub dead_letters: u64,
}

/// An order in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredOrder {
    /// The fields that a response has.
    pub order: Order,
    /// The row's version.
    pub version: i64,
}

/// Sums that one transaction read during the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Before it was read.
    pub began: Moment,
    /// After it was read.
    pub ended: Moment,
    /// The server: `primary` or `standby`.
    pub server: String,
    /// Pieces left, by product.
    pub stock: BTreeMap<i64, i64>,
    /// Pieces in placed orders, by product.
    pub placed: BTreeMap<i64, i64>,
    /// Pieces that restocks added, by product. `None`: a snapshot of an older runner.
    #[serde(default)]
    pub restocks: Option<BTreeMap<i64, i64>>,
}

/// A record of the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// Unique for each event; a repeated record has the same.
    pub id: String,
    /// RFC 3339.
    pub time: String,
    /// `api` or `db`.
    pub service: String,
    /// The process that wrote it.
    pub instance: String,
    /// The name of the event, such as `order_placed`.
    pub event: String,
    /// The actor, such as `user:ID`.
    pub actor: String,
    /// The subject, such as `order:ID`.
    pub subject: String,
    /// The id of the request.
    pub request_id: String,
    /// Details.
    pub attributes: BTreeMap<String, String>,
}

impl Record {
    /// Returns whether both are records of the same event with the same content.
    #[must_use]
    pub fn is_same_event(&self, other: &Self) -> bool {
        let Self { partition, offset, .. } = *self;
        *self == Self { partition, offset, ..other.clone() }
    }
}

/// The end of a process that no fault ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its role, such as `db 1`.
    pub role: String,
    /// How it ended, such as `exit status: 1`.
    pub status: String,
    /// The exit code. `None`: a signal.
    pub code: Option<i32>,
    /// Whether it was ready before.
    pub was_ready: bool,
}

/// What did not happen in time, or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The promise that it breaks. `None`: the runner or the machine failed.
    pub promise: Option<u8>,
    /// What happened, as a sentence.
    pub what: String,
}

/// A part of the books that can be unreadable after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// [`Books::tables`].
    Tables,
    /// [`Books::topic`].
    Topic,
}

/// Everything that the checker compares with the history.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Books {
    /// The store. `None`: books of an older runner.
    #[serde(default)]
    pub deployment: Option<Deployment>,
    /// Pieces before the first order, by product.
    pub seeded: BTreeMap<i64, i64>,
    /// The tables at the end.
    pub tables: Tables,
    /// Snapshots during the run.
    pub snapshots: Vec<Snapshot>,
    /// All records of the topic, by partition and offset.
    pub topic: Vec<Record>,
    /// Ends of processes that no fault ended.
    #[serde(default)]
    pub exits: Vec<Exit>,
    /// Panics in the logs of the roles.
    #[serde(default)]
    pub panics: Vec<String>,
    /// What did not recover in time.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// Parts that could not be read, and are empty.
    #[serde(default)]
    pub unread: BTreeSet<Part>,
}

/// A map as a list of pairs, because keys in JSON are strings.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};
    use uuid::Uuid;

    type Keys = BTreeMap<(Uuid, String), Uuid>;

    pub(super) fn serialize<S: Serializer>(keys: &Keys, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(keys)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Keys, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}
