//! Compares a history and the tables with the promises of `docs/guarantees.md`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use merch_contract::grpc::assistant::v1::ErrorReason;
use merch_logging::client::event::{attribute, event_name};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    linearizability::stock_is_linearizable,
    plan::{CORRUPT, PRODUCTS},
    server::{Former, Tables},
    world::{Call, History, Reply, WRITES_PER_USER},
};
use crate::{entity::orders::Model, store::place::OrderOutcome};

/// The time of one primary, or of the one after an asynchronous fail-over.
pub(super) struct Era<'a> {
    pub(super) calls: &'a [Call],
    /// Those of all eras.
    pub(super) all_calls: &'a [Call],
    pub(super) tables: &'a Tables,
    /// The primary before.
    pub(super) former: Option<&'a Former>,
}

impl Era<'_> {
    /// Whether an operation began on the former primary.
    pub(super) fn is_in_flight(&self, invoked: Instant) -> bool {
        self.former.is_some_and(|former| invoked <= former.until)
    }

    pub(super) fn not_before_the_fail_over(&self, at: Instant) -> Instant {
        self.former.map_or(at, |former| at.max(former.until))
    }

    /// Returns an order as this primary has it, or the former one if the call began there.
    fn order(&self, id: Uuid, invoked: Instant) -> Option<&Model> {
        let lost = self.former.filter(|_| self.is_in_flight(invoked));
        let lost = || lost.and_then(|former| former.tables.orders.get(&id));
        self.tables.orders.get(&id).or_else(lost)
    }

    /// Returns the order of a key, as [`Self::order`].
    fn order_of_key(&self, key: &(Uuid, String), invoked: Instant) -> Vec<Uuid> {
        let lost = self.former.filter(|_| self.is_in_flight(invoked));
        let keys = [Some(self.tables), lost.map(|former| &former.tables)];
        let stored = keys.into_iter().flatten().filter_map(|tables| tables.keys.get(key));
        stored.map(|(_, order)| *order).collect()
    }

    fn check(&self, broken: &mut Vec<String>) {
        broken.extend(self.tables.broken.iter().take(3).cloned());
        let orders = OrdersOfCalls::new(self.tables, broken);
        acknowledged_orders_exist(self, broken);
        orders_belong_to_calls(self, &orders, broken);
        keys_place_one_order(self, &orders, broken);
        refusals_are_justified(self, &orders, broken);
        known_keys_are_replayed(self, broken);
        revoked_tokens_place_nothing(self, &orders, broken);
        ids_follow_the_commits(self.tables, broken);
        ids_follow_the_responses(self, broken);
    }
}

/// Returns a sentence for each broken promise.
pub(super) fn broken_promises(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    let History { calls, tables, former, .. } = history;
    Era { calls, all_calls: calls, tables, former: former.as_ref() }.check(&mut broken);
    if let Some(Former { until, tables, .. }) = former {
        let answered = calls.iter().filter(|call| call.answered <= *until);
        let early: Vec<Call> = answered.cloned().collect();
        Era { calls: &early, all_calls: calls, tables, former: None }.check(&mut broken);
    }
    stock_is_linearizable(history, &mut broken);
    if !history.has_stocktaking && tables.deadlocks > 0 {
        broken.push(format!("{} transactions of the store deadlock", tables.deadlocks));
    }
    for name in &history.unanswered {
        broken.push(format!("promise 7: no answer long after the last fault: {name}"));
    }
    for call @ Call { id, order, reply, .. } in &history.calls {
        match reply {
            Reply::Unknown(reason)
                if (reason.contains("Internal") && order.product_id != CORRUPT)
                    || reason.contains("outcomes") =>
            {
                broken.push(format!("{id}: {reason}"));
            }
            Reply::Refused(reason)
                if *reason != ErrorReason::Overloaded || !is_full(history, call) =>
            {
                broken.push(format!("{id} was refused with {reason:?}, which was never true"));
            }
            Reply::Unknown(_) | Reply::Refused(_) | Reply::Outcome(_) => {}
        }
    }
    let placed = OrdersOfCalls::new(tables, &mut Vec::new()).by_call;
    // Timers fire up to a millisecond late.
    let late = |at: Instant| at + Duration::from_millis(2);
    for Call { id, gives_up, .. } in calls {
        if let (Some(gives_up), Some(decided)) = (gives_up, history.decided.get(id))
            && placed.contains_key(id.as_str())
            && *decided > late(*gives_up)
        {
            broken.push(format!("promise 2: {id} was placed after its caller had given up"));
        }
    }
    broken
}

