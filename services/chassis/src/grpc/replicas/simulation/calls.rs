//! The calls and streams of the client, and what must be true of each.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use simulator::locked;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    Call, Client, LONG_DEADLINE, Mutant, Stream,
    network::{Link, Replica, State, World},
};
use crate::grpc::replicas::{
    channel::Channel as _,
    connection::FailureKind,
    retry::{self, CallError, Idempotency},
};

/// A replica that was well for this time is used.
const SETTLED: Duration = Duration::from_secs(2);
/// A replica that was ill for this time is not used, if another one is settled.
const DETECTED: Duration = Duration::from_millis(1_500);
/// The time limit of promise 7 for calls on a replica that does not answer.
const ABANDONED: Duration = Duration::from_secs(2);
/// A stream on such a replica ends within this time.
const UNREACHABLE: Duration = Duration::from_secs(3);
/// Calls are sent on a connection for this time after the replica has become slow.
const SLOW: Duration = Duration::from_millis(1_500);
/// No call in flight on a replica that leaves is given up sooner.
const GRACE: Duration = Duration::from_millis(700);
/// With a settled replica, no call waits longer for an attempt.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// This long after the last replica, calls fail after [`PENDING`].
const OUTAGE: Duration = Duration::from_millis(2_300);
/// But not sooner than this.
const PENDING: Duration = Duration::from_millis(1_500);
/// Nor than this, if a replica served when the call began.
const PENDING_SINCE_OUTAGE: Duration = Duration::from_secs(2);
/// As many calls as may wait.
const MAX_PENDING: usize = 256;
/// A call that may have been processed is repeated this often.
const MAX_RETRIES: usize = 2;
/// Calls that the retry budget allows to repeat although all replicas are busy.
const BUDGET: usize = 10;

pub(super) struct CallRecord {
    pub(super) call: Call,
    started: Instant,
    pub(super) attempts: Vec<AttemptRecord>,
    pub(super) has_succeeded: bool,
    is_running: bool,
    /// More calls run than may wait.
    is_crowded: bool,
    /// A replica served when the call began.
    had_replica: bool,
    /// A slow replica was connected when the call began.
    had_connection: bool,
}

pub(super) struct AttemptRecord {
    pub(super) replica: usize,
    /// Another one after the replica has moved.
    address: SocketAddr,
    started: Instant,
    ended: Option<Instant>,
    /// The replica was well for some time when the attempt began.
    was_settled: bool,
    /// The replica has certainly not processed it.
    is_unprocessed: bool,
    is_overloaded: bool,
    processed: usize,
}

impl CallRecord {
    /// Attempts that may have been processed.
    fn uncertain(&self) -> usize {
        self.attempts.iter().filter(|attempt| !attempt.is_unprocessed).count()
    }

    fn tried(&self) -> Vec<usize> {
        self.attempts.iter().map(|attempt| attempt.replica).collect()
    }
}

impl State {
    /// Whether a state that began at a time had lasted for long enough.
    pub(super) fn has_settled(&self, since: Option<Instant>, at: Instant) -> bool {
        since.is_some_and(|since| since <= at && self.active_time(since, at) >= SETTLED)
    }

    /// Returns another replica that was settled at a time and is well since.
    fn settled_at(&self, at: Instant, except: &[usize]) -> Option<usize> {
        (0..self.replicas.len()).find(|replica| {
            !except.contains(replica) && self.has_settled(self.replicas[*replica].well_since, at)
        })
    }
}

/// An attempt of a call.
#[derive(Clone)]
pub(super) struct Attempt {
    world: Arc<World>,
    call: usize,
    attempt: usize,
}

impl Attempt {
    pub(super) fn unprocessed(&self) {
        self.record(|record| record.is_unprocessed = true);
    }

    /// The client does not receive that the call was not processed.
    pub(super) fn lost(&self) {
        self.record(|record| record.is_unprocessed = false);
    }

    pub(super) fn overloaded(&self) {
        self.record(|record| record.is_overloaded = true);
    }

    /// Returns the call, which the replica now processes.
    pub(super) fn processed(&self) -> Call {
        self.record(|record| record.processed += 1);
        locked(&self.world.state).calls[self.call].call.clone()
    }

    fn record(&self, change: impl FnOnce(&mut AttemptRecord)) {
        change(&mut locked(&self.world.state).calls[self.call].attempts[self.attempt]);
    }
}

/// The caller waits for an attempt until this is dropped.
struct Running {
    attempt: Attempt,
    is_answered: bool,
}

impl Running {
    /// The attempt has an answer.
    fn end(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Attempt { world, call, attempt } = &self.attempt;
        world.attempt_ended(*call, *attempt, self.is_answered);
    }
}

