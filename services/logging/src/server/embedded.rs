//! A Kafka broker in the process, for running everything with nothing to install: librdkafka's own mock of one.
//!
//! It speaks the real protocol on a port of its choosing on loopback, so that `kcat` and any other client can read it. It lives in memory and keeps
//! the newest 5 MiB of each partition; a restart begins with an empty one, which the senders fill again from the events that they retain.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use merch_chassis::StartError;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Work = Box<dyn FnOnce(&Cluster) + Send>;

/// The broker; it ends when this is dropped.
#[derive(Debug)]
pub struct Embedded {
    bootstrap_servers: String,
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Starts a broker with one topic. Each partition takes at most about 5 MiB of memory.
    ///
    /// # Errors
    /// When librdkafka cannot make one: no port or no thread is free.
    pub fn start(topic: &str, partitions: i32) -> Result<Self, StartError> {
        let failed = |reason: &dyn std::fmt::Display| {
            StartError::new(format!(
                "the Kafka broker in the process cannot start: {reason}; name a Kafka of your own with --kafka-brokers"
            ))
        };
        let topic = topic.to_owned();
        let (work, queue) = channel::<Work>();
        let (started, starting) = channel();
        let thread = std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(move || run(&topic, partitions, &started, &queue))
            .map_err(|error| failed(&error))?;
        let bootstrap_servers = starting.recv().map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        Ok(Self { bootstrap_servers, work: Some(work), thread: Some(thread) })
    }

    /// Where it listens: `127.0.0.1:port`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Does something to the broker, on its own thread, as it may be used on no other: takes it down, makes requests fail. For tests.
    ///
    /// `None` if the broker's thread has ended.
    pub fn with<T: Send + 'static>(&self, action: impl FnOnce(&Cluster) -> T + Send + 'static) -> Option<T> {
        let (done, result) = channel();
        let work: Work = Box::new(move |cluster| drop(done.send(action(cluster))));
        self.work.as_ref()?.send(work).ok()?;
        result.recv().ok()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the Kafka broker in the process panicked");
        }
    }
}

/// Owns the broker from its start to its end: it is not `Send`.
fn run(topic: &str, partitions: i32, started: &Sender<Result<String, rdkafka::error::KafkaError>>, queue: &Receiver<Work>) {
    let cluster = match MockCluster::new(1).and_then(|cluster| cluster.create_topic(topic, partitions, 1).map(|()| cluster)) {
        Ok(cluster) => cluster,
        Err(error) => {
            // `start` waits for it.
            drop(started.send(Err(error)));
            return;
        }
    };
    drop(started.send(Ok(cluster.bootstrap_servers())));
    while let Ok(work) = queue.recv() {
        work(&cluster);
    }
}