/// Whether a replica had enough orders open to refuse a call.
fn is_full(history: &History, call: &Call) -> bool {
    let open = history.calls.iter().filter(|other| {
        other.replica == call.replica
            && other.invoked <= call.answered
            && other.answered + GRACE >= call.invoked
    });
    open.count() > history.capacity
}

/// The orders that each call placed, by the events of the orders.
pub(super) struct OrdersOfCalls<'a> {
    pub(super) by_call: HashMap<&'a str, Vec<&'a Model>>,
    call_of: HashMap<Uuid, &'a str>,
}

impl<'a> OrdersOfCalls<'a> {
    pub(super) fn new(tables: &'a Tables, broken: &mut Vec<String>) -> Self {
        let mut orders = Self { by_call: HashMap::new(), call_of: HashMap::new() };
        for event in tables.events.iter().filter(|event| event.event == "order_placed") {
            let id = event.subject.strip_prefix("order:").and_then(|id| id.parse::<Uuid>().ok());
            match id.and_then(|id| tables.orders.get(&id)) {
                Some(order) => {
                    let attributes = [
                        (attribute::PRODUCT_ID, order.product_id.to_string()),
                        (attribute::QUANTITY, order.quantity.to_string()),
                        (attribute::TOTAL_PRICE_CENTS, order.total_price_cents.to_string()),
                        (attribute::CURRENCY, order.currency.clone()),
                    ];
                    if attributes
                        .iter()
                        .any(|(name, value)| event.attributes.get(*name) != Some(value))
                    {
                        broken.push(format!("promise 4: an event of another order: {event:?}"));
                    }
                    if orders.call_of.insert(order.id, &event.request_id).is_some() {
                        broken.push(format!("promise 4: order {} has two events", order.id));
                    }
                    orders.by_call.entry(&event.request_id).or_default().push(order);
                }
                None => broken.push(format!("promise 4: an event without its order: {event:?}")),
            }
        }
        for id in tables.orders.keys().filter(|id| !orders.call_of.contains_key(*id)) {
            broken.push(format!("promise 4: order {id} has no event"));
        }
        orders
    }
}

fn acknowledged_orders_exist(era: &Era<'_>, broken: &mut Vec<String>) {
    let mut placed = BTreeMap::new();
    for Call { id, order, reply, invoked, .. } in era.calls {
        let (acknowledged, is_new) = match reply {
            Reply::Outcome(OrderOutcome::Placed(order)) => (order, true),
            Reply::Outcome(OrderOutcome::Replayed(order)) => (order, false),
            _ => continue,
        };
        let stored = era.order(acknowledged.id, *invoked).cloned();
        if stored.map(Model::into_placed).as_ref() != Some(acknowledged) {
            broken.push(format!(
                "promise 1: {id} was answered with an order that is not stored so: {acknowledged:?}"
            ));
        }
        if (acknowledged.user_id, acknowledged.product_id, acknowledged.quantity)
            != (order.caller.user_id, order.product_id, order.quantity)
        {
            broken.push(format!("promise 1: {id} was answered with another order"));
        }
        if is_new && let Some(other) = placed.insert(acknowledged.id, id) {
            broken.push(format!("promise 1: {id} and {other} were answered with the same order"));
        }
        let key = order.idempotency_key.clone().map(|key| (order.caller.user_id, key));
        let of_key = key.map(|key| era.order_of_key(&key, *invoked)).unwrap_or_default();
        if !is_new && !of_key.contains(&acknowledged.id) {
            broken.push(format!("promise 2: {id} was answered with a replay of another key"));
        }
    }
}

