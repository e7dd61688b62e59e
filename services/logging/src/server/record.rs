use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::message::{Header, OwnedHeaders};

use crate::{json, proto::LogMessage, rules};

/// The event's name, so that consumers can filter without parsing.
pub(crate) const HEADER_EVENT: &str = "event";
pub(crate) const HEADER_SCHEMA: &str = "schema";
/// The value is the proto3 JSON of this message.
pub(crate) const SCHEMA: &str = "merch.logging.v1.LogMessage";
pub(crate) const HEADER_SCHEMA_VERSION: &str = "schema_version";
/// Raised by incompatible changes only.
pub(crate) const SCHEMA_VERSION: &str = "1";
/// Trace context of the causing request (W3C Trace Context, level 1).
pub(crate) const HEADER_TRACEPARENT: &str = "traceparent";

/// Maximum of key, value and headers. Kafka's default `message.max.bytes` is 1,048,588 with
/// framing.
pub(crate) const MAX_RECORD_BYTES: usize = 1_000_000;

pub(crate) struct ProducerRecord {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(super) headers: OwnedHeaders,
    /// Milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
}

impl ProducerRecord {
    /// Returns why Kafka could never store the event.
    pub(crate) fn new(event: LogMessage) -> Result<Self, String> {
        let value = json::to_vec(&event)
            .map_err(|error| format!("an event that can be encoded as JSON: {error}"))?;
        let timestamp = timestamp(&event, SystemTime::now());
        let headers = OwnedHeaders::new()
            .insert(Header { key: HEADER_EVENT, value: Some(&event.event) })
            .insert(Header { key: HEADER_SCHEMA, value: Some(SCHEMA) })
            .insert(Header { key: HEADER_SCHEMA_VERSION, value: Some(SCHEMA_VERSION) });
        let headers = match traceparent(&event) {
            Some(parent) => {
                headers.insert(Header { key: HEADER_TRACEPARENT, value: Some(&parent) })
            }
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
        // Upper bound of the headers; the contract limits their values.
        self.key.len() + self.value.len() + 256
    }
}

/// Returns the event's time, at most `now`: brokers refuse timestamps in the future (by default an
/// hour ahead). The value keeps the event's own time.
fn timestamp(event: &LogMessage, now: SystemTime) -> Option<i64> {
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis())
        .unwrap_or(i64::MAX);
    let time = event.time?;
    let timestamp =
        time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000));
    (timestamp >= 0).then(|| timestamp.min(now))
}

/// Events of one user or order share a key, and so a partition and its order. Others use their id:
/// refusals of one popular product would fill a partition.
fn key(event: LogMessage) -> String {
    if event.subject.starts_with("user:") || event.subject.starts_with("order:") {
        event.subject
    } else {
        event.id
    }
}

/// The span id is the second half of the event's id, because an event does not record its span. The
/// sampled flag means "may have been recorded" (W3C Trace Context, 3.2.2.5.1).
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
    fn timestamp_is_never_in_the_future() {
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
    fn only_events_of_a_user_or_order_share_a_key() {
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
    fn trace_id_becomes_a_traceparent_header() {
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
