//! `merch topic`: sees to it that Kafka has the topic of the events, as it is asked for.

use merch_chassis::{StartError, shutdown::Signals};
use merch_logging::provision;

use crate::{print, settings::Topic};

/// Makes the topic where it is missing and says how it differs where it is not; a Kafka that is not up yet is waited for.
///
/// # Errors
/// When Kafka does not answer in time or does not make the topic, or a signal ends the wait.
pub(crate) async fn run(settings: &Topic) -> Result<(), StartError> {
    let mut signals = Signals::listen()?;
    let connection = settings.security.connection(&settings.kafka_brokers)?;
    let wanted = settings.topic.wanted()?;
    tokio::select! {
        ensured = provision::ensure(&connection, &wanted, settings.kafka_patience) => print(ensured?),
        _ = signals.next() => return Err(StartError::new("told to stop before Kafka had the topic")),
    }
    Ok(())
}
