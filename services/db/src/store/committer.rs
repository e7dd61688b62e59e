//! Group commit of orders.
//!
//! Orders update a few product rows, so their transactions run one after another. Meanwhile orders
//! queue, and the next transaction takes all of them. There is no timer: an order that finds the
//! queue empty is committed immediately.

use std::{sync::Arc, time::Duration};

use merch_chassis::{ConcurrencyLimit, ConcurrencyPermit, WriteClass};
use merch_contract::grpc::assistant::v1::ErrorReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Caller, internal,
    place::{NewOrder, OrderOutcome, PlaceOrders, direct::DirectOutcome},
};
use crate::{failure::Failure, metrics};

/// Creates a queue. `queue` limits the waiting and in-flight orders; `batch` limits the orders per
/// transaction; `writes` limits those of a user.
pub(crate) fn new<P: PlaceOrders>(
    store: P,
    writes: ConcurrencyLimit<(Caller, WriteClass)>,
    queue: usize,
    batch: usize,
) -> (Queue, Committer<P>) {
    let queue = queue.max(batch).min(Semaphore::MAX_PERMITS);
    let (sender, receiver) = mpsc::channel(queue);
    (
        Queue { calls: sender, capacity: Arc::new(Semaphore::new(queue)), writes },
        Committer { store, calls: receiver, carry_over: None, max_batch: batch },
    )
}

type Reply = Result<Vec<OrderOutcome>, Failure>;

type UserPermit = ConcurrencyPermit<(Caller, WriteClass)>;

struct PendingCall {
    orders: Vec<NewOrder>,
    response: oneshot::Sender<Reply>,
    permit: OwnedSemaphorePermit,
    /// One permit per order, held until the reply even if the caller disconnects.
    user_permits: Vec<UserPermit>,
}

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    calls: mpsc::Sender<PendingCall>,
    /// One permit per order; a call has 1 to 256.
    capacity: Arc<Semaphore>,
    /// Prevents one user from filling the queue.
    writes: ConcurrencyLimit<(Caller, WriteClass)>,
}

impl Queue {
    /// Returns one outcome per order, in the order of the request, after the commit.
    ///
    /// An order is not placed if the future is dropped, or its deadline passes, before the
    /// committer decides on it. Orders above their user's limit are refused separately.
    ///
    /// # Errors
    /// `OVERLOADED` if the queue is full; the failure of the transaction, if no order has an
    /// outcome.
    pub(crate) async fn place(&self, orders: Vec<NewOrder>) -> Result<Vec<OrderOutcome>, Failure> {
        let (mut admitted, mut user_permits, mut is_admitted) =
            (Vec::with_capacity(orders.len()), Vec::new(), Vec::new());
        for order in orders {
            let permit = self.writes.try_acquire((order.caller, WriteClass::Data));
            is_admitted.push(permit.is_some());
            if let Some(permit) = permit {
                user_permits.push(permit);
                admitted.push(order);
            } else {
                metrics::WRITES_REFUSED.inc();
            }
        }
        let outcomes = self.enqueue(admitted, user_permits).await?;
        Ok(with_refusals(&is_admitted, outcomes))
    }

    async fn enqueue(
        &self,
        orders: Vec<NewOrder>,
        user_permits: Vec<UserPermit>,
    ) -> Result<Vec<OrderOutcome>, Failure> {
        if orders.is_empty() {
            return Ok(Vec::new());
        }
        let overloaded = || Failure::Refused(ErrorReason::Overloaded);
        let count = u32::try_from(orders.len()).map_err(|_| overloaded())?;
        let permit =
            self.capacity.clone().try_acquire_many_owned(count).map_err(|_| overloaded())?;
        let (response, outcomes) = oneshot::channel();
        metrics::QUEUE_DEPTH.add(i64::from(count));
        let call = PendingCall { orders, response, permit, user_permits };
        if self.calls.try_send(call).is_err() {
            metrics::QUEUE_DEPTH.sub(i64::from(count));
            return Err(overloaded());
        }
        // The committer drops a call only when the process exits.
        outcomes.await.unwrap_or_else(|_| Err(overloaded()))
    }
}

/// Planted faults of the simulation.
#[cfg(test)]
impl Queue {
    pub(crate) fn leak_permit(&self) {
        self.capacity.forget_permits(1);
    }

