//! Password checks: the production code that reserves and refunds them, of log-ins and of changed
//! passwords, on a simulated database whose clock jumps, with owners and with strangers who guess.

mod log_in;

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{RngExt as _, rngs::StdRng};
use sea_orm::DbErr;
use simulator::{Chance, History, Scenario, locked, random};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

use self::log_in::LogIn;
use crate::{
    config::{LogIns, Rate},
    failure::Failure,
    store::{
        known_networks::Network,
        password_checks::{Account, BudgetKey, Budgets, Gcra, Reservation, reserve},
    },
};

/// No log-in and no fault starts later.
const HORIZON: Duration = Duration::from_secs(2 * 60 * 60);
/// Of deleting budgets that are full.
const HOUSEKEEPING: Duration = Duration::from_secs(120);
/// With all its statements, on a slow database.
const LONGEST_CHECK: Duration = Duration::from_secs(120);
/// Of the owner. Strangers have later ones.
const HOME: u8 = 0;
/// Microseconds since 1970.
const EPOCH: i64 = 1_800_000_000_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    seed: u64,
    replicas: usize,
    accounts: usize,
    log_ins: LogIns,
    visits: Vec<Visit>,
    attacks: Vec<Attack>,
    faults: Vec<Fault>,
}

/// The owner logs in.
#[derive(Clone, Debug)]
struct Visit {
    at: Duration,
    account: usize,
    network: u8,
    /// Wrong passwords before the right one.
    mistakes: usize,
    /// Then changes the password.
    changes_password: bool,
}

/// Strangers guess.
#[derive(Clone, Debug)]
struct Attack {
    at: Duration,
    account: usize,
    first_network: u8,
    networks: u8,
    guesses: u32,
    interval: Duration,
}

#[derive(Clone, Debug)]
struct Fault {
    at: Duration,
    lasts: Duration,
    kind: FaultKind,
}

#[derive(Clone, Debug, PartialEq)]
enum FaultKind {
    /// The database's clock jumps, by seconds.
    ClockStep(i64),
    /// Answers of COMMIT are lost, with this probability.
    LoseAnswers(f64),
    /// The api process ends before it reports the result of a check.
    LoseResults(f64),
    Slow(Duration),
}

simulator::mutants! {
    pub(crate) enum Mutant {
        /// Refunds wrong passwords.
        RefundEverything,
        /// Refunds nothing.
        RefundNothing,
        /// Draws by the clock of each replica.
        TrustReplicaClocks,
        /// Draws from exhausted budgets: only the read before decides.
        DrawWithoutCheck,
        /// Draws from the first budget only.
        DrawOnce,
        /// Stores one budget for all networks.
        ShareBudgets,
        /// Knows no network.
        ForgetNetworks,
        /// Knows every network.
        KnowEveryNetwork,
        /// Deletes budgets that are not full.
        DeleteBudgets,
        /// Deletes no budget.
        KeepBudgets,
        /// Refunds the draws from the first budget only.
        RefundOnce,
        /// Keeps the networks that knew a former password.
        KeepNetworks,
        /// Takes the time since the clock was set back for checks that were drawn.
        ForgetDraws,
    }
}

impl Scenario for Plan {
    type Mutant = Mutant;

