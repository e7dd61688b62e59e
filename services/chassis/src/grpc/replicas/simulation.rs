//! The balancer: the production code of discovery, health checks, picks and retries, with simulated
//! replicas, connections and name resolution. `docs/simulation.md` describes the simulations.

mod calls;
mod network;
mod settled;

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, rngs::StdRng};
use simulator::{Scenario, Tasks, random};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::network::{Names, Network, World};
use super::{
    super::transport::Transport,
    balancer::Balancer,
    endpoints::Endpoints,
    resolver,
    retry::{Idempotency, RetryBudget},
};

/// No call and no fault starts later.
const HORIZON: Duration = Duration::from_secs(8);
/// Of the calls that have time for all their attempts.
const LONG_DEADLINE: Duration = Duration::from_secs(6);
/// All calls, streams and faults are over.
const LIVE_BY: Duration = Duration::from_secs(120);
/// All is well this time after the last fault.
const RECOVERY: Duration = Duration::from_secs(3);
/// Name of the balanced service.
const SERVICE: &str = "simulated";

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    seed: u64,
    replicas: usize,
    listing: Listing,
    /// Whether a frozen replica accepts connections, as the kernel does without TLS.
    has_tls: bool,
    has_health_service: bool,
    calls: Vec<Call>,
    streams: Vec<Stream>,
    faults: Vec<Fault>,
}

/// How the endpoints name the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    OneName,
    NamePerReplica,
    Addresses,
    /// A name for all, and the address of the first.
    NameAndAddress,
}

#[derive(Clone, Debug)]
struct Call {
    at: Duration,
    idempotency: Idempotency,
    deadline: Duration,
    takes: Duration,
    /// The service answers with its own error.
    fails: bool,
    /// The caller leaves.
    leaves_after: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Stream {
    at: Duration,
    key: u64,
    lasts: Duration,
}

#[derive(Clone, Debug)]
struct Fault {
    at: Duration,
    lasts: Duration,
    kind: FaultKind,
}

#[derive(Clone, Debug, PartialEq)]
enum FaultKind {
    /// The process ends; its connections are reset.
    Kill(usize),
    /// As `Kill`, and it starts again at another address.
    Move(usize),
    /// Stops as Kubernetes does it: not serving, GOAWAY, a time for its calls, the end.
    Drain(usize),
    /// The process hangs, and continues.
    Freeze(usize),
    /// The network loses all packets from and to the replica.
    Cut(usize),
    /// Calls and health checks take longer.
    Slow(usize, Duration),
    /// The process hangs a few times, each for a single health check.
    Hiccups(usize),
    /// The health service says so; calls succeed.
    NotServing(usize),
    /// Calls are answered UNAVAILABLE with details, with this probability.
    Overload(usize, f64),
    /// Calls are refused by REFUSED_STREAM, with this probability.
    RefuseStreams(usize, f64),
    /// Connections are reset after a call, with this probability.
    LoseResponses(usize, f64),
    /// GOAWAY, as at the maximum age of a connection.
    CloseConnections(usize),
    /// The certificate is not trusted any more.
    Distrust(usize),
    /// The resolver leaves the replica out.
    Unlist(usize),
    /// The machine of the replica fails, and the resolver leaves it out.
    Vanish(usize),
    /// The network forgets the present connections of the replica, and drops their packets.
    Forget(usize),
    /// All replicas answer UNAVAILABLE with details, and there are many calls.
    Busy,
    ResolverFails,
    ResolverReturnsNothing,
    ResolverHangs,
    /// The balancer's process is stopped, often several times in a row.
    Stall,
    /// Many calls at once.
    Crowd,
}

simulator::mutants! {
    pub(crate) enum Mutant {
        /// Reports calls with an unknown outcome as not processed.
        ReportLostAsUnprocessed,
        /// Reports calls that were not processed as lost.
        ReportUnprocessedAsLost,
        /// Calls everything idempotent.
        CallEverythingIdempotent,
        /// Gives calls more time than their deadline.
        ExtendDeadlines,
        /// Reports every replica as healthy.
        SkipHealthChecks,
        /// Does not notice that a connection ended.
        IgnoreClosed,
        /// Does not notice that a replica is not trusted any more.
        IgnoreDistrust,
        /// Never gives up connecting.
        ConnectForever,
        /// Resolves each name once.
        ResolveOnce,
        /// Returns one address of each name.
        ResolveOneAddress,
        /// Never drops the guards of streams.
        LeakGuards,
    }
}

impl Scenario for Plan {
    type Mutant = Mutant;

