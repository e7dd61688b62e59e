//! Sends orders to the db service, several in one call.
//!
//! An order that finds fewer than [`MAX_IN_FLIGHT`] calls in flight departs immediately, alone.
//! Other orders wait. When a call returns, those that wait depart together, in order of arrival. No
//! timer delays an order.
//!
//! A frozen replica holds its calls until their deadline. So a call takes a place in flight for
//! [`MAX_DELAY`] at most: then orders depart behind it, and the balancer prefers a replica with
//! fewer calls. A frozen replica fails the orders of its calls, as if each had its own call, and
//! delays others by [`MAX_DELAY`] at most. If every call is slow, orders wait less for each other,
//! and the db service forms the batches.
//!
//! An order waits as long as its request, so the limits of requests also limit the waiting orders.
//! Those of disconnected clients are dropped at the next departure.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use merch_contract::{
    grpc::assistant::v1::{self as proto, place_order_result::Outcome},
    rest::server as rest,
};
use prometheus::{Histogram, exponential_buckets, histogram_opts, register_histogram};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    context::RequestContext,
    convert::required,
    db::{Db, DbError, Idempotency},
    identity::Caller,
};

/// One call travels while the db service commits the other. More calls would share the same orders.
const MAX_IN_FLIGHT: usize = 2;
/// As `PlaceOrdersRequest` allows.
const MAX_ORDERS: usize = 256;
/// How long a call delays others: many times its usual duration of some milliseconds, and short for
/// a person.
const MAX_DELAY: Duration = Duration::from_millis(100);

static ORDERS_PER_CALL: LazyLock<Histogram> = LazyLock::new(|| {
    let invariant = "the bounds increase, and the name is registered only here";
    let buckets = exponential_buckets(1.0, 2.0, 9).expect(invariant);
    let options = histogram_opts!(
        "merch_api_orders_per_call",
        "Orders in a PlaceOrders call to the db service",
        buckets
    );
    register_histogram!(options).expect(invariant)
});

/// An order, and until when its client waits.
#[derive(Clone, Debug)]
struct NewOrder {
    context: RequestContext,
    caller: Caller,
    purchase: rest::Purchase,
    idempotency_key: Option<String>,
    deadline: Instant,
}

impl NewOrder {
    /// Called for each attempt, as its time left differs.
    fn to_proto(&self) -> proto::NewOrder {
        let left = self.deadline.saturating_duration_since(Instant::now());
        proto::NewOrder {
            context: Some(self.context.to_proto()),
            caller: Some(self.caller.to_proto()),
            product_id: self.purchase.product_id,
            quantity: self.purchase.quantity,
            idempotency_key: self.idempotency_key.clone().unwrap_or_default(),
            time_left_ms: Some(i32::try_from(left.as_millis()).unwrap_or(i32::MAX)),
        }
    }
}

/// The orders of this process. Those with and without a key have separate calls, because only a
/// call whose orders all have one may be repeated if its outcome is unknown.
pub(crate) struct OrderBatches {
    db: Db,
    keyed: Arc<Batches<DbCalls>>,
    unkeyed: Arc<Batches<DbCalls>>,
}

impl OrderBatches {
    pub(crate) fn new(db: Db) -> Self {
        let batches = |idempotency| Batches::new(DbCalls { db: db.clone(), idempotency });
        Self {
            keyed: batches(Idempotency::Idempotent),
            unkeyed: batches(Idempotency::NonIdempotent),
            db,
        }
    }

    /// Returns the placed order, or the one that was placed with the same key. If the future is
    /// dropped, the order may be placed, unless it still waits.
    ///
    /// # Errors
    /// The refusal of this order, or the failure of its call.
    pub(crate) async fn place(
        &self,
        caller: Caller,
        purchase: rest::Purchase,
        idempotency_key: Option<String>,
    ) -> Result<proto::Order, DbError> {
        let batches = if idempotency_key.is_some() { &self.keyed } else { &self.unkeyed };
        let (context, deadline) = (RequestContext::current(), self.db.deadline());
        batches.place(NewOrder { context, caller, purchase, idempotency_key, deadline }).await
    }
}

trait PlaceOrders: Send + Sync + 'static {
    fn place_orders(
        &self,
        orders: &[NewOrder],
    ) -> impl Future<Output = Result<proto::PlaceOrdersResponse, DbError>> + Send;
}

struct DbCalls {
    db: Db,
    idempotency: Idempotency,
}

