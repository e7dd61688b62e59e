//! The statement that places orders directly. The server executes it even if its client is gone.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use merch_contract::grpc::logging::v1::LogMessage;
use sea_orm::DbErr;
use time::OffsetDateTime;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{
    Conditions, Connection, Lock, Row, Server, SimulatedTransaction, State, lost, statements::hash,
};
use crate::{
    entity::orders::Model,
    failure::Failure,
    simulation::orders::{mutant::Mutant, plan::PRODUCTS},
    store::place::direct::{DirectRow, PlaceStatement},
};

/// A row of the statement, as the server has it.
#[derive(Clone, Debug)]
struct Candidate {
    model: Model,
    token_version: i64,
    key: Option<(Uuid, String)>,
    fingerprint: String,
    until: Instant,
    event: LogMessage,
}

impl PlaceStatement for Connection {
    fn is_supported(&self) -> bool {
        true
    }

    async fn place(
        &self,
        rows: &[DirectRow<'_>],
        _now: OffsetDateTime,
    ) -> Result<HashSet<Uuid>, Failure> {
        let (server, sent) = (&self.0, Instant::now());
        let calls = rows.iter().map(|row| (row.event.request_id.clone(), sent));
        server.state().decided.extend(calls);
        let candidates = rows
            .iter()
            .map(|row| Candidate {
                model: row.model.clone(),
                token_version: row.token_version,
                key: row.key.map(|key| (row.model.user_id, key.to_owned())),
                fingerprint: row.fingerprint.clone(),
                until: sent + row.time_left,
                event: row.event.clone(),
            })
            .collect();
        server.travel().await;
        let probability = server.state().conditions.lose_connections;
        let placed = if server.is_down() || server.chance.happens(probability) {
            Err(Failure::Unavailable(lost()))
        } else {
            let (sender, answer) = oneshot::channel();
            let executing = server.clone();
            tokio::spawn(async move {
                let placed = execute(&executing, candidates).await;
                executing.travel().await;
                // The client may be gone.
                let _ = sender.send(placed);
            });
            let answer =
                async { answer.await.unwrap_or_else(|_| Err(Failure::Unavailable(lost()))) };
            if server.has(Mutant::RepeatLateCommit) {
                let late = |_| Err(Failure::Retryable(lost()));
                timeout(Duration::from_secs(5), answer).await.unwrap_or_else(late)
            } else {
                answer.await
            }
        };
        let Conditions { lose_connections, lose_commits, .. } = server.state().conditions;
        let is_lost = server.chance.happens(lose_connections.max(lose_commits / 2.0));
        match placed {
            _ if is_lost && server.has(Mutant::RepeatLostStatement) => {
                Err(Failure::Retryable(lost()))
            }
            _ if is_lost => Err(Failure::Unavailable(lost())),
            Ok(_) if server.has(Mutant::ReportPlacedAsUndecided) && rows.len() > 1 => {
                Ok(HashSet::new())
            }
            placed => placed,
        }
    }
}

async fn execute(
    server: &Arc<Server>,
    candidates: Vec<Candidate>,
) -> Result<HashSet<Uuid>, Failure> {
    let mut transaction = server.begin();
    let placed = write(&transaction, candidates).await;
    transaction.is_open = false;
    let Conditions { lose_commits, fail_commits, .. } = server.state().conditions;
    let is_aborted = match &placed {
        Err(failure) => Some(failure.clone()),
        Ok(_) if server.chance.happens(fail_commits) => {
            Some(Failure::Retryable(DbErr::Custom("serialization failure".to_owned())))
        }
        Ok(_) if server.chance.happens(lose_commits / 2.0) => Some(Failure::Unavailable(lost())),
        Ok(_) => None,
    };
    if let Some(failure) = is_aborted {
        server.end(transaction.id);
        return Err(failure);
    }
    if server.commit(transaction.id) { placed } else { Err(Failure::Unavailable(lost())) }
}

/// As [`PLACE`](crate::store::place::sql) does: the keys and the newest order are read before the
/// locks, the rest of locked rows.
async fn write(
    transaction: &SimulatedTransaction,
    candidates: Vec<Candidate>,
) -> Result<HashSet<Uuid>, Failure> {
    let server = &transaction.server;
    let (known, newest) = server.read(|tables| {
        let known: BTreeSet<(Uuid, String)> = tables.keys.keys().cloned().collect();
        (known, tables.orders.keys().max().copied())
    });
    let newest = newest.filter(|_| !server.has(Mutant::CompareIdsOfProduct));
    let callers: BTreeSet<Uuid> = candidates.iter().map(|it| it.model.user_id).collect();
    for caller in &callers {
        transaction.lock(Row::User(*caller), Lock::Shared).await?;
    }
    let products: BTreeSet<i32> = candidates.iter().map(|it| it.model.product_id).collect();
    for product in products.into_iter().filter(|product| PRODUCTS.contains(product)) {
        transaction.lock(Row::Product(product), Lock::Exclusive).await?;
    }
    let valid = |candidate: &Candidate| {
        let Model { user_id, product_id, unit_price_cents, .. } = &candidate.model;
        let user = server.read(|tables| tables.users.get(user_id).cloned());
        let version = user.filter(|user| user.is_active).map(|user| user.token_version);
        let has_token =
            version == Some(candidate.token_version) || server.has(Mutant::TrustTokensDirectly);
        has_token
            && PRODUCTS.contains(product_id)
            && *unit_price_cents == i64::from(*product_id) * 1_000
            && Instant::now() < candidate.until
            && candidate.key.as_ref().is_none_or(|key| !known.contains(key))
    };
    let candidates: Vec<Candidate> = candidates.into_iter().filter(valid).collect();
    let mut pieces = BTreeMap::<i32, i32>::new();
    for candidate in &candidates {
        *pieces.entry(candidate.model.product_id).or_default() += candidate.model.quantity;
    }
    let first = candidates.iter().map(|it| it.model.id).min();
    server.read(|tables| {
        pieces.retain(|product, pieces| {
            let is_newest = tables.newest.get(product).copied().max(newest) < first;
            (tables.stock[product] >= *pieces || server.has(Mutant::InventStockDirectly))
                && (is_newest || server.has(Mutant::TrustTheClockDirectly))
        });
    });
    let taken: Vec<Candidate> = candidates
        .into_iter()
        .filter(|candidate| pieces.contains_key(&candidate.model.product_id))
        .collect();
    let mut keys: Vec<_> = taken.iter().filter_map(|candidate| candidate.key.clone()).collect();
    keys.sort();
    for (user, key) in &keys {
        transaction.lock(Row::Key(*user, hash(key)), Lock::Exclusive).await?;
    }
    let is_used = |key| server.read(|tables| tables.keys.contains_key(key));
    if keys.iter().any(is_used) && !server.has(Mutant::RaceKeysDirectly) {
        return Err(Failure::Retryable(DbErr::Custom("pk_idempotency_keys".to_owned())));
    }
    let mut guard = server.state();
    let State { tables, transactions, .. } = &mut *guard;
    // A fail-over has ended it.
    let Some(changes) = transactions.get_mut(&transaction.id) else {
        return Err(Failure::Unavailable(lost()));
    };
    changes.stock.extend(pieces.into_iter().map(|(product, pieces)| (product, -pieces)));
    for candidate in &taken {
        changes.orders.push(candidate.model.clone());
        if let Some(key) = candidate.key.clone().filter(|key| !tables.keys.contains_key(key)) {
            changes.keys.push((key, (candidate.fingerprint.clone(), candidate.model.id)));
        }
        if !server.has(Mutant::LoseEventsDirectly) {
            changes.events.push(candidate.event.clone());
        }
    }
    Ok(taken.into_iter().map(|candidate| candidate.model.id).collect())
}
