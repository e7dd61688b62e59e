//! Deterministic simulations: production code in virtual time and on one thread, with everything
//! around it simulated.
//!
//! | scenario | production code | simulated |
//! |---|---|---|
//! | [`orders`] | committer, batch, transactions, ids | PostgreSQL, replicas, clients |
//! | [`outbox`] | leader election, lease, reading of the outbox, gaps | PostgreSQL, shipper, topic |
//! | [`throttle`] | budgets of password checks | the database and its clock, owners, strangers |
//! | [`tokens`] | changes of users, batch of orders, transactions | PostgreSQL, replicas, clients |
//!
//! A seed gives a plan: what happens when, and which faults. After the last fault, the history and
//! the tables are compared with the promises of `docs/guarantees.md`. Mutants are planted faults;
//! the comparison must find each one.
//!
//! The crate `simulator` runs the scenarios.

mod orders;
mod outbox;
mod throttle;
mod tokens;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::entity::users::{Model, PasswordHash};

/// Returns a row of an active user.
fn stored_user(id: Uuid, password: &str) -> Model {
    let name = id.to_string();
    Model {
        id,
        sid: name.clone(),
        sid_key: name.clone(),
        username: name.clone(),
        username_key: name.clone(),
        email: name.clone(),
        email_key: name,
        password_hash: PasswordHash(password.to_owned()),
        is_active: true,
        token_version: 1,
        version: 1,
        created_at: OffsetDateTime::UNIX_EPOCH,
        updated_at: OffsetDateTime::UNIX_EPOCH,
    }
}

mod tests {
    simulator::simulations!(
        include_str!("../../../docs/simulation.md");
        orders: crate::simulation::orders::Plan,
        outbox: crate::simulation::outbox::Plan,
        throttle: crate::simulation::throttle::Plan,
        tokens: crate::simulation::tokens::Plan
    );
}