impl Client {
    pub(super) async fn call(&self, call: Call) {
        let world = &self.world;
        let index = world.call_started(&call, self.balancer.serving() > 0);
        let deadline =
            if world.has(Mutant::ExtendDeadlines) { call.deadline * 2 } else { call.deadline };
        let idempotency = if world.has(Mutant::CallEverythingIdempotent) {
            Idempotency::Idempotent
        } else {
            call.idempotency
        };
        let until = Instant::now() + deadline;
        let attempt = |link: Link, left: Duration| {
            if left > until - Instant::now() {
                world.broken(format!("an attempt of call {index} has {left:?}"));
            }
            if link.is_closed() {
                world.broken(format!("call {index} goes over a closed connection"));
            }
            let attempt = world.attempt_started(index, link.replica(), link.address());
            let running = Running { attempt: attempt.clone(), is_answered: false };
            async move {
                let answer = link.attempt(attempt, left).await;
                running.end();
                answer
            }
        };
        let calling = retry::call(&self.balancer, &self.budget, idempotency, deadline, attempt);
        let result = match call.leaves_after {
            Some(time) => timeout(time, calling).await.ok(),
            None => Some(calling.await),
        };
        world.call_ended(index, result);
    }

    pub(super) async fn stream(&self, stream: &Stream) {
        let world = &self.world;
        let started = Instant::now();
        let until = started + stream.lasts;
        let guard = tokio::select! {
            biased;
            guard = self.balancer.wait_for_pick_by_hash(stream.key) => Some(guard),
            () = sleep_until(until) => None,
        };
        let picked = Instant::now();
        {
            let state = locked(&world.state);
            let waited = state.active_time(started, picked);
            let settled = state.settled_at(started, &[]);
            drop(state);
            if let Some(settled) = settled
                && (guard.is_none() || waited > LONGEST_WAIT)
            {
                let text = format!("a stream waits {waited:?}, and replica {settled} is well");
                world.broken(text);
            }
        }
        let Some(guard) = guard else { return };
        let replica = guard.connection().replica();
        world.history.note(format!("stream {} on replica {replica}", stream.key));
        if self.balancer.pick_by_hash(stream.key).map(|again| again.address())
            != Some(guard.address())
        {
            world.broken(format!("key {} has two replicas", stream.key));
        }
        let mut unreachable = pin!(guard.unreachable());
        while Instant::now() < until {
            tokio::select! {
                biased;
                () = &mut unreachable => {
                    world.history.note(format!("stream {} is unreachable", stream.key));
                    world.stream_ended(replica, picked);
                    break;
                }
                () = sleep(Duration::from_millis(250)) => {
                    if world.stream_hangs(replica, picked) {
                        break;
                    }
                }
            }
        }
        if world.has(Mutant::LeakGuards) {
            std::mem::forget(self.balancer.pick_by_hash(stream.key));
        }
    }
}

impl World {
    fn call_started(&self, call: &Call, had_replica: bool) -> usize {
        let mut state = locked(&self.state);
        let running = state.calls.iter().filter(|other| other.is_running).count();
        let now = Instant::now();
        let had_connection = state
            .replicas
            .iter()
            .any(|replica| replica.slow_since.is_some_and(|since| now - since < SLOW));
        state.calls.push(CallRecord {
            call: call.clone(),
            started: now,
            attempts: Vec::new(),
            has_succeeded: false,
            is_running: true,
            is_crowded: running >= MAX_PENDING,
            had_replica,
            had_connection,
        });
        let index = state.calls.len() - 1;
        drop(state);
        self.history.note(format!("call {index}: {call:?}"));
        index
    }