    pub(crate) fn leak_user_permit(&self, caller: Caller) {
        std::mem::forget(self.writes.try_acquire((caller, WriteClass::Data)));
    }
}

/// Inserts a `TOO_MANY_WRITES` for each order not admitted.
fn with_refusals(is_admitted: &[bool], outcomes: Vec<OrderOutcome>) -> Vec<OrderOutcome> {
    let mut outcomes = outcomes.into_iter();
    let refused = || OrderOutcome::Refused(ErrorReason::TooManyWrites);
    is_admitted
        .iter()
        .filter_map(|admitted| if *admitted { outcomes.next() } else { Some(refused()) })
        .collect()
}

pub(crate) struct Committer<P> {
    store: P,
    calls: mpsc::Receiver<PendingCall>,
    carry_over: Option<PendingCall>,
    max_batch: usize,
}

impl<P: PlaceOrders> Committer<P> {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        while let Some(first) = self.next_call(&shutdown).await {
            let batch = self.next_batch(first);
            if !batch.is_empty() {
                self.commit(batch).await;
            }
        }
    }

    async fn next_call(&mut self, shutdown: &CancellationToken) -> Option<PendingCall> {
        if let Some(call) = self.carry_over.take() {
            return Some(call);
        }
        tokio::select! {
            biased;
            call = self.calls.recv() => call,
            () = shutdown.cancelled() => {
                self.calls.close();
                self.calls.recv().await
            }
        }
    }

    fn next_batch(&mut self, first: PendingCall) -> Vec<PendingCall> {
        let (mut batch, mut orders) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(call) = next {
            if !call.is_live() {
                call.record_dequeued();
                let expired = OrderOutcome::Refused(ErrorReason::OrderExpired);
                let outcomes = vec![expired; call.orders.len()];
                call.reply(Ok(outcomes));
            } else if orders + call.orders.len() > self.max_batch && !batch.is_empty() {
                self.carry_over = Some(call);
                break;
            } else {
                orders += call.orders.len();
                call.record_dequeued();
                batch.push(call);
            }
            next = self.calls.try_recv().ok();
        }
        batch
    }

    /// Places the orders of a batch in one statement, then the undecided ones in a transaction.
    async fn commit(&self, batch: Vec<PendingCall>) {
        let orders: Vec<&NewOrder> = batch.iter().flat_map(|call| &call.orders).collect();
        let time_left = || batch.iter().flat_map(PendingCall::orders).map(time_left).collect();
        let outcomes = match self.store.place_directly(&orders, &time_left).await {
            Ok(outcomes) => outcomes,
            Err(Failure::Internal(error)) => {
                tracing::warn!(
                    %error,
                    orders = orders.len(),
                    "failed to place a batch of orders in one statement; using a transaction"
                );
                orders.iter().map(|_| DirectOutcome::Undecided).collect()
            }
            Err(failure) => {
                return batch.into_iter().for_each(|call| call.reply(Err(failure.clone())));
            }
        };
        let mut outcomes = outcomes.into_iter();
        let mut undecided = Vec::new();
        for call in batch {
            let outcomes = outcomes.by_ref().take(call.orders.len()).collect();
            let call = PartlyPlaced { call, outcomes };
            if call.undecided().next().is_some() {
                undecided.push(call);
            } else {
                call.reply(&mut std::iter::empty());
            }
        }
        if !undecided.is_empty() {
            self.decide(undecided).await;
        }
    }

    async fn decide(&self, calls: Vec<PartlyPlaced>) {
        let orders: Vec<_> = calls.iter().flat_map(PartlyPlaced::undecided).collect();
        let results: Vec<_> = match self.place(&orders).await {
            // Nothing is committed. One order may be the cause; the others must not fail.
            Err(Failure::Internal(error)) if orders.len() > 1 => {
                tracing::warn!(
                    %error,
                    orders = orders.len(),
                    "failed to commit a batch of orders; committing each order separately"
                );
                drop(orders);
                return self.decide_separately(calls).await;
            }
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(failure) => orders.iter().map(|_| Err(failure.clone())).collect(),
        };
        let mut results = results.into_iter();
        calls.into_iter().for_each(|call| call.reply(&mut results));
    }

    async fn decide_separately(&self, calls: Vec<PartlyPlaced>) {
        for call in calls {
            let mut results = Vec::new();
            for order in call.undecided() {
                let outcomes = self.place(&[order]).await;
                results.push(outcomes.and_then(|mut outcomes| {
                    outcomes.pop().ok_or_else(|| internal("an order has no outcome"))
                }));
            }
            call.reply(&mut results.into_iter());
        }
    }

    async fn place(
        &self,
        orders: &[(&PendingCall, &NewOrder)],
    ) -> Result<Vec<OrderOutcome>, Failure> {
        let time_left = || orders.iter().copied().map(time_left).collect();
        let orders: Vec<&NewOrder> = orders.iter().map(|(_, order)| *order).collect();
        self.store.place(&orders, &time_left).await
    }
}

