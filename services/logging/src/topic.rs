//! Reading the topic: what `merch logs` shows.

mod chronology;

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

use self::chronology::Chronology;
use crate::{
    connection::{Connection, Ears},
    json,
    proto::{Level, LogMessage},
};

/// A complaint that there is comes at once.
const COMPLAINT: Duration = Duration::from_millis(50);
/// Each attempt to connect brings another one: no more of them are listened to after this time.
const COMPLAINTS: Duration = Duration::from_millis(500);

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Where Kafka is, and how it is spoken to.
    pub kafka: Connection,
    /// The topic.
    pub topic: String,
    /// Whether to wait for what comes after the records that are there now; if not, reading ends
    /// with those.
    pub follow: bool,
    /// How long Kafka may take to answer at the start.
    pub timeout: Duration,
}

/// A record of the topic.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// When it was written, by the sender's clock, in milliseconds since 1970: the event's own
    /// time.
    pub timestamp: Option<i64>,
    /// Its key: the user or order that the event is about, or the event's id.
    pub key: Option<Vec<u8>>,
    /// Its value, as it came.
    pub value: Vec<u8>,
    /// The event, or why the value is none.
    pub event: Result<Box<LogMessage>, String>,
}

/// Reads the topic from its beginning, all partitions at the same time, and gives each record to
/// `sink` until it breaks, or, unless [`ReadOptions::follow`] is set, all that was there at the
/// start is read.
///
/// Order is kept within a partition, so for each subject. What is there at the start comes in the
/// order of time across partitions as well, as far as some thousands of records can be held to sort
/// them; what comes later comes as it arrives. Nothing is committed: each reading begins anew.
///
/// # Errors
/// When Kafka does not answer at the start, has no such topic, or refuses to be read. While
/// following, a Kafka that goes away is waited for.
pub async fn read(
    options: ReadOptions,
    mut sink: impl FnMut(Record) -> ControlFlow<()>,
) -> Result<(), StartError> {
    let opened = options.clone();
    let (consumer, ends) = spawn_blocking(move || open(&opened))
        .await
        .map_err(|error| StartError::new(format!("Kafka cannot be read: {error}")))??;
    let outcome = pump(&options, &consumer, ends, &mut sink).await;
    // It says good-bye to the broker, which may take a moment.
    spawn_blocking(move || drop(consumer));
    outcome
}

/// Gives records to `sink`; first those before `ends`, sorted, then what follows.
async fn pump(
    options: &ReadOptions,
    consumer: &StreamConsumer<Ears>,
    mut ends: HashMap<i32, i64>,
    sink: &mut impl FnMut(Record) -> ControlFlow<()>,
) -> Result<(), StartError> {
    let mut past = Chronology::default();
    loop {
        if ends.is_empty() && (past.drain().try_for_each(&mut *sink).is_break() || !options.follow)
        {
            return Ok(());
        }
        match consumer.recv().await {
            Ok(message) => {
                let record = Record::new(&message);
                let (partition, next) = (record.partition, record.offset + 1);
                let shown = if ends.is_empty() { Some(record) } else { past.push(record) };
                if shown.is_some_and(|record| sink(record).is_break()) {
                    return Ok(());
                }
                if ends.get(&partition).is_some_and(|end| next >= *end) {
                    ends.remove(&partition);
                }
            }
            // Offsets may be missing before the end (a transaction's marks, a compacted topic), so
            // that the last one is never seen.
            Err(KafkaError::PartitionEOF(partition)) => {
                ends.remove(&partition);
            }
            Err(error) if is_lasting(&error) => {
                return Err(StartError::new(format!(
                    "Kafka's topic {} cannot be read: {error}",
                    options.topic
                )));
            }
            Err(error) => {
                tracing::debug!(%error, "Kafka is in trouble; reading goes on when it is back")
            }
        }
    }
}

/// Prints records to `out`, one line each, as [`Record::json_line`] or [`Record::human_line`]. A
/// reader that closes its end of the pipe ends it quietly; any other failure to write ends it, too,
/// and is left in `failure`.
pub fn print<'a>(
    mut out: impl Write + 'a,
    json: bool,
    failure: &'a mut Option<io::Error>,
) -> impl FnMut(Record) -> ControlFlow<()> + 'a {
    move |record| {
        let line = if json { record.json_line() } else { record.human_line() };
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

impl Record {
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

    /// The value as one line of JSON. What is not a log event is wrapped, so that each line is JSON
    /// and says so: `{"notALogMessage": …, "reason": …, "partition": …, "offset": …}`.
    #[must_use]
    pub fn json_line(&self) -> String {
        match &self.event {
            // As it came, and not as this program understands it: a newer one may have written
            // more. Line breaks are only ever between tokens.
            Ok(_) => String::from_utf8_lossy(&self.value).replace(['\n', '\r'], " "),
            Err(reason) => {
                let value = serde_json::from_slice(&self.value).unwrap_or_else(|_| {
                    serde_json::Value::String(String::from_utf8_lossy(&self.value).into_owned())
                });
                serde_json::json!({ "notALogMessage": value, "reason": reason, "partition": self.partition, "offset": self.offset })
                    .to_string()
            }
        }
    }

    /// One line for people: time, level, service, event, actor, subject, message, attributes.
    /// Control characters are shown escaped: a terminal must not obey a log.
    #[must_use]
    pub fn human_line(&self) -> String {
        let event = match &self.event {
            Ok(event) => event,
            Err(reason) => {
                let value = printable(&String::from_utf8_lossy(&self.value));
                return format!(
                    "partition {} offset {}: not a log event ({}): {value}",
                    self.partition,
                    self.offset,
                    printable(reason)
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
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text) };
        let mut line = format!(
            "{} {level:<5} {:<3} {} {} {}",
            event.time.map_or_else(|| "-".to_owned(), |time| human_time(time.seconds, time.nanos)),
            or_dash(&event.service),
            or_dash(&event.event),
            or_dash(&event.actor),
            or_dash(&event.subject),
        );
        if !event.message.is_empty() {
            line.push(' ');
            line.push_str(&printable(&event.message));
        }
        let mut attributes: Vec<_> = event.attributes.iter().collect();
        attributes.sort();
        for (name, value) in attributes {
            // Writing to a String cannot fail.
            let _ = write!(line, " {}={}", printable(name), printable(value));
        }
        line
    }
}

/// Text without control characters, which are escaped.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        shown
    })
}