    fn new(seed: u64) -> Self {
        let mut random = random(seed, "plan");
        let replicas = random.random_range(1..=4);
        let span = HORIZON.mul_f64(random.random_range(0.1..1.0));
        let calls =
            (0..random.random_range(1..40)).map(|_| Call::random(&mut random, span)).collect();
        let most = [1, 3, 9][random.random_range(0..3)];
        let streams = (0..random.random_range(0..most))
            .map(|_| Stream {
                at: span.mul_f64(random.random()),
                key: random.random(),
                lasts: span.mul_f64(random.random()),
            })
            .collect();
        let faults = (0..random.random_range(0..7))
            .map(|_| {
                let longest = if random.random_bool(0.2) { 8_000 } else { 2_500 };
                Fault {
                    at: span.mul_f64(random.random()),
                    lasts: Duration::from_millis(random.random_range(5..longest)),
                    kind: FaultKind::random(&mut random, replicas),
                }
            })
            .collect();
        let listing = match random.random_range(0..6) {
            0 => Listing::NamePerReplica,
            1 => Listing::Addresses,
            2 => Listing::NameAndAddress,
            _ => Listing::OneName,
        };
        let (has_tls, has_health_service) = (random.random(), random.random_bool(0.9));
        Self { seed, replicas, listing, has_tls, has_health_service, calls, streams, faults }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn retain(&mut self, mut is_kept: impl FnMut() -> bool) {
        self.calls.retain(|_| is_kept());
        self.streams.retain(|_| is_kept());
        self.faults.retain(|_| is_kept());
    }

    async fn run(&self, mutant: Option<Mutant>) -> (Vec<String>, Vec<String>) {
        let world = World::new(self, mutant);
        let client = Arc::new(Client {
            balancer: Arc::new(Balancer::new(SERVICE)),
            budget: RetryBudget::full(),
            world: Arc::clone(&world),
        });
        let stop = CancellationToken::new();
        let endpoints = Endpoints::parse(SERVICE, &self.endpoints(), &Transport::new(None, true));
        tokio::spawn(resolver::run(
            endpoints.expect("the endpoints are valid"),
            Network(Arc::clone(&world)),
            Arc::new(Names::new(Arc::clone(&world))),
            SERVICE,
            Arc::clone(&client.balancer),
            stop.clone(),
        ));
        let started = Instant::now();
        let mut tasks = Tasks::default();
        for call in self.calls.clone() {
            let client = Arc::clone(&client);
            tasks.spawn(format!("{call:?}"), started + call.at, async move {
                client.call(call).await;
            });
        }
        for stream in self.streams.clone() {
            let client = Arc::clone(&client);
            tasks.spawn(format!("{stream:?}"), started + stream.at, async move {
                client.stream(&stream).await;
            });
        }
        for fault in self.faults.clone() {
            let client = Arc::clone(&client);
            tasks.spawn(format!("{fault:?}"), started + fault.at, async move {
                client.cause(&fault).await;
            });
        }
        for name in tasks.unfinished(started + LIVE_BY).await {
            world.broken(format!("{name} never ends"));
        }
        sleep(RECOVERY).await;
        client.check_settled().await;
        world.check_all_calls();
        stop.cancel();
        world.take()
    }
}

impl Plan {
    fn endpoints(&self) -> String {
        let address = |replica| format!("http://{}", network::address(replica, 0));
        match self.listing {
            Listing::OneName => "http://db:50051".to_owned(),
            Listing::NamePerReplica => {
                let names = (0..self.replicas).map(|replica| format!("http://db-{replica}:50051"));
                names.collect::<Vec<_>>().join(",")
            }
            Listing::Addresses => (0..self.replicas).map(address).collect::<Vec<_>>().join(","),
            Listing::NameAndAddress => format!("http://db:50051,{}", address(0)),
        }
    }
}

impl Call {
    fn random(random: &mut StdRng, span: Duration) -> Self {
        Self {
            at: span.mul_f64(random.random()),
            idempotency: match random.random_range(0..4) {
                0 => Idempotency::NonIdempotent,
                1 => Idempotency::Idempotent,
                _ => Idempotency::Safe,
            },
            deadline: if random.random_bool(0.7) {
                LONG_DEADLINE
            } else {
                Duration::from_millis(random.random_range(50..5_000))
            },
            takes: if random.random_bool(0.8) {
                Duration::from_millis(random.random_range(1..50))
            } else {
                Duration::from_millis(random.random_range(50..600))
            },
            fails: random.random_bool(0.05),
            leaves_after: random
                .random_bool(0.05)
                .then(|| Duration::from_millis(random.random_range(1..2_000))),
        }
    }

