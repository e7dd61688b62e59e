//! Users: registering, credentials, log-in, tokens, changes. The caller's token is judged in the
//! statement that does the work.

use merch_chassis::WriteClass;
use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _,
    Set, prelude::Expr,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Caller, Context, Lock, Store,
    events::{Happening, event},
    known_networks::Network,
    outbox,
    password_checks::Reservation,
    plain, valid,
};
use crate::{
    database::Transaction,
    db_error::{Intent, meaning},
    entity::users::{ActiveModel, Column, Entity, Model, PasswordHash},
    failure::Failure,
};

/// A user to register; every member keeps its rule.
#[derive(Clone, Debug)]
pub(crate) struct NewUser {
    pub(crate) sid: String,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) password_hash: PasswordHash,
    /// Where it registers.
    pub(crate) network: Network,
}

/// What a proved password brings along.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof {
    /// Where it was proved.
    pub(crate) network: Network,
    /// To be given back.
    pub(crate) reservation: Reservation,
    /// The same password's hash at another cost, to take the place of the stored one.
    pub(crate) renewed_hash: Option<PasswordHash>,
}

/// What to change of a user; `None` stays.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    pub(crate) username: Option<String>,
    pub(crate) email: Option<String>,
    /// Not empty: only if the row's version is one of these.
    pub(crate) expected_versions: Vec<i64>,
}

/// Names a user by what it logs in with, or by its id.
#[derive(Clone, Debug)]
pub(crate) enum By {
    Username(String),
    Caller(Caller),
}

/// What uniqueness and log-in look at.
pub(super) fn fold(text: &str) -> String {
    text.to_lowercase()
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
            let user =
                row.insert(transaction).await.map_err(|error| meaning(error, Intent::Claim))?;
            self.remember_network(transaction, user.id, &new.network).await?;
            self.record_user(transaction, context, now, user.id, &Happening::UserRegistered)
                .await?;
            Ok(user)
        })
        .await
    }

    /// Says whether the names of a new user are free at this moment; which is taken as
    /// [`create_user`](Self::create_user) does.
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

    /// The active user that is named; `None` if no such user has the username.
    ///
    /// # Errors
    /// `TOKEN_REVOKED` if the caller's token is void.
    pub(crate) async fn find_user(&self, by: &By) -> Result<Option<Model>, Failure> {
        let query = match by {
            By::Username(name) => Entity::find().filter(Column::UsernameKey.eq(fold(name))),
            By::Caller(caller) => Entity::find().filter(valid(*caller)),
        };
        let query = query.filter(Column::IsActive.eq(true));
        let found = self.read(|| query.clone().one(self.database.reader())).await?;
        match (found, by) {
            (None, By::Caller(_)) => Err(Failure::Refused(ErrorReason::TokenRevoked)),
            (found, By::Username(_) | By::Caller(_)) => Ok(found),
        }
    }

    pub(crate) async fn record_log_in(
        &self,
        context: &Context,
        caller: Caller,
        proof: &Proof,
    ) -> Result<(), Failure> {
        let lock = if proof.renewed_hash.is_some() { Lock::Change } else { Lock::Share };
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            // A changed password has another token version, so that a renewed hash of the old one
            // never takes its place.
            let user = self.lock_caller(transaction, caller, lock).await?;
            let id = user.id;
            if let Some(hash) = &proof.renewed_hash {
                // Neither version nor token_version: no visible member changes.
                let renewed = ActiveModel { password_hash: Set(hash.clone()), ..user.into() };
                renewed.update(transaction).await.map_err(plain)?;
            }
            self.remember_network(transaction, id, &proof.network).await?;
            self.give_back(transaction, &proof.reservation).await?;
            self.record_user(transaction, context, self.clock.now(), id, &Happening::UserLoggedIn)
                .await
        })
        .await
    }

    pub(crate) async fn revoke_tokens(
        &self,
        context: &Context,
        caller: Caller,
    ) -> Result<(), Failure> {
        let _place = self.begin_write(caller, WriteClass::Revocation)?;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let voided = Entity::update_many()
                .col_expr(Column::TokenVersion, Expr::col(Column::TokenVersion).add(1))
                .filter(valid(caller))
                .exec(transaction)
                .await
                .map_err(plain)?;
            if voided.rows_affected == 0 {
                return Err(Failure::Refused(ErrorReason::TokenRevoked));
            }
            self.record_user(
                transaction,
                context,
                self.clock.now(),
                caller.user_id,
                &Happening::UserLoggedOut,
            )
            .await
        })
        .await
    }

    pub(crate) async fn user(&self, caller: Caller, user_id: Uuid) -> Result<Model, Failure> {
        let own =
            self.read(|| Entity::find().filter(valid(caller)).one(self.database.reader())).await?;
        let own = own.ok_or(Failure::Refused(ErrorReason::TokenRevoked))?;
        only_oneself(caller, user_id)?;
        Ok(own)
    }

    pub(crate) async fn update_user(
        &self,
        context: &Context,
        caller: Caller,
        user_id: Uuid,
        changes: &Changes,
    ) -> Result<Model, Failure> {
        let _place = self.begin_write(caller, WriteClass::Data)?;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let before = self.lock_caller(transaction, caller, Lock::Change).await?;
            only_oneself(caller, user_id)?;
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
            let user =
                after.update(transaction).await.map_err(|error| meaning(error, Intent::Claim))?;
            self.record_user(transaction, context, now, user.id, &Happening::UserUpdated(&changed))
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
        proof: &Proof,
    ) -> Result<(), Failure> {
        let _place = self.begin_write(caller, WriteClass::Password)?;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let before = self.lock_caller(transaction, caller, Lock::Change).await?;
            only_oneself(caller, user_id)?;
            let token_version = Set(before.token_version + 1);
            // Neither version nor updated_at: nothing changes that is shown of a user.
            let after =
                ActiveModel { password_hash: Set(hash.clone()), token_version, ..before.into() };
            after.update(transaction).await.map_err(plain)?;
            // A client that knew the old password keeps no budget of its own.
            self.forget_other_networks(transaction, caller.user_id, &proof.network).await?;
            self.give_back(transaction, &proof.reservation).await?;
            self.record_user(
                transaction,
                context,
                self.clock.now(),
                caller.user_id,
                &Happening::UserPasswordChanged,
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
        let _place = self.begin_write(caller, WriteClass::Revocation)?;
        self.write(|transaction| async move {
            let transaction = transaction.as_ref();
            let before = self.lock_caller(transaction, caller, Lock::Change).await?;
            only_oneself(caller, user_id)?;
            let now = self.clock.now();
            let (token_version, version) = (Set(before.token_version + 1), Set(before.version + 1));
            let after = ActiveModel {
                is_active: Set(false),
                token_version,
                version,
                updated_at: Set(now),
                ..before.into()
            };
            after.update(transaction).await.map_err(plain)?;
            self.record_user(transaction, context, now, caller.user_id, &Happening::UserDeactivated)
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
        happening: &Happening<'_>,
    ) -> Result<(), Failure> {
        let event = event(&self.origin, context, user, happening);
        outbox::append(transaction, time, &[event]).await.map_err(plain)
    }
}

/// Somebody else's user is answered like one that does not exist.
fn only_oneself(caller: Caller, user_id: Uuid) -> Result<(), Failure> {
    if caller.user_id == user_id {
        Ok(())
    } else {
        Err(Failure::Refused(ErrorReason::UserNotFound))
    }
}

/// The names of the members that differ, and the row to write for them.
fn differences(before: &Model, changes: &Changes) -> (Vec<&'static str>, ActiveModel) {
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
