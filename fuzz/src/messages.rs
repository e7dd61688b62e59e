//! gRPC messages, and the JSON of log events.

use std::fmt::Debug;

use merch_contract::{
    grpc::{admin::v1 as admin, assistant::v1 as assistant, logging::v1 as logging},
    validation::Validate,
};
use merch_logging::{json, rules};
use prost::Message;

/// The most violations of a request: each of 1,000 events violates each of its rules.
const MAX_VIOLATIONS: usize = 1000 * 12 + 1;

type Check = fn(&[u8]);

macro_rules! messages {
    ($($package:literal $module:ident: requests $($request:ident)*; others $($other:ident)*;)*) => {
        /// Each message of `proto/` by its full name, with its check.
        pub(crate) const MESSAGES: &[(&str, Check)] = &[$(
            $((concat!($package, ".", stringify!($request)), check_request::<$module::$request>),)*
            $((concat!($package, ".", stringify!($other)), check::<$module::$other>),)*
        )*];
    };
}

messages! {
    "merch.admin.v1" admin:
        requests UserRef RestockRequest SetPriceRequest ListUsersRequest DeactivateUserRequest
            Everyone RevokeTokensRequest;
        others RestockResponse SetPriceResponse ListUsersResponse DeactivateUserResponse
            RevokeTokensResponse;
    "merch.assistant.v1" assistant:
        requests RequestContext Caller CreateUserRequest CheckAvailabilityRequest
            BeginPasswordCheckRequest CancelPasswordCheckRequest GetCredentialsRequest
            RecordLogInRequest RevokeTokensRequest GetUserRequest UpdateUserRequest
            ChangePasswordRequest DeactivateUserRequest ListProductsRequest GetProductRequest
            NewOrder PlaceOrdersRequest ListOrdersRequest GetOrderRequest CancelOrderRequest
            GetClockRequest;
        others User Product Order CreateUserResponse CheckAvailabilityResponse
            BeginPasswordCheckResponse Credentials CancelPasswordCheckResponse
            GetCredentialsResponse RecordLogInResponse RevokeTokensResponse GetUserResponse
            UpdateUserResponse ChangePasswordResponse DeactivateUserResponse ListProductsResponse
            GetProductResponse OrderRefusal PlaceOrderResult PlaceOrdersResponse
            ListOrdersResponse GetOrderResponse CancelOrderResponse GetClockResponse;
    "merch.logging.v1" logging:
        requests LogMessage StreamLogsRequest;
        others StreamLogsResponse RefusedEvent;
}

/// Decodes a message and checks its rules. The first line is the full name of the message.
///
/// # Panics
/// If an encoded message is decoded to another one, or is much longer; if a list of violations has
/// no bound; or if an event that the rules accept has no JSON.
pub fn grpc(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (name, bytes) = (&data[..at], &data[at + 1..]);
    if let Some((_, check)) = MESSAGES.iter().find(|(of, _)| of.as_bytes() == name) {
        check(bytes);
    }
    if name == b"merch.logging.v1.LogMessage"
        && let Ok(event) = logging::LogMessage::decode(bytes)
    {
        check_event(&event);
    }
}

fn check<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) {
    drop(decoded::<M>(bytes));
}

fn check_request<M: Message + Default + PartialEq + Debug + Validate>(bytes: &[u8]) {
    let Some(message) = decoded::<M>(bytes) else { return };
    let violations = message.violations();
    assert!(violations.len() <= MAX_VIOLATIONS, "{} violations", violations.len());
    for violation in &violations {
        assert!(!violation.field.is_empty() && !violation.expected.is_empty(), "{violation:?}");
    }
}

fn decoded<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let encoded = message.encode_to_vec();
    assert_eq!(encoded.len(), message.encoded_len());
    // A negative number of 32 bits has ten bytes, and a decoder accepts five.
    assert!(encoded.len() <= 2 * bytes.len(), "{} from {} bytes", encoded.len(), bytes.len());
    let again = M::decode(&*encoded).expect("an encoded message is valid");
    assert!(again == message, "{again:?} is not {message:?}");
    Some(message)
}

fn check_event(event: &logging::LogMessage) {
    let json = json::to_vec(event);
    if !rules::check(event).is_empty() {
        return;
    }
    let json = json.unwrap_or_else(|error| panic!("{error}: {event:?}"));
    // A control character of one byte is an escape of six.
    assert!(json.len() <= 6 * event.encoded_len() + 512, "{} bytes of JSON", json.len());
    assert!(json.iter().all(|byte| *byte >= b' '), "a record is one line");
    let again = json::from_slice(&json).unwrap_or_else(|error| panic!("{error}: {event:?}"));
    assert_eq!(again, *event);
}

/// Decodes the JSON of an event.
///
/// # Panics
/// If the JSON of the event is decoded to another event.
pub fn event_json(data: &[u8]) {
    let Ok(event) = json::from_slice(data) else { return };
    check_event(&event);
    if let Ok(json) = json::to_vec(&event) {
        let again = json::from_slice(&json).unwrap_or_else(|error| panic!("{error}: {event:?}"));
        assert_eq!(again, event);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_messages_of_the_contracts_are_fuzzed() {
        let files = prost_types::FileDescriptorSet::decode(
            merch_contract::grpc::FILE_DESCRIPTOR_SET_WITH_ADMIN,
        )
        .expect("the descriptors are valid");
        let declared: BTreeSet<String> = files
            .file
            .iter()
            .filter(|file| file.package().starts_with("merch."))
            .flat_map(|file| {
                let package = file.package().to_owned();
                file.message_type.iter().map(move |of| format!("{package}.{}", of.name()))
            })
            .collect();
        let fuzzed: BTreeSet<String> =
            MESSAGES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(fuzzed, declared);
    }
}
