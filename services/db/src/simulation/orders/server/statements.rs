//! The statements of a batch on the simulated PostgreSQL, and most of the planted faults.

use std::collections::BTreeSet;

use merch_contract::grpc::logging::v1::LogMessage;
use sea_orm::DbErr;
use simulator::locked;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Lock, Row, SimulatedTransaction, State};
use crate::{
    entity::orders::{Model, Status},
    failure::Failure,
    simulation::orders::{
        mutant::Mutant,
        plan::{CORRUPT, PRODUCTS},
    },
    store::place::{BatchSnapshot, Decrement, KeyRow, NewOrder, OrderRow, Statements},
};

impl Statements for SimulatedTransaction {
    async fn lock(&self, orders: &[&NewOrder]) -> Result<BatchSnapshot, Failure> {
        let server = &self.server;
        let callers: BTreeSet<Uuid> = orders.iter().map(|order| order.caller.user_id).collect();
        let products: BTreeSet<i32> = orders.iter().map(|order| order.product_id).collect();
        let mut snapshot = BatchSnapshot::default();
        let keys = async || {
            self.statement(|state| {
                let known = orders.iter().filter_map(|order| {
                    let key = (order.caller.user_id, order.idempotency_key.clone()?);
                    let (fingerprint, order) = state.tables.keys.get(&key)?;
                    Some((key, (fingerprint.clone(), state.tables.orders[order].clone())))
                });
                Ok(known.collect())
            })
            .await
        };
        if server.has(Mutant::RaceKeys) {
            snapshot.keys = keys().await?;
        }
        if !server.has(Mutant::LockNoCaller) {
            for caller in &callers {
                SimulatedTransaction::lock(self, Row::User(*caller), Lock::Shared).await?;
            }
        }
        snapshot.callers = self
            .statement(|state| {
                let users = &state.tables.users;
                let rows = callers.iter().filter_map(|id| users.get(id));
                Ok(rows.map(|user| (user.id, (user.token_version, user.is_active))).collect())
            })
            .await?;
        if server.has(Mutant::TrustTokens) {
            for order in orders {
                snapshot.callers.insert(order.caller.user_id, (order.caller.token_version, true));
            }
        }
        if !server.has(Mutant::LockNoProduct) {
            let mut rows: Vec<i32> =
                products.iter().copied().filter(|product| PRODUCTS.contains(product)).collect();
            if server.has(Mutant::LockInOrderOfCalls) {
                let place = |product: &i32| orders.iter().position(|o| o.product_id == *product);
                rows.sort_by_key(place);
            }
            for product in rows {
                SimulatedTransaction::lock(self, Row::Product(product), Lock::Exclusive).await?;
            }
        }
        snapshot.stock = self
            .statement(|state| {
                let stock = &state.tables.stock;
                Ok(products.iter().filter_map(|id| Some((*id, *stock.get(id)?))).collect())
            })
            .await?;
        for stock in snapshot.stock.values_mut() {
            match server.mutant {
                Some(Mutant::InventStock) => *stock += 2,
                Some(Mutant::HideStock) => *stock -= 1,
                _ => {}
            }
        }
        if server.has(Mutant::ForgetProducts) && orders.len() > 3 {
            snapshot.stock.clear();
        }
        if !server.has(Mutant::RaceKeys) && !server.has(Mutant::ForgetKeys) {
            snapshot.keys = keys().await?;
        }
        if server.has(Mutant::RememberKeys) {
            let mut remembered = locked(&server.remembered);
            remembered.extend(snapshot.keys.clone());
            let wanted = orders.iter().filter_map(|order| {
                let key = (order.caller.user_id, order.idempotency_key.clone()?);
                Some((key.clone(), remembered.get(&key)?.clone()))
            });
            snapshot.keys = wanted.collect();
        }
        if server.has(Mutant::IgnoreFingerprint) {
            for order in orders {
                let key = order.idempotency_key.clone().unwrap_or_default();
                if let Some((fingerprint, _)) = snapshot.keys.get_mut(&(order.caller.user_id, key))
                {
                    *fingerprint = order.fingerprint();
                }
            }
        }
        if !server.has(Mutant::TrustTheClock) {
            snapshot.newest_order =
                self.statement(|state| Ok(state.tables.orders.keys().next_back().copied())).await?;
        }
        Ok(snapshot)
    }

