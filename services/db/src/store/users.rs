//! Users. The statement that does the work also checks the caller's token.

use merch_chassis::WriteClass;
use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _,
    Set, prelude::Expr,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Caller, Context, RowLock, Store, UserLookup, db_failure,
    events::{DomainEvent, event},
    has_valid_token,
    known_networks::Network,
    outbox,
    password_checks::Reservation,
};
use crate::{
    database::Transaction,
    db_error::{Intent, classify},
    entity::users::{ActiveModel, Column, Entity, Model, PasswordHash, fold},
    failure::Failure,
};

#[derive(Clone, Debug)]
pub(crate) struct NewUser {
    pub(crate) sid: String,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) password_hash: PasswordHash,
    pub(crate) network: Network,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct VerifiedPassword {
    pub(crate) network: Network,
    pub(crate) reservation: Reservation,
    /// The same password's hash at another cost; it replaces the stored one.
    pub(crate) renewed_hash: Option<PasswordHash>,
}

/// `None` keeps the value.
#[derive(Clone, Debug)]
pub(crate) struct UserChanges {
    pub(crate) username: Option<String>,
    pub(crate) email: Option<String>,
    /// If not empty, the row must have one of these versions.
    pub(crate) expected_versions: Vec<i64>,
}

impl Store {
    pub(crate) async fn create_user(
        &self,
        context: &Context,
        new: &NewUser,
    ) -> Result<Model, Failure> {
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let now = self.clock.now();
            let row = ActiveModel {
                id: Set(self.ids.next(now)),
                sid: Set(new.sid.clone()),
                sid_key: Set(fold(&new.sid)),
                username: Set(new.username.clone()),
                username_key: Set(fold(&new.username)),
                email: Set(new.email.clone()),
                email_key: Set(fold(&new.email)),
                password_hash: Set(new.password_hash.clone()),
                is_active: Set(true),
                token_version: Set(1),
                version: Set(1),
                created_at: Set(now),
                updated_at: Set(now),
            };
            let user = row
                .insert(transaction)
                .await
                .map_err(|error| classify(error, Intent::ClaimName))?;
            self.record_network(transaction, user.id, &new.network).await?;
            self.record_user(transaction, context, now, user.id, &DomainEvent::UserRegistered)
                .await?;
            Ok(user)
        })
        .await
    }

    /// Only checks the present state; [`create_user`](Self::create_user) decides.
    pub(crate) async fn check_availability(
        &self,
        sid: &str,
        username: &str,
        email: &str,
    ) -> Result<(), Failure> {
        for (column, value, taken) in [
            (Column::SidKey, sid, ErrorReason::SidTaken),
            (Column::UsernameKey, username, ErrorReason::UsernameTaken),
            (Column::EmailKey, email, ErrorReason::EmailTaken),
        ] {
            let query = Entity::find().filter(column.eq(fold(value)));
            if self.read(|| query.clone().one(self.database.reader())).await?.is_some() {
                return Err(Failure::Refused(taken));
            }
        }
        Ok(())
    }

    /// Returns `None` if no active user has the username. Fails with `TOKEN_REVOKED`.
    pub(crate) async fn find_user(&self, lookup: &UserLookup) -> Result<Option<Model>, Failure> {
        let query = match lookup {
            UserLookup::Username(name) => Entity::find().filter(Column::UsernameKey.eq(fold(name))),
            UserLookup::Caller(caller) => Entity::find().filter(has_valid_token(*caller)),
        };
        let query = query.filter(Column::IsActive.eq(true));
        let found = self.read(|| query.clone().one(self.database.reader())).await?;
        match (found, lookup) {
            (None, UserLookup::Caller(_)) => Err(Failure::Refused(ErrorReason::TokenRevoked)),
            (found, UserLookup::Username(_) | UserLookup::Caller(_)) => Ok(found),
        }
    }

    pub(crate) async fn record_log_in(
        &self,
        context: &Context,
        caller: Caller,
        verified: &VerifiedPassword,
    ) -> Result<(), Failure> {
        let lock =
            if verified.renewed_hash.is_some() { RowLock::Exclusive } else { RowLock::Shared };
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            // A changed password has another token version, so a renewed hash never replaces it.
            let user = self.lock_caller(transaction, caller, lock).await?;
            let id = user.id;
            if let Some(hash) = &verified.renewed_hash {
                // No visible field changes, so version and token_version stay.
                let renewed = ActiveModel { password_hash: Set(hash.clone()), ..user.into() };
                renewed.update(transaction).await.map_err(db_failure)?;
            }
            self.record_network(transaction, id, &verified.network).await?;
            self.refund(transaction, &verified.reservation).await?;
            self.record_user(transaction, context, self.clock.now(), id, &DomainEvent::UserLoggedIn)
                .await
        })
        .await
    }

    pub(crate) async fn revoke_tokens(
        &self,
        context: &Context,
        caller: Caller,
    ) -> Result<(), Failure> {
        let _permit = self.begin_write(caller, WriteClass::Revocation)?;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let voided = Entity::update_many()
                .col_expr(Column::TokenVersion, Expr::col(Column::TokenVersion).add(1))
                .filter(has_valid_token(caller))
                .exec(transaction)
                .await
                .map_err(db_failure)?;
            if voided.rows_affected == 0 {
                return Err(Failure::Refused(ErrorReason::TokenRevoked));
            }
            self.record_user(
                transaction,
                context,
                self.clock.now(),
                caller.user_id,
                &DomainEvent::UserLoggedOut,
            )
            .await
        })
        .await
    }

    pub(crate) async fn user(&self, caller: Caller, user_id: Uuid) -> Result<Model, Failure> {
        let user = self
            .read(|| Entity::find().filter(has_valid_token(caller)).one(self.database.reader()))
            .await?;
        let user = user.ok_or(Failure::Refused(ErrorReason::TokenRevoked))?;
        require_self(caller, user_id)?;
        Ok(user)
    }

    pub(crate) async fn update_user(
        &self,
        context: &Context,
        caller: Caller,
        user_id: Uuid,
        changes: &UserChanges,
    ) -> Result<Model, Failure> {
        let _permit = self.begin_write(caller, WriteClass::Data)?;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let before = self.lock_caller(transaction, caller, RowLock::Exclusive).await?;
            require_self(caller, user_id)?;
            if !changes.expected_versions.is_empty()
                && !changes.expected_versions.contains(&before.version)
            {
                return Err(Failure::Refused(ErrorReason::VersionMismatch));
            }
            let (changed, mut after) = differences(&before, changes);
            if changed.is_empty() {
                return Ok(before);
            }
            let now = self.clock.now();
            after.version = Set(before.version + 1);
            after.updated_at = Set(now);
            let user = after
                .update(transaction)
                .await
                .map_err(|error| classify(error, Intent::ClaimName))?;
            self.record_user(
                transaction,
                context,
                now,
                user.id,
                &DomainEvent::UserUpdated(&changed),
            )
            .await?;
            Ok(user)
        })
        .await
    }

    pub(crate) async fn change_password(
        &self,
        context: &Context,
        caller: Caller,
        user_id: Uuid,
        hash: &PasswordHash,
        verified: &VerifiedPassword,
    ) -> Result<(), Failure> {
        let _permit = self.begin_write(caller, WriteClass::Password)?;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let before = self.lock_caller(transaction, caller, RowLock::Exclusive).await?;
            require_self(caller, user_id)?;
            let token_version = Set(before.token_version + 1);
            // No visible field changes, so version and updated_at stay.
            let after =
                ActiveModel { password_hash: Set(hash.clone()), token_version, ..before.into() };
            after.update(transaction).await.map_err(db_failure)?;
            // A client that knew the old password loses its budget.
            self.delete_other_networks(transaction, caller.user_id, &verified.network).await?;
            self.refund(transaction, &verified.reservation).await?;
            self.record_user(
                transaction,
                context,
                self.clock.now(),
                caller.user_id,
                &DomainEvent::UserPasswordChanged,
            )
            .await
        })
        .await
    }

    pub(crate) async fn deactivate_user(
        &self,
        context: &Context,
        caller: Caller,
        user_id: Uuid,
    ) -> Result<(), Failure> {
        let _permit = self.begin_write(caller, WriteClass::Revocation)?;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let before = self.lock_caller(transaction, caller, RowLock::Exclusive).await?;
            require_self(caller, user_id)?;
            let now = self.clock.now();
            let (token_version, version) = (Set(before.token_version + 1), Set(before.version + 1));
            let after = ActiveModel {
                is_active: Set(false),
                token_version,
                version,
                updated_at: Set(now),
                ..before.into()
            };
            after.update(transaction).await.map_err(db_failure)?;
            self.record_user(
                transaction,
                context,
                now,
                caller.user_id,
                &DomainEvent::UserDeactivated,
            )
            .await
        })
        .await
    }

    async fn record_user(
        &self,
        transaction: &Transaction,
        context: &Context,
        time: OffsetDateTime,
        user: Uuid,
        domain_event: &DomainEvent<'_>,
    ) -> Result<(), Failure> {
        let event = event(&self.origin, context, user, domain_event);
        outbox::append(transaction, time, vec![event]).await.map_err(db_failure)
    }
}

/// Other users are reported as not found.
fn require_self(caller: Caller, user_id: Uuid) -> Result<(), Failure> {
    if caller.user_id == user_id {
        Ok(())
    } else {
        Err(Failure::Refused(ErrorReason::UserNotFound))
    }
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
