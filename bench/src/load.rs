//! The load generator: a closed and an open model.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, task::JoinSet};

/// The greatest latency of a histogram, in microseconds.
const MAX_LATENCY: u64 = 300_000_000;
/// The shortest sleep of the pacer. Requests that are due within it start together.
const TICK: Duration = Duration::from_micros(100);

/// The result of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// The step of a longer journey; empty if there is one only.
    pub(crate) step: &'static str,
    pub(crate) status: u16,
    /// Whether the status and the content were expected.
    pub(crate) is_expected: bool,
    /// What it counts for, such as the orders of a transaction.
    pub(crate) count: u64,
}

impl Outcome {
    pub(crate) fn of(status: u16, expected: u16) -> Self {
        Self { step: "", status, is_expected: status == expected, count: 1 }
    }
}

/// Does one operation after the other.
pub(crate) trait Client: Send + 'static {
    /// # Errors
    /// If there is no response; this ends the run.
    fn next(&mut self) -> impl Future<Output = Result<Outcome>> + Send;

    /// Returns the bytes that were sent and received so far.
    fn bytes(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// Returns a histogram of latencies in microseconds, which grows with them.
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

/// Adds a latency. One above the greatest counts as that.
pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    let latency = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    histogram.record(latency.clamp(1, MAX_LATENCY)).expect("the histogram grows");
}

/// What one client, or all of them, measured.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) latency: Histogram<u64>,
    pub(crate) steps: BTreeMap<&'static str, Histogram<u64>>,
    /// From the time at which a request was due to its start. Empty in the closed model.
    pub(crate) start_delay: Histogram<u64>,
    pub(crate) operations: u64,
    /// Unexpected responses, by status.
    pub(crate) unexpected: BTreeMap<u16, u64>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) seconds: f64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            latency: histogram(),
            steps: BTreeMap::new(),
            start_delay: histogram(),
            operations: 0,
            unexpected: BTreeMap::new(),
            sent: 0,
            received: 0,
            seconds: 0.0,
        }
    }
}

impl Meter {
    pub(crate) fn record(&mut self, outcome: Outcome, latency: Duration) {
        if outcome.is_expected {
            self.operations += outcome.count;
        } else {
            *self.unexpected.entry(outcome.status).or_default() += 1;
        }
        record(&mut self.latency, latency);
        if !outcome.step.is_empty() {
            record(self.steps.entry(outcome.step).or_insert_with(histogram), latency);
        }
    }

    /// Adds what another client measured.
    pub(crate) fn add(&mut self, other: &Self) {
        self.latency += &other.latency;
        self.start_delay += &other.start_delay;
        for (step, latency) in &other.steps {
            *self.steps.entry(step).or_insert_with(histogram) += latency;
        }
        self.operations += other.operations;
        for (status, count) in &other.unexpected {
            *self.unexpected.entry(*status).or_default() += count;
        }
        self.sent += other.sent;
        self.received += other.received;
    }
}

/// Percentiles of a histogram, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            mean: histogram.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

/// Lets each client send the next request when it has the response to the last one. Returns the
/// clients again.
pub(crate) async fn closed<C: Client>(
    clients: Vec<C>,
    length: Duration,
) -> Result<(Vec<C>, Meter)> {
    let (began, mut tasks) = (Instant::now(), JoinSet::new());
    for mut client in clients {
        tasks.spawn(async move {
            let (mut meter, before) = (Meter::default(), client.bytes());
            let mut sent_at = Instant::now();
            while began.elapsed() < length {
                let outcome = client.next().await?;
                let now = Instant::now();
                meter.record(outcome, now - sent_at);
                sent_at = now;
            }
            finish(client, meter, before)
        });
    }
    collect(tasks, began).await
}

/// Starts operations at a constant rate. A latency begins when the operation was due: if all
/// connections are busy, it includes the wait for one.
pub(crate) async fn open<C: Client>(
    clients: Vec<C>,
    rate: f64,
    length: Duration,
) -> Result<(Vec<C>, Meter)> {
    let schedule = Schedule { began: Instant::now(), rate, total: total(rate, length) };
    let due = Arc::new(Semaphore::new(0));
    let next = Arc::new(AtomicU64::new(0));
    let (mut tasks, connections) = (JoinSet::new(), clients.len());
    for mut client in clients {
        let (due, next, schedule) = (Arc::clone(&due), Arc::clone(&next), schedule.clone());
        tasks.spawn(async move {
            let (mut meter, before) = (Meter::default(), client.bytes());
            loop {
                due.acquire().await.expect("it is never closed").forget();
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= schedule.total {
                    return finish(client, meter, before);
                }
                let due = schedule.due(number);
                record(&mut meter.start_delay, due.elapsed());
                let outcome = client.next().await?;
                meter.record(outcome, due.elapsed());
            }
        });
    }
    let began = schedule.began;
    // A thread: tokio's timers have a resolution of a millisecond.
    let pacer = thread::spawn(move || pace(&schedule, &due, connections));
    let collected = collect(tasks, began).await;
    // After an error it would go on until the end.
    if collected.is_ok() {
        drop(pacer.join());
    }
    collected
}

