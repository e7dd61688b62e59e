//! Embedded Kafka broker: librdkafka's mock cluster, on a loopback port.
//!
//! It holds the newest 5 MiB of each partition in memory. After a restart, senders ship their
//! retained events again.

use std::{
    fmt::Display,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use merch_chassis::StartError;
use rdkafka::{error::KafkaError, mocking::MockCluster, producer::DefaultProducerContext};

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Task = Box<dyn FnOnce(&Cluster) + Send>;

const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running broker; drop stops it within 5 seconds.
#[derive(Debug)]
pub struct EmbeddedBroker {
    bootstrap_servers: String,
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedBroker {
    /// Starts a broker with one topic, of up to about 5 MiB per partition.
    ///
    /// # Errors
    /// If there is no free port or thread, or it takes over 10 seconds.
    pub fn start(topic: &str, partitions: i32) -> Result<Self, StartError> {
        let failed = |reason: &dyn Display| {
            StartError::new(format!(
                "the embedded Kafka broker failed to start: {reason}; use an external Kafka with \
                 --kafka-brokers"
            ))
        };
        let topic = topic.to_owned();
        let (tasks, queue) = channel::<Task>();
        let (started, starting) = channel();
        let thread = std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(move || run(&topic, partitions, &started, &queue))
            .map_err(|error| failed(&error))?;
        let bootstrap_servers =
            await_start(START_TIMEOUT, &starting).map_err(|reason| failed(&reason))?;
        Ok(Self { bootstrap_servers, tasks: Some(tasks), thread: Some(thread) })
    }

    /// Returns the address: `127.0.0.1:port`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Runs `action` on the broker's thread, for fault injection in tests. Returns `None` if the
    /// thread has ended.
    pub fn with<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Cluster) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = channel();
        let task: Task = Box::new(move |cluster| drop(done.send(action(cluster))));
        self.tasks.as_ref()?.send(task).ok()?;
        result.recv().ok()
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.tasks = None;
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                tracing::warn!(
                    seconds = STOP_TIMEOUT.as_secs(),
                    "the embedded Kafka broker did not stop in time; exiting without waiting for it"
                );
                return;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        if thread.join().is_err() {
            tracing::error!("the embedded Kafka broker's thread panicked");
        }
    }
}

fn await_start(
    time: Duration,
    starting: &Receiver<Result<String, KafkaError>>,
) -> Result<String, String> {
    match starting.recv_timeout(time) {
        Ok(started) => started.map_err(|error| error.to_string()),
        Err(RecvTimeoutError::Timeout) => {
            Err(format!("librdkafka did not answer within {} s", time.as_secs_f64()))
        }
        Err(RecvTimeoutError::Disconnected) => Err("its thread panicked".to_owned()),
    }
}

/// The cluster is not `Send`.
fn run(
    topic: &str,
    partitions: i32,
    started: &Sender<Result<String, KafkaError>>,
    queue: &Receiver<Task>,
) {
    let cluster = match MockCluster::new(1)
        .and_then(|cluster| cluster.create_topic(topic, partitions, 1).map(|()| cluster))
    {
        Ok(cluster) => cluster,
        Err(error) => {
            drop(started.send(Err(error)));
            return;
        }
    };
    drop(started.send(Ok(cluster.bootstrap_servers())));
    while let Ok(task) = queue.recv() {
        task(&cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        std::thread::spawn(move || drop(done.send(action())));
        result.recv_timeout(Duration::from_secs(60)).expect("it returns")
    }

    #[test]
    fn drop_returns_if_the_broker_hangs() {
        let broker = EmbeddedBroker::start("topic", 1).unwrap();
        let (started, starting) = channel();
        // Blocks the broker's thread until the test ends.
        let (_release, blocked) = channel::<()>();
        let task: Task = Box::new(move |_| {
            started.send(()).unwrap();
            let _ = blocked.recv();
        });
        broker.tasks.as_ref().unwrap().send(task).unwrap();
        starting.recv().unwrap();
        bounded(move || drop(broker));
    }

    #[test]
    fn start_times_out() {
        let (started, starting) = channel();
        let error = bounded(move || await_start(Duration::from_millis(10), &starting)).unwrap_err();
        assert_eq!(error, "librdkafka did not answer within 0.01 s");
        drop(started);
    }
}