impl PlaceOrders for DbCalls {
    /// The call has the latest deadline of its orders, and the ids of the first order's request.
    async fn place_orders(
        &self,
        orders: &[NewOrder],
    ) -> Result<proto::PlaceOrdersResponse, DbError> {
        let deadline = orders.iter().map(|order| order.deadline).max();
        let context = orders.first().map(|order| order.context.clone()).unwrap_or_default();
        let message = || proto::PlaceOrdersRequest {
            orders: orders.iter().map(NewOrder::to_proto).collect(),
        };
        self.db
            .call_until(
                deadline.unwrap_or_else(Instant::now),
                self.idempotency,
                &context,
                message,
                |mut db, request| async move { db.place_orders(request).await },
            )
            .await
    }
}

struct Batches<C> {
    calls: C,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<PendingOrder>,
    in_flight: usize,
}

struct PendingOrder {
    order: NewOrder,
    /// Closed if the client no longer waits.
    reply: Reply,
}

type Reply = oneshot::Sender<Result<proto::Order, DbError>>;

impl<C: PlaceOrders> Batches<C> {
    fn new(calls: C) -> Arc<Self> {
        Arc::new(Self { calls, state: Mutex::default() })
    }

    async fn place(self: &Arc<Self>, order: NewOrder) -> Result<proto::Order, DbError> {
        let deadline = order.deadline;
        let (reply, result) = oneshot::channel();
        self.state().waiting.push_back(PendingOrder { order, reply });
        self.depart();
        match timeout_at(deadline, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(DbError::Unreachable("the task of the call ended".to_owned())),
            Err(_) => Err(DbError::DeadlineExceeded),
        }
    }

    fn depart(self: &Arc<Self>) {
        while let Some(batch) = self.next_batch() {
            // A task, because a client that disconnects must not cancel the orders of others.
            tokio::spawn(carry(InFlight(Arc::clone(self)), batch));
        }
    }

    /// Takes a place in flight, and the first orders whose clients still wait.
    fn next_batch(&self) -> Option<Vec<PendingOrder>> {
        let mut state = self.state();
        if state.in_flight == MAX_IN_FLIGHT {
            return None;
        }
        let (mut batch, now) = (Vec::new(), Instant::now());
        while batch.len() < MAX_ORDERS
            && let Some(pending) = state.waiting.pop_front()
        {
            if pending.order.deadline <= now {
                send(pending.reply, Err(DbError::DeadlineExceeded));
            } else if !pending.reply.is_closed() {
                batch.push(pending);
            }
        }
        if batch.is_empty() {
            return None;
        }
        state.in_flight += 1;
        Some(batch)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in flight.
struct InFlight<C: PlaceOrders>(Arc<Batches<C>>);

impl<C: PlaceOrders> Drop for InFlight<C> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

/// Makes one call, and replies to its orders.
async fn carry<C: PlaceOrders>(in_flight: InFlight<C>, batch: Vec<PendingOrder>) {
    ORDERS_PER_CALL.observe(batch.len() as f64);
    let batches = Arc::clone(&in_flight.0);
    let (orders, replies): (Vec<NewOrder>, Vec<Reply>) =
        batch.into_iter().map(|PendingOrder { order, reply }| (order, reply)).unzip();
    let mut call = pin!(batches.calls.place_orders(&orders));
    let in_time = timeout(MAX_DELAY, &mut call).await;
    drop(in_flight);
    batches.depart();
    let response = match in_time {
        Ok(response) => response,
        Err(_) => call.await,
    };
    match response.and_then(|response| outcomes(response, replies.len())) {
        Ok(outcomes) => {
            let replies = replies.into_iter().zip(outcomes);
            replies.for_each(|(reply, outcome)| send(reply, result(outcome)));
        }
        Err(error) => replies.into_iter().for_each(|reply| send(reply, Err(error.clone()))),
    }
}

fn send(reply: Reply, result: Result<proto::Order, DbError>) {
    if reply.send(result).is_err() {
        tracing::debug!("the client disconnected before its order was answered");
    }
}

/// Returns the outcome of each order. Trusts none of a response that violates the contract.
fn outcomes(response: proto::PlaceOrdersResponse, orders: usize) -> Result<Vec<Outcome>, DbError> {
    if response.results.len() != orders {
        return Err(DbError::InvalidResponse("PlaceOrders did not return one result per order"));
    }
    let outcome = |result: proto::PlaceOrderResult| {
        required(result.outcome, "PlaceOrders returned a result without an outcome")
    };
    response.results.into_iter().map(outcome).collect()
}

fn result(outcome: Outcome) -> Result<proto::Order, DbError> {
    match outcome {
        Outcome::Order(order) => Ok(order),
        Outcome::Refusal(refusal) => Err(DbError::Refused {
            reason: refusal.reason(),
            retry_after: None,
            message: refusal.message,
        }),
    }
}

#[cfg(test)]
mod tests;