/// Returns how long the buyer of an order waits; `None` if it no longer does.
fn time_left((call, order): (&PendingCall, &NewOrder)) -> Option<Duration> {
    if call.response.is_closed() { None } else { order.time_left() }
}

/// A call after the direct statement.
struct PartlyPlaced {
    call: PendingCall,
    /// One per order of the call.
    outcomes: Vec<DirectOutcome>,
}

impl PartlyPlaced {
    fn undecided(&self) -> impl Iterator<Item = (&PendingCall, &NewOrder)> {
        let orders = self.call.orders().zip(&self.outcomes);
        orders.filter_map(|(order, outcome)| {
            matches!(outcome, DirectOutcome::Undecided).then_some(order)
        })
    }

    /// Takes one of `decided` for each undecided order. The call fails only if no order has an
    /// outcome, and with an internal error only if all have one.
    fn reply(self, decided: &mut impl Iterator<Item = Result<OrderOutcome, Failure>>) {
        let missing = || Err(internal("an order has no outcome"));
        let results: Vec<Result<OrderOutcome, Failure>> = self
            .outcomes
            .into_iter()
            .map(|outcome| match outcome {
                DirectOutcome::Placed(order) => Ok(OrderOutcome::Placed(order)),
                DirectOutcome::Undecided => decided.next().unwrap_or_else(missing),
            })
            .collect();
        let reply = if results.iter().any(Result::is_ok) {
            let refused = |failure| OrderOutcome::Refused(reason(&failure));
            Ok(results.into_iter().map(|result| result.unwrap_or_else(refused)).collect())
        } else {
            let failures = results.into_iter().filter_map(Result::err);
            let failure = failures.min_by_key(|failure| matches!(failure, Failure::Internal(_)));
            failure.map_or_else(|| Ok(Vec::new()), Err)
        };
        self.call.reply(reply);
    }
}

/// Returns the reason of an order whose outcome is unknown, in a call with other outcomes.
fn reason(failure: &Failure) -> ErrorReason {
    match failure {
        Failure::Refused(reason) => *reason,
        Failure::Retryable(_) | Failure::Unavailable(_) | Failure::TimedOut => {
            ErrorReason::DatabaseUnavailable
        }
        Failure::Invalid(_) | Failure::TooManyLogIns(_) | Failure::Internal(_) => {
            ErrorReason::Unspecified
        }
    }
}

impl PendingCall {
    fn orders(&self) -> impl Iterator<Item = (&Self, &NewOrder)> {
        self.orders.iter().map(move |order| (self, order))
    }

    fn is_live(&self) -> bool {
        self.orders().any(|order| time_left(order).is_some())
    }

    fn record_dequeued(&self) {
        metrics::QUEUE_DEPTH.sub(i64::try_from(self.orders.len()).unwrap_or(i64::MAX));
    }

    fn reply(self, reply: Reply) {
        if let Ok(outcomes) = &reply {
            for outcome in outcomes {
                let label = match outcome {
                    OrderOutcome::Placed(_) => "placed",
                    OrderOutcome::Replayed(_) => "replayed",
                    OrderOutcome::Refused(reason) => reason.as_str_name(),
                };
                metrics::ORDERS.with_label_values(&[label]).inc();
            }
        }
        drop((self.permit, self.user_permits));
        // The caller finds its order in the list of orders or by its idempotency key.
        if self.response.send(reply).is_err() {
            tracing::debug!("the caller disconnected before its orders were answered");
        }
    }
}

#[cfg(test)]
mod tests;
