//! Placing orders: clients call replicas, which commit batches on one simulated PostgreSQL.

mod check;
mod linearizability;
mod mutant;
mod plan;
pub(super) mod server;
mod world;

use simulator::Scenario;

pub(super) use self::{
    mutant::Mutant,
    plan::{Plan, USERS},
};

impl Scenario for Plan {
    type Mutant = Mutant;

    fn new(seed: u64) -> Self {
        Self::random(seed)
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