fn orders_belong_to_calls(era: &Era<'_>, orders: &OrdersOfCalls<'_>, broken: &mut Vec<String>) {
    for Call { id, reply, .. } in era.calls {
        let placed = orders.by_call.get(id.as_str()).map_or(0, Vec::len);
        let most = match reply {
            Reply::Outcome(OrderOutcome::Placed(_)) | Reply::Unknown(_) => 1,
            Reply::Outcome(OrderOutcome::Replayed(_) | OrderOutcome::Refused(_))
            | Reply::Refused(_) => 0,
        };
        if placed > most {
            broken.push(format!(
                "promise 2: {id} was answered \"{reply:?}\" and placed {placed} orders"
            ));
        }
    }
}

fn keys_place_one_order(era: &Era<'_>, orders: &OrdersOfCalls<'_>, broken: &mut Vec<String>) {
    let mut of_keys: BTreeMap<(Uuid, &str), BTreeSet<Uuid>> = BTreeMap::new();
    for Call { id, order, .. } in era.calls {
        let Some(key) = order.idempotency_key.as_deref() else { continue };
        let placed = orders.by_call.get(id.as_str()).into_iter().flatten();
        of_keys
            .entry((order.caller.user_id, key))
            .or_default()
            .extend(placed.map(|order| order.id));
    }
    for ((user, key), ids) in of_keys.into_iter().filter(|(_, ids)| ids.len() > 1) {
        broken.push(format!("promise 2: key {key} of {user} placed {} orders: {ids:?}", ids.len()));
    }
}

/// The permit of a call outlives a client that disconnects, until the committer answers it: after
/// at most four attempts of 10 s.
const GRACE: Duration = Duration::from_secs(45);

/// Whether a user had enough calls open to be refused.
fn is_busy(era: &Era<'_>, user: Uuid, from: Instant, to: Instant) -> bool {
    let open = era.all_calls.iter().filter(|call| {
        call.order.caller.user_id == user && call.invoked <= to && call.answered + GRACE >= from
    });
    open.count() > WRITES_PER_USER
}

/// A refusal must be true at some moment between the call and its answer.
fn refusals_are_justified(era: &Era<'_>, orders: &OrdersOfCalls<'_>, broken: &mut Vec<String>) {
    let tables = era.tables;
    for Call { id, order, invoked, answered, reply, .. } in era.calls {
        let Reply::Outcome(OrderOutcome::Refused(reason)) = reply else { continue };
        // It may be true on the former primary only.
        if era.is_in_flight(*invoked) {
            continue;
        }
        let is_true = match reason {
            ErrorReason::OutOfStock => {
                let changes = tables.stock_changes.iter();
                let of_product = changes
                    .filter(|(at, product, _)| *product == order.product_id && at <= answered);
                let (before, during): (Vec<_>, Vec<_>) =
                    of_product.partition(|(at, _, _)| at < invoked);
                before
                    .last()
                    .into_iter()
                    .chain(during.iter())
                    .any(|(_, _, stock)| *stock < order.quantity)
                    && tables.events.iter().any(|event| {
                        event.event == event_name::ORDER_REFUSED && event.request_id == *id
                    })
            }
            ErrorReason::ProductNotFound => {
                order.product_id != CORRUPT && !PRODUCTS.contains(&order.product_id)
            }
            ErrorReason::TokenRevoked => {
                let (user, version) = (order.caller.user_id, order.caller.token_version);
                version < 1
                    || tables.log_outs.iter().any(|(_, at, other, new)| {
                        *other == user && *new > version && at <= answered
                    })
            }
            ErrorReason::IdempotencyKeyReused => {
                let key = (order.caller.user_id, order.idempotency_key.clone().unwrap_or_default());
                tables.keys.get(&key).is_some_and(|(_, first)| {
                    let first = &tables.orders[first];
                    (first.product_id, first.quantity) != (order.product_id, order.quantity)
                        && orders.call_of.get(&first.id) != Some(&id.as_str())
                })
            }
            ErrorReason::TooManyWrites => is_busy(era, order.caller.user_id, *invoked, *answered),
            ErrorReason::OrderExpired => {
                order.deadline.is_some_and(|deadline| deadline <= *answered)
            }
            _ => false,
        };
        if !is_true {
            broken.push(format!("{id} was refused with {reason:?}, which was never true"));
        }
    }
}