    fn new(seed: u64) -> Self {
        let mut random = random(seed, "plan");
        let accounts = random.random_range(1..=2);
        let span = HORIZON.mul_f64(random.random_range(0.1..1.0));
        let mut rate = |burst| Rate {
            burst: NonZeroU32::new(random.random_range(burst)).expect("not zero"),
            period: Duration::from_secs(random.random_range(30..600)),
        };
        let log_ins = LogIns {
            per_network: rate(2..10),
            over_all: rate(5..40),
            known_for: Duration::from_secs(30 * 24 * 60 * 60),
        };
        let most_mistakes = usize::try_from(log_ins.per_network.burst.get()).unwrap_or(2);
        let visits = (0..random.random_range(0..30))
            .map(|_| Visit {
                at: span.mul_f64(random.random()),
                account: random.random_range(0..accounts),
                network: if random.random_bool(0.7) { HOME } else { random.random_range(1..9) },
                changes_password: random.random_bool(0.1),
                mistakes: if random.random_bool(0.1) {
                    random.random_range(1..most_mistakes)
                } else {
                    0
                },
            })
            .collect();
        let attacks = (0..random.random_range(0..4))
            .map(|_| Attack {
                at: span.mul_f64(random.random()),
                account: random.random_range(0..accounts),
                first_network: if random.random_bool(0.1) {
                    HOME
                } else {
                    random.random_range(1..9)
                },
                networks: random.random_range(1..40),
                guesses: random.random_range(1..150),
                interval: if random.random_bool(0.5) {
                    Duration::from_millis(random.random_range(0..20))
                } else {
                    Duration::from_secs(random.random_range(0..30))
                },
            })
            .collect();
        let faults = (0..random.random_range(0..4))
            .map(|_| Fault {
                at: span.mul_f64(random.random()),
                lasts: Duration::from_secs(random.random_range(1..600)),
                kind: FaultKind::random(&mut random),
            })
            .collect();
        let replicas = random.random_range(1..=3);
        Self { seed, replicas, accounts, log_ins, visits, attacks, faults }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn retain(&mut self, mut is_kept: impl FnMut() -> bool) {
        self.visits.retain(|_| is_kept());
        self.attacks.retain(|_| is_kept());
        self.faults.retain(|_| is_kept());
    }

    async fn run(&self, mutant: Option<Mutant>) -> (Vec<String>, Vec<String>) {
        let world = Arc::new(World {
            plan: self.clone(),
            mutant,
            started: Instant::now(),
            history: History::default(),
            chance: Chance::new(self.seed, "world"),
            state: Mutex::default(),
        });
        for account in 0..self.accounts {
            // From the registration.
            locked(&world.state).known.insert((user(account), network(HOME)), EPOCH);
        }
        let mut steps = JoinSet::new();
        for visit in self.visits.clone() {
            let world = Arc::clone(&world);
            steps.spawn(async move {
                sleep_until(world.started + visit.at).await;
                world.visit(&visit).await;
            });
        }
        for attack in self.attacks.clone() {
            let world = Arc::clone(&world);
            steps.spawn(async move {
                sleep_until(world.started + attack.at).await;
                world.attack(&attack).await;
            });
        }
        for fault in self.faults.clone() {
            let world = Arc::clone(&world);
            steps.spawn(async move {
                sleep_until(world.started + fault.at).await;
                world.cause(&fault).await;
            });
        }
        let housekeeping = tokio::spawn({
            let world = Arc::clone(&world);
            async move {
                loop {
                    sleep(HOUSEKEEPING).await;
                    world.keep_house();
                }
            }
        });
        while let Some(ended) = steps.join_next().await {
            if ended.is_err_and(|error| error.is_panic()) {
                world.broken("a step panicked".to_owned());
            }
        }
        world.check_guesses();
        // A budget may recover from the next round on, and be deleted a round after it is full.
        sleep(world.until_all_are_full() + 2 * HOUSEKEEPING).await;
        housekeeping.abort();
        let left = locked(&world.state).budgets.len();
        if left > 0 {
            world.broken(format!("{left} full budgets are still stored"));
        }
        let broken = std::mem::take(&mut locked(&world.state).broken);
        (broken, world.history.take())
    }
}

impl FaultKind {
    fn random(random: &mut StdRng) -> Self {
        match random.random_range(0..8) {
            0..=2 => {
                let most = [2, 60, 3_600, 40_000][random.random_range(0..4)];
                Self::ClockStep(random.random_range(-most..=most))
            }
            3 | 4 => Self::LoseAnswers(random.random_range(0.05..0.6)),
            5 => Self::LoseResults(random.random_range(0.05..0.6)),
            _ => Self::Slow(Duration::from_millis(random.random_range(10..5_000))),
        }
    }
}

fn user(account: usize) -> Uuid {
    Uuid::from_u128(1 + account as u128)
}

fn network(number: u8) -> String {
    format!("192.0.2.{number}")
}

/// A row of the table, by the database's clock.
#[derive(Clone, Copy)]
struct Budget {
    whole_at: i64,
    drawn_at: i64,
}

impl Budget {
    /// How much later the budget is full.
    fn ahead(self, now: i64) -> i64 {
        self.whole_at - self.drawn_at.max(now)
    }
}

#[derive(Default)]
struct State {
    budgets: BTreeMap<BudgetKey, Budget>,
    /// When a network was seen.
    known: BTreeMap<(Uuid, String), i64>,
    /// Seconds that the database's clock was moved.
    offset: i64,
    /// When the database's clock was moved, and by how many seconds.
    steps: Vec<(Instant, i64)>,
    faults: Vec<FaultKind>,
    /// Checks of wrong passwords, and whether their network was known.
    guesses: Vec<(Instant, usize, u8, bool)>,
    /// Draws that were not refunded, of each account at a network and over all networks.
    unrefunded: BTreeMap<(usize, Option<u8>), usize>,
    /// When each check of an account at a network began.
    checks: Vec<(Instant, usize, u8)>,
    /// Refunds that came twice, as their answer was lost.
    double_refunds: u32,
    broken: Vec<String>,
}

struct World {
    plan: Plan,
    mutant: Option<Mutant>,
    started: Instant,
    history: History,
    chance: Chance,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Password {
    Wrong,
    Right,
    /// Right, and another one replaces it.
    Changed,
}

impl World {
    fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn broken(&self, text: String) {
        self.history.note(format!("broken: {text}"));
        locked(&self.state).broken.push(text);
    }

