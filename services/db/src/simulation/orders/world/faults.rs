//! Causes faults, and ends them.

use std::{sync::atomic::Ordering, time::Duration};

use simulator::locked;
use tokio::time::{Instant, sleep};

use super::{Process, World};
use crate::simulation::orders::{
    plan::{Fault, FaultKind},
    server::{Lock, Row, user_id},
};

impl World {
    pub(super) async fn cause(&self, fault: &Fault) {
        self.notes.note(format!("fault: {:?} for {:?}", fault.kind, fault.lasts));
        let set = |on: bool| match fault.kind {
            FaultKind::Kill { .. } | FaultKind::Stocktaking(_) => {}
            FaultKind::Hang(probability) => self.server.set_conditions(|conditions| {
                conditions.hang = if on { probability } else { 0.0 };
            }),
            FaultKind::FailOver(lag) => {
                self.server.set_conditions(|conditions| {
                    conditions.outages = conditions.outages + usize::from(on) - usize::from(!on);
                });
                if on {
                    self.server.fail_over(lag);
                    // The operator restores the token versions, and users log in again.
                    let version = |user| {
                        self.server.read(|tables| tables.users[&user_id(user)].token_version)
                    };
                    *locked(&self.versions) = std::array::from_fn(version);
                }
            }
            FaultKind::LoseConnections(probability) => self.server.set_conditions(|conditions| {
                conditions.lose_connections = if on { probability } else { 0.0 };
            }),
            FaultKind::LoseCommits(probability) => self.server.set_conditions(|conditions| {
                conditions.lose_commits = if on { probability } else { 0.0 };
            }),
            FaultKind::FailCommits(probability) => self.server.set_conditions(|conditions| {
                conditions.fail_commits = if on { probability } else { 0.0 };
            }),
            FaultKind::SlowDatabase(time) => self.server.set_conditions(|conditions| {
                conditions.slow = if on { time } else { Duration::ZERO };
            }),
            FaultKind::LoseResponses(probability) => {
                *locked(&self.lose_responses) = if on { probability } else { 0.0 };
            }
            FaultKind::Skew { replica, seconds } => self.replicas[replica]
                .skew_seconds
                .store(if on { seconds } else { 0 }, Ordering::Relaxed),
        };
        if let FaultKind::Kill { replica } = fault.kind {
            let process = locked(&self.replicas[replica].process);
            process.killed.cancel();
            process.committer.abort();
        }
        set(true);
        if let FaultKind::Stocktaking(products) = fault.kind {
            self.take_stock(products, fault.lasts).await;
        } else {
            sleep(fault.lasts).await;
        }
        set(false);
        if let FaultKind::Kill { replica } = fault.kind {
            let newest = self.server.read(|tables| tables.orders.keys().next_back().copied());
            let world = self.this.clone();
            let newest = newest.into_iter().collect();
            let process = Process::start(world, &self.plan, replica, newest, &self.ids);
            *locked(&self.replicas[replica].process) = process;
        }
        self.notes.note(format!("over: {:?}", fault.kind));
    }

    /// The operator locks both products, one after the other, some times, and changes nothing.
    async fn take_stock(&self, products: [i32; 2], lasts: Duration) {
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            self.server.wait_until_up().await;
            let transaction = self.server.begin();
            for product in products {
                if transaction.lock(Row::Product(product), Lock::Exclusive).await.is_err() {
                    break;
                }
                sleep(self.chance.delay(100..20_000, Duration::ZERO)).await;
            }
            drop(transaction);
            sleep(self.chance.delay(100..20_000, Duration::ZERO)).await;
        }
    }
}
