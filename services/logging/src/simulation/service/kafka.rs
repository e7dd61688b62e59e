//! The simulated Kafka: a topic, and the clients of the replicas.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use merch_chassis::StartError;
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};
use simulator::locked;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{EventKind, FaultKind, Mutant, network::World};
use crate::{
    client::event::{attribute, event_name},
    connection::KafkaContext,
    json,
    server::{
        Config,
        batch::{Batch, ProduceMode},
        kafka_client::{KafkaClient, KafkaClients},
        record::ProducerRecord,
    },
};

/// The Kafka client's records in one request.
const MAX_BATCH: u64 = 4;
/// The value for "no timestamp".
const NO_TIMESTAMP: i64 = -1;
/// Of records that Kafka may accept later.
const TEMPORARY: [Code; 6] = [
    Code::TopicAuthorizationFailed,
    Code::NotEnoughReplicas,
    Code::UnknownTopicOrPartition,
    Code::NotLeaderForPartition,
    Code::KafkaStorageError,
    Code::RequestTimedOut,
];
/// Of records that Kafka never accepts.
const PERMANENT: [Code; 4] = [
    Code::InvalidRecord,
    Code::MessageSizeTooLarge,
    Code::PolicyViolation,
    Code::UnsupportedForMessageFormat,
];

/// A record on the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Event(String),
    /// An `event_dead_lettered` event, which names an event.
    DeadLetter(String),
}

#[derive(Clone)]
struct Queued {
    stored: Stored,
    kind: EventKind,
    has_timestamp: bool,
    value: Vec<u8>,
    batch: Arc<Batch>,
}

impl Queued {
    fn refusal(&self) -> Option<Code> {
        match self.kind {
            EventKind::Refused => {
                let Stored::Event(id) = &self.stored else { return None };
                let last = id.bytes().last().map_or(0, usize::from);
                Some(PERMANENT[last % PERMANENT.len()])
            }
            EventKind::BadTimestamp if self.has_timestamp => Some(Code::InvalidTimestamp),
            _ => None,
        }
    }
}

/// The Kafka clients of a replica.
pub(super) struct Clients {
    pub(super) world: Arc<World>,
    pub(super) replica: usize,
    pub(super) life: CancellationToken,
}

impl KafkaClients for Clients {
    type Client = Client;

    fn create(
        &self,
        _: &Config,
        context: KafkaContext,
        mode: ProduceMode,
    ) -> Result<Client, StartError> {
        if self.world.is(|fault| *fault == FaultKind::NoNewClient(self.replica)) {
            return Err(StartError::new("no memory"));
        }
        self.world.history.note(format!("replica {} writes in mode {mode:?}", self.replica));
        let client = Client(Arc::new(ClientState {
            world: Arc::clone(&self.world),
            replica: self.replica,
            life: self.life.clone(),
            mode,
            context,
            partitions: (0..self.world.partitions).map(|_| Partition::default()).collect(),
            fatal: Mutex::default(),
            changed: Notify::new(),
        }));
        for partition in 0..self.world.partitions {
            tokio::spawn(Arc::clone(&client.0).write(partition));
        }
        locked(&self.world.replicas[self.replica]).client = Some(client.clone());
        Ok(client)
    }

    fn run_in_background(&self, task: impl Fn() + Send + Sync + 'static) {
        let (world, life) = (Arc::clone(&self.world), self.life.clone());
        tokio::spawn(async move {
            world.travel().await;
            if !life.is_cancelled() {
                task();
            }
        });
    }
}

#[derive(Clone)]
pub(super) struct Client(Arc<ClientState>);

struct ClientState {
    world: Arc<World>,
    replica: usize,
    life: CancellationToken,
    mode: ProduceMode,
    context: KafkaContext,
    partitions: Vec<Partition>,
    fatal: Mutex<Option<String>>,
    changed: Notify,
}

#[derive(Default)]
struct Partition {
    queue: Mutex<VecDeque<Queued>>,
    in_flight: Mutex<Vec<Queued>>,
}

fn error(code: Code) -> KafkaError {
    KafkaError::MessageProduction(code)
}

impl KafkaClient for Client {
    fn send(
        &self,
        _: &str,
        record: ProducerRecord,
        batch: &Arc<Batch>,
    ) -> Result<(), (KafkaError, Vec<u8>)> {
        let Self(state) = self;
        let world = &state.world;
        let ProducerRecord { value, timestamp, .. } = record;
        let event = json::from_slice(&value).expect("the service writes valid JSON");
        let dead = event.event == event_name::EVENT_DEAD_LETTERED;
        let stored = if dead {
            Stored::DeadLetter(event.attributes[attribute::EVENT_ID].clone())
        } else {
            Stored::Event(event.id.clone())
        };
        let kind = if dead { EventKind::Valid } else { world.kind(&event.id) };
        if locked(&state.fatal).is_some() {
            return Err((error(Code::Fatal), value));
        }
        let is_full = world.is(|fault| *fault == FaultKind::QueueFull(state.replica));
        if is_full && world.chance.happens(0.7) {
            return Err((error(Code::QueueFull), value));
        }
        if kind == EventKind::TooLarge {
            return Err((error(Code::MessageSizeTooLarge), value));
        }
        // The ids of dead letters are random, and so their partitions are not used.
        let partition = if dead { 0 } else { world.partition(&event) };
        let has_timestamp = timestamp.is_some_and(|time| time != NO_TIMESTAMP);
        let queued = Queued { stored, kind, has_timestamp, value, batch: Arc::clone(batch) };
        let mut queue = locked(&state.partitions[partition].queue);
        if world.has(Mutant::ReverseQueue) {
            queue.push_front(queued);
        } else {
            queue.push_back(queued);
        }
        drop(queue);
        state.changed.notify_waiters();
        Ok(())
    }