    async fn travel(&self) {
        let slow = locked(&self.state).faults.iter().find_map(|fault| match fault {
            FaultKind::Slow(time) => Some(*time),
            _ => None,
        });
        sleep(self.chance.delay(20..3_000, slow.unwrap_or_default())).await;
    }

    fn happens(&self, of: impl Fn(&FaultKind) -> Option<f64>) -> bool {
        let probability = locked(&self.state).faults.iter().find_map(of).unwrap_or(0.0);
        self.chance.happens(probability)
    }

    /// Returns whether the answer of a COMMIT arrives.
    async fn answers(&self) -> Result<(), Failure> {
        self.travel().await;
        let is_lost = self.happens(|fault| match fault {
            FaultKind::LoseAnswers(probability) => Some(*probability),
            _ => None,
        });
        if is_lost {
            return Err(Failure::Unavailable(DbErr::Custom("connection lost".to_owned())));
        }
        Ok(())
    }

    /// The database's clock, in microseconds since 1970.
    fn now(&self, replica: usize) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let skew = if self.has(Mutant::TrustReplicaClocks) {
            i64::try_from(replica).unwrap_or(0) * 7_200
        } else {
            0
        };
        EPOCH + elapsed + (locked(&self.state).offset + skew) * 1_000_000
    }

    async fn visit(self: &Arc<Self>, visit: &Visit) {
        let Visit { account, network, mistakes, changes_password, .. } = *visit;
        for _ in 0..mistakes {
            self.check(account, network, Password::Wrong).await;
        }
        let password = if changes_password { Password::Changed } else { Password::Right };
        self.check(account, network, password).await;
    }

    /// Neither budget can be exhausted: too few checks were not refunded. The owner's home is
    /// known if the password is changed nowhere else, so that its budget decides alone.
    fn must_admit(&self, account: usize, network: u8) -> bool {
        let LogIns { per_network, over_all, .. } = self.plan.log_ins;
        let has_some = |network: Option<u8>, burst: NonZeroU32| {
            let state = locked(&self.state);
            let unrefunded = state.unrefunded.get(&(account, network)).copied().unwrap_or(0);
            let running = state.checks.iter().filter(|(at, of, from)| {
                *of == account
                    && network.is_none_or(|network| network == *from)
                    && at.elapsed() < LONGEST_CHECK
            });
            // Of which this is one.
            unrefunded + running.count() <= burst.get() as usize
        };
        let is_known = network == HOME
            && !self.plan.visits.iter().any(|visit| {
                visit.account == account && visit.changes_password && visit.network != HOME
            });
        has_some(Some(network), per_network.burst) && (is_known || has_some(None, over_all.burst))
    }

    fn count_unrefunded(&self, account: usize, network: u8) {
        let mut state = locked(&self.state);
        for key in [(account, Some(network)), (account, None)] {
            *state.unrefunded.entry(key).or_default() += 1;
        }
    }

    async fn attack(self: &Arc<Self>, attack: &Attack) {
        let mut guesses = JoinSet::new();
        for guess in 0..attack.guesses {
            let index = u8::try_from(guess % u32::from(attack.networks)).unwrap_or(0);
            let (account, network) = (attack.account, attack.first_network + index);
            let world = Arc::clone(self);
            guesses.spawn(async move {
                world.check(account, network, Password::Wrong).await;
            });
            sleep(attack.interval).await;
        }
        guesses.join_all().await;
    }

