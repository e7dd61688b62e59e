//! Validation rules of `proto/merch/logging/v1/logging.proto`, for both sides of the stream.

use merch_chassis::grpc::Role;
use prost::Message as _;
use uuid::Uuid;

use crate::proto::{Level, LogMessage, StreamLogsRequest};

/// Maximum events in a request.
pub const MAX_EVENTS: usize = 1000;
/// Maximum encoded bytes of a request.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Maximum attributes of an event.
pub const MAX_ATTRIBUTES: usize = 32;
/// Maximum bytes of an attribute's value.
pub const MAX_ATTRIBUTE_BYTES: usize = 1024;
/// Bytes of a request besides its events: the sequence, with a reserve.
pub const REQUEST_OVERHEAD: usize = 16;

/// Years 0001 to 9999, as in `google.protobuf.Timestamp`.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A violated rule. It never holds the offending value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field: `id`, or `messages[3].id`.
    pub field: String,
    /// The expected value.
    pub expected: String,
}

impl Violation {
    fn new(field: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { field: field.into(), expected: expected.into() }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: expected {}", self.field, self.expected)
    }
}

/// Returns an event's bytes in a request, with tag and length.
#[must_use]
pub fn size_in_request(event: &LogMessage) -> usize {
    let length = event.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

/// Returns the rules that an event violates.
#[must_use]
pub fn check(event: &LogMessage) -> Vec<Violation> {
    // Destructured, so that a new field fails to compile until it has a rule.
    let LogMessage {
        id,
        time,
        service,
        instance,
        level,
        event: event_name,
        actor,
        subject,
        request_id: _,
        trace_id,
        message: _,
        attributes,
    } = event;
    let mut violations = Vec::new();
    let mut require = |holds: bool, field: &str, expected: &str| {
        if !holds {
            violations.push(Violation::new(field, expected));
        }
    };

    require(is_uuid_v7(id), "id", "a UUIDv7 in its text form of 36 characters, in lower case");
    require(
        time.as_ref().is_some_and(|time| {
            TIMESTAMP_SECONDS.contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos)
        }),
        "time",
        "a time in the years 0001 to 9999",
    );
    require((1..=64).contains(&service.chars().count()), "service", "1 to 64 characters");
    require((1..=128).contains(&instance.chars().count()), "instance", "1 to 128 characters");
    require(
        matches!(
            Level::try_from(*level),
            Ok(Level::Debug | Level::Info | Level::Warn | Level::Error)
        ),
        "level",
        "LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN or LEVEL_ERROR",
    );
    require(
        is_lower_snake(event_name) && event_name.len() <= 64,
        "event",
        "a word in lower_snake of 1 to 64 characters",
    );
    let well_known = matches!(actor.as_str(), "anonymous" | "operator");
    require(
        well_known || actor.strip_prefix("user:").is_some_and(is_uuid),
        "actor",
        "`user:` and the user's id, `operator` or `anonymous`",
    );
    require(
        subject.is_empty() || is_subject(subject),
        "subject",
        "`user:`, `order:` or `product:` and the id, or nothing",
    );
    require(
        trace_id.is_empty() || is_trace_id(trace_id),
        "trace_id",
        "32 lower-case hexadecimal digits, or nothing",
    );
    require(attributes.len() <= MAX_ATTRIBUTES, "attributes", "at most 32 attributes");
    require(
        attributes.keys().all(|name| is_lower_snake(name)),
        "attributes",
        "names in lower_snake",
    );
    require(
        attributes.values().all(|value| value.len() <= MAX_ATTRIBUTE_BYTES),
        "attributes",
        "values of at most 1,024 bytes",
    );
    if size_in_request(event) + REQUEST_OVERHEAD > MAX_REQUEST_BYTES {
        violations.push(Violation::new("message", "an event of less than 1 MiB in all"));
    }
    violations
}

