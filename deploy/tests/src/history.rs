//! The observations of clients, which the store cannot influence.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// An order as its client observed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedOrder {
    pub user: Uuid,
    pub product: i64,
    pub quantity: i64,
    /// Whether a cancellation was confirmed.
    pub cancelled: bool,
}

/// The observations of a group of clients.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub users: BTreeSet<Uuid>,
    /// Orders answered with 201.
    pub orders: BTreeMap<Uuid, ObservedOrder>,
    /// Users and idempotency keys of orders that were refused for good.
    pub refused: Vec<(Uuid, String)>,
    /// Orders without a key and without a response: each may exist once.
    pub unknown: Vec<ObservedOrder>,
    /// Ids of requests answered with 401; each is an event.
    pub unauthorized: Vec<String>,
    /// Contradictions that clients observed, such as two orders for one key.
    pub faults: Vec<String>,
}

impl History {
    pub fn merge(&mut self, other: Self) {
        let Self { users, orders, refused, unknown, unauthorized, faults } = other;
        self.users.extend(users);
        self.orders.extend(orders);
        self.refused.extend(refused);
        self.unknown.extend(unknown);
        self.unauthorized.extend(unauthorized);
        self.faults.extend(faults);
    }

    /// Records an order that was answered with 201.
    pub fn placed(&mut self, id: Uuid, order: ObservedOrder) {
        if let Some(known) = self.orders.get(&id)
            && (known.user, known.product, known.quantity)
                != (order.user, order.product, order.quantity)
        {
            self.faults.push(format!("order {id} was observed twice, with different contents"));
        }
        self.orders.insert(id, order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reused_order_id_is_a_fault() {
        let (mut history, id) = (History::default(), Uuid::new_v4());
        let order =
            ObservedOrder { user: Uuid::new_v4(), product: 1, quantity: 1, cancelled: false };
        history.placed(id, order.clone());
        history.placed(id, order.clone());
        assert!(history.faults.is_empty());
        let mut other = History::default();
        other.placed(id, order.clone());
        other.merge(history);
        other.placed(id, ObservedOrder { quantity: 2, ..order });
        assert_eq!((other.orders.len(), other.faults.len()), (1, 1));
    }
}