    fn attempt_started(
        self: &Arc<Self>,
        call: usize,
        replica: usize,
        address: SocketAddr,
    ) -> Attempt {
        let now = Instant::now();
        let mut broken = Vec::new();
        let mut state = locked(&self.state);
        let record = &state.calls[call];
        let tried = record.tried();
        let last = record.attempts.last();
        if let Some(settled) = state.settled_at(now, &tried) {
            let is_ill = state.replicas[replica]
                .ill_since
                .is_some_and(|since| state.active_time(since, now) > DETECTED);
            if is_ill {
                broken.push(format!(
                    "call {call} goes to replica {replica}, which is ill; replica {settled} is well"
                ));
            }
            if last.is_some_and(|last| last.address == address) {
                broken.push(format!("call {call} goes to replica {replica} again"));
            }
        }
        if let Some(least) = state.least_loaded(now, &tried).filter(|_| !self.has_streams) {
            let load = state.load(replica);
            if load > least {
                broken.push(format!("call {call} goes to a replica with {load} calls"));
            }
        }
        if last.is_some_and(|last| last.is_overloaded && last.address == address) {
            broken.push(format!("call {call} goes to replica {replica} again, which is busy"));
        }
        let since = last.map_or(record.started, |last| last.ended.unwrap_or(now));
        let waited = state.active_time(since, now);
        if let Some(settled) = state.settled_at(since, &[])
            && waited > LONGEST_WAIT
        {
            let text = format!("call {call} waits {waited:?}, and replica {settled} is well");
            broken.push(text);
        }
        let connected = state
            .replicas
            .iter()
            .position(|replica| state.has_settled(replica.connected_since, since));
        if let Some(connected) = connected.filter(|_| !state.has_stalled(now))
            && waited > LONGEST_WAIT
        {
            broken.push(format!("call {call} waits {waited:?}, and replica {connected} accepts"));
        }
        if record.had_connection && record.attempts.is_empty() && waited > LONGEST_WAIT {
            broken.push(format!("call {call} waits {waited:?}, and a replica is only slow"));
        }
        if !record.call.is_repeatable() && record.uncertain() > 0 {
            broken.push(format!("call {call} is not idempotent, and is repeated"));
        }
        let was_settled = state.has_settled(state.replicas[replica].well_since, now);
        let attempts = &mut state.calls[call].attempts;
        attempts.push(AttemptRecord {
            replica,
            address,
            started: now,
            ended: None,
            was_settled,
            is_unprocessed: false,
            is_overloaded: false,
            processed: 0,
        });
        let attempt = attempts.len() - 1;
        drop(state);
        self.history.note(format!("call {call} goes to replica {replica}"));
        broken.into_iter().for_each(|text| self.broken(text));
        Attempt { world: Arc::clone(self), call, attempt }
    }

    fn attempt_ended(&self, call: usize, attempt: usize, is_answered: bool) {
        let now = Instant::now();
        let mut state = locked(&self.state);
        state.calls[call].attempts[attempt].ended = Some(now);
        let record = &state.calls[call];
        let AttemptRecord { replica, started, was_settled, .. } = record.attempts[attempt];
        let took = state.active_time(started, now);
        let may_repeat = record.call.is_repeatable()
            && record.attempts[..attempt].iter().filter(|other| !other.is_unprocessed).count()
                < MAX_RETRIES;
        let is_late = may_repeat && took > record.call.takes + ABANDONED;
        let settled = state.settled_at(started, &[replica]);
        let Call { deadline, leaves_after, .. } = record.call;
        let is_over = now >= record.started + deadline.min(leaves_after.unwrap_or(deadline));
        let is_hasty = !(is_answered || is_over)
            && was_settled
            && state.is_graceful(replica)
            && now - started < GRACE;
        drop(state);
        if is_hasty {
            self.broken(format!(
                "call {call} gives up replica {replica} after {took:?}, which may still answer"
            ));
        }
        if let Some(settled) = settled
            && is_late
        {
            self.broken(format!(
                "promise 7: call {call} waits {took:?} for replica {replica}, and replica \
                 {settled} is well"
            ));
        }
    }

    /// `None` if the caller has left.
    fn call_ended(&self, call: usize, result: Option<Result<(), CallError>>) {
        let now = Instant::now();
        let mut state = locked(&self.state);
        state.calls[call].is_running = false;
        state.calls[call].has_succeeded = matches!(result, Some(Ok(())));
        let Some(result) = result else { return };
        let record = &state.calls[call];
        let Call { deadline, fails, .. } = record.call;
        let took = state.active_time(record.started, now);
        let settled = state.settled_at(record.started, &[]);
        let has_time = deadline >= LONG_DEADLINE;
        let may_repeat = if record.call.is_repeatable() {
            record.uncertain() <= MAX_RETRIES
        } else {
            record.uncertain() == 0
        };
        let (mut broken, mut needless) = (Vec::new(), false);
        if took > deadline + Duration::from_millis(10) {
            broken.push(format!("call {call} takes {took:?}"));
        }
        // The time limit counts from the beginning of the outage.
        let is_down = state
            .all_down_since
            .is_some_and(|since| since <= record.started && state.active_time(since, now) > OUTAGE);
        if is_down && took > PENDING + Duration::from_millis(200) {
            broken.push(format!("call {call} waits {took:?} although no replica is up"));
        }
        match &result {
            Ok(()) => {
                if record.attempts.last().is_none_or(|last| last.processed != 1) || fails {
                    broken.push(format!("call {call} succeeds, and no replica processed it"));
                }
            }
            Err(CallError::NoReplica) => {
                needless = settled.is_some();
                if record.uncertain() > 0 {
                    broken.push(format!("call {call} was sent, and has no replica"));
                }
                if record.had_connection {
                    broken.push(format!("call {call} has no replica, and one is only slow"));
                }
                let least = match (record.had_replica, record.is_crowded) {
                    (true, _) => PENDING_SINCE_OUTAGE,
                    (false, false) => PENDING,
                    (false, true) => Duration::ZERO,
                };
                if now - record.started < least {
                    broken.push(format!("call {call} fails after {took:?}"));
                }
            }
            Err(CallError::DeadlineExceeded) => {
                needless = settled.is_some() && has_time && may_repeat;
            }
            Err(CallError::Failed(status)) => match FailureKind::of(status) {
                FailureKind::Unprocessed | FailureKind::Lost | FailureKind::Draining => {
                    needless = settled.is_some() && may_repeat;
                }
                FailureKind::Overloaded if status.details().is_empty() => {
                    broken.push(format!("call {call} fails: {status:?} counts as overload"));
                }
                FailureKind::Overloaded => {
                    let overloads = state.overloads();
                    let other = state.settled_at(record.started, &record.tried());
                    needless = other.is_some()
                        && record.call.is_repeatable()
                        && record.uncertain() == 1
                        && overloads <= BUDGET;
                }
                FailureKind::Response => {
                    let is_expected = match status.code() {
                        tonic::Code::FailedPrecondition => fails,
                        code => code == tonic::Code::DeadlineExceeded,
                    };
                    if !is_expected {
                        broken.push(format!("call {call} fails by itself: {status:?}"));
                    }
                }
            },
        }
        if needless {
            broken.push(format!("promise 7: call {call} fails, and replica {settled:?} is well"));
        }
        drop(state);
        self.history.note(format!("call {call} ends: {result:?}"));
        broken.into_iter().for_each(|text| self.broken(text));
    }

