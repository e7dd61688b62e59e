//! Ids and times, both given by this service.

use pbjson_types::Timestamp;
use time::OffsetDateTime;
use uuid::Uuid;

/// Now, in UTC and whole microseconds: what PostgreSQL keeps, so that a row read later shows the very time that was answered at first.
pub(crate) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000).unwrap_or(now)
}

/// A UUIDv7 that is greater than every one this process gave before, also within a millisecond.
pub(crate) fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// For the wire.
pub(crate) fn timestamp(time: OffsetDateTime) -> Timestamp {
    let nanos = i32::try_from(time.nanosecond()).expect("a second has fewer nanoseconds than fit an i32");
    Timestamp { seconds: time.unix_timestamp(), nanos }
}