/// An order whose key was used before is not refused for another reason.
fn known_keys_are_replayed(era: &Era<'_>, broken: &mut Vec<String>) {
    let Tables { keys, placed, .. } = era.tables;
    for Call { id, order, invoked, reply, .. } in era.calls {
        let Reply::Outcome(OrderOutcome::Refused(
            reason @ (ErrorReason::OutOfStock | ErrorReason::ProductNotFound),
        )) = reply
        else {
            continue;
        };
        let key = order.idempotency_key.clone().map(|key| (order.caller.user_id, key));
        let first = key.and_then(|key| keys.get(&key));
        if let Some((_, first)) = first
            && placed.iter().any(|(_, at, order)| order == first && at < invoked)
        {
            broken.push(format!(
                "promise 2: {id} was refused with {reason:?}, and its key had placed an order"
            ));
        }
    }
}

fn revoked_tokens_place_nothing(
    era: &Era<'_>,
    orders: &OrdersOfCalls<'_>,
    broken: &mut Vec<String>,
) {
    let tables = era.tables;
    let versions: HashMap<&str, (Uuid, i64)> = era
        .calls
        .iter()
        .map(|call| {
            let caller = call.order.caller;
            (call.id.as_str(), (caller.user_id, caller.token_version))
        })
        .collect();
    for Call { id, order, invoked, reply, .. } in era.calls {
        let (user, version) = (order.caller.user_id, order.caller.token_version);
        let is_revoked = version < 1
            || tables
                .log_outs
                .iter()
                .any(|(_, at, other, new)| *other == user && *new > version && at < invoked);
        if is_revoked
            && let Reply::Outcome(outcome) = reply
            && !matches!(
                outcome,
                OrderOutcome::Refused(
                    ErrorReason::TokenRevoked
                        | ErrorReason::TooManyWrites
                        | ErrorReason::OrderExpired
                )
            )
        {
            broken.push(format!("promise 6: {id} was answered with a revoked token: {outcome:?}"));
        }
    }
    for (commit, _, order) in &tables.placed {
        let call = orders.call_of.get(order);
        let Some((user, version)) = call.and_then(|call| versions.get(call)) else { continue };
        for (revoked, _, other, new) in &tables.log_outs {
            if other == user && new > version && revoked < commit {
                broken.push(format!(
                    "promise 6: order {order} was placed with version {version} after version \
                     {new} was committed"
                ));
            }
        }
    }
}

/// Later orders of a product have greater ids.
fn ids_follow_the_commits(tables: &Tables, broken: &mut Vec<String>) {
    for product in PRODUCTS {
        let of_product = tables.placed.iter().filter(|(_, _, id)| {
            tables.orders.get(id).is_some_and(|order| order.product_id == product)
        });
        let mut newest: Option<(Uuid, u64)> = None;
        for (commit, _, id) in of_product {
            if let Some((greater, other)) = newest.filter(|newest| *id < newest.0) {
                broken.push(format!(
                    "order {id} of commit {commit} has a smaller id than {greater} of commit {other}"
                ));
            }
            newest = newest.max(Some((*id, *commit)));
        }
    }
}

/// An order that is requested after the response to another one has a greater id, also of another
/// product.
fn ids_follow_the_responses(era: &Era<'_>, broken: &mut Vec<String>) {
    let placed = era.calls.iter().filter_map(|call| match &call.reply {
        Reply::Outcome(OrderOutcome::Placed(order))
            if era.tables.orders.contains_key(&order.id) =>
        {
            Some((call, order.id))
        }
        Reply::Outcome(_) | Reply::Refused(_) | Reply::Unknown(_) => None,
    });
    let mut by_response: Vec<(&Call, Uuid)> = placed.collect();
    let mut by_request = by_response.clone();
    by_response.sort_by_key(|(call, _)| call.answered);
    by_request.sort_by_key(|(call, _)| call.invoked);
    let (mut earlier, mut newest) = (by_response.into_iter().peekable(), None);
    for (call, id) in by_request {
        while let Some((other, greater)) =
            earlier.next_if(|(other, _)| other.answered < call.invoked)
        {
            newest = newest.max(Some((greater, &other.id)));
        }
        if let Some((greater, other)) = newest.filter(|(greater, _)| id < *greater) {
            broken.push(format!(
                "order {id} of {} has a smaller id than {greater} of {other}, which was answered \
                 before",
                call.id
            ));
        }
    }
}
