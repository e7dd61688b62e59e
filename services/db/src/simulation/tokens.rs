//! Tokens: log-ins, log-outs, changed passwords, changes and deactivations of users race with each
//! other and with orders, at replicas that share one simulated PostgreSQL.

mod check;
mod statements;
mod world;

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng};
use simulator::{Scenario, random};

use super::orders;

/// No operation and no fault starts later.
const HORIZON: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    seed: u64,
    replicas: usize,
    operations: Vec<Operation>,
    faults: Vec<Fault>,
}

#[derive(Clone, Debug)]
struct Operation {
    /// Unique in the plan.
    id: usize,
    at: Duration,
    user: usize,
    kind: Kind,
    /// Whether it uses the newest token, or password, instead of any that the user has had.
    is_newest: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    LogIn,
    /// Repeated until its outcome is known.
    LogOut,
    ChangePassword,
    Deactivate,
    Update,
    Read,
    Order,
}

#[derive(Clone, Debug)]
struct Fault {
    at: Duration,
    lasts: Duration,
    kind: FaultKind,
}

#[derive(Clone, Debug)]
enum FaultKind {
    /// The process ends, and its requests with it. A new one starts afterwards.
    Kill(usize),
    /// Connections to the database are lost with this probability per statement.
    LoseConnections(f64),
    /// The answer of a COMMIT is lost with this probability. Half of these are not committed.
    LoseCommits(f64),
    /// COMMIT fails with a serialization failure with this probability.
    FailCommits(f64),
    /// Each message to and from the database takes up to this time.
    SlowDatabase(Duration),
    /// Each message to and from the database hangs with this probability.
    Hang(f64),
    /// Responses to clients are lost with this probability.
    LoseResponses(f64),
    /// A standby that lacks the transactions of this time becomes the primary. If it lacks some,
    /// the operator marks the database as restored before it serves.
    FailOver(Duration),
}

simulator::mutants! {
    pub(crate) enum Mutant {
        /// Does not compare the version of a token.
        TrustTokens,
        /// Does not check whether a user is active.
        TrustDeactivated,
        /// Checks a token before it locks the user's row, and not again.
        CheckBeforeLock,
        /// Does not lock the user's row for an order.
        LockNoCaller,
        /// A log-out keeps the tokens.
        KeepTokensAtLogOut,
        /// A changed password keeps the tokens.
        KeepTokensOfPassword,
        /// A changed password keeps the former one.
        KeepPassword,
        /// Answers although COMMIT failed or its outcome is unknown.
        AnswerWithoutCommit,
        /// Repeats a transaction whose COMMIT had an unknown outcome.
        RepeatUnknownCommit,
        /// The synchronous standby lacks the last transactions.
        LoseAcknowledged,
        /// Does not raise the token versions after a fail-over that loses transactions.
        ForgetRestore,
        /// Reads users from a standby, which is 200 ms late.
        ReadFromStandby,
        /// Each replica remembers the tokens that were valid.
        RememberTokens,
        /// Issues a token although the log-in could not be recorded.
        IssueUnrecorded,
        /// Issues tokens of the next version.
        IssueNextVersion,
        /// A log-in revokes the tokens of the user.
        RevokeAtLogIn,
    }
}

impl Mutant {
    /// Returns the mutant of the simulated server, for faults that are planted there.
    fn of_server(self) -> Option<orders::Mutant> {
        match self {
            Self::TrustTokens => Some(orders::Mutant::TrustTokens),
            Self::LockNoCaller => Some(orders::Mutant::LockNoCaller),
            Self::AnswerWithoutCommit => Some(orders::Mutant::AnswerWithoutCommit),
            Self::RepeatUnknownCommit => Some(orders::Mutant::RepeatUnknownCommit),
            Self::LoseAcknowledged => Some(orders::Mutant::LoseAcknowledged),
            _ => None,
        }
    }
}

impl Scenario for Plan {
    type Mutant = Mutant;

    fn new(seed: u64) -> Self {
        let mut random = random(seed, "plan");
        let replicas = random.random_range(2..=3);
        // Busy histories are short, so that operations meet.
        let span = Duration::from_millis(random.random_range(50..HORIZON.as_millis() as u64 / 4));
        let operations = (0..random.random_range(5..50))
            .map(|id| Operation {
                id,
                at: span.mul_f64(random.random()),
                user: random.random_range(0..orders::USERS),
                kind: Kind::random(&mut random),
                is_newest: random.random_bool(0.6),
            })
            .collect();
        let faults = (0..random.random_range(0..6))
            .map(|_| Fault {
                at: span.mul_f64(random.random()),
                lasts: span.mul_f64(random.random()) + Duration::from_millis(5),
                kind: FaultKind::random(&mut random, replicas),
            })
            .collect();
        Self { seed, replicas, operations, faults }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn retain(&mut self, mut is_kept: impl FnMut() -> bool) {
        self.operations.retain(|_| is_kept());
        self.faults.retain(|_| is_kept());
    }

    async fn run(&self, mutant: Option<Mutant>) -> (Vec<String>, Vec<String>) {
        let history = world::run(self, mutant).await;
        (check::broken_promises(&history), history.lines)
    }
}

impl Kind {
    fn random(random: &mut StdRng) -> Self {
        match random.random_range(0..40) {
            0..=7 => Self::LogIn,
            8..=12 => Self::LogOut,
            13..=17 => Self::ChangePassword,
            18 => Self::Deactivate,
            19..=22 => Self::Update,
            23..=30 => Self::Read,
            _ => Self::Order,
        }
    }
}

impl FaultKind {
    fn random(random: &mut StdRng, replicas: usize) -> Self {
        match random.random_range(0..10) {
            0 => Self::Kill(random.random_range(0..replicas)),
            1 => Self::LoseConnections(random.random_range(0.01..0.3)),
            2 | 3 => Self::LoseCommits(random.random_range(0.1..0.9)),
            4 => Self::FailCommits(random.random_range(0.1..0.7)),
            5 => Self::SlowDatabase(Duration::from_millis(random.random_range(20..2_000))),
            6 => Self::Hang(random.random_range(0.01..0.2)),
            7 => Self::LoseResponses(random.random_range(0.1..0.8)),
            8 => Self::FailOver(Duration::ZERO),
            _ => Self::FailOver(Duration::from_millis(random.random_range(1..1_000))),
        }
    }
}
