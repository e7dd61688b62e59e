//! A Kafka broker in the process, for running everything with nothing to install: librdkafka's own
//! mock of one.
//!
//! It speaks the real protocol on a port of its choosing on loopback, so that `kcat` and any other
//! client can read it. It lives in memory and keeps the newest 5 MiB of each partition; a restart
//! begins with an empty one, which the senders fill again from the events that they retain.

use std::{
    fmt::Display,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use merch_chassis::StartError;
use rdkafka::{error::KafkaError, mocking::MockCluster, producer::DefaultProducerContext};

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Work = Box<dyn FnOnce(&Cluster) + Send>;

/// How long the broker may take to start. It takes milliseconds.
const STARTING: Duration = Duration::from_secs(10);
/// How long the broker's end is waited for. It takes milliseconds.
const ENDING: Duration = Duration::from_secs(5);
/// The time between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// The broker; it ends when this is dropped, which takes at most some seconds.
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
    /// When librdkafka cannot make one: no port or no thread is free, or it does not answer within
    /// 10 seconds.
    pub fn start(topic: &str, partitions: i32) -> Result<Self, StartError> {
        let failed = |reason: &dyn Display| {
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
        let bootstrap_servers =
            started_within(STARTING, &starting).map_err(|reason| failed(&reason))?;
        Ok(Self { bootstrap_servers, work: Some(work), thread: Some(thread) })
    }

    /// Where it listens: `127.0.0.1:port`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Does something to the broker, on its own thread, as it may be used on no other: takes it
    /// down, makes requests fail. For tests.
    ///
    /// `None` if the broker's thread has ended.
    pub fn with<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Cluster) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = channel();
        let work: Work = Box::new(move |cluster| drop(done.send(action(cluster))));
        self.work.as_ref()?.send(work).ok()?;
        result.recv().ok()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.work = None;
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + ENDING;
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                tracing::warn!(
                    seconds = ENDING.as_secs(),
                    "the Kafka broker in the process does not end; it is left running"
                );
                return;
            }
            std::thread::sleep(PAUSE);
        }
        if thread.join().is_err() {
            tracing::error!("the thread of the Kafka broker in the process panicked");
        }
    }
}

/// Returns the address of a broker that has started, or why there is none.
fn started_within(
    time: Duration,
    starting: &Receiver<Result<String, KafkaError>>,
) -> Result<String, String> {
    match starting.recv_timeout(time) {
        Ok(started) => started.map_err(|error| error.to_string()),
        Err(RecvTimeoutError::Timeout) => {
            Err(format!("librdkafka does not answer within {} s", time.as_secs_f64()))
        }
        Err(RecvTimeoutError::Disconnected) => Err("its thread panicked".to_owned()),
    }
}

/// Owns the broker from its start to its end: it is not `Send`.
fn run(
    topic: &str,
    partitions: i32,
    started: &Sender<Result<String, KafkaError>>,
    queue: &Receiver<Work>,
) {
    let cluster = match MockCluster::new(1)
        .and_then(|cluster| cluster.create_topic(topic, partitions, 1).map(|()| cluster))
    {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `action` on a thread of its own, and returns what it returns.
    fn bounded<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        std::thread::spawn(move || drop(done.send(action())));
        result.recv_timeout(Duration::from_secs(60)).expect("it returns")
    }

    #[test]
    fn a_broker_that_does_not_end_is_left_alone() {
        let broker = Embedded::start("topic", 1).unwrap();
        let (begun, beginning) = channel();
        // Kept to the end of the test, so that the blocked call does not return.
        let (_release, blocked) = channel::<()>();
        let work: Work = Box::new(move |_| {
            begun.send(()).unwrap();
            let _ = blocked.recv();
        });
        broker.work.as_ref().unwrap().send(work).unwrap();
        beginning.recv().unwrap();
        bounded(move || drop(broker));
    }

    #[test]
    fn a_broker_that_does_not_start_is_an_error() {
        let (started, starting) = channel();
        let error =
            bounded(move || started_within(Duration::from_millis(10), &starting)).unwrap_err();
        assert_eq!(error, "librdkafka does not answer within 0.01 s");
        drop(started);
    }
}
