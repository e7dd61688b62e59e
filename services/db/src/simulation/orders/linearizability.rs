//! Whether reads, orders and deliveries of a product can be explained by one order of them that
//! respects their times (Wing and Gong's search, with memory).

use std::{collections::HashSet, fmt::Write as _};

use merch_contract::grpc::assistant::v1::ErrorReason;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    check::{Era, OrdersOfCalls},
    plan::PRODUCTS,
    world::{Call, History, Reply, StockOperation, StockOperationKind},
};
use crate::store::place::OrderOutcome;

/// Larger searches are given up.
const MAX_STATES: usize = 20_000;

#[derive(Clone, Debug)]
struct Timed {
    invoked: Instant,
    /// `None` if the operation may take effect at any time after `invoked`.
    answered: Option<Instant>,
    effect: Effect,
}

#[derive(Clone, Copy, Debug)]
enum Effect {
    Read(i32),
    /// There are fewer pieces than this.
    Short(i32),
    Change(i32),
}

impl Effect {
    fn is_true(self, stock: i32) -> bool {
        match self {
            Self::Read(read) => read == stock,
            Self::Short(quantity) => stock < quantity,
            Self::Change(_) => false,
        }
    }
}

pub(super) fn stock_is_linearizable(history: &History, broken: &mut Vec<String>) {
    let calls = &history.calls;
    for product in PRODUCTS {
        match &history.former {
            None => {
                let era = Era { calls, all_calls: calls, tables: &history.tables, former: None };
                check(history, &era, product, history.stock, None, broken);
            }
            Some(former) => {
                let era = Era { calls, all_calls: calls, tables: &former.tables, former: None };
                check(history, &era, product, history.stock, Some(former.until), broken);
                let era =
                    Era { calls, all_calls: calls, tables: &history.tables, former: Some(former) };
                check(history, &era, product, former.standby.stock[&product], None, broken);
            }
        }
    }
}

fn check(
    history: &History,
    era: &Era<'_>,
    product: i32,
    stock: i32,
    until: Option<Instant>,
    broken: &mut Vec<String>,
) {
    let orders = OrdersOfCalls::new(era.tables, &mut Vec::new());
    let of_product = era.calls.iter().filter(|call| call.order.product_id == product);
    let calls = of_product.filter_map(|call| order(era, &orders, call));
    let others = history.stock_operations.iter().filter(|operation| operation.product == product);
    let others = others.filter_map(|operation| other(era, operation));
    let mut operations: Vec<Timed> = calls
        .chain(others)
        .filter(|operation| until.is_none_or(|until| operation.invoked <= until))
        .map(|operation| Timed {
            answered: operation
                .answered
                .filter(|answered| until.is_none_or(|until| *answered <= until)),
            ..operation
        })
        // Without an answer, a read or a refusal says nothing.
        .filter(|operation| {
            operation.answered.is_some() || matches!(operation.effect, Effect::Change(_))
        })
        .collect();
    operations.sort_by_key(|operation| operation.invoked);
    if !is_linearizable(stock, &operations) {
        let mut text = format!(
            "promise 5: no order explains the operations of product {product}, which has \
             {stock} pieces at first:"
        );
        let start = operations.first().map(|operation| operation.invoked);
        let seconds = |at: Instant| at.duration_since(start.unwrap_or(at)).as_secs_f64();
        for Timed { invoked, answered, effect } in &operations {
            let _ = write!(
                text,
                " {effect:?} from {:.4} to {:.4} s;",
                seconds(*invoked),
                answered.map_or(f64::INFINITY, seconds)
            );
        }
        broken.push(text);
    }
}

