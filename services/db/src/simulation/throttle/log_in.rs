//! Transactions that record a right password, and that cancel a check.

use std::sync::Mutex;

use sea_orm::TryIntoModel as _;
use simulator::locked;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Mutant, Password, Replica, network, user};
use crate::{
    entity::users::{ActiveModel, Model, PasswordHash},
    failure::Failure,
    simulation::stored_user,
    store::{
        Caller, RowLock,
        events::DomainEvent,
        known_networks::Network,
        password_checks::{BudgetKey, Gcra, Refunds, Reservation, refund},
        users::{
            VerifiedPassword,
            changes::{UserStatements, change_password, record_log_in},
        },
    },
};

/// A transaction at a replica.
pub(super) struct LogIn<'a> {
    replica: &'a Replica<'a>,
    account: usize,
    /// Visible from COMMIT on.
    changes: Mutex<Vec<Change>>,
}

enum Change {
    Know(Network),
    ForgetOthers(Network),
    Refund(BudgetKey, Gcra),
}

impl<'a> LogIn<'a> {
    pub(super) fn new(replica: &'a Replica<'a>, account: usize) -> Self {
        Self { replica, account, changes: Mutex::default() }
    }

    /// Fails if the answer of COMMIT is lost.
    pub(super) async fn commit(
        self,
        password: Password,
        network: Network,
        number: u8,
        reservation: Reservation,
    ) -> Result<(), Failure> {
        let id = user(self.account);
        let caller = Caller { user_id: id, token_version: 1 };
        let verified = VerifiedPassword { network, reservation, renewed_hash: None };
        if password == Password::Changed {
            let hash = PasswordHash("another".to_owned());
            change_password(&self, caller, id, &hash, &verified).await?;
        } else {
            record_log_in(&self, caller, &verified).await?;
        }
        self.apply();
        if password == Password::Changed {
            self.check_networks(number);
        }
        self.replica.world.answers().await
    }

    /// As the api after a check without a result. Its answer does not matter.
    pub(super) async fn cancel(self, reservation: &Reservation) {
        let cancelling = refund(&self, &self.replica.world.plan.log_ins, reservation);
        cancelling.await.expect("the statements succeed");
        self.apply();
    }

    fn check_networks(&self, number: u8) {
        let world = self.replica.world;
        let (id, current) = (user(self.account), network(number));
        let is_known =
            locked(&world.state).known.keys().any(|(of, at)| *of == id && *at != current);
        if is_known {
            world.broken("a network that knew the former password is still known".to_owned());
        }
    }

    fn apply(&self) {
        let Replica { world, replica } = self.replica;
        let now = world.now(*replica);
        let id = user(self.account);
        for change in std::mem::take(&mut *locked(&self.changes)) {
            let mut state = locked(&world.state);
            match change {
                Change::Know(network) => {
                    state.known.insert((id, network.as_str().to_owned()), now);
                }
                Change::ForgetOthers(network) if !world.has(Mutant::KeepNetworks) => {
                    state.known.retain(|(of, at), _| *of != id || *at == network.as_str());
                }
                Change::ForgetOthers(_) => {}
                Change::Refund(key, gcra) => {
                    let key = self.replica.key(&key);
                    let Some(budget) = state.budgets.get_mut(&key) else { continue };
                    budget.whole_at -= gcra.emission_interval;
                    if budget.ahead(now) <= 0 {
                        state.budgets.remove(&key);
                    }
                }
            }
        }
    }

    async fn change(&self, change: Change) -> Result<(), Failure> {
        self.replica.world.travel().await;
        locked(&self.changes).push(change);
        Ok(())
    }
}

impl Refunds for LogIn<'_> {
    async fn give_back(&self, key: &BudgetKey, gcra: Gcra) -> Result<(), Failure> {
        let is_second = locked(&self.changes).iter().any(|to| matches!(to, Change::Refund(..)));
        if is_second && self.replica.world.has(Mutant::RefundOnce) {
            return Ok(());
        }
        self.change(Change::Refund(*key, gcra)).await
    }
}

impl UserStatements for LogIn<'_> {
    async fn lock_caller(&self, caller: Caller, _: RowLock) -> Result<Model, Failure> {
        self.replica.world.travel().await;
        Ok(stored_user(caller.user_id, "first"))
    }

    async fn raise_token_version(&self, _: Caller) -> Result<u64, Failure> {
        Err(Failure::Internal(sea_orm::DbErr::Custom("a log-in raises no version".to_owned())))
    }

    async fn update(&self, user: ActiveModel) -> Result<Model, Failure> {
        self.replica.world.travel().await;
        Ok(user.try_into_model().expect("all fields of a row are set"))
    }

    async fn record_network(&self, _: Uuid, network: &Network) -> Result<(), Failure> {
        self.change(Change::Know(network.clone())).await
    }

    async fn delete_other_networks(&self, _: Uuid, network: &Network) -> Result<(), Failure> {
        self.change(Change::ForgetOthers(network.clone())).await
    }

    async fn refund(&self, reservation: &Reservation) -> Result<(), Failure> {
        let world = self.replica.world;
        if world.has(Mutant::RefundNothing) {
            return Ok(());
        }
        refund(self, &world.plan.log_ins, reservation).await
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH
    }

    async fn append_event(
        &self,
        _: OffsetDateTime,
        _: Uuid,
        _: &DomainEvent<'_>,
    ) -> Result<(), Failure> {
        self.replica.world.travel().await;
        Ok(())
    }
}
