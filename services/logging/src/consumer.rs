//! Kafka consumer of the event topic; used by `merch logs`.

mod time_merge;

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, Write},
    ops::ControlFlow,
    time::Duration,
};

use merch_chassis::StartError;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
    error::{IsError as _, KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};

use self::time_merge::TimeMerge;
use crate::{
    connection::{Connection, KafkaContext},
    json,
    proto::{Level, LogMessage},
};

/// Wait for an error that librdkafka has already queued.
const ERROR_WAIT: Duration = Duration::from_millis(50);
/// Total wait, because every reconnect attempt queues another error.
const ERROR_WAIT_TOTAL: Duration = Duration::from_millis(500);

/// Options of [`read`].
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Addresses and security of Kafka.
    pub kafka: Connection,
    /// The topic.
    pub topic: String,
    /// Whether to wait for new records.
    pub follow: bool,
    /// Time limit for Kafka's first response.
    pub timeout: Duration,
}

/// A record of the topic.
#[derive(Clone, Debug)]
pub struct ConsumerRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// The event's time, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The user, order or id of the event.
    pub key: Option<Vec<u8>>,
    /// The raw value.
    pub value: Vec<u8>,
    /// The event, or the decoding error.
    pub event: Result<Box<LogMessage>, String>,
}

/// Passes each record of the topic to `sink`, from the beginning. Ends when `sink` breaks or,
/// without [`ReadOptions::follow`], after the last record that existed at the start.
///
/// Records of a partition keep their order; existing ones are also merged by time, as far as the
/// buffer allows.
///
/// # Errors
/// If Kafka does not respond or denies access at the start, or the topic does not exist.
pub async fn read(
    options: ReadOptions,
    mut sink: impl FnMut(ConsumerRecord) -> ControlFlow<()>,
) -> Result<(), StartError> {
    let opened = options.clone();
    let (consumer, ends) = spawn_blocking(move || open(&opened)).await.map_err(|error| {
        StartError::new(format!("the Kafka consumer failed to start: {error}"))
    })??;
    let outcome = deliver(&options, &consumer, ends, &mut sink).await;
    // Closing the consumer blocks.
    spawn_blocking(move || drop(consumer));
    outcome
}

async fn deliver(
    options: &ReadOptions,
    consumer: &StreamConsumer<KafkaContext>,
    mut ends: HashMap<i32, i64>,
    sink: &mut impl FnMut(ConsumerRecord) -> ControlFlow<()>,
) -> Result<(), StartError> {
    let mut merge = TimeMerge::default();
    loop {
        if ends.is_empty() && (merge.drain().try_for_each(&mut *sink).is_break() || !options.follow)
        {
            return Ok(());
        }
        match consumer.recv().await {
            Ok(message) => {
                let record = ConsumerRecord::new(&message);
                let (partition, next) = (record.partition, record.offset + 1);
                let shown = if ends.is_empty() { Some(record) } else { merge.push(record) };
                if shown.is_some_and(|record| sink(record).is_break()) {
                    return Ok(());
                }
                if ends.get(&partition).is_some_and(|end| next >= *end) {
                    ends.remove(&partition);
                }
            }
            // The last offsets may hold no record: transaction markers or compaction.
            Err(KafkaError::PartitionEOF(partition)) => {
                ends.remove(&partition);
            }
            Err(error) if is_permanent(&error) => {
                return Err(StartError::new(format!(
                    "failed to read the Kafka topic {}: {error}; check that it exists and that the \
                     user may read it",
                    options.topic
                )));
            }
            Err(error) => {
                tracing::debug!(%error, "Kafka consumer error; retrying")
            }
        }
    }
}

/// Returns a sink that prints a line per record. A failed write breaks; its error goes to `failure`
/// unless the pipe is closed.
pub fn print<'a>(
    mut out: impl Write + 'a,
    json: bool,
    failure: &'a mut Option<io::Error>,
) -> impl FnMut(ConsumerRecord) -> ControlFlow<()> + 'a {
    move |record| {
        let line = if json { record.json_line() } else { record.text_line() };
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    *failure = Some(error);
                }
                ControlFlow::Break(())
            }
        }
    }
}