fn order(era: &Era<'_>, orders: &OrdersOfCalls<'_>, call: &Call) -> Option<Timed> {
    let Call { id, order, invoked, answered, reply, .. } = call;
    if matches!(reply, Reply::Outcome(OrderOutcome::Refused(ErrorReason::OutOfStock))) {
        let effect = Effect::Short(order.quantity);
        let timed = Timed { invoked: *invoked, answered: Some(*answered), effect };
        return (!era.is_in_flight(*invoked)).then_some(timed);
    }
    let is_replicated =
        |id: &Uuid| era.former.is_some_and(|former| former.standby.orders.contains_key(id));
    let placed = orders.by_call.get(id.as_str())?.iter();
    let pieces: i32 =
        placed.filter(|order| !is_replicated(&order.id)).map(|order| order.quantity).sum();
    let is_acknowledged = matches!(reply, Reply::Outcome(OrderOutcome::Placed(_)));
    (pieces > 0).then(|| Timed {
        invoked: era.not_before_the_fail_over(*invoked),
        answered: is_acknowledged.then_some(*answered),
        effect: Effect::Change(-pieces),
    })
}

fn other(era: &Era<'_>, operation: &StockOperation) -> Option<Timed> {
    let StockOperation { invoked, answered, kind, .. } = operation;
    let effect = match kind {
        StockOperationKind::Read(_) if era.is_in_flight(*invoked) => return None,
        StockOperationKind::Read(stock) => Effect::Read(*stock),
        StockOperationKind::Add(id, pieces) => {
            let is_replicated =
                era.former.is_some_and(|former| former.standby.committed.contains(id));
            if is_replicated || !era.tables.committed.contains(id) {
                return None;
            }
            Effect::Change(*pieces)
        }
    };
    Some(Timed { invoked: era.not_before_the_fail_over(*invoked), answered: *answered, effect })
}

/// `operations` are in the order of their invocations.
fn is_linearizable(stock: i32, operations: &[Timed]) -> bool {
    if operations.len() > u128::BITS as usize {
        return true;
    }
    let (mut seen, mut next) = (HashSet::new(), vec![(0_u128, stock)]);
    while let Some((mut done, stock)) = next.pop() {
        let changes = loop {
            let open = || (0..operations.len()).filter(|index| done >> index & 1 == 0);
            let Some(first_end) = open().filter_map(|index| operations[index].answered).min()
            else {
                return true;
            };
            let mut possible = open().filter(|index| operations[*index].invoked <= first_end);
            // A read that is true now can come first in every order.
            match possible.clone().find(|index| operations[*index].effect.is_true(stock)) {
                Some(read) => done |= 1 << read,
                None => {
                    let changes: Vec<(usize, i32)> = possible
                        .by_ref()
                        .filter_map(|index| match operations[index].effect {
                            Effect::Change(pieces) => Some((index, pieces)),
                            Effect::Read(_) | Effect::Short(_) => None,
                        })
                        .collect();
                    break changes;
                }
            }
        };
        if !seen.insert((done, stock)) {
            continue;
        }
        if seen.len() > MAX_STATES {
            return true;
        }
        let changed =
            changes.into_iter().map(|(index, pieces)| (done | 1 << index, stock + pieces));
        next.extend(changed.filter(|(_, stock)| *stock >= 0));
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn timed(invoked: u64, answered: Option<u64>, effect: Effect) -> Timed {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        Timed { invoked: at(invoked), answered: answered.map(at), effect }
    }

    #[tokio::test(start_paused = true)]
    async fn stale_read_is_not_linearizable() {
        let order = timed(0, Some(2), Effect::Change(-1));
        for (invoked, read, expected) in
            [(1, 5, true), (1, 4, true), (3, 4, true), (3, 5, false), (1, 3, false)]
        {
            let read = timed(invoked, Some(9), Effect::Read(read));
            assert_eq!(is_linearizable(5, &[order.clone(), read.clone()]), expected, "{read:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reads_agree_on_one_order_of_changes() {
        let unknown = timed(0, None, Effect::Change(-1));
        let (after, before) =
            (timed(1, Some(2), Effect::Read(4)), timed(3, Some(4), Effect::Read(5)));
        assert!(is_linearizable(5, &[unknown.clone(), after.clone()]));
        assert!(!is_linearizable(5, &[unknown, after, before]));
        let short = timed(1, Some(2), Effect::Short(5));
        assert!(!is_linearizable(5, &[short]));
    }
}
