//! Models of threads that share the producer.

use std::{collections::VecDeque, sync};

use rdkafka::{error::KafkaError, message::OwnedHeaders, types::RDKafkaErrorCode};
use simulator::{
    locked,
    threads::{JoinHandle, assert_found, block_on, check, point, spawn},
};

use super::*;
use crate::connection::{Connection, Security};

const BATCHES: [[u8; 2]; 3] = [[1, 2], [3, 4], [5, 6]];

#[derive(Default)]
struct World {
    /// Whether a second client can be created.
    can_replace: bool,
    /// A planted fault: `purge` returns before it has dropped the records.
    purges_late: bool,
    queues: sync::Mutex<Vec<Arc<Queue>>>,
    topic: sync::Mutex<Vec<u8>>,
    background: sync::Mutex<Vec<JoinHandle<()>>>,
}

type Queue = sync::Mutex<VecDeque<(u8, Arc<Batch>)>>;

impl World {
    /// Stores the first record of a queue and reports it. Returns whether there was one.
    fn deliver(&self, queue: &Queue) -> bool {
        point();
        let Some((record, batch)) = locked(queue).pop_front() else { return false };
        locked(&self.topic).push(record);
        batch.delivered(1);
        true
    }

    fn spawn(&self, task: impl FnOnce() + Send + 'static) {
        let thread = spawn(task);
        locked(&self.background).push(thread);
    }

    fn join(&self) {
        let next = || locked(&self.background).pop();
        while let Some(thread) = next() {
            thread.join().unwrap();
        }
    }
}

struct Clients(Arc<World>);

impl KafkaClients for Clients {
    type Client = Client;

    fn create(&self, _: &Config, _: KafkaContext, _: ProduceMode) -> Result<Client, StartError> {
        let mut queues = locked(&self.0.queues);
        if !queues.is_empty() && !self.0.can_replace {
            return Err(StartError::new("no memory"));
        }
        let client = Client { world: Arc::clone(&self.0), queue: Arc::default() };
        queues.push(Arc::clone(&client.queue));
        Ok(client)
    }

    fn run_in_background(&self, task: impl Fn() + Send + Sync + 'static) {
        self.0.spawn(task);
    }
}

struct Client {
    world: Arc<World>,
    queue: Arc<Queue>,
}

impl KafkaClient for Client {
    fn send(
        &self,
        _: &str,
        record: ProducerRecord,
        batch: &Arc<Batch>,
    ) -> Result<(), (KafkaError, Vec<u8>)> {
        point();
        locked(&self.queue).push_back((record.value[0], Arc::clone(batch)));
        Ok(())
    }

    fn purge(&self) {
        let queue = Arc::clone(&self.queue);
        let purge = move || {
            point();
            let error = KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue);
            let purged = std::mem::take(&mut *locked(&queue));
            for (_, batch) in purged {
                batch.delivery_failed(&error, &[]);
            }
        };
        if self.world.purges_late {
            self.world.spawn(purge);
        } else {
            purge();
        }
    }

    fn fatal_error(&self) -> Option<String> {
        None
    }
}

fn config() -> Config {
    Config::new(Connection { brokers: String::new(), security: Security::Plaintext })
}

fn record(number: u8) -> ProducerRecord {
    let (key, headers) = (String::new(), OwnedHeaders::new());
    ProducerRecord { key, value: vec![number], headers, timestamp: None }
}

/// A sender produces batches while Kafka stores records and the producer is replaced, or purged if
/// the second client cannot be created.
fn model(can_replace: bool, purges_late: bool) -> impl Fn() + Send + Sync + 'static {
    move || {
        let world = Arc::new(World { can_replace, purges_late, ..World::default() });
        let clients = Clients(Arc::clone(&world));
        let kafka = Arc::new(KafkaProducer::new(config(), clients).unwrap());
        let permits = kafka.queue_permits.available_permits();
        let first = Arc::clone(&locked(&world.queues)[0]);
        let of_kafka = Arc::clone(&world);
        let kafka_thread = spawn(move || {
            for _ in 0..3 {
                of_kafka.deliver(&first);
            }
        });
        let replaced = Arc::clone(&kafka);
        let replacing = spawn(move || {
            let mut slot = replaced.producer.write().unwrap();
            replaced.replace(&mut slot, ProduceMode::Batched, "Kafka did not acknowledge");
        });
        let (mut session, mut results) = (kafka.session(), Vec::new());
        for batch in BATCHES {
            let produced = block_on(session.produce(batch.map(record).into(), None));
            let Some(result) = produced else { break };
            results.push((batch, result));
        }
        [kafka_thread, replacing].into_iter().for_each(|thread| thread.join().unwrap());
        world.join();
        let queues = locked(&world.queues).clone();
        for queue in queues {
            while world.deliver(&queue) {}
        }

        let topic = locked(&world.topic).clone();
        assert!(BATCHES.concat().starts_with(&topic), "a record overtook a failed one: {topic:?}");
        for (batch, mut result) in results {
            let is_stored = batch.iter().all(|record| topic.contains(record));
            match result.try_recv().expect("each batch has a result") {
                Ok(_) => assert!(is_stored, "{batch:?} is acknowledged, the topic has {topic:?}"),
                Err(_) => assert!(!is_stored, "{batch:?} failed, the topic has {topic:?}"),
            }
        }
        assert_eq!(kafka.queue_permits.available_permits(), permits, "permits");
        assert_eq!(kafka.current().oldest_wait(), None, "pending batches");
    }
}

#[test]
fn no_record_overtakes_a_failed_one() {
    check(model(true, false));
    check(model(false, false));
}

#[test]
fn purge_without_the_lock_is_found() {
    assert_found(None, "overtook", model(false, true));
}