impl ConsumerRecord {
    fn new(message: &BorrowedMessage<'_>) -> Self {
        let value = message.payload().unwrap_or_default().to_vec();
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            event: json::from_slice(&value).map(Box::new).map_err(|error| error.to_string()),
            value,
        }
    }

    /// Returns the value as one line of JSON. Wraps a value that is not a log event:
    /// `{"notALogMessage": …, "reason": …, "partition": …, "offset": …}`.
    #[must_use]
    pub fn json_line(&self) -> String {
        match &self.event {
            // Not re-encoded: a newer version may have added members. JSON has line breaks only
            // between tokens.
            Ok(_) => String::from_utf8_lossy(&self.value).replace(['\n', '\r'], " "),
            Err(reason) => {
                let value = serde_json::from_slice(&self.value).unwrap_or_else(|_| {
                    serde_json::Value::String(String::from_utf8_lossy(&self.value).into_owned())
                });
                serde_json::json!({
                    "notALogMessage": value,
                    "reason": reason,
                    "partition": self.partition,
                    "offset": self.offset,
                })
                .to_string()
            }
        }
    }

    /// Returns a line: time, level, service, event, actor, subject, message, attributes. Escapes
    /// control characters, so that an event cannot control the terminal.
    #[must_use]
    pub fn text_line(&self) -> String {
        let event = match &self.event {
            Ok(event) => event,
            Err(reason) => {
                let value = escape_control(&String::from_utf8_lossy(&self.value));
                return format!(
                    "partition {} offset {}: not a log event ({}): {value}",
                    self.partition,
                    self.offset,
                    escape_control(reason)
                );
            }
        };
        let level = match Level::try_from(event.level) {
            Ok(Level::Debug) => "DEBUG",
            Ok(Level::Info) => "INFO",
            Ok(Level::Warn) => "WARN",
            Ok(Level::Error) => "ERROR",
            Ok(Level::Unspecified) | Err(_) => "-",
        };
        let or_dash =
            |text: &str| if text.is_empty() { "-".to_owned() } else { escape_control(text) };
        let mut line = format!(
            "{} {level:<5} {:<3} {} {} {}",
            event.time.map_or_else(|| "-".to_owned(), |time| format_time(time.seconds, time.nanos)),
            or_dash(&event.service),
            or_dash(&event.event),
            or_dash(&event.actor),
            or_dash(&event.subject),
        );
        if !event.message.is_empty() {
            line.push(' ');
            line.push_str(&escape_control(&event.message));
        }
        let mut attributes: Vec<_> = event.attributes.iter().collect();
        attributes.sort();
        for (name, value) in attributes {
            let _ = write!(line, " {}={}", escape_control(name), escape_control(value));
        }
        line
    }
}

fn escape_control(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        shown
    })
}

fn format_time(seconds: i64, nanos: i32) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.replace_nanosecond(u32::try_from(nanos).ok()?).ok())
        .and_then(|time| time.format(FORMAT).ok())
        .unwrap_or_else(|| "-".to_owned())
}

