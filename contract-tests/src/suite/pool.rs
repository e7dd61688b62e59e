//! Users of the run: few, registered when they are first wanted, and used again.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Mutex as SyncMutex, PoisonError},
};

use serde_json::json;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{Context, Failure, ledger::Account};

/// Users that all cases share: [`Context::user`] and [`Context::other_user`].
const SHARED: usize = 2;

/// A user who is logged in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct User {
    /// The user's id.
    pub id: String,
    /// As registered.
    pub sid: String,
    /// As registered, or as changed since.
    pub username: String,
    /// As registered, or as changed since.
    pub email: String,
    /// As registered, or as changed since.
    pub password: String,
    /// A token of the last log-in.
    pub token: String,
}

/// The users of a run, by their ids; the ledger knows the rest.
#[derive(Debug, Default)]
pub(super) struct Pool {
    shared: [Mutex<Slot>; SHARED],
    /// Those that no case has; the one that has been waiting longest comes first, as log-ins are
    /// limited for each account.
    idle: SyncMutex<VecDeque<String>>,
}

#[derive(Debug, Default)]
struct Slot {
    id: Option<String>,
    /// What came of trying, twice: a store where nobody can register is not asked by every case.
    failures: Vec<Failure>,
}

/// A user that one case has for itself. It goes back to the pool when it is dropped, with whatever
/// the case has changed.
#[derive(Debug)]
pub struct Lease {
    user: User,
    context: Context,
}

impl Pool {
    /// One of the users that all cases share.
    pub(super) async fn shared(&self, index: usize, context: &Context) -> Result<User, Failure> {
        let mut slot = self.shared[index].lock().await;
        if slot.failures.len() >= 2 {
            return Err(slot.failures[0].clone());
        }
        let made = match &slot.id {
            Some(id) => match valid(context, id).await {
                Ok(user) => Ok(user),
                Err(_) => new_user(context).await,
            },
            None => new_user(context).await,
        };
        match made {
            Ok(user) => {
                slot.id = Some(user.id.clone());
                Ok(user)
            }
            Err(failure) => {
                if !context.stopped() {
                    slot.failures.push(failure.clone());
                }
                Err(failure)
            }
        }
    }

    /// A user for one case.
    pub(super) async fn lease(&self, context: &Context) -> Result<Lease, Failure> {
        let idle = self.idle().pop_front();
        let user = match idle {
            Some(id) => match valid(context, &id).await {
                Ok(user) => {
                    cancel_former(context, &user).await;
                    user
                }
                // A case has done it a harm that nobody noted.
                Err(_) => new_user(context).await?,
            },
            None => new_user(context).await?,
        };
        Ok(Lease { user, context: context.clone() })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Logs in again: when the token is void, or to have another one.
    ///
    /// # Errors
    /// When the store does not take the password.
    pub async fn renew(&mut self) -> Result<(), Failure> {
        self.user = log_in(&self.context, &self.user).await?;
        Ok(())
    }

    /// Says that the password is another one now. The pool notes it by itself from a
    /// `change_password` that was answered 204.
    pub fn set_password(&mut self, password: &str) {
        password.clone_into(&mut self.user.password);
        self.context
            .ledger()
            .change(&self.user.id, |account| password.clone_into(&mut account.user.password));
    }
}

impl Deref for Lease {
    type Target = User;

    fn deref(&self) -> &User {
        &self.user
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.context.pool().idle().push_back(self.user.id.clone());
    }
}

/// Cancels what the case before has left, so that a run needs no more stock than its cases hold at
/// a time. What cannot be cancelled is told at the end.
async fn cancel_former(context: &Context, user: &User) {
    for order in context.ledger().orders().into_iter().filter(|order| order.user_id == user.id) {
        let _ = context
            .call("cancel_order")
            .path("order_id", order.id)
            .as_user(user)
            .leniently()
            .send()
            .await;
    }
}

/// Registers a user, and logs it in.
pub(super) async fn new_user(context: &Context) -> Result<User, Failure> {
    let (name, password) = (context.fresh_name(), format!("pw-{}", Uuid::new_v4().simple()));
    context.ledger().guard(&password);
    let body = json!({ "sid": name, "username": name, "email": format!("{name}@mail.example.com"), "password": password });
    let registered = context.call("register").json(&body).leniently().expect(201).await?;
    let Some(id) = registered.json()["id"].as_str() else {
        return Err(registered.fail("expected the new user's id"));
    };
    let Some(Account { user, .. }) = context.ledger().account(id) else {
        return Err(registered.fail("expected a user"));
    };
    let user = log_in(context, &user).await?;
    // Only now there is a token to look with.
    context.follow_location(&registered, &user.token).await;
    Ok(user)
}

/// A user of the run with a token that is valid.
///
/// # Errors
/// When it is deactivated, or does not get in any more.
async fn valid(context: &Context, id: &str) -> Result<User, Failure> {
    match context.ledger().account(id) {
        Some(Account { user, logged_in: true, active: true }) => Ok(user),
        Some(Account { user, active: true, .. }) => {
            let looked = context
                .call("get_user")
                .path("user_id", id)
                .as_user(&user)
                .leniently()
                .send()
                .await?;
            if looked.status == 200 {
                context.ledger().change(id, |account| account.logged_in = true);
                return Ok(user);
            }
            log_in(context, &user).await
        }
        Some(_) | None => Err(Failure::new("this user is deactivated")),
    }
}

/// The user with a new token.
pub(super) async fn log_in(context: &Context, user: &User) -> Result<User, Failure> {
    let body = json!({ "username": user.username, "password": user.password });
    let answer = context.call("log_in").json(&body).leniently().expect(200).await?;
    let Some(token) = answer.json()["access_token"].as_str() else {
        return Err(answer.fail("expected a token"));
    };
    Ok(User { token: token.to_owned(), ..user.clone() })
}
