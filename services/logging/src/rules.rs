//! Rules of `proto/merch/logging/v1/logging.proto`, for both sides of the stream: its options, and
//! its sentences about sizes and senders.

pub use merch_contract::validation::Violation;

use merch_chassis::grpc::Role;
use merch_contract::validation::Validate as _;
use prost::Message as _;

use crate::proto::{LogMessage, StreamLogsRequest};

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

/// Returns an event's bytes in a request, with tag and length.
#[must_use]
pub fn size_in_request(event: &LogMessage) -> usize {
    let length = event.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

/// Returns the rules that an event violates.
#[must_use]
pub fn check(event: &LogMessage) -> Vec<Violation> {
    let mut violations = event.violations();
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
    let of_options = request.violations();
    let mut violations = Vec::new();
    if request.encoded_len() > MAX_REQUEST_BYTES {
        violations.push(Violation::new("messages", "at most 1 MiB in all"));
    }
    // Too many events are refused without a look at each.
    if let Some(role) = sender.filter(|_| of_options.iter().all(|found| found.field != "messages"))
    {
        for (index, message) in request.messages.iter().enumerate() {
            violations.extend(check_sender(message, role).into_iter().map(|violation| Violation {
                field: format!("messages[{index}].{}", violation.field),
                ..violation
            }));
        }
    }
    violations.extend(of_options);
    violations
}

/// Returns whether the text is 32 lower-case hexadecimal digits.
#[must_use]
pub fn is_trace_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use pbjson_types::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::proto::Level;

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
                (0..=MAX_ATTRIBUTES).map(|n| (format!("a{n}"), String::new())).collect()),
            ["attributes"]
        );
        assert_eq!(
            fields_after(|event| event.attributes = (0..MAX_ATTRIBUTES)
                .map(|n| (format!("a{n}"), "x".repeat(MAX_ATTRIBUTE_BYTES)))
                .collect()),
            [""; 0]
        );
        assert_eq!(
            fields_after(|event| event.attributes =
                [("a".to_owned(), "x".repeat(MAX_ATTRIBUTE_BYTES + 1))].into()),
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
        assert_eq!(fields(vec![valid(); MAX_EVENTS]), [""; 0]);
        assert_eq!(fields(vec![valid(); MAX_EVENTS + 1]), ["messages"]);
    }
}