/// UTC with milliseconds; a dash for what is no time.
fn human_time(seconds: i64, nanos: i32) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.replace_nanosecond(u32::try_from(nanos).ok()?).ok())
        .and_then(|time| time.format(FORMAT).ok())
        .unwrap_or_else(|| "-".to_owned())
}

/// Opens a consumer at the beginning of all partitions. With it: the ends, as of now, of those that
/// hold something.
fn open(options: &ReadOptions) -> Result<(StreamConsumer<Ears>, HashMap<i32, i64>), StartError> {
    let unreadable = |error: KafkaError| {
        StartError::new(format!(
            "Kafka at {} cannot be read: {error}; expected a broker that answers (--kafka-brokers)",
            options.kafka.brokers
        ))
    };
    let ears = Ears::default();
    let consumer: StreamConsumer<Ears> = options
        .kafka
        .client()?
        // librdkafka wants a group to assign partitions, though it is neither joined nor committed
        // to.
        .set("group.id", format!("merch-logs-{}", uuid::Uuid::new_v4()))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .create_with_context(ears.clone())
        .map_err(|error| options.kafka.unusable(&error))?;
    let metadata =
        consumer.fetch_metadata(Some(&options.topic), options.timeout).map_err(|error| {
            // A consumer hears what is complained of only while it is asked for records.
            let listening = async { while timeout(COMPLAINT, consumer.recv()).await.is_ok() {} };
            // Whichever of the two ends it, what was said is in `ears`.
            let _ = Handle::current().block_on(timeout(COMPLAINTS, listening));
            StartError::new(options.kafka.silence(&error, &ears))
        })?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == options.topic);
    if let Some(error) = topic.and_then(|topic| topic.error()).filter(|error| error.is_error()) {
        return Err(unreadable(KafkaError::MetadataFetch(RDKafkaErrorCode::from(error))));
    }
    let partitions: Vec<i32> = topic
        .into_iter()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id())
        .collect();
    if partitions.is_empty() {
        return Err(StartError::new(format!(
            "Kafka at {} has no topic {}; the logging service makes it when it starts (another name is given with --kafka-topic)",
            options.kafka.brokers, options.topic
        )));
    }
    let mut ends = HashMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        let (low, high) = consumer
            .fetch_watermarks(&options.topic, partition, options.timeout)
            .map_err(unreadable)?;
        if low < high {
            ends.insert(partition, high);
        }
        assignment
            .add_partition_offset(&options.topic, partition, Offset::Beginning)
            .map_err(unreadable)?;
    }
    consumer.assign(&assignment).map_err(unreadable)?;
    Ok((consumer, ends))
}

/// Errors that time does not mend. librdkafka goes on by itself after all others.
fn is_lasting(error: &KafkaError) -> bool {
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

    fn record(value: &[u8]) -> Record {
        let event = json::from_slice(value).map(Box::new).map_err(|error| error.to_string());
        Record { partition: 2, offset: 7, timestamp: None, key: None, value: value.to_vec(), event }
    }

    #[test]
    fn a_line_for_people() {
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
            record.human_line(),
            r"2026-01-01T00:00:00.005Z INFO  db  order_placed user:1 order:2 Two hoodies\u{1b}[2J\nwere ordered product_id=1 quantity=2"
        );
        assert_eq!(record.json_line().as_bytes(), record.value);
    }

    #[test]
    fn what_is_not_an_event_is_shown_as_such() {
        let text = record(b"hello\nworld");
        assert!(
            text.human_line().starts_with("partition 2 offset 7: not a log event (expected value"),
            "{}",
            text.human_line()
        );
        assert!(text.human_line().ends_with(r": hello\nworld"), "{}", text.human_line());
        let line: serde_json::Value = serde_json::from_str(&text.json_line()).unwrap();
        assert_eq!(
            (&line["notALogMessage"], &line["offset"]),
            (&serde_json::json!("hello\nworld"), &serde_json::json!(7))
        );
        for value in [b"".as_slice(), b"[1]", b"{\"level\": \"LOUD\"}", &[0xff, 0xfe]] {
            let record = record(value);
            assert!(record.event.is_err());
            assert!(
                !record.human_line().contains('\n')
                    && serde_json::from_str::<serde_json::Value>(&record.json_line()).is_ok()
            );
        }
    }

    #[test]
    fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, told) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::StorageFull, true)]
        {
            let mut failure = None;
            assert!(print(Broken(kind), true, &mut failure)(record(b"{}")).is_break());
            assert_eq!(failure.is_some(), told);
        }
    }
}
