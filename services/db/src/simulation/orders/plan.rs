//! What happens in a history: the operations of clients, and the faults.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use simulator::random;

pub(crate) const USERS: usize = 3;
pub(super) const PRODUCTS: [i32; 2] = [1, 2];
/// The database refuses every order of this product with an error that no retry mends.
pub(super) const CORRUPT: i32 = 98;
/// Is deactivated. The probes after the last fault are of other users.
const LEAVING: usize = USERS - 1;
/// No operation and no fault starts later.
pub(super) const HORIZON: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(super) seed: u64,
    pub(super) replicas: usize,
    /// Of each product.
    pub(super) stock: i32,
    pub(super) queue: usize,
    pub(super) batch: usize,
    pub(super) operations: Vec<Operation>,
    pub(super) faults: Vec<Fault>,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// Unique in the plan.
    pub(super) id: usize,
    pub(super) at: Duration,
    pub(super) user: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A call, repeated while its outcome is unknown, if each of its orders has a key.
    Order {
        orders: Vec<PlannedOrder>,
        /// Of each call.
        deadline: Option<Duration>,
        /// The client disconnects after this time.
        patience: Option<Duration>,
        /// Whether the client uses its token after a log-out.
        stale_token: bool,
    },
    /// Revokes all tokens of the user.
    LogOut,
    /// Also revokes them, and the user cannot log in again.
    Deactivate,
    /// Cancels an order of the user that was acknowledged.
    Cancel,
    /// Reads the stock of a product.
    Read {
        product: i32,
    },
    Restock {
        product: i32,
        pieces: i32,
    },
}

#[derive(Clone, Debug)]
pub(super) struct PlannedOrder {
    pub(super) user: usize,
    pub(super) product: i32,
    pub(super) quantity: i32,
    pub(super) key: Option<u8>,
    /// Of this order, if it is shorter than that of the call.
    pub(super) deadline: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) kind: FaultKind,
}

#[derive(Clone, Debug)]
pub(super) enum FaultKind {
    /// The process ends; a new one starts afterwards.
    Kill { replica: usize },
    /// Connections to the database are lost with this probability per statement.
    LoseConnections(f64),
    /// The answer of a COMMIT is lost with this probability. Half of these are not committed.
    LoseCommits(f64),
    /// COMMIT fails with a serialization failure with this probability.
    FailCommits(f64),
    /// Each message to and from the database takes up to this time.
    SlowDatabase(Duration),
    /// Responses to clients are lost with this probability.
    LoseResponses(f64),
    /// The clock of the machine is off by this number of seconds.
    Skew { replica: usize, seconds: i64 },
    /// Each message to and from the database hangs with this probability.
    Hang(f64),
    /// Another session locks both products, in this order.
    Stocktaking([i32; 2]),
    /// A standby that lacks the transactions of this time becomes the primary. A synchronous
    /// standby lacks nothing.
    FailOver(Duration),
}

impl Plan {
    pub(super) fn random(seed: u64) -> Self {
        let mut random = random(seed, "plan");
        let replicas = random.random_range(1..=3);
        // Busy histories are short, so that orders meet.
        let span = Duration::from_millis(random.random_range(50..HORIZON.as_millis() as u64 / 4));
        let operations = (0..random.random_range(5..40))
            .map(|id| {
                let kind = Kind::random(&mut random);
                let user = match kind {
                    Kind::Deactivate => LEAVING,
                    _ => random.random_range(0..USERS),
                };
                Operation { id, at: span.mul_f64(random.random()), user, kind }
            })
            .collect();
        let mut faults: Vec<Fault> = (0..random.random_range(0..6))
            .map(|_| Fault {
                at: span.mul_f64(random.random()),
                lasts: span.mul_f64(random.random()) + Duration::from_millis(5),
                kind: FaultKind::random(&mut random, replicas),
            })
            .collect();
        // The check compares with one former primary only.
        let lags = faults.iter_mut().filter_map(|fault| match &mut fault.kind {
            FaultKind::FailOver(lag) if !lag.is_zero() => Some(lag),
            _ => None,
        });
        lags.skip(1).for_each(|lag| *lag = Duration::ZERO);
        Self {
            seed,
            replicas,
            stock: random.random_range(1..30),
            queue: random.random_range(4..40),
            batch: random.random_range(1..8),
            operations,
            faults,
        }
    }
}

impl Kind {
    fn random(random: &mut StdRng) -> Self {
        let millis = |random: &mut StdRng, max| Duration::from_millis(random.random_range(1..max));
        match random.random_range(0..24) {
            0 if random.random_bool(0.3) => Self::Deactivate,
            0 => Self::LogOut,
            1 | 2 => Self::Cancel,
            4..8 => Self::Read { product: random.random_range(1..=2) },
            3 => Self::Restock {
                product: *PRODUCTS.choose(random).expect("there are products"),
                pieces: random.random_range(1..10),
            },
            _ => Self::Order {
                orders: (0..if random.random_bool(0.4) { random.random_range(2..5) } else { 1 })
                    .map(|_| PlannedOrder::random(random))
                    .collect(),
                deadline: random.random_bool(0.3).then(|| millis(random, 3_000)),
                patience: random.random_bool(0.1).then(|| millis(random, 300)),
                stale_token: random.random_bool(0.1),
            },
        }
    }
}

impl PlannedOrder {
    fn random(random: &mut StdRng) -> Self {
        Self {
            user: random.random_range(0..USERS),
            product: match random.random_range(0..50) {
                0 => 99,
                1 => CORRUPT,
                _ => *PRODUCTS.choose(random).expect("there are products"),
            },
            quantity: random.random_range(1..=3),
            key: random.random_bool(0.7).then(|| random.random_range(0..6)),
            deadline: random
                .random_bool(0.2)
                .then(|| Duration::from_millis(random.random_range(1..1_000))),
        }
    }
}

impl FaultKind {
    fn random(random: &mut StdRng, replicas: usize) -> Self {
        let replica = random.random_range(0..replicas);
        match random.random_range(0..12) {
            0 | 1 => Self::Kill { replica },
            2 => Self::LoseConnections(random.random_range(0.01..0.3)),
            3 => Self::LoseCommits(random.random_range(0.1..0.9)),
            4 => Self::FailCommits(random.random_range(0.1..0.7)),
            5 => Self::SlowDatabase(Duration::from_millis(random.random_range(20..2_000))),
            6 => Self::LoseResponses(random.random_range(0.1..0.8)),
            7 => Self::Hang(random.random_range(0.01..0.2)),
            8 => Self::Stocktaking(if random.random() { [1, 2] } else { [2, 1] }),
            9 => Self::FailOver(Duration::ZERO),
            10 => Self::FailOver(Duration::from_millis(random.random_range(1..1_000))),
            _ => Self::Skew { replica, seconds: random.random_range(-100..100) },
        }
    }
}