/// Also returns the end offset of each non-empty partition.
fn open(
    options: &ReadOptions,
) -> Result<(StreamConsumer<KafkaContext>, HashMap<i32, i64>), StartError> {
    let read_error = |error: KafkaError| {
        StartError::new(format!(
            "failed to read from Kafka at {}: {error}; check --kafka-brokers",
            options.kafka.brokers
        ))
    };
    let context = KafkaContext::default();
    let consumer: StreamConsumer<KafkaContext> = options
        .kafka
        .client()?
        // Required, although this consumer neither joins nor commits.
        .set("group.id", format!("merch-logs-{}", uuid::Uuid::new_v4()))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .create_with_context(context.clone())
        .map_err(|error| options.kafka.creation_error(&error))?;
    let metadata =
        consumer.fetch_metadata(Some(&options.topic), options.timeout).map_err(|error| {
            // Error callbacks run only while the consumer is polled.
            let polling = async { while timeout(ERROR_WAIT, consumer.recv()).await.is_ok() {} };
            let _ = Handle::current().block_on(timeout(ERROR_WAIT_TOTAL, polling));
            StartError::new(options.kafka.diagnose_timeout(&error, &context))
        })?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == options.topic);
    if let Some(error) = topic.and_then(|topic| topic.error()).filter(|error| error.is_error()) {
        return Err(read_error(KafkaError::MetadataFetch(RDKafkaErrorCode::from(error))));
    }
    let partitions: Vec<i32> = topic
        .into_iter()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id())
        .collect();
    if partitions.is_empty() {
        return Err(StartError::new(format!(
            "Kafka at {} has no topic {}; the logging service creates it at its start; \
             --kafka-topic selects another topic",
            options.kafka.brokers, options.topic
        )));
    }
    let mut ends = HashMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        let (low, high) = consumer
            .fetch_watermarks(&options.topic, partition, options.timeout)
            .map_err(read_error)?;
        if low < high {
            ends.insert(partition, high);
        }
        assignment
            .add_partition_offset(&options.topic, partition, Offset::Beginning)
            .map_err(read_error)?;
    }
    consumer.assign(&assignment).map_err(read_error)?;
    Ok((consumer, ends))
}

/// Whether the operator must act. librdkafka retries all other errors.
fn is_permanent(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
        )
    )
}

#[cfg(test)]
mod tests {
    use pbjson_types::Timestamp;

    use super::*;

    fn record(value: &[u8]) -> ConsumerRecord {
        let event = json::from_slice(value).map(Box::new).map_err(|error| error.to_string());
        ConsumerRecord {
            partition: 2,
            offset: 7,
            timestamp: None,
            key: None,
            value: value.to_vec(),
            event,
        }
    }

    #[test]
    fn text_line_shows_all_fields_escaped() {
        let event = LogMessage {
            time: Some(Timestamp { seconds: 1_767_225_600, nanos: 5_999_999 }),
            service: "db".to_owned(),
            level: Level::Info.into(),
            event: "order_placed".to_owned(),
            actor: "user:1".to_owned(),
            subject: "order:2".to_owned(),
            message: "Two hoodies\u{1b}[2J\nwere ordered".to_owned(),
            attributes: [
                ("quantity".to_owned(), "2".to_owned()),
                ("product_id".to_owned(), "1".to_owned()),
            ]
            .into(),
            ..LogMessage::default()
        };
        let record = record(&json::to_vec(&event).unwrap());
        assert_eq!(
            record.text_line(),
            r"2026-01-01T00:00:00.005Z INFO  db  order_placed user:1 order:2 Two hoodies\u{1b}[2J\nwere ordered product_id=1 quantity=2"
        );
        assert_eq!(record.json_line().as_bytes(), record.value);
    }

    #[test]
    fn values_that_are_not_events_are_shown_with_reason() {
        let text = record(b"hello\nworld");
        assert!(
            text.text_line().starts_with("partition 2 offset 7: not a log event (expected value"),
            "{}",
            text.text_line()
        );
        assert!(text.text_line().ends_with(r": hello\nworld"), "{}", text.text_line());
        let line: serde_json::Value = serde_json::from_str(&text.json_line()).unwrap();
        assert_eq!(
            (&line["notALogMessage"], &line["offset"]),
            (&serde_json::json!("hello\nworld"), &serde_json::json!(7))
        );
        for value in [b"".as_slice(), b"[1]", b"{\"level\": \"LOUD\"}", &[0xff, 0xfe]] {
            let record = record(value);
            assert!(record.event.is_err());
            assert!(
                !record.text_line().contains('\n')
                    && serde_json::from_str::<serde_json::Value>(&record.json_line()).is_ok()
            );
        }
    }

    #[test]
    fn only_a_closed_pipe_is_not_a_failure() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, reported) in
            [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::StorageFull, true)]
        {
            let mut failure = None;
            assert!(print(Broken(kind), true, &mut failure)(record(b"{}")).is_break());
            assert_eq!(failure.is_some(), reported);
        }
    }
}
