//! Changes of a user, each in one transaction that checks the caller's token.
//!
//! The statements are behind a trait, so that the simulation runs the rest.

use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{
    ActiveModelTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _, Set, prelude::Expr,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{UserChanges, VerifiedPassword, require_self};
use crate::{
    database::Transaction,
    db_error::{Intent, classify},
    entity::users::{ActiveModel, Column, Entity, Model, PasswordHash, fold},
    failure::Failure,
    store::{
        Caller, Context, RowLock, Store, db_failure,
        events::{DomainEvent, event},
        has_valid_token,
        known_networks::Network,
        outbox,
        password_checks::{Reservation, refund},
    },
};

/// The statements of a change, in one transaction.
pub(crate) trait UserStatements: Sync {
    /// Locks the caller's row until the transaction ends. Fails with `TOKEN_REVOKED`.
    fn lock_caller(
        &self,
        caller: Caller,
        lock: RowLock,
    ) -> impl Future<Output = Result<Model, Failure>> + Send;

    /// Adds 1 to the user's token version if the caller's token is valid. Returns the number of
    /// changed rows.
    fn raise_token_version(
        &self,
        caller: Caller,
    ) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Stores the set fields of a row, and returns the row.
    fn update(&self, user: ActiveModel) -> impl Future<Output = Result<Model, Failure>> + Send;

    fn record_network(
        &self,
        user: Uuid,
        network: &Network,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    fn delete_other_networks(
        &self,
        user: Uuid,
        network: &Network,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    fn refund(&self, reservation: &Reservation)
    -> impl Future<Output = Result<(), Failure>> + Send;

    /// Returns the database's time.
    fn now(&self) -> OffsetDateTime;

    fn append_event(
        &self,
        now: OffsetDateTime,
        user: Uuid,
        event: &DomainEvent<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

pub(crate) async fn record_log_in(
    statements: &impl UserStatements,
    caller: Caller,
    verified: &VerifiedPassword,
) -> Result<(), Failure> {
    let lock = if verified.renewed_hash.is_some() { RowLock::Exclusive } else { RowLock::Shared };
    // A changed password has another token version, so a renewed hash never replaces it.
    let user = statements.lock_caller(caller, lock).await?;
    let id = user.id;
    if let Some(hash) = &verified.renewed_hash {
        // No visible field changes, so version and token_version stay.
        let renewed = ActiveModel { password_hash: Set(hash.clone()), ..user.into() };
        statements.update(renewed).await?;
    }
    statements.record_network(id, &verified.network).await?;
    statements.refund(&verified.reservation).await?;
    statements.append_event(statements.now(), id, &DomainEvent::UserLoggedIn).await
}

pub(crate) async fn revoke_tokens(
    statements: &impl UserStatements,
    caller: Caller,
) -> Result<(), Failure> {
    if statements.raise_token_version(caller).await? == 0 {
        return Err(Failure::Refused(ErrorReason::TokenRevoked));
    }
    let now = statements.now();
    statements.append_event(now, caller.user_id, &DomainEvent::UserLoggedOut).await
}

pub(crate) async fn update_user(
    statements: &impl UserStatements,
    caller: Caller,
    user_id: Uuid,
    changes: &UserChanges,
) -> Result<Model, Failure> {
    let before = statements.lock_caller(caller, RowLock::Exclusive).await?;
    require_self(caller, user_id)?;
    if !changes.expected_versions.is_empty() && !changes.expected_versions.contains(&before.version)
    {
        return Err(Failure::Refused(ErrorReason::VersionMismatch));
    }
    let (changed, mut after) = differences(&before, changes);
    if changed.is_empty() {
        return Ok(before);
    }
    let now = statements.now();
    after.version = Set(before.version + 1);
    after.updated_at = Set(now);
    let user = statements.update(after).await?;
    statements.append_event(now, user.id, &DomainEvent::UserUpdated(&changed)).await?;
    Ok(user)
}

pub(crate) async fn change_password(
    statements: &impl UserStatements,
    caller: Caller,
    user_id: Uuid,
    hash: &PasswordHash,
    verified: &VerifiedPassword,
) -> Result<(), Failure> {
    let before = statements.lock_caller(caller, RowLock::Exclusive).await?;
    require_self(caller, user_id)?;
    let token_version = Set(before.token_version + 1);
    // No visible field changes, so version and updated_at stay.
    let after = ActiveModel { password_hash: Set(hash.clone()), token_version, ..before.into() };
    statements.update(after).await?;
    // A client that knew the old password loses its budget.
    statements.delete_other_networks(caller.user_id, &verified.network).await?;
    statements.refund(&verified.reservation).await?;
    let now = statements.now();
    statements.append_event(now, caller.user_id, &DomainEvent::UserPasswordChanged).await
}

pub(crate) async fn deactivate_user(
    statements: &impl UserStatements,
    caller: Caller,
    user_id: Uuid,
) -> Result<(), Failure> {
    let before = statements.lock_caller(caller, RowLock::Exclusive).await?;
    require_self(caller, user_id)?;
    let now = statements.now();
    let (token_version, version) = (Set(before.token_version + 1), Set(before.version + 1));
    let after = ActiveModel {
        is_active: Set(false),
        token_version,
        version,
        updated_at: Set(now),
        ..before.into()
    };
    statements.update(after).await?;
    statements.append_event(now, caller.user_id, &DomainEvent::UserDeactivated).await
}

fn differences(before: &Model, changes: &UserChanges) -> (Vec<&'static str>, ActiveModel) {
    let mut changed = Vec::new();
    let mut after: ActiveModel = before.clone().into();
    if let Some(username) =
        changes.username.as_ref().filter(|username| **username != before.username)
    {
        changed.push("username");
        after.username_key = Set(fold(username));
        after.username = Set(username.clone());
    }
    if let Some(email) = changes.email.as_ref().filter(|email| **email != before.email) {
        changed.push("email");
        after.email_key = Set(fold(email));
        after.email = Set(email.clone());
    }
    (changed, after)
}

/// The statements of a change in a transaction of the database.
pub(super) struct SqlStatements<'a> {
    pub(super) store: &'a Store,
    pub(super) transaction: &'a Transaction,
    pub(super) context: &'a Context,
}

impl UserStatements for SqlStatements<'_> {
    async fn lock_caller(&self, caller: Caller, lock: RowLock) -> Result<Model, Failure> {
        self.store.lock_caller(self.transaction, caller, lock).await
    }

    async fn raise_token_version(&self, caller: Caller) -> Result<u64, Failure> {
        let raised = Entity::update_many()
            .col_expr(Column::TokenVersion, Expr::col(Column::TokenVersion).add(1))
            .filter(has_valid_token(caller))
            .exec(self.transaction)
            .await
            .map_err(db_failure)?;
        Ok(raised.rows_affected)
    }

    async fn update(&self, user: ActiveModel) -> Result<Model, Failure> {
        user.update(self.transaction).await.map_err(|error| classify(error, Intent::ClaimName))
    }

    async fn record_network(&self, user: Uuid, network: &Network) -> Result<(), Failure> {
        self.store.record_network(self.transaction, user, network).await
    }

    async fn delete_other_networks(&self, user: Uuid, network: &Network) -> Result<(), Failure> {
        self.store.delete_other_networks(self.transaction, user, network).await
    }

    async fn refund(&self, reservation: &Reservation) -> Result<(), Failure> {
        refund(self.transaction, &self.store.log_ins, reservation).await
    }

    fn now(&self) -> OffsetDateTime {
        self.store.clock.now()
    }

    async fn append_event(
        &self,
        now: OffsetDateTime,
        user: Uuid,
        domain_event: &DomainEvent<'_>,
    ) -> Result<(), Failure> {
        let event = event(&self.store.origin, self.context, user, domain_event);
        outbox::append(self.transaction, now, vec![event]).await.map_err(db_failure)
    }
}
