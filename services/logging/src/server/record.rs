//! An event in the form in which it goes to Kafka.

use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::message::{Header, OwnedHeaders};

use crate::{json, proto::LogMessage, rules};

/// The header of a record that holds the event's word, so that consumers can choose without
/// parsing.
pub(crate) const HEADER_EVENT: &str = "event";
/// The header of a record that names the type of its value.
pub(crate) const HEADER_SCHEMA: &str = "schema";
/// The type of the value: its proto3 JSON mapping.
pub(crate) const SCHEMA: &str = "merch.logging.v1.LogMessage";
/// The header of a record that says which of the type's versions its value is of.
pub(crate) const HEADER_SCHEMA_VERSION: &str = "schema_version";
/// Raised by what a consumer of the version before it could not read; members that are added are no
/// such thing.
pub(crate) const SCHEMA_VERSION: &str = "1";
/// The header of a record by which a consumer's spans join the trace of the request that caused the
/// event (W3C Trace Context, level 1).
pub(crate) const HEADER_TRACE: &str = "traceparent";

/// Bytes of the key, the value and the headers of one record: what brokers take by default
/// (`message.max.bytes` is 1,048,588 with the framing).
pub(crate) const MAX_RECORD_BYTES: usize = 1_000_000;

/// An event in the form in which it goes to Kafka.
pub(crate) struct Record {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) headers: OwnedHeaders,
    /// Milliseconds since 1970.
    pub(super) timestamp: Option<i64>,
}

impl Record {
    /// The record of an event; `Err` says why Kafka could never take it.
    pub(crate) fn new(event: LogMessage) -> Result<Self, String> {
        let value = json::to_vec(&event)
            .map_err(|error| format!("an event that has a JSON form: {error}"))?;
        let timestamp = timestamp(&event, SystemTime::now());
        let headers = OwnedHeaders::new()
            .insert(Header { key: HEADER_EVENT, value: Some(&event.event) })
            .insert(Header { key: HEADER_SCHEMA, value: Some(SCHEMA) })
            .insert(Header { key: HEADER_SCHEMA_VERSION, value: Some(SCHEMA_VERSION) });
        let headers = match traceparent(&event) {
            Some(parent) => headers.insert(Header { key: HEADER_TRACE, value: Some(&parent) }),
            None => headers,
        };
        let key = key(event);
        let record = Self { key, value, headers, timestamp };
        if record.bytes() > MAX_RECORD_BYTES {
            return Err(format!(
                "an event of at most {MAX_RECORD_BYTES} bytes as JSON; it has {}",
                record.bytes()
            ));
        }
        Ok(record)
    }

    pub(super) fn bytes(&self) -> usize {
        // The words of the headers are bounded by the contract.
        self.key.len() + self.value.len() + 256
    }
}

/// The record's timestamp: the event's time, though none later than `now`, as brokers refuse what
/// is dated ahead (by an hour, by default). The event keeps its own time in the value.
fn timestamp(event: &LogMessage, now: SystemTime) -> Option<i64> {
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis())
        .unwrap_or(i64::MAX);
    let time = event.time?;
    let timestamp =
        time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000));
    (timestamp >= 0).then(|| timestamp.min(now))
}

/// What decides on the partition, and with it on what stays in order: all that happens to one user
/// or order. Nothing else happens in order; in a rush, the refusals of one product, or of one
/// impatient buyer, would fill a single partition.
fn key(event: LogMessage) -> String {
    if event.subject.starts_with("user:") || event.subject.starts_with("order:") {
        event.subject
    } else {
        event.id
    }
}

/// The trace context of an event that has a trace id.
///
/// The event says which trace it belongs to and not which span it came from, so it stands for a
/// span of its own, whose id is the last half of the event's: random, and never zero. Whether the
/// trace was recorded is not known either; the flag of that name says "may have been" (W3C Trace
/// Context, 3.2.2.5.1).
fn traceparent(event: &LogMessage) -> Option<String> {
    let id = uuid::Uuid::parse_str(&event.id).ok()?;
    (rules::is_trace_id(&event.trace_id) && event.trace_id.bytes().any(|digit| digit != b'0'))
        .then(|| format!("00-{}-{:016x}-01", event.trace_id, id.as_u64_pair().1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pbjson_types::Timestamp;

    use super::*;

    #[test]
    fn a_record_is_never_dated_ahead() {
        let at = |seconds, nanos| LogMessage {
            time: Some(Timestamp { seconds, nanos }),
            ..LogMessage::default()
        };
        let now = UNIX_EPOCH + Duration::from_millis(1_767_225_600_500);
        assert_eq!(timestamp(&at(1_767_225_600, 5_999_999), now), Some(1_767_225_600_005));
        assert_eq!(
            timestamp(&at(1_767_225_600 + 7200, 0), now),
            Some(1_767_225_600_500),
            "two hours ahead"
        );
        assert_eq!(timestamp(&at(253_402_300_799, 0), now), Some(1_767_225_600_500));
        assert_eq!(timestamp(&at(-1, 0), now), None);
        assert_eq!(timestamp(&LogMessage::default(), now), None);
    }

    #[test]
    fn only_what_happens_to_one_user_or_order_has_a_key_in_common() {
        let event = |subject: &str| LogMessage {
            id: "its id".to_owned(),
            actor: "user:1".to_owned(),
            subject: subject.to_owned(),
            ..LogMessage::default()
        };
        for (subject, expected) in
            [("user:2", "user:2"), ("order:3", "order:3"), ("product:4", "its id"), ("", "its id")]
        {
            assert_eq!(key(event(subject)), expected, "{subject}");
        }
    }

    #[test]
    fn an_event_of_a_trace_carries_its_context() {
        let event = |trace_id: &str| LogMessage {
            id: "01981f3e-7a00-7000-8000-00000000002a".to_owned(),
            trace_id: trace_id.to_owned(),
            ..LogMessage::default()
        };
        let trace = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(
            traceparent(&event(trace)).as_deref(),
            Some("00-0af7651916cd43dd8448eb211c80319c-800000000000002a-01")
        );
        for none in ["", "00000000000000000000000000000000", "0AF7651916CD43DD8448EB211C80319C"] {
            assert_eq!(traceparent(&event(none)), None, "{none}");
        }
    }
}