    /// Checks a password as the api does.
    async fn check(&self, account: usize, number: u8, password: Password) {
        let replica = self.chance.number(0..self.plan.replicas as u64);
        let replica = Replica { world: self, replica: usize::try_from(replica).unwrap_or(0) };
        let Plan { log_ins, .. } = &self.plan;
        let (user, text) = (user(account), network(number));
        let network = Network::parse(&text).expect("an address");
        locked(&self.state).checks.push((Instant::now(), account, number));
        let key = (user, text);
        let was_known = locked(&self.state).known.contains_key(&key);
        let reserved = reserve(&replica, log_ins, Account::User(user), &network).await;
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(Failure::TooManyLogIns(wait)) => {
                let longest = log_ins.per_network.period.max(log_ins.over_all.period);
                if wait.is_zero() || wait > longest {
                    self.broken(format!("account {account} has to wait {wait:?}"));
                }
                if self.must_admit(account, number) {
                    self.broken(format!(
                        "account {account} is refused at network {number} for {wait:?}"
                    ));
                }
                return;
            }
            Err(_) => return self.count_unrefunded(account, number),
        };
        // As the api sends it back.
        let reservation =
            Reservation::from_bytes(&reservation.to_bytes()).expect("at most two budgets");
        // Another check may change that meanwhile.
        let is_known = was_known || locked(&self.state).known.contains_key(&key);
        sleep(self.chance.delay(100_000..300_000, Duration::ZERO)).await;
        self.history.note(format!("account {account} at network {number}: {password:?}"));
        if password == Password::Wrong {
            let guess = (Instant::now(), account, number, is_known);
            locked(&self.state).guesses.push(guess);
        }
        let is_lost = self.happens(|fault| match fault {
            FaultKind::LoseResults(probability) => Some(*probability),
            _ => None,
        });
        if is_lost || password == Password::Wrong {
            self.count_unrefunded(account, number);
            if !is_lost && self.has(Mutant::RefundEverything) {
                LogIn::new(&replica, account).cancel(&reservation).await;
            }
            return;
        }
        let log_in = LogIn::new(&replica, account);
        if log_in.commit(password, network, number, reservation.clone()).await.is_err() {
            // The api cancels a check whose log-in failed.
            locked(&self.state).double_refunds += 1;
            LogIn::new(&replica, account).cancel(&reservation).await;
        }
    }

    async fn cause(&self, fault: &Fault) {
        let Fault { lasts, kind, .. } = fault;
        self.history.note(format!("fault: {kind:?} for {lasts:?}"));
        if let FaultKind::ClockStep(seconds) = kind {
            let mut state = locked(&self.state);
            state.offset += seconds;
            state.steps.push((Instant::now(), *seconds));
            return;
        }
        locked(&self.state).faults.push(kind.clone());
        sleep(*lasts).await;
        locked(&self.state).faults.retain(|active| active != kind);
        self.history.note(format!("over: {kind:?}"));
    }

    /// As the statements REBASE and DELETE_FULL.
    fn keep_house(&self) {
        let now = self.now(0);
        let (deletes, keeps) = (self.has(Mutant::DeleteBudgets), self.has(Mutant::KeepBudgets));
        let mut state = locked(&self.state);
        for budget in state.budgets.values_mut().filter(|budget| budget.drawn_at > now) {
            *budget = Budget { whole_at: now + budget.ahead(now), drawn_at: now };
        }
        state.budgets.retain(|_, budget| (budget.whole_at >= now && !deletes) || keeps);
    }

    fn until_all_are_full(&self) -> Duration {
        let now = self.now(0);
        let state = locked(&self.state);
        let last = state.budgets.values().map(|budget| budget.ahead(now)).max().unwrap_or(0);
        Duration::from_micros(u64::try_from(last).unwrap_or(0) + 1_000_000)
    }