/// `service` must be the role in the sender's certificate; only `db` may name the actor `operator`.
fn check_sender(event: &LogMessage, role: Role) -> Vec<Violation> {
    let mut violations = Vec::new();
    if event.service != role.name() {
        let expected = format!("`{role}`, the role of the sender's certificate");
        violations.push(Violation::new("service", expected));
    }
    if event.actor == "operator" && role != Role::Db {
        violations.push(Violation::new("actor", "`operator` in events of the role db alone"));
    }
    violations
}

/// Returns the rules that a request violates, except for `sequence`. `sender` is the role in the
/// client certificate.
#[must_use]
pub fn check_request(request: &StreamLogsRequest, sender: Option<Role>) -> Vec<Violation> {
    let StreamLogsRequest { sequence: _, messages } = request;
    let mut violations = Vec::new();
    if messages.is_empty() || messages.len() > MAX_EVENTS {
        violations.push(Violation::new("messages", "1 to 1,000 events"));
    }
    if request.encoded_len() > MAX_REQUEST_BYTES {
        violations.push(Violation::new("messages", "at most 1 MiB in all"));
    }
    for (index, message) in messages.iter().enumerate().take(MAX_EVENTS) {
        let of_sender = sender.map(|role| check_sender(message, role)).unwrap_or_default();
        let broken = check(message).into_iter().chain(of_sender);
        violations.extend(broken.map(|violation| Violation {
            field: format!("messages[{index}].{}", violation.field),
            ..violation
        }));
    }
    violations
}

fn is_uuid_v7(text: &str) -> bool {
    is_uuid(text) && Uuid::try_parse(text).is_ok_and(|id| id.get_version_num() == 7)
}

/// Lower case only: consumers compare ids as text.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
        && Uuid::try_parse(text).is_ok()
}

fn is_subject(text: &str) -> bool {
    match text.split_once(':') {
        Some(("user" | "order", id)) => is_uuid(id),
        Some(("product", id)) => {
            !id.is_empty() && id.len() <= 19 && id.bytes().all(|byte| byte.is_ascii_digit())
        }
        Some(_) | None => false,
    }
}

