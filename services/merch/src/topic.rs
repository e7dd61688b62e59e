//! `merch topic`: sees to it that Kafka has the topic of the events, as it is asked for.

use command_output::print_done;
use merch_chassis::{StartError, shutdown::on_first_signal};
use merch_logging::topic_admin;

use crate::{failure::Failure, settings::Topic};

/// Makes the topic where it is missing and says how it differs where it is not; a Kafka that is not
/// up yet is waited for.
///
/// # Errors
/// When Kafka does not answer in time or does not make the topic, or a signal ends the wait.
pub(crate) async fn run(settings: &Topic) -> Result<(), Failure> {
    let stopped = || Failure::from(StartError::new("told to stop before Kafka had the topic"));
    let signal = on_first_signal(move || {
        stopped().report();
        1
    })?;
    let connection = settings.security.connection(&settings.kafka_brokers)?;
    let wanted = settings.topic.wanted()?;
    tokio::select! {
        ensured = topic_admin::ensure(&connection, &wanted, settings.kafka_patience) => {
            let ensured = ensured?;
            Ok(print_done(ensured.to_string().replace('\n', ";"), &ensured)?)
        }
        () = signal.cancelled() => Err(stopped()),
    }
}
