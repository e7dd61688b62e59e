//! JSON encoding of events: the proto3 JSON mapping of `LogMessage`.

use serde_json::Value;

use crate::proto::LogMessage;

/// Encodes an event as one line of JSON: lowerCamelCase members, defaults omitted.
///
/// # Errors
/// If the time or level is out of range; [`crate::rules::check`] finds both.
pub fn to_vec(event: &LogMessage) -> Result<Vec<u8>, serde_json::Error> {
    let mut value = serde_json::to_value(event)?;
    // proto3 JSON is "Z-normalized" (protobuf.dev/programming-guides/json, `Timestamp`);
    // pbjson-types 0.9 writes +00:00.
    if let Some(Value::String(time)) = value.get_mut("time")
        && let Some(local) = time.strip_suffix("+00:00")
    {
        *time = format!("{local}Z");
    }
    serde_json::to_vec(&value)
}

/// Decodes a record's value.
///
/// # Errors
/// If it is not the JSON of a `LogMessage`.
pub fn from_slice(value: &[u8]) -> Result<LogMessage, serde_json::Error> {
    serde_json::from_slice(value)
}

#[cfg(test)]
mod tests {
    use pbjson_types::Timestamp;

    use super::*;
    use crate::proto::Level;

    #[test]
    fn names_are_camel_case_and_times_end_in_z() {
        let event = LogMessage {
            id: "01981f3e-7a00-7000-8000-000000000001".to_owned(),
            time: Some(Timestamp { seconds: 1_767_225_600, nanos: 5_000_000 }),
            level: Level::Info.into(),
            request_id: "r-1".to_owned(),
            attributes: [("product_id".to_owned(), "1".to_owned())].into(),
            ..LogMessage::default()
        };
        let bytes = to_vec(&event).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&bytes).unwrap(),
            serde_json::json!({
                "id": "01981f3e-7a00-7000-8000-000000000001",
                "time": "2026-01-01T00:00:00.005Z",
                "level": "LEVEL_INFO",
                "requestId": "r-1",
                "attributes": {"product_id": "1"},
            })
        );
        assert_eq!(from_slice(&bytes).unwrap(), event);
    }

    #[test]
    fn control_characters_are_escaped() {
        let event =
            LogMessage { message: "one\ntwo\u{1b}[31m".to_owned(), ..LogMessage::default() };
        let bytes = to_vec(&event).unwrap();
        assert!(!bytes.iter().any(u8::is_ascii_control), "{}", String::from_utf8_lossy(&bytes));
    }
}
