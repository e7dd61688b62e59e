//! Deterministic simulations: production code in virtual time and on one thread, with everything
//! around it simulated. `docs/simulation.md` describes them; the crate `simulator` runs them.

#[cfg(feature = "server")]
mod service;
mod stream;

use pbjson_types::Timestamp;
use uuid::Uuid;

use crate::proto::{Level, LogMessage};

/// Returns an id of an event or a user.
fn id(number: u64) -> String {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number)).to_string()
}

/// Returns a valid event, except for its id.
fn message() -> LogMessage {
    LogMessage {
        time: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        service: "db".to_owned(),
        instance: "simulated".to_owned(),
        level: Level::Info.into(),
        event: "user_updated".to_owned(),
        actor: "anonymous".to_owned(),
        ..LogMessage::default()
    }
}

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
