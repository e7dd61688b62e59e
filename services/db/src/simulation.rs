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

mod tests {
    simulator::simulations!(
        include_str!("../../../docs/simulation.md");
        orders: crate::simulation::orders::Plan,
        outbox: crate::simulation::outbox::Plan,
        throttle: crate::simulation::throttle::Plan,
        tokens: crate::simulation::tokens::Plan
    );
}
