//! Ids: UUIDv7 of which later ones are greater, whatever the clock does.

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
};

use sea_orm::{ConnectionTrait as _, DbErr, Statement};
use time::OffsetDateTime;
use uuid::{Builder, Uuid};

use crate::database::Database;

/// The bits of a UUIDv7 that are not of its time, its version or its variant (RFC 9562, section
/// 5.7).
const RANDOM_BITS: u32 = 74;
/// Those of them below the variant.
const LOW_BITS: u32 = 62;
/// The bits of the step from an id to the next one where the clock gives none that is greater. Two
/// processes that step from the same id hit on one id with the probability 2⁻⁴⁸, and within a
/// millisecond there is room for 2²⁶ steps.
const STEP_BITS: u32 = 48;
const LATEST_MILLISECOND: u128 = (1 << 48) - 1;

/// The greatest id of all orders.
pub(crate) const NEWEST_ORDER: &str = "SELECT id FROM orders ORDER BY id DESC LIMIT 1";

/// Gives ids that are greater than every one that it gave or was shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids(Arc<Mutex<Uuid>>);

impl Ids {
    /// Begins above the ids of the orders and users in the database.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(crate) async fn above(database: &Database) -> Result<Self, DbErr> {
        let ids = Self::default();
        for newest in [NEWEST_ORDER, "SELECT id FROM users ORDER BY id DESC LIMIT 1"] {
            let question = Statement::from_string(database.backend(), newest);
            if let Some(row) = database.within(database.reader().query_one_raw(question)).await? {
                ids.observe(row.try_get("", "id")?);
            }
        }
        Ok(ids)
    }

    /// Takes note of an id that another process may have given.
    pub(crate) fn observe(&self, id: Uuid) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An id of another kind says nothing of time.
        if id.get_version_num() == 7 {
            *last = id.max(*last);
        }
    }

    /// Gives an id of this moment, or, where that would not be greater than the last one, the next
    /// one after it.
    pub(crate) fn next(&self, now: OffsetDateTime) -> Uuid {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let step = NonZeroU64::MIN.saturating_add(rand::random::<u64>() >> (u64::BITS - STEP_BITS));
        *last = successor(*last, fresh(now), step);
        *last
    }
}

/// A random id of this moment.
fn fresh(now: OffsetDateTime) -> Uuid {
    let milliseconds = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    Builder::from_unix_timestamp_millis(milliseconds, &rand::random()).into_uuid()
}

/// `fresh`, if it is greater than `last`; else the id that is `step` after `last`. At the end of
/// all time, `fresh` again.
fn successor(last: Uuid, fresh: Uuid, step: NonZeroU64) -> Uuid {
    if fresh > last {
        return fresh;
    }
    let bits = last.as_u128();
    let low = (1 << LOW_BITS) - 1;
    let (mut milliseconds, random) =
        (bits >> 80, ((bits >> 64) & 0xfff) << LOW_BITS | (bits & low));
    let mut random = random + u128::from(step.get());
    if random >> RANDOM_BITS != 0 {
        milliseconds += 1;
        random = u128::from(step.get());
    }
    if milliseconds > LATEST_MILLISECOND {
        return fresh;
    }
    Uuid::from_u128(
        milliseconds << 80
            | 0x7 << 76
            | (random >> LOW_BITS) << 64
            | 0b10 << LOW_BITS
            | (random & low),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000 + second).unwrap()
    }

    fn assert_is_v7(id: Uuid) {
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122), "{id}");
    }

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let ids = Ids::default();
        let mut last = Uuid::nil();
        for second in [0, 0, 0, 1, -3_600, -86_400, 0, 2, -1, 1_000_000, 5, 5, 5] {
            for _ in 0..100 {
                let id = ids.next(at(second));
                assert!(id > last, "{id} came after {last}, at {second} s");
                assert_is_v7(id);
                last = id;
            }
        }
    }

    #[test]
    fn an_id_has_the_time_of_the_clock_where_that_is_later() {
        let ids = Ids::default();
        let milliseconds = |id: Uuid| id.as_u128() >> 80;
        assert_eq!(milliseconds(ids.next(at(0))), 1_800_000_000_000);
        assert_eq!(milliseconds(ids.next(at(10))), 1_800_000_010_000);
    }

    #[test]
    fn what_another_process_gave_is_below_all_that_follow() {
        let ids = Ids::default();
        let of_tomorrow = Ids::default().next(at(86_400));
        ids.observe(of_tomorrow);
        ids.observe(Uuid::from_u128(u128::MAX));
        assert!(ids.next(at(0)) > of_tomorrow);
    }

    #[test]
    fn a_step_carries_into_the_next_bits_and_the_next_millisecond() {
        let one = NonZeroU64::MIN;
        let id = |text: &str| Uuid::parse_str(text).unwrap();
        for (last, next) in [
            ("0198c0de-7e57-7000-8000-000000000001", "0198c0de-7e57-7000-8000-000000000002"),
            ("0198c0de-7e57-7000-bfff-ffffffffffff", "0198c0de-7e57-7001-8000-000000000000"),
            ("0198c0de-7e57-7fff-bfff-ffffffffffff", "0198c0de-7e58-7000-8000-000000000001"),
        ] {
            assert_eq!(successor(id(last), Uuid::nil(), one), id(next), "{last}");
        }
        assert_eq!(
            successor(id("ffffffff-ffff-7fff-bfff-ffffffffffff"), Uuid::nil(), one),
            Uuid::nil()
        );
    }
}
