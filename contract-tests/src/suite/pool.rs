//! Users of the run: few, created on demand, and reused.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Mutex as SyncMutex, PoisonError},
};

use serde_json::json;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{Context, Failure, ledger::Account};

/// Number of users that all cases share: [`Context::user`] and [`Context::other_user`].
const SHARED_USERS: usize = 2;

/// A logged-in user.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct User {
    /// The id.
    pub id: String,
    /// The sid.
    pub sid: String,
    /// The current username.
    pub username: String,
    /// The current email.
    pub email: String,
    /// The current password.
    pub password: String,
    /// The latest token.
    pub token: String,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    shared: [Mutex<Slot>; SHARED_USERS],
    /// Idle users, longest wait first, because log-ins are limited per account.
    idle: SyncMutex<VecDeque<String>>,
}

#[derive(Debug, Default)]
struct Slot {
    id: Option<String>,
    /// Failed registrations; after two, no case tries again.
    failures: Vec<Failure>,
}

/// A user leased to one case. Dropping it returns the user, with all changes, to the pool.
#[derive(Debug)]
pub struct Lease {
    user: User,
    context: Context,
}

impl Pool {
    pub(super) async fn shared(&self, index: usize, context: &Context) -> Result<User, Failure> {
        let mut slot = self.shared[index].lock().await;
        if slot.failures.len() >= 2 {
            return Err(slot.failures[0].clone());
        }
        let made = match &slot.id {
            Some(id) => match with_valid_token(context, id).await {
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

    pub(super) async fn lease(&self, context: &Context) -> Result<Lease, Failure> {
        let idle = self.idle().pop_front();
        let user = match idle {
            Some(id) => match with_valid_token(context, &id).await {
                Ok(user) => {
                    cancel_leftover_orders(context, &user).await;
                    user
                }
                // A case has made the user unusable.
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
    /// Logs in again.
    ///
    /// # Errors
    /// If the store refuses the password.
    pub async fn renew(&mut self) -> Result<(), Failure> {
        self.user = log_in(&self.context, &self.user).await?;
        Ok(())
    }

    /// Records a new password. The pool records every `change_password` with 204 itself.
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

/// Cancels orders of the previous case, to limit the stock that a run needs. Failures are reported
/// at the end.
async fn cancel_leftover_orders(context: &Context, user: &User) {
    for order in context.ledger().orders().into_iter().filter(|order| order.user_id == user.id) {
        let _ = context
            .call("cancel_order")
            .path("order_id", order.id)
            .as_user(user)
            .tolerant()
            .send()
            .await;
    }
}

pub(super) async fn new_user(context: &Context) -> Result<User, Failure> {
    let (name, password) = (context.fresh_name(), format!("pw-{}", Uuid::new_v4().simple()));
    context.ledger().guard_password(&password);
    let body = json!({ "sid": name, "username": name, "email": format!("{name}@mail.example.com"), "password": password });
    let registered = context.call("register").json(&body).tolerant().expect(201).await?;
    let Some(id) = registered.json()["id"].as_str() else {
        return Err(registered.fail("expected the new user's id"));
    };
    let Some(Account { user, .. }) = context.ledger().account(id) else {
        return Err(registered.fail("expected a user"));
    };
    let user = log_in(context, &user).await?;
    // Reading the user needs its token.
    context.follow_location(&registered, &user.token).await;
    Ok(user)
}

/// A user with a valid token.
///
/// # Errors
/// If it is deactivated or cannot log in.
async fn with_valid_token(context: &Context, id: &str) -> Result<User, Failure> {
    match context.ledger().account(id) {
        Some(Account { user, logged_in: true, active: true }) => Ok(user),
        Some(Account { user, active: true, .. }) => {
            let looked = context
                .call("get_user")
                .path("user_id", id)
                .as_user(&user)
                .tolerant()
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

pub(super) async fn log_in(context: &Context, user: &User) -> Result<User, Failure> {
    let body = json!({ "username": user.username, "password": user.password });
    let answer = context.call("log_in").json(&body).tolerant().expect(200).await?;
    let Some(token) = answer.json()["access_token"].as_str() else {
        return Err(answer.fail("expected a token"));
    };
    Ok(User { token: token.to_owned(), ..user.clone() })
}
