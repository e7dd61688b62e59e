//! What buyers were told: the side of the comparison that the store cannot write itself.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// An order as its buyer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who bought.
    pub user: Uuid,
    /// What.
    pub product: i64,
    /// How many pieces.
    pub quantity: i64,
    /// Whether the buyer was told that it is cancelled.
    pub cancelled: bool,
}

/// All that a group of buyers was told.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Whose calls these are.
    pub users: BTreeSet<Uuid>,
    /// Orders that were answered with 201.
    pub orders: BTreeMap<Uuid, Told>,
    /// Idempotency keys whose order was refused for good, with their users.
    pub refused: Vec<(Uuid, String)>,
    /// Orders without a key whose fate nobody was told: each may be there once, or not.
    pub unknown: Vec<Told>,
    /// Ids of requests that were answered with 401: each is an event.
    pub unauthorized: Vec<String>,
    /// Faults that were seen while buying, such as two orders for one key.
    pub faults: Vec<String>,
}

impl Ledger {
    /// Adds what another group was told.
    pub fn merge(&mut self, other: Self) {
        let Self { users, orders, refused, unknown, unauthorized, faults } = other;
        self.users.extend(users);
        self.orders.extend(orders);
        self.refused.extend(refused);
        self.unknown.extend(unknown);
        self.unauthorized.extend(unauthorized);
        self.faults.extend(faults);
    }

    /// An order was answered with 201.
    pub fn placed(&mut self, id: Uuid, told: Told) {
        if let Some(known) = self.orders.get(&id)
            && (known.user, known.product, known.quantity)
                != (told.user, told.product, told.quantity)
        {
            self.faults.push(format!("order {id} was told twice, with other contents"));
        }
        self.orders.insert(id, told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_id_for_two_orders_is_a_fault() {
        let (mut ledger, id) = (Ledger::default(), Uuid::new_v4());
        let told = Told { user: Uuid::new_v4(), product: 1, quantity: 1, cancelled: false };
        ledger.placed(id, told.clone());
        ledger.placed(id, told.clone());
        assert!(ledger.faults.is_empty());
        let mut other = Ledger::default();
        other.placed(id, told.clone());
        other.merge(ledger);
        other.placed(id, Told { quantity: 2, ..told });
        assert_eq!((other.orders.len(), other.faults.len()), (1, 1));
    }
}