    fn stream_ended(&self, replica: usize, picked: Instant) {
        let state = locked(&self.state);
        let Replica { well_since, steady_since, .. } = state.replicas[replica];
        let since = if state.has_stalled(Instant::now()) { well_since } else { steady_since };
        let was_well = state.has_settled(since, picked);
        drop(state);
        if was_well {
            self.broken(format!("a stream on replica {replica} ends, and the replica is well"));
        }
    }

    fn stream_hangs(&self, replica: usize, picked: Instant) -> bool {
        let now = Instant::now();
        let state = locked(&self.state);
        let Some(since) = state.replicas[replica].silent_since else { return false };
        let silent = state.active_time(since.max(picked), now);
        let settled = now.checked_sub(UNREACHABLE).and_then(|at| state.settled_at(at, &[replica]));
        drop(state);
        if let Some(settled) = settled
            && silent > UNREACHABLE
        {
            self.broken(format!(
                "a stream stays on replica {replica}, which is silent for {silent:?}; replica \
                 {settled} is well"
            ));
            return true;
        }
        false
    }

    /// After the history, as replicas may process calls late.
    pub(super) fn check_all_calls(&self) {
        let state = locked(&self.state);
        let mut broken = Vec::new();
        for (index, record) in state.calls.iter().enumerate() {
            let processed: usize = record.attempts.iter().map(|attempt| attempt.processed).sum();
            let allowed = if record.call.is_repeatable() { 1 + MAX_RETRIES } else { 1 };
            if processed > allowed || record.uncertain() > allowed {
                broken.push(format!("call {index} is processed {processed} times"));
            }
            let most = state.replicas.len()
                * (2 + usize::try_from(record.call.deadline.as_millis() / 50).unwrap_or(0));
            if record.attempts.len() > most {
                broken.push(format!("call {index} has {} attempts", record.attempts.len()));
            }
        }
        let repeated = state
            .calls
            .iter()
            .flat_map(|call| call.attempts.split_last().map_or(&[][..], |(_, others)| others))
            .filter(|attempt| attempt.is_overloaded)
            .count();
        let succeeded = state.calls.iter().filter(|call| call.has_succeeded).count();
        if repeated > BUDGET + succeeded / 10 {
            broken.push(format!("{repeated} calls are repeated although the replicas are busy"));
        }
        drop(state);
        broken.into_iter().for_each(|text| self.broken(text));
    }
}

impl State {
    /// Returns the calls of the replica with the fewest that was not tried, if all are settled.
    fn least_loaded(&self, at: Instant, tried: &[usize]) -> Option<usize> {
        let replicas = 0..self.replicas.len();
        let is_settled = |replica: usize| self.has_settled(self.replicas[replica].well_since, at);
        if !replicas.clone().all(is_settled) {
            return None;
        }
        let open = replicas.filter(|replica| !tried.contains(replica));
        open.map(|replica| self.load(replica)).min()
    }

    fn load(&self, replica: usize) -> usize {
        let running = self.calls.iter().filter(|call| call.is_running);
        let last = running.filter_map(|call| call.attempts.last());
        last.filter(|attempt| attempt.replica == replica && attempt.ended.is_none()).count()
    }

    fn overloads(&self) -> usize {
        let attempts = self.calls.iter().flat_map(|call| &call.attempts);
        attempts.filter(|attempt| attempt.is_overloaded).count()
    }
}