    /// In no time were there more guesses than a budget allows.
    fn check_guesses(&self) {
        let LogIns { per_network, over_all, .. } = self.plan.log_ins;
        let guesses = locked(&self.state).guesses.clone();
        let mut by_budget: BTreeMap<(usize, Option<u8>), Vec<Instant>> = BTreeMap::new();
        for (at, account, network, is_known) in guesses {
            by_budget.entry((account, Some(network))).or_default().push(at);
            if !is_known {
                by_budget.entry((account, None)).or_default().push(at);
            }
        }
        for ((account, network), times) in by_budget {
            let rate = if network.is_some() { per_network } else { over_all };
            for first in 0..times.len() {
                for last in first..times.len() {
                    let most = self.most_guesses(rate, times[first], times[last]);
                    if last + 1 - first > most {
                        self.broken(format!(
                            "account {account}, network {network:?}: {} guesses within {:?}, and \
                             {most} are allowed",
                            last + 1 - first,
                            times[last] - times[first]
                        ));
                        return;
                    }
                }
            }
        }
    }

    /// Each jump of the clock into the future fills a budget at most once.
    fn most_guesses(&self, rate: Rate, first: Instant, last: Instant) -> usize {
        let state = locked(&self.state);
        // A guess comes up to this much after its reservation.
        let late = Duration::from_secs(12);
        let jumps = state
            .steps
            .iter()
            .filter(|(at, seconds)| *seconds > 0 && *at + late >= first && *at <= last)
            .count();
        let periods = (last - first + late).as_micros() / rate.period.as_micros();
        let burst = rate.burst.get() as usize;
        burst * (1 + jumps)
            + jumps
            + state.double_refunds as usize
            + usize::try_from(periods).unwrap_or(usize::MAX)
    }
}

/// A db replica. Its statements run on the shared database.
struct Replica<'a> {
    world: &'a World,
    replica: usize,
}

impl Replica<'_> {
    fn key(&self, key: &BudgetKey) -> BudgetKey {
        if self.world.has(Mutant::ShareBudgets) { [0; 32] } else { *key }
    }

    /// As the statement DRAW.
    fn draw_all(&self, budgets: &[(BudgetKey, Gcra)]) -> Result<(), Failure> {
        let now = self.world.now(self.replica);
        let drawn = if self.world.has(Mutant::DrawOnce) { &budgets[..1] } else { budgets };
        let mut state = locked(&self.world.state);
        let mut after = Vec::new();
        for (key, gcra) in drawn {
            let ahead = state.budgets.get(&self.key(key)).map_or(0, |budget| budget.ahead(now));
            let is_plausible = ahead <= gcra.max_ahead();
            let is_exhausted = ahead > gcra.burst_tolerance && is_plausible;
            if is_exhausted && !self.world.has(Mutant::DrawWithoutCheck) {
                let wait = Duration::from_micros(gcra.emission_interval.unsigned_abs());
                return Err(Failure::TooManyLogIns(wait));
            }
            let owed = if is_plausible { ahead.max(0) } else { 0 };
            let whole_at = now + owed + gcra.emission_interval;
            let drawn_at = if self.world.has(Mutant::ForgetDraws) { 0 } else { now };
            after.push((self.key(key), Budget { whole_at, drawn_at }));
        }
        state.budgets.extend(after);
        Ok(())
    }
}

impl Budgets for Replica<'_> {
    async fn is_known(&self, user: Uuid, network: &Network) -> Result<bool, Failure> {
        self.world.travel().await;
        let known_for = i64::try_from(self.world.plan.log_ins.known_for.as_micros());
        let oldest = self.world.now(self.replica) - known_for.unwrap_or(0);
        let key = (user, network.as_str().to_owned());
        let seen_at = locked(&self.world.state).known.get(&key).copied();
        Ok(match self.world.mutant {
            Some(Mutant::ForgetNetworks) => false,
            Some(Mutant::KnowEveryNetwork) => true,
            _ => seen_at.is_some_and(|at| at > oldest),
        })
    }

    async fn ahead(&self, key: &BudgetKey) -> Result<Option<i64>, Failure> {
        self.world.travel().await;
        let now = self.world.now(self.replica);
        let budget = locked(&self.world.state).budgets.get(&self.key(key)).copied();
        Ok(budget.map(|budget| budget.ahead(now)))
    }

    async fn draw(&self, budgets: &[(BudgetKey, Gcra)]) -> Result<(), Failure> {
        self.world.travel().await;
        self.draw_all(budgets)?;
        self.world.answers().await
    }
}
