//! Deterministic simulations: production code in virtual time and on one thread, with everything
//! around it simulated. `docs/simulation.md` describes them; the crate `simulator` runs them.

#[cfg(feature = "server")]
mod service;
mod stream;

mod tests {
    simulator::simulations!(
        include_str!("../../../docs/simulation.md");
        stream: crate::simulation::stream::Plan
    );
    #[cfg(feature = "server")]
    simulator::simulations!(
        include_str!("../../../docs/simulation.md");
        service: crate::simulation::service::Plan
    );
}