    fn purge(&self) {
        let Self(state) = self;
        if state.world.has(Mutant::PurgeNothing) {
            return;
        }
        for partition in &state.partitions {
            for (code, purged) in [
                (Code::PurgeInflight, std::mem::take(&mut *locked(&partition.in_flight))),
                (Code::PurgeQueue, locked(&partition.queue).drain(..).collect()),
            ] {
                let reports = purged.into_iter().map(|queued| (queued, Some(code)));
                tokio::spawn(Arc::clone(state).report(reports.collect()));
            }
        }
    }

    fn fatal_error(&self) -> Option<String> {
        locked(&self.0.fatal).clone().filter(|_| !self.0.world.has(Mutant::HideFatalErrors))
    }
}

impl ClientState {
    /// Writes the records of a partition in order, with one request at a time.
    async fn write(self: Arc<Self>, partition: usize) {
        let world = &self.world;
        loop {
            let changed = self.changed.notified();
            if self.life.is_cancelled() {
                return;
            }
            let is_fatal = locked(&self.fatal).is_some();
            let most = match self.mode {
                ProduceMode::Batched => world.chance.number(1..MAX_BATCH + 1),
                ProduceMode::Single | ProduceMode::SingleNoTimestamp => 1,
            };
            let records: Vec<Queued> = {
                let mut queue = locked(&self.partitions[partition].queue);
                let most = usize::try_from(most).unwrap_or(1).min(queue.len());
                if is_fatal { Vec::new() } else { queue.drain(..most).collect() }
            };
            if records.is_empty() {
                tokio::select! {
                    biased;
                    () = self.life.cancelled() => return,
                    () = changed => continue,
                }
            }
            locked(&self.partitions[partition].in_flight).clone_from(&records);
            if world.has(Mutant::ReportUnstored) {
                self.clone()
                    .report(records.iter().cloned().map(|record| (record, None)).collect())
                    .await;
            }
            world.travel().await;
            world
                .until(|faults| {
                    !faults.contains(&FaultKind::KafkaDown)
                        && !faults.contains(&FaultKind::NoLeader(partition))
                })
                .await;
            // Bytes in the buffers of a connection arrive, or not, when its process ends.
            let is_purged = locked(&self.partitions[partition].in_flight).is_empty();
            if (self.life.is_cancelled() || is_purged) && world.chance.happens(0.5) {
                continue;
            }
            let results = self.store(partition, &records);
            world.travel().await;
            let left = std::mem::take(&mut *locked(&self.partitions[partition].in_flight));
            if left.is_empty() || world.has(Mutant::ReportUnstored) {
                continue;
            }
            self.clone().report(records.into_iter().zip(results).collect()).await;
        }
    }

    /// Kafka stores all records of a request, or none.
    fn store(&self, partition: usize, records: &[Queued]) -> Vec<Option<Code>> {
        let world = &self.world;
        let refusals: Vec<Option<Code>> = records.iter().map(Queued::refusal).collect();
        let is_forbidden =
            world.is(|fault| *fault == FaultKind::Forbidden) && world.chance.happens(0.7);
        if !is_forbidden && refusals.iter().all(Option::is_none) {
            world.store(
                self.replica,
                partition,
                records.iter().map(|record| record.stored.clone()),
            );
            return refusals;
        }
        // Gapless: the client stops.
        if self.mode == ProduceMode::Batched && !world.has(Mutant::ContinueAfterRefusal) {
            *locked(&self.fatal) = Some("a record failed, and the client is gapless".to_owned());
        }
        let others = |code: Option<Code>| Some(code.unwrap_or(Code::InvalidDifferentRecord));
        if is_forbidden {
            let index = world.chance.number(0..TEMPORARY.len() as u64);
            vec![TEMPORARY.get(index as usize).copied(); records.len()]
        } else {
            refusals.into_iter().map(others).collect()
        }
    }

    /// Reports come later, and not after the end of the process.
    async fn report(self: Arc<Self>, reports: Vec<(Queued, Option<Code>)>) {
        let world = &self.world;
        world.travel().await;
        if self.life.is_cancelled() {
            return;
        }
        for (Queued { value, batch, .. }, code) in reports {
            let code = match code {
                Some(_) if world.has(Mutant::ReportFailuresAsStored) => None,
                Some(code)
                    if PERMANENT.contains(&code)
                        && world.has(Mutant::ReportRefusedAsUnavailable) =>
                {
                    Some(Code::NetworkException)
                }
                Some(code)
                    if (TEMPORARY.contains(&code) || code == Code::PurgeQueue)
                        && world.has(Mutant::ReportUnavailableAsRefused) =>
                {
                    Some(Code::InvalidRecord)
                }
                code => code,
            };
            match code {
                None => batch.delivered(1),
                Some(code) => {
                    self.context.error_reported.notify_one();
                    batch.delivery_failed(&error(code), &value);
                }
            }
        }
    }
}

impl Client {
    pub(super) fn fail(&self) {
        *locked(&self.0.fatal) = Some("the producer was fenced".to_owned());
    }
}