/// Returns whether the text is 32 lower-case hexadecimal digits.
#[must_use]
pub fn is_trace_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_lower_snake(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.split('_').all(|word| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use pbjson_types::Timestamp;

    use super::*;

    fn valid() -> LogMessage {
        LogMessage {
            id: Uuid::now_v7().to_string(),
            time: Some(Timestamp { seconds: 1_767_225_600, nanos: 0 }),
            service: "api".to_owned(),
            instance: "one".to_owned(),
            level: Level::Info.into(),
            event: "user_logged_in".to_owned(),
            actor: "anonymous".to_owned(),
            subject: format!("user:{}", Uuid::now_v7()),
            request_id: String::new(),
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            message: "A user logged in".to_owned(),
            attributes: [("client_address".to_owned(), "127.0.0.1".to_owned())].into(),
        }
    }

    fn fields_after(change: impl FnOnce(&mut LogMessage)) -> Vec<String> {
        let mut event = valid();
        change(&mut event);
        check(&event).into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn every_rule_reports_its_field() {
        assert_eq!(check(&valid()), vec![]);
        assert_eq!(fields_after(|event| event.id = Uuid::new_v4().to_string()), ["id"]);
        assert_eq!(fields_after(|event| event.id = event.id.replace('-', "")), ["id"]);
        assert_eq!(
            fields_after(|event| event.id = "01981F3E-7A00-7000-8000-000000000001".to_owned()),
            ["id"]
        );
        assert_eq!(fields_after(|event| event.time = None), ["time"]);
        assert_eq!(
            fields_after(|event| event.time = Some(Timestamp { seconds: 0, nanos: -1 })),
            ["time"]
        );
        assert_eq!(
            fields_after(|event| event.time = Some(Timestamp { seconds: i64::MAX, nanos: 0 })),
            ["time"]
        );
        assert_eq!(fields_after(|event| event.service.clear()), ["service"]);
        assert_eq!(fields_after(|event| event.service = "é".repeat(64)), [""; 0]);
        assert_eq!(fields_after(|event| event.service = "é".repeat(65)), ["service"]);
        assert_eq!(fields_after(|event| event.instance = "x".repeat(129)), ["instance"]);
        assert_eq!(fields_after(|event| event.level = 0), ["level"]);
        assert_eq!(fields_after(|event| event.level = 5), ["level"]);
        for name in [
            "",
            "Order",
            "order placed",
            "order__placed",
            "_order",
            "order_",
            "2nd",
            &"x".repeat(65),
        ] {
            assert_eq!(fields_after(|event| event.event = name.to_owned()), ["event"], "{name}");
        }
        for actor in ["", "user:", "user:7", "root"] {
            assert_eq!(fields_after(|event| event.actor = actor.to_owned()), ["actor"], "{actor}");
        }
        assert_eq!(fields_after(|event| event.actor = "operator".to_owned()), [""; 0]);
        for subject in ["product:", "product:x", "order:7", "shelf:1", "product"] {
            assert_eq!(
                fields_after(|event| event.subject = subject.to_owned()),
                ["subject"],
                "{subject}"
            );
        }
        assert_eq!(fields_after(|event| event.subject = "product:3".to_owned()), [""; 0]);
        assert_eq!(fields_after(|event| event.trace_id.make_ascii_uppercase()), ["trace_id"]);
        assert_eq!(
            fields_after(|event| event.attributes =
                (0..33).map(|n| (format!("a{n}"), String::new())).collect()),
            ["attributes"]
        );
        assert_eq!(
            fields_after(|event| event.attributes = [("a".to_owned(), "x".repeat(1025))].into()),
            ["attributes"]
        );
        assert_eq!(
            fields_after(|event| event.attributes = [("A".to_owned(), String::new())].into()),
            ["attributes"]
        );
        assert_eq!(
            fields_after(|event| event.message = "x".repeat(MAX_REQUEST_BYTES)),
            ["message"]
        );
    }

    #[test]
    fn sender_may_only_name_its_own_role() {
        let fields = |service: &str, actor: &str, sender: Option<Role>| -> Vec<String> {
            let event =
                LogMessage { service: service.to_owned(), actor: actor.to_owned(), ..valid() };
            let request = StreamLogsRequest { sequence: 1, messages: vec![valid(), event] };
            let broken = check_request(&request, sender).into_iter();
            broken
                .map(|violation| violation.field)
                .filter(|field| field.starts_with("messages[1]"))
                .collect()
        };
        assert_eq!(fields("api", "anonymous", Some(Role::Api)), [""; 0]);
        for other in ["db", "logging", "operator", "API"] {
            assert_eq!(
                fields(other, "anonymous", Some(Role::Api)),
                ["messages[1].service"],
                "{other}"
            );
        }
        assert_eq!(fields("api", "operator", Some(Role::Api)), ["messages[1].actor"]);
        assert_eq!(fields("db", "operator", Some(Role::Db)), [""; 0]);
        assert_eq!(fields("api", "anonymous", Some(Role::Db)), ["messages[1].service"]);
        // Plaintext and Unix sockets have no certificates.
        assert_eq!(fields("db", "operator", None), [""; 0]);
    }

    #[test]
    fn largest_event_fits_a_request() {
        let mut event = valid();
        event.message =
            "x".repeat(MAX_REQUEST_BYTES - size_in_request(&event) - REQUEST_OVERHEAD - 8);
        assert_eq!(check(&event), vec![]);
        assert_eq!(
            check_request(&StreamLogsRequest { sequence: u64::MAX, messages: vec![event] }, None),
            vec![]
        );
    }

    #[test]
    fn request_violations_name_the_event() {
        let mut bad = valid();
        bad.id.clear();
        let fields = |messages: Vec<LogMessage>| -> Vec<String> {
            check_request(&StreamLogsRequest { sequence: 1, messages }, None)
                .into_iter()
                .map(|violation| violation.field)
                .collect()
        };
        assert_eq!(fields(vec![valid(), valid(), valid(), bad]), ["messages[3].id"]);
        assert_eq!(fields(vec![]), ["messages"]);
        assert_eq!(fields(vec![valid(); 1001]), ["messages"]);
    }
}
