//! Streams of log events to the logging service, and the same records to Kafka without it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use merch_contract::grpc::logging::v1::{
    LogMessage, StreamLogsRequest, logging_service_client::LoggingServiceClient,
};
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use time::OffsetDateTime;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use uuid::Uuid;

use crate::load::{Meter, Outcome};

/// Events of a request, as the services send them.
const BATCH: usize = 500;
/// Requests without an acknowledgement, as the services have at most.
const IN_FLIGHT: usize = 16;
const TOPIC: &str = "log-channel";
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends events over this number of streams, at `rate` events per second over all of them, or as
/// fast as Kafka stores them. A latency is that of a request, from the time when it was due to
/// its acknowledgement by Kafka.
pub(crate) async fn stream(
    logging: SocketAddr,
    streams: usize,
    rate: Option<f64>,
    length: Duration,
) -> Result<Meter> {
    let (began, mut tasks) = (Instant::now(), JoinSet::new());
    for _ in 0..streams {
        let interval = rate.map(|rate| Duration::from_secs_f64((BATCH * streams) as f64 / rate));
        tasks.spawn(one_stream(logging, interval, length));
    }
    let mut all = Meter::default();
    while let Some(meter) = tasks.join_next().await {
        all.add(&meter??);
    }
    all.seconds = began.elapsed().as_secs_f64();
    Ok(all)
}

async fn one_stream(
    logging: SocketAddr,
    interval: Option<Duration>,
    length: Duration,
) -> Result<Meter> {
    let channel = Endpoint::from_shared(format!("http://{logging}"))?.connect().await?;
    let (requests, outbound) = mpsc::channel(1);
    let mut client = LoggingServiceClient::new(channel);
    let responses = client.stream_logs(ReceiverStream::new(outbound)).await;
    let mut responses = responses.context("StreamLogs")?.into_inner();
    let (mut meter, mut waiting, began) = (Meter::default(), VecDeque::new(), Instant::now());
    let (mut sent, mut acknowledged, instance) = (0_u64, 0_u64, Events::new());
    let mut requests = Some(requests);
    loop {
        let due = match interval {
            Some(interval) => began + interval.mul_f64(sent as f64),
            None => Instant::now(),
        };
        if due - began >= length {
            // Closes the stream, and the service closes its side after the last acknowledgement.
            requests = None;
            if waiting.is_empty() {
                return Ok(meter);
            }
        }
        let can_send = requests.is_some() && waiting.len() < IN_FLIGHT;
        tokio::select! {
            response = responses.message() => {
                let response = response.context("StreamLogs")?;
                let Some(response) = response else { bail!("the service closed the stream") };
                ensure!(
                    response.refused.is_empty(),
                    "Kafka refused events: {:?}", response.refused.first()
                );
                while acknowledged < response.acknowledged_sequence {
                    acknowledged += 1;
                    let due: Instant = waiting.pop_front().context("an acknowledgement")?;
                    let outcome = Outcome { count: BATCH as u64, ..Outcome::of(200, 200) };
                    meter.record(outcome, due.elapsed());
                }
            }
            () = tokio::time::sleep_until(due.into()), if can_send => {
                sent += 1;
                let request = StreamLogsRequest { sequence: sent, messages: instance.batch() };
                // A stream that is slower than the rate has a request that waits here.
                waiting.push_back(due);
                let Some(requests) = &requests else { continue };
                if requests.send(request).await.is_err() {
                    // The status says why.
                    requests.closed().await;
                }
            }
        }
    }
}

/// Makes events like those of placed orders.
#[derive(Debug)]
struct Events {
    instance: String,
    user: String,
}

impl Events {
    fn new() -> Self {
        Self { instance: Uuid::now_v7().to_string(), user: format!("user:{}", Uuid::now_v7()) }
    }

    fn batch(&self) -> Vec<LogMessage> {
        (0..BATCH).map(|_| self.event()).collect()
    }

    fn event(&self) -> LogMessage {
        let now = OffsetDateTime::now_utc();
        let attributes = [
            ("currency", "CNY"),
            ("product_id", "1"),
            ("quantity", "1"),
            ("total_price_cents", "4999"),
        ];
        let attributes: BTreeMap<_, _> =
            attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        LogMessage {
            id: Uuid::now_v7().to_string(),
            time: Some(pbjson_types::Timestamp {
                seconds: now.unix_timestamp(),
                nanos: i32::try_from(now.nanosecond()).unwrap_or(0),
            }),
            service: "db".to_owned(),
            instance: self.instance.clone(),
            level: 2,
            event: "order_placed".to_owned(),
            actor: self.user.clone(),
            subject: format!("order:{}", Uuid::now_v7()),
            request_id: Uuid::now_v7().to_string(),
            trace_id: String::new(),
            message: "An order was placed.".to_owned(),
            attributes: attributes.into_iter().collect(),
        }
    }
}

/// Reports each record to the channel, with the time at which it was due.
struct Deliveries(std::sync::mpsc::Sender<Result<Instant, String>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, due: Box<Instant>) {
        let outcome = match result {
            Ok(_) => Ok(*due),
            Err((error, _)) => Err(error.to_string()),
        };
        // The receiver has gone if the run has failed.
        drop(self.0.send(outcome));
    }
}

/// Writes the same records as the logging service, with the settings of its producer and as fast
/// as Kafka confirms them. Blocks.
pub(crate) fn produce(brokers: &str, length: Duration) -> Result<Meter> {
    let (deliveries, confirmed) = std::sync::mpsc::channel();
    let producer: ThreadedProducer<Deliveries> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "gzip")
        .set("compression.level", "1")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", (BATCH * IN_FLIGHT * 4).to_string())
        .create_with_context(Deliveries(deliveries))?;
    let mut meter = Meter::default();
    let (events, began, mut waiting) = (Events::new(), Instant::now(), 0_usize);
    loop {
        let is_over = began.elapsed() >= length;
        if is_over && waiting == 0 {
            meter.seconds = began.elapsed().as_secs_f64();
            return Ok(meter);
        }
        if !is_over && waiting < BATCH * IN_FLIGHT {
            for event in events.batch() {
                send(&producer, &event)?;
                waiting += 1;
            }
        }
        let first = if is_over || waiting >= BATCH * IN_FLIGHT {
            Some(confirmed.recv_timeout(ACK_TIMEOUT).context("Kafka confirmed no record")?)
        } else {
            None
        };
        for delivery in first.into_iter().chain(confirmed.try_iter()) {
            let due =
                delivery.map_err(|error| anyhow::anyhow!("Kafka refused a record: {error}"))?;
            waiting -= 1;
            meter.record(Outcome::of(200, 200), due.elapsed());
        }
    }
}

fn send(producer: &ThreadedProducer<Deliveries>, event: &LogMessage) -> Result<()> {
    let value = serde_json::to_vec(event)?;
    let mut record = BaseRecord::with_opaque_to(TOPIC, Box::new(Instant::now()))
        .key(&event.subject)
        .payload(&value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                producer.flush(Duration::from_millis(10)).ok();
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// Runs [`produce`] on a thread of its own.
pub(crate) async fn produce_in_background(brokers: String, length: Duration) -> Result<Meter> {
    tokio::task::spawn_blocking(move || produce(&brokers, length)).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_ids_of_their_own() {
        let events = Events::new();
        let batch = events.batch();
        let ids: std::collections::HashSet<_> = batch.iter().map(|event| &event.id).collect();
        assert_eq!(ids.len(), BATCH);
        assert!(batch.iter().all(|event| event.subject.starts_with("order:")));
    }
}
