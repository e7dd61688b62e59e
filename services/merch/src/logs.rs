//! `merch logs`: the store's log events, read from Kafka as any consumer would.

use std::{io, time::Duration};

use merch_chassis::{StartError, shutdown::Signals};
use merch_logging::topic::{self, ReadOptions};

use crate::{run_file, settings::Logs};

/// How long Kafka may take to answer at first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the events that are there and, with `--follow`, those that come, until a signal or until nobody reads on.
///
/// # Errors
/// When no brokers are set and no store runs with the data folder, or Kafka cannot be read.
pub(crate) async fn run(settings: &Logs) -> Result<(), StartError> {
    let mut signals = Signals::listen()?;
    let brokers = match &settings.kafka_brokers {
        Some(brokers) => brokers.clone(),
        None => run_file::read(&settings.data.data_dir)?.kafka,
    };
    let options = ReadOptions { brokers, topic: settings.topic.kafka_topic.clone(), follow: settings.follow, timeout: PATIENCE };
    let mut failure = None;
    let read = tokio::select! {
        read = topic::read(options, topic::print(io::stdout(), settings.json, &mut failure)) => read,
        _ = signals.next() => Ok(()),
    };
    match failure {
        Some(error) => Err(StartError::new(format!("the events cannot be written to standard output: {error}"))),
        None => read,
    }
}
