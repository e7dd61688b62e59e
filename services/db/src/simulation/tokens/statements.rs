//! The statements on users on the simulated PostgreSQL, and most of the planted faults.

use std::collections::BTreeMap;

use merch_contract::grpc::assistant::v1::ErrorReason;
use merch_logging::client::event::Origin;
use sea_orm::ActiveValue::{self, Set};
use simulator::locked;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Mutant, world::World};
use crate::{
    entity::users::{ActiveModel, Model},
    failure::Failure,
    simulation::orders::server::{Lock, Row, SimulatedTransaction},
    store::{
        Caller, Context, RowLock,
        events::{DomainEvent, event},
        known_networks::Network,
        password_checks::Reservation,
        users::changes::UserStatements,
    },
};

/// The statements of a change, at one replica.
pub(super) struct Users<'a> {
    pub(super) world: &'a World,
    /// The id of the request.
    pub(super) id: &'a str,
    pub(super) replica: usize,
    pub(super) transaction: &'a SimulatedTransaction,
}

impl World {
    /// Returns the user of a valid token, as the condition of the statements.
    pub(super) fn find(
        &self,
        users: &BTreeMap<Uuid, Model>,
        replica: usize,
        caller: Caller,
    ) -> Option<Model> {
        let user = users.get(&caller.user_id)?;
        let token = (replica, caller.user_id, caller.token_version);
        let mut remembered = locked(&self.remembered);
        let is_valid = (user.token_version == caller.token_version
            || self.has(Mutant::TrustTokens)
            || (self.has(Mutant::RememberTokens) && remembered.contains(&token)))
            && (user.is_active || self.has(Mutant::TrustDeactivated));
        if is_valid {
            remembered.insert(token);
        }
        is_valid.then(|| user.clone())
    }
}

impl Users<'_> {
    async fn valid(&self, caller: Caller) -> Result<Option<Model>, Failure> {
        let Self { world, replica, transaction, .. } = *self;
        transaction.change(|tables, _| world.find(&tables.users, replica, caller)).await
    }

    /// Locks the caller's row, and then checks the token.
    async fn lock_valid(&self, caller: Caller, lock: Lock) -> Result<Option<Model>, Failure> {
        let row = Row::User(caller.user_id);
        if self.world.has(Mutant::CheckBeforeLock) {
            let before = self.valid(caller).await?;
            SimulatedTransaction::lock(self.transaction, row, lock).await?;
            return Ok(before);
        }
        SimulatedTransaction::lock(self.transaction, row, lock).await?;
        self.valid(caller).await
    }
}

impl UserStatements for Users<'_> {
    async fn lock_caller(&self, caller: Caller, lock: RowLock) -> Result<Model, Failure> {
        let lock = match lock {
            RowLock::Shared => Lock::Shared,
            RowLock::Exclusive => Lock::Exclusive,
        };
        let user = self.lock_valid(caller, lock).await?;
        user.ok_or(Failure::Refused(ErrorReason::TokenRevoked))
    }

    async fn raise_token_version(&self, caller: Caller) -> Result<u64, Failure> {
        if self.lock_valid(caller, Lock::Exclusive).await?.is_none() {
            return Ok(0);
        }
        let is_kept = self.world.has(Mutant::KeepTokensAtLogOut);
        self.transaction
            .change(|_, changes| {
                if !is_kept {
                    changes.log_out(caller.user_id);
                }
            })
            .await?;
        Ok(1)
    }

    async fn update(&self, user: ActiveModel) -> Result<Model, Failure> {
        let id = user.id.clone().unwrap();
        SimulatedTransaction::lock(self.transaction, Row::User(id), Lock::Exclusive).await?;
        let world = self.world;
        self.transaction
            .change(|tables, changes| {
                let mut row = tables.users[&id].clone();
                let changes_password = matches!(user.password_hash, Set(_));
                set(&mut row.username, user.username);
                set(&mut row.is_active, user.is_active);
                set(&mut row.version, user.version);
                if !world.has(Mutant::KeepPassword) {
                    set(&mut row.password_hash, user.password_hash);
                }
                if !(world.has(Mutant::KeepTokensOfPassword) && changes_password) {
                    set(&mut row.token_version, user.token_version);
                }
                changes.users.push(row.clone());
                row
            })
            .await
    }

    async fn record_network(&self, user: Uuid, _: &Network) -> Result<(), Failure> {
        let revokes = self.world.has(Mutant::RevokeAtLogIn);
        self.transaction
            .change(|_, changes| {
                if revokes {
                    changes.log_out(user);
                }
            })
            .await
    }

    async fn delete_other_networks(&self, _: Uuid, _: &Network) -> Result<(), Failure> {
        self.transaction.change(|_, _| {}).await
    }

    async fn refund(&self, _: &Reservation) -> Result<(), Failure> {
        self.transaction.change(|_, _| {}).await
    }

    fn now(&self) -> OffsetDateTime {
        self.world.now()
    }

    async fn append_event(
        &self,
        _: OffsetDateTime,
        user: Uuid,
        domain_event: &DomainEvent<'_>,
    ) -> Result<(), Failure> {
        let context = Context { request_id: self.id.to_owned(), ..Context::default() };
        let event = event(&Origin::new("db"), &context, user, domain_event);
        self.transaction.change(|_, changes| changes.events.push(event)).await
    }
}

/// Other fields of the row keep their values.
fn set<T: Into<sea_orm::Value>>(field: &mut T, value: ActiveValue<T>) {
    if let Set(value) = value {
        *field = value;
    }
}
