use merch_contract::grpc::assistant::v1 as proto;
use merch_logging::rules::is_trace_id;
use uuid::Uuid;

use crate::{
    entity::users::PasswordHash,
    failure::{Failure, InvalidField},
    store::{Caller, Context, known_networks::Network, password_checks::Reservation},
};

/// An invalid field yields a default value, so that the next ones are checked.
#[derive(Debug, Default)]
pub(super) struct Fields {
    violations: Vec<InvalidField>,
}

impl Fields {
    pub(super) fn finish<T>(self, value: T) -> Result<T, Failure> {
        if self.violations.is_empty() { Ok(value) } else { Err(Failure::Invalid(self.violations)) }
    }

    pub(super) fn check(&mut self, field: &str, holds: bool, expected: &'static str) {
        if !holds {
            self.violations.push(InvalidField { field: field.to_owned(), expected });
        }
    }

    /// A missing context is valid.
    pub(super) fn context(&mut self, context: Option<proto::RequestContext>) -> Context {
        let proto::RequestContext { request_id, trace_id } = context.unwrap_or_default();
        self.check(
            "context.request_id",
            request_id.len() <= 128 && is_visible(&request_id),
            "at most 128 visible ASCII characters, or empty",
        );
        self.check(
            "context.trace_id",
            trace_id.is_empty() || is_trace_id(&trace_id),
            "32 lower-case hexadecimal digits, or empty",
        );
        Context { request_id, trace_id }
    }

    pub(super) fn caller(&mut self, field: &str, caller: Option<proto::Caller>) -> Caller {
        self.check(field, caller.is_some(), "who acts; it must be set");
        let user_id = caller
            .as_ref()
            .map_or(Uuid::nil(), |caller| self.id(&format!("{field}.user_id"), &caller.user_id));
        Caller { user_id, token_version: caller.map_or(0, |caller| caller.token_version) }
    }

    pub(super) fn id(&mut self, field: &str, text: &str) -> Uuid {
        // The parser also accepts forms without hyphens, in braces and as a URN.
        let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
        self.check(field, id.is_some(), "a UUID in its text form of 36 characters");
        id.unwrap_or_default()
    }

    pub(super) fn sid(&mut self, field: &str, sid: String) -> String {
        let holds =
            (1..=15).contains(&sid.len()) && sid.bytes().all(|byte| byte.is_ascii_alphanumeric());
        self.check(field, holds, "1 to 15 letters and digits");
        sid
    }

    pub(super) fn username(&mut self, field: &str, username: String) -> String {
        self.check(field, is_username(&username), "3 to 50 of letters, digits, _ . and -");
        username
    }

    pub(super) fn email(&mut self, field: &str, email: String) -> String {
        let holds = !email.is_empty()
            && email.chars().count() <= 255
            && !email.chars().any(|c| c.is_control() || c == ' ');
        self.check(
            field,
            holds,
            "1 to 255 characters, none of them a space or a control character",
        );
        email
    }

    pub(super) fn password_hash(&mut self, field: &str, hash: String) -> PasswordHash {
        let holds = hash.starts_with("$scrypt$") && hash.len() <= 512 && is_visible(&hash);
        self.check(field, holds, "a PHC string that begins with $scrypt$");
        PasswordHash(hash)
    }

    pub(super) fn network(&mut self, field: &str, text: &str) -> Network {
        let network = Network::parse(text);
        self.check(field, network.is_some(), "an IP address in text form, or empty");
        network.unwrap_or_default()
    }

    pub(super) fn reservation(&mut self, field: &str, bytes: &[u8]) -> Reservation {
        let reservation = Reservation::from_bytes(bytes);
        self.check(field, reservation.is_some(), "a reservation of BeginPasswordCheck, or empty");
        reservation.unwrap_or_default()
    }

    pub(super) fn page_size(&mut self, field: &str, size: i32) -> u64 {
        self.check(field, (1..=100).contains(&size), "1 to 100");
        u64::try_from(size).unwrap_or_default()
    }
}

pub(super) fn is_username(text: &str) -> bool {
    (3..=50).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

pub(super) fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
