//! Deterministic simulations: production code in virtual time and on one thread, with everything
//! around it simulated. `docs/simulation.md` describes them; the crate `simulator` runs them.

mod stream;

mod tests {
    simulator::simulations!(
        include_str!("../../../docs/simulation.md");
        stream: crate::simulation::stream::Plan
    );
}
