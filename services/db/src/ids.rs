//! Generates UUIDv7 ids that increase even if the clock is set back.

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
};

#[cfg(test)]
use rand::SeedableRng as _;
use rand::{RngExt as _, rngs::StdRng};
use sea_orm::{ConnectionTrait as _, DbErr, Statement};
use time::OffsetDateTime;
use uuid::{Builder, Uuid};

use crate::database::Database;

/// The random bits of a UUIDv7: all but time, version and variant (RFC 9562, section 5.7).
const RANDOM_BITS: u32 = 74;
const LOW_BITS: u32 = 62;
/// The bits of the random step to the next id, used unless the clock gives a greater id. Two
/// processes that step from the same id collide with probability 2⁻⁴⁸. A millisecond has room for
/// 2²⁶ steps.
const STEP_BITS: u32 = 48;
const LATEST_MILLISECOND: u128 = (1 << 48) - 1;

pub(crate) const NEWEST_ORDER: &str = "SELECT id FROM orders ORDER BY id DESC LIMIT 1";

/// Generates ids greater than every id that it has generated or observed.
#[derive(Clone, Debug)]
pub(crate) struct Ids(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    last: Uuid,
    random: StdRng,
}

impl Default for Ids {
    fn default() -> Self {
        Self::with(rand::make_rng())
    }
}

impl Ids {
    fn with(random: StdRng) -> Self {
        Self(Arc::new(Mutex::new(State { last: Uuid::nil(), random })))
    }

    /// Creates ids that repeat, for the simulation.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::with(StdRng::seed_from_u64(seed))
    }

    /// Starts above the ids of all orders and users.
    pub(crate) async fn load(database: &Database) -> Result<Self, DbErr> {
        let ids = Self::default();
        for newest in [NEWEST_ORDER, "SELECT id FROM users ORDER BY id DESC LIMIT 1"] {
            let statement = Statement::from_string(database.backend(), newest);
            if let Some(row) = database.within(database.reader().query_one_raw(statement)).await? {
                ids.observe(row.try_get("", "id")?);
            }
        }
        Ok(ids)
    }

    pub(crate) fn observe(&self, id: Uuid) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if id.get_version_num() == 7 {
            state.last = id.max(state.last);
        }
    }

    /// Returns an id with this time, or the last id's successor if that is greater.
    pub(crate) fn next(&self, now: OffsetDateTime) -> Uuid {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let step: u64 = state.random.random();
        let step = NonZeroU64::MIN.saturating_add(step >> (u64::BITS - STEP_BITS));
        let id = random_id(now, &state.random.random());
        state.last = successor(state.last, id, step);
        state.last
    }
}

fn random_id(now: OffsetDateTime, random: &[u8; 10]) -> Uuid {
    let milliseconds = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    Builder::from_unix_timestamp_millis(milliseconds, random).into_uuid()
}

/// Returns `random_id` if it is greater than `last`, otherwise the id `step` after `last`. If
/// `last` has no such successor, also returns `random_id`.
fn successor(last: Uuid, random_id: Uuid, step: NonZeroU64) -> Uuid {
    if random_id > last {
        return random_id;
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
        return random_id;
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
    fn ids_increase_despite_clock_jumps() {
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
    fn id_follows_an_advancing_clock() {
        let ids = Ids::default();
        let milliseconds = |id: Uuid| id.as_u128() >> 80;
        assert_eq!(milliseconds(ids.next(at(0))), 1_800_000_000_000);
        assert_eq!(milliseconds(ids.next(at(10))), 1_800_000_010_000);
    }

    #[test]
    fn later_ids_exceed_observed_ids() {
        let ids = Ids::default();
        let tomorrow = Ids::default().next(at(86_400));
        ids.observe(tomorrow);
        ids.observe(Uuid::from_u128(u128::MAX));
        assert!(ids.next(at(0)) > tomorrow);
    }

    #[test]
    fn step_carries_into_higher_bits() {
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
