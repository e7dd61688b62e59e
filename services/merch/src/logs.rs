use std::{ops::ControlFlow, time::Duration};

use command_output::{OutputError, Stdout};
use merch_logging::{
    consumer::{self, ConsumerRecord, ReadOptions},
    proto::{Level, LogMessage},
};

use crate::{
    command_error::CommandError,
    interrupt::until_interrupted,
    run_file,
    settings::{Filter, Logs},
};

/// Time limit of Kafka's first response.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn run(settings: &Logs) -> Result<(), CommandError> {
    until_interrupted(show(settings)).await
}

async fn show(settings: &Logs) -> Result<(), CommandError> {
    let brokers = match &settings.kafka_brokers {
        Some(brokers) => brokers.clone(),
        None => run_file::read(&settings.data.data_dir)?.kafka,
    };
    let kafka = settings.security.connection(&brokers)?;
    let options = ReadOptions {
        kafka,
        topic: settings.topic.kafka_topic.clone(),
        follow: settings.follow,
        timeout: TIMEOUT,
    };
    let mut failure = None;
    let read = consumer::read(
        options,
        filtered(&settings.filter, consumer::print(Stdout, settings.json, &mut failure)),
    )
    .await;
    match failure {
        Some(error) => Err(OutputError::from(error).into()),
        None => Ok(read?),
    }
}

/// A record that is not an event matches only an empty filter.
fn filtered(
    filter: &Filter,
    mut sink: impl FnMut(ConsumerRecord) -> ControlFlow<()>,
) -> impl FnMut(ConsumerRecord) -> ControlFlow<()> {
    move |record| {
        let shown = match &record.event {
            Ok(event) => filter.matches(event),
            Err(_) => filter.event.is_empty() && filter.subject.is_none() && filter.level.is_none(),
        };
        if shown { sink(record) } else { ControlFlow::Continue(()) }
    }
}

impl Filter {
    fn matches(&self, event: &LogMessage) -> bool {
        let is = |word: &String| match word.strip_suffix('*') {
            Some(beginning) => event.event.starts_with(beginning),
            None => event.event == *word,
        };
        let of = |subject: &String| {
            if subject.ends_with(':') {
                event.subject.starts_with(subject)
            } else {
                event.subject == *subject
            }
        };
        (self.event.is_empty() || self.event.iter().any(is))
            && self.subject.as_ref().is_none_or(of)
            && self
                .level
                .as_deref()
                .is_none_or(|level| event.level >= i32::from(parse_level(level)))
    }
}

/// clap admits only these four values.
fn parse_level(level: &str) -> Level {
    match level {
        "error" => Level::Error,
        "warn" => Level::Warn,
        "info" => Level::Info,
        _ => Level::Debug,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct TestArguments {
        #[command(flatten)]
        filter: Filter,
    }

    #[test]
    fn all_filters_have_to_match() {
        let event = LogMessage {
            level: Level::Warn.into(),
            event: "order_refused".to_owned(),
            subject: "product:1".to_owned(),
            ..LogMessage::default()
        };
        let matches = |line: &str| {
            TestArguments::try_parse_from(std::iter::once("test").chain(line.split_whitespace()))
                .unwrap()
                .filter
                .matches(&event)
        };
        for line in [
            "",
            "--event order_placed,order_refused",
            "--event order*",
            "--subject product:1",
            "--subject product:",
            "--level warn",
            "--level info --event * --subject product:1",
        ] {
            assert!(matches(line), "{line}");
        }
        for line in [
            "--event order",
            "--event order_placed",
            "--subject product:11",
            "--subject product",
            "--level error",
            "--level info --subject user:",
        ] {
            assert!(!matches(line), "{line}");
        }
    }
}