#[derive(Clone, Debug)]
struct Schedule {
    began: Instant,
    rate: f64,
    total: u64,
}

impl Schedule {
    fn due(&self, number: u64) -> Instant {
        self.began + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// Returns how many operations are due after this time.
    fn due_after(&self, elapsed: Duration) -> u64 {
        let number = (elapsed.as_secs_f64() * self.rate).floor();
        // Saturates.
        (number as u64 + 1).min(self.total)
    }
}

fn total(rate: f64, length: Duration) -> u64 {
    (rate * length.as_secs_f64()).round() as u64
}

fn pace(schedule: &Schedule, due: &Semaphore, connections: usize) {
    let mut started = 0;
    while started < schedule.total {
        let now = schedule.due_after(schedule.began.elapsed());
        due.add_permits(usize::try_from(now - started).unwrap_or(usize::MAX >> 4));
        started = now;
        let wait = schedule.due(started).saturating_duration_since(Instant::now());
        thread::sleep(wait.max(TICK));
    }
    // Each connection gets one more and sees that it was the last.
    due.add_permits(connections);
}

fn finish<C: Client>(client: C, mut meter: Meter, before: (u64, u64)) -> Result<(C, Meter)> {
    let (sent, received) = client.bytes();
    (meter.sent, meter.received) = (sent - before.0, received - before.1);
    Ok((client, meter))
}

async fn collect<C: Client>(
    mut tasks: JoinSet<Result<(C, Meter)>>,
    began: Instant,
) -> Result<(Vec<C>, Meter)> {
    let (mut clients, mut all) = (Vec::new(), Meter::default());
    while let Some(ended) = tasks.join_next().await {
        let (client, meter) = ended??;
        all.add(&meter);
        clients.push(client);
    }
    all.seconds = began.elapsed().as_secs_f64();
    Ok((clients, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(u64);

    impl Client for Fake {
        async fn next(&mut self) -> Result<Outcome> {
            self.0 += 1;
            let status = if self.0.is_multiple_of(10) { 503 } else { 200 };
            tokio::task::yield_now().await;
            Ok(Outcome { step: "step", ..Outcome::of(status, 200) })
        }

        fn bytes(&self) -> (u64, u64) {
            (self.0, 2 * self.0)
        }
    }

    #[tokio::test]
    async fn open_model_starts_each_operation_once() {
        let length = Duration::from_millis(50);
        let (clients, meter) = open(vec![Fake(0), Fake(5)], 2000.0, length).await.unwrap();
        assert_eq!(meter.latency.len(), 100);
        assert_eq!(meter.start_delay.len(), 100);
        assert_eq!(meter.operations + meter.unexpected[&503], 100);
        assert_eq!((meter.sent, meter.received), (100, 200));
        assert_eq!(clients.iter().map(|client| client.0).sum::<u64>(), 105);
        assert_eq!(meter.steps["step"].len(), 100);
    }

    #[tokio::test]
    async fn closed_model_counts_all_operations() {
        let length = Duration::from_millis(5);
        let (clients, meter) = closed(vec![Fake(0), Fake(0)], length).await.unwrap();
        let done: u64 = clients.iter().map(|client| client.0).sum();
        assert!(done > 0 && meter.latency.len() == done && meter.start_delay.is_empty());
        assert!(meter.seconds >= 0.005);
    }

    #[test]
    fn schedule_is_constant() {
        let schedule = Schedule { began: Instant::now(), rate: 1000.0, total: 5 };
        assert_eq!(schedule.due(3) - schedule.began, Duration::from_millis(3));
        let due =
            [0, 1, 999, 1000, 2500, 9000].map(|it| schedule.due_after(Duration::from_micros(it)));
        assert_eq!(due, [1, 1, 1, 2, 3, 5]);
        assert_eq!(total(0.4, Duration::from_secs(5)), 2);
    }

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut latencies = histogram();
        for value in 1..=1000 {
            record(&mut latencies, Duration::from_millis(value));
        }
        let latency = Latency::of(&latencies);
        for (found, expected) in [
            (latency.p50, 500.0),
            (latency.p90, 900.0),
            (latency.p99, 990.0),
            (latency.p999, 999.0),
            (latency.max, 1000.0),
            (latency.mean, 500.5),
        ] {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} is not {expected}");
        }
    }

    #[test]
    fn latency_beyond_the_bound_is_recorded_as_the_bound() {
        let mut meter = Meter::default();
        meter.record(Outcome::of(200, 200), Duration::from_secs(4000));
        assert!(Latency::of(&meter.latency).max >= 300_000.0);
    }
}
