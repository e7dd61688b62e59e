//! Placing orders: clients call replicas, which commit batches on one simulated PostgreSQL.

mod check;
mod mutant;
mod plan;
mod server;
mod world;

use simulator::{Mutants, Scenario, locked, random};

use self::mutant::Mutant;
pub(super) use self::plan::Plan;

impl Scenario for Plan {
    type Mutant = Mutant;

    fn new(seed: u64) -> Self {
        Self::random(seed)
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn steps(&self) -> usize {
        self.operations.len() + self.faults.len()
    }

    fn without(&self, start: usize, count: usize) -> Self {
        let mut plan = self.clone();
        let mut index = 0;
        let mut kept = || {
            index += 1;
            index <= start || index > start + count
        };
        plan.operations.retain(|_| kept());
        plan.faults.retain(|_| kept());
        plan
    }

    async fn run(&self, mutant: Option<Mutant>) -> (Vec<String>, Vec<String>) {
        let history = world::run(self, mutant).await;
        (check::broken_promises(&history), history.lines)
    }
}

impl Mutants for Mutant {
    const ALL: &'static [Self] = &Mutant::ALL;
}