    fn is_repeatable(&self) -> bool {
        self.idempotency != Idempotency::NonIdempotent
    }
}

impl FaultKind {
    fn random(random: &mut StdRng, replicas: usize) -> Self {
        let replica = random.random_range(0..replicas);
        let probability = random.random_range(0.1..1.0);
        match random.random_range(0..34) {
            0..=2 => Self::Kill(replica),
            3 | 4 => Self::Move(replica),
            5..=7 => Self::Drain(replica),
            8..=10 => Self::Freeze(replica),
            11..=13 => Self::Cut(replica),
            14 | 15 => Self::Slow(replica, Duration::from_millis(random.random_range(10..2_000))),
            16 => Self::Hiccups(replica),
            17 | 18 => Self::NotServing(replica),
            19 => Self::Overload(replica, probability),
            20 => Self::RefuseStreams(replica, probability),
            21 => Self::LoseResponses(replica, probability),
            22 | 23 => Self::CloseConnections(replica),
            24 => Self::Distrust(replica),
            25 => Self::Unlist(replica),
            26 => Self::Vanish(replica),
            27 => Self::Forget(replica),
            28 => Self::Busy,
            29 => Self::ResolverFails,
            30 => Self::ResolverReturnsNothing,
            31 => Self::ResolverHangs,
            32 => Self::Stall,
            _ => {
                if random.random_bool(0.2) {
                    Self::Crowd
                } else {
                    Self::Kill(replica)
                }
            }
        }
    }

    fn replica(&self) -> Option<usize> {
        match self {
            Self::Kill(replica)
            | Self::Move(replica)
            | Self::Drain(replica)
            | Self::Freeze(replica)
            | Self::Cut(replica)
            | Self::Slow(replica, _)
            | Self::Hiccups(replica)
            | Self::NotServing(replica)
            | Self::Overload(replica, _)
            | Self::RefuseStreams(replica, _)
            | Self::LoseResponses(replica, _)
            | Self::CloseConnections(replica)
            | Self::Distrust(replica)
            | Self::Unlist(replica)
            | Self::Vanish(replica)
            | Self::Forget(replica) => Some(*replica),
            Self::Busy
            | Self::ResolverFails
            | Self::ResolverReturnsNothing
            | Self::ResolverHangs
            | Self::Stall
            | Self::Crowd => None,
        }
    }

    /// Whether calls in flight may go on.
    fn is_graceful(&self) -> bool {
        matches!(
            self,
            Self::Drain(_) | Self::NotServing(_) | Self::Unlist(_) | Self::CloseConnections(_)
        )
    }
}

/// The code under test, as `Replicas` holds it.
struct Client {
    balancer: Arc<Balancer<network::Link>>,
    budget: RetryBudget,
    world: Arc<World>,
}

mod tests {
    simulator::simulations!(
        include_str!("../../../../../docs/simulation.md");
        balancer: crate::grpc::replicas::simulation::Plan
    );
}