    async fn decrement_stock(&self, decrements: &[Decrement]) -> Result<u64, Failure> {
        // The next statement after the decisions.
        *locked(&self.decided_at) = Some(Instant::now());
        if self.server.has(Mutant::KeepStock) {
            return Ok(decrements.len() as u64);
        }
        for decrement in decrements {
            let row = Row::Product(decrement.product_id);
            SimulatedTransaction::lock(self, row, Lock::Exclusive).await?;
        }
        let (id, guarded) = (self.id, !self.server.has(Mutant::InventStock));
        self.statement(|state| {
            let mut changed = 0;
            for Decrement { product_id, pieces, newest_order: _ } in decrements {
                if !guarded || state.tables.stock[product_id] >= *pieces {
                    let changes = state.transactions.entry(id).or_default();
                    changes.stock.push((*product_id, -pieces));
                    changed += 1;
                }
            }
            Ok(changed)
        })
        .await
    }

    async fn insert_orders(
        &self,
        rows: &[OrderRow],
        now: OffsetDateTime,
    ) -> Result<Vec<Model>, Failure> {
        let id = self.id;
        let orders: Vec<Model> = rows
            .iter()
            .map(|row| {
                let unit_price_cents = i64::from(row.product_id) * 1_000;
                Model {
                    id: row.id,
                    user_id: row.user_id,
                    product_id: row.product_id,
                    quantity: row.quantity,
                    unit_price_cents,
                    total_price_cents: unit_price_cents * i64::from(row.quantity),
                    currency: "CNY".to_owned(),
                    status: Status::Placed,
                    created_at: now,
                    cancelled_at: None,
                    version: 1,
                }
            })
            .collect();
        let doubled = self.server.has(Mutant::DoubleOrders);
        self.statement(|state| {
            if rows.iter().any(|row| row.product_id == CORRUPT) {
                return Err(Failure::Internal(DbErr::Custom("numeric overflow".to_owned())));
            }
            let changes = state.transactions.entry(id).or_default();
            changes.orders.extend(orders.clone());
            if doubled {
                let again = |order: &Model| Model {
                    id: Uuid::from_u128(order.id.as_u128() + 1),
                    ..order.clone()
                };
                changes.orders.extend(orders.iter().map(again));
            }
            Ok(orders)
        })
        .await
    }

    async fn insert_keys(&self, keys: &[KeyRow<'_>]) -> Result<(), Failure> {
        if self.server.has(Mutant::ForgetKeys) {
            return Ok(());
        }
        let mut sorted: Vec<_> = keys.iter().collect();
        sorted.sort_by_key(|row| (row.user_id, row.key));
        for row in sorted {
            // A unique index lets the second transaction wait for the first.
            let key = Row::Key(row.user_id, hash(row.key));
            SimulatedTransaction::lock(self, key, Lock::Exclusive).await?;
        }
        let (id, races) = (self.id, self.server.has(Mutant::RaceKeys));
        self.statement(|state| {
            let State { tables, transactions, .. } = state;
            let changes = transactions.entry(id).or_default();
            for row in keys {
                let key = (row.user_id, row.key.to_owned());
                if tables.keys.contains_key(&key) {
                    if races {
                        continue;
                    }
                    let error = DbErr::Custom("pk_idempotency_keys".to_owned());
                    return Err(Failure::Retryable(error));
                }
                changes.keys.push((key, (row.fingerprint.clone(), row.order_id)));
            }
            Ok(())
        })
        .await
    }

    async fn append_events(
        &self,
        _now: OffsetDateTime,
        events: Vec<LogMessage>,
    ) -> Result<(), Failure> {
        let (id, server) = (self.id, &self.server);
        if server.has(Mutant::LoseEvents) || events.is_empty() {
            return Ok(());
        }
        let (outside, doubled) =
            (server.has(Mutant::EventsOutside), server.has(Mutant::DoubleEvents));
        self.statement(|state| {
            if let Some(decided_at) = *locked(&self.decided_at) {
                let calls = events.iter().map(|event| event.request_id.clone());
                state.decided.extend(calls.map(|call| (call, decided_at)));
            }
            let written = if outside {
                &mut state.tables.events
            } else {
                &mut state.transactions.entry(id).or_default().events
            };
            if doubled {
                written.extend_from_slice(&events);
            }
            written.extend(events);
            Ok(())
        })
        .await
    }
}

pub(super) fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
