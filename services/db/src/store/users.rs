//! Users. The statement that does the work also checks the caller's token.

pub(crate) mod changes;

use merch_chassis::WriteClass;
use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, Set};
use uuid::Uuid;

use self::changes::{SqlStatements, UserStatements as _};
use super::{
    Caller, Context, Store, UserLookup, events::DomainEvent, has_valid_token,
    known_networks::Network, password_checks::Reservation,
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
            let statements = self.statements(&transaction, context);
            let now = statements.now();
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
                .insert(transaction.as_ref())
                .await
                .map_err(|error| classify(error, Intent::ClaimName))?;
            statements.record_network(user.id, &new.network).await?;
            statements.append_event(now, user.id, &DomainEvent::UserRegistered).await?;
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
        self.write(|transaction| async move {
            let statements = self.statements(&transaction, context);
            changes::record_log_in(&statements, caller, verified).await
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
            changes::revoke_tokens(&self.statements(&transaction, context), caller).await
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
            let statements = self.statements(&transaction, context);
            changes::update_user(&statements, caller, user_id, changes).await
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
            let statements = self.statements(&transaction, context);
            changes::change_password(&statements, caller, user_id, hash, verified).await
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
            changes::deactivate_user(&self.statements(&transaction, context), caller, user_id).await
        })
        .await
    }

    fn statements<'a>(
        &'a self,
        transaction: &'a Transaction,
        context: &'a Context,
    ) -> SqlStatements<'a> {
        SqlStatements { store: self, transaction, context }
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
