use command_output::print_done;
use merch_chassis::{StartError, shutdown::on_first_signal};
use merch_logging::topic_admin;

use crate::{command_error::CommandError, settings::Topic};

/// Creates the topic, or prints differences. Waits for a Kafka that is not up yet.
pub(crate) async fn run(settings: &Topic) -> Result<(), CommandError> {
    let stopped = || CommandError::from(StartError::new("stopped before Kafka had the topic"));
    let signal = on_first_signal(move || {
        stopped().report();
        1
    })?;
    let connection = settings.kafka.connection()?;
    let wanted = settings.topic.to_topic()?;
    tokio::select! {
        ensured = topic_admin::ensure(&connection, &wanted, settings.kafka_patience) => {
            let ensured = ensured?;
            Ok(print_done(ensured.to_string().replace('\n', ";"), &ensured)?)
        }
        () = signal.cancelled() => Err(stopped()),
    }
}
