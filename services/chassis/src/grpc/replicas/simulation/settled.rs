//! What must be true after the last fault.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use simulator::locked;
use tokio::task::JoinSet;

use super::{Call, Client, FaultKind, LONG_DEADLINE};
use crate::grpc::replicas::retry::Idempotency;

/// Calls of a burst for each replica, with a difference of one.
const BURST: usize = 4;
/// Successful calls that fill the retry budget.
const REFILL: usize = 100;
/// Enough that each of a few replicas gets one.
const KEYS: u64 = 64;

impl Client {
    pub(super) async fn check_settled(self: &Arc<Self>) {
        let world = &self.world;
        let replicas = locked(&world.state).replicas.len();
        let unlisted: Vec<usize> =
            (0..replicas).filter(|replica| !world.is_listed(*replica)).collect();
        if !unlisted.is_empty() {
            world.broken(format!("the names are not resolved again for replicas {unlisted:?}"));
            return;
        }
        if self.balancer.serving() != replicas {
            world.broken(format!("{} of {replicas} replicas serve", self.balancer.serving()));
        }
        self.check_in_flight();
        self.check_load(1, 2 * replicas, 0).await;
        self.check_load(BURST * replicas, 1, 1).await;
        self.check_budget().await;
        self.check_in_flight();
        let mut used = BTreeMap::new();
        for key in 0..KEYS {
            let pick = || self.balancer.pick_by_hash(key).map(|guard| guard.address());
            let (first, second) = (pick(), pick());
            if first != second {
                world.broken(format!("key {key} has two replicas"));
            }
            *used.entry(first).or_insert(0) += 1;
        }
        if used.len() != replicas {
            world.broken(format!("the keys use {used:?}"));
        }
    }

    /// Successful calls have refilled the retry budget, which busy replicas had used up.
    async fn check_budget(self: &Arc<Self>) {
        let world = &self.world;
        if !world.is_busy || locked(&world.state).replicas.len() < 2 {
            return;
        }
        self.make_calls(REFILL, Idempotency::Safe).await;
        world.change(|state| state.faults.push(FaultKind::Overload(0, 1.0)));
        let first = locked(&world.state).calls.len();
        self.make_calls(BURST, Idempotency::Safe).await;
        world.change(|state| state.faults.clear());
        let failed = locked(&world.state).calls[first..].iter().any(|call| !call.has_succeeded);
        if failed {
            world.broken("a call on a busy replica is not repeated on another one".to_owned());
        }
    }

    async fn make_calls(self: &Arc<Self>, at_once: usize, idempotency: Idempotency) {
        let call = Call {
            at: Duration::ZERO,
            idempotency,
            deadline: LONG_DEADLINE,
            takes: Duration::from_millis(20),
            fails: false,
            leaves_after: None,
        };
        let mut calls = JoinSet::new();
        for _ in 0..at_once {
            let (client, call) = (Arc::clone(self), call.clone());
            calls.spawn(async move { client.call(call).await });
        }
        calls.join_all().await;
    }

    fn check_in_flight(&self) {
        let in_flight = self.balancer.in_flight();
        if in_flight > 0 {
            self.world.broken(format!("{in_flight} calls are in flight after the last one"));
        }
    }

    /// Makes calls, some at once. The replicas get as many each, with a difference.
    async fn check_load(self: &Arc<Self>, at_once: usize, times: usize, difference: usize) {
        let first = locked(&self.world.state).calls.len();
        for _ in 0..times {
            self.make_calls(at_once, Idempotency::NonIdempotent).await;
        }
        let state = locked(&self.world.state);
        let mut load = vec![0; state.replicas.len()];
        let mut failed = 0;
        for call in &state.calls[first..] {
            failed += usize::from(!call.has_succeeded || call.attempts.len() != 1);
            call.attempts.iter().for_each(|attempt| load[attempt.replica] += 1);
        }
        drop(state);
        if failed > 0 {
            self.world.broken(format!("{failed} calls fail or are repeated after the last fault"));
        }
        let (least, most) = (load.iter().min(), load.iter().max());
        if most.zip(least).is_some_and(|(most, least)| most - least > difference) {
            self.world.broken(format!("the load is not even: {load:?}"));
        }
    }
}
