//! Creates the event topic, or compares its settings.

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use merch_chassis::StartError;
use rdkafka::{
    ClientContext,
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::Client,
    error::{IsError as _, KafkaError, RDKafkaErrorCode},
    producer::{Producer as _, ThreadedProducer},
};
use tokio::task::spawn_blocking;

use crate::connection::{Connection, KafkaContext};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Settings of the topic. `None` means the broker's default, without comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The name.
    pub name: String,
    /// Number of partitions. Order is kept within a partition, and so for each subject.
    pub partitions: i32,
    /// Replication factor.
    pub replication: Option<i32>,
    /// Retention time.
    pub retention: Option<Retention>,
    /// Retention size per partition.
    pub retention_bytes: Option<RetentionBytes>,
    /// Replicas that must store a record before its acknowledgement.
    pub min_insync_replicas: Option<i32>,
}

impl Topic {
    /// Returns a topic with three partitions and broker defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: 3,
            replication: None,
            retention: None,
            retention_bytes: None,
            min_insync_replicas: None,
        }
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let retention =
            self.retention.map(|retention| (RETENTION_MS, retention.milliseconds().to_string()));
        let retention_bytes =
            self.retention_bytes.map(|bytes| (RETENTION_BYTES, bytes.bytes().to_string()));
        let min_insync_replicas =
            self.min_insync_replicas.map(|number| (MIN_INSYNC_REPLICAS, number.to_string()));
        retention.into_iter().chain(retention_bytes).chain(min_insync_replicas).collect()
    }
}

/// Retention time (`retention.ms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// At least this long.
    For(Duration),
    /// No limit.
    Forever,
}

impl Retention {
    /// -1 is no limit.
    fn milliseconds(self) -> i64 {
        match self {
            Self::For(time) => i64::try_from(time.as_millis()).unwrap_or(i64::MAX),
            Self::Forever => -1,
        }
    }
}

/// Retention size of a partition (`retention.bytes`); Kafka deletes the oldest segments past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionBytes {
    /// At least this many bytes.
    Limit(u64),
    /// No limit.
    Unlimited,
}

impl RetentionBytes {
    /// -1 is no limit.
    fn bytes(self) -> i64 {
        match self {
            Self::Limit(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
            Self::Unlimited => -1,
        }
    }
}

/// Result of [`ensure`]. Displays as one line, plus one per difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnsureOutcome {
    /// Created; each partition has a leader.
    Created(Topic),
    /// Existed and was not changed.
    Exists {
        /// The name.
        name: String,
        /// Differences from the request, one sentence each.
        differences: Vec<String>,
    },
}

impl fmt::Display for EnsureOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created(topic) => {
                write!(formatter, "created {} with {} partitions", topic.name, topic.partitions)?;
                if let Some(replication) = topic.replication {
                    write!(formatter, ", replication factor {replication}")?;
                }
                topic
                    .settings()
                    .iter()
                    .try_for_each(|(name, value)| write!(formatter, ", {name} {value}"))
            }
            Self::Exists { name, differences } if differences.is_empty() => {
                write!(formatter, "{name} exists with the requested settings")
            }
            Self::Exists { name, differences } => {
                write!(formatter, "{name} exists and was not changed")?;
                differences
                    .iter()
                    .try_for_each(|difference| write!(formatter, "\n  differs: {difference}"))
            }
        }
    }
}

/// Creates the topic if it is missing; otherwise compares its settings.
///
/// # Errors
/// If Kafka does not answer within `timeout` or refuses to create the topic.
pub async fn ensure(
    connection: &Connection,
    topic: &Topic,
    timeout: Duration,
) -> Result<EnsureOutcome, StartError> {
    let deadline = Instant::now() + timeout;
    let context = KafkaContext::default();
    let creation_error = |error: KafkaError| connection.creation_error(&error);
    // A producer polls in the background, and so receives error callbacks.
    let metadata_client: Arc<ThreadedProducer<KafkaContext>> = Arc::new(
        connection.client()?.create_with_context(context.clone()).map_err(creation_error)?,
    );
    let admin = admin(connection)?;
    let (mut created, mut reported) = (false, None);
    loop {
        let (client, name) = (Arc::clone(&metadata_client), topic.name.clone());
        let state =
            spawn_blocking(move || topic_state(client.client(), &name, REQUEST_TIMEOUT)).await;
        let problem = match state
            .map_err(|error| StartError::new(format!("the metadata request failed: {error}")))?
        {
            Ok(TopicState::Available(_)) if created => {
                return Ok(EnsureOutcome::Created(topic.clone()));
            }
            Ok(TopicState::Available(layout)) => {
                return Ok(EnsureOutcome::Exists {
                    name: topic.name.clone(),
                    differences: differences(&admin, topic, &layout).await,
                });
            }
            Ok(TopicState::Leaderless(partitions)) => leaderless_error(partitions, &topic.name),
            Ok(TopicState::Missing) => match create(&admin, topic, REQUEST_TIMEOUT).await {
                Ok(()) => {
                    created = true;
                    format!("Kafka created the topic {} but does not list it yet", topic.name)
                }
                // Another process created it; the next round compares.
                Err(RDKafkaErrorCode::TopicAlreadyExists) => {
                    format!("Kafka does not list the topic {} yet", topic.name)
                }
                Err(code) if is_transient(code) => create_error(&connection.brokers, topic, code),
                Err(code) => {
                    return Err(StartError::new(create_error(&connection.brokers, topic, code)));
                }
            },
            Err(error) => connection.diagnose_timeout(&error, &context),
        };
        if Instant::now() + RETRY_INTERVAL >= deadline {
            return Err(StartError::new(format!("{problem} (after {})", format_duration(timeout))));
        }
        if reported.as_ref() != Some(&problem) {
            tracing::info!(reason = problem, "waiting for Kafka");
            reported = Some(problem);
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

pub(crate) fn admin(connection: &Connection) -> Result<AdminClient<KafkaContext>, StartError> {
    connection
        .client()?
        .create_with_context(KafkaContext::default())
        .map_err(|error| connection.creation_error(&error))
}

pub(crate) enum TopicState {
    Missing,
    /// Partitions without a leader.
    Leaderless(usize),
    Available(TopicLayout),
}

pub(crate) struct TopicLayout {
    partitions: usize,
    /// Per partition; usually a single value.
    replication: BTreeSet<usize>,
}

/// Blocks the thread.
pub(crate) fn topic_state<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<TopicState, KafkaError> {
    let metadata = client.fetch_metadata(Some(name), timeout)?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Ok(TopicState::Missing);
    };
    match topic.error().filter(|error| error.is_error()).map(RDKafkaErrorCode::from) {
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            return Ok(TopicState::Missing);
        }
        Some(error) => return Err(KafkaError::MetadataFetch(error)),
        None => {}
    }
    if topic.partitions().is_empty() {
        return Ok(TopicState::Missing);
    }
    Ok(match topic.partitions().iter().filter(|partition| partition.leader() < 0).count() {
        0 => TopicState::Available(TopicLayout {
            partitions: topic.partitions().len(),
            replication: topic
                .partitions()
                .iter()
                .map(|partition| partition.replicas().len())
                .collect(),
        }),
        leaderless => TopicState::Leaderless(leaderless),
    })
}

pub(crate) fn leaderless_error(partitions: usize, topic: &str) -> String {
    format!("{partitions} partition(s) of Kafka's topic {topic} have no leader")
}

pub(crate) async fn create(
    admin: &AdminClient<KafkaContext>,
    topic: &Topic,
    timeout: Duration,
) -> Result<(), RDKafkaErrorCode> {
    let settings = topic.settings();
    // -1 is the broker's default.
    let wanted = NewTopic::new(
        &topic.name,
        topic.partitions,
        TopicReplication::Fixed(topic.replication.unwrap_or(-1)),
    );
    let wanted = settings.iter().fold(wanted, |wanted, (name, value)| wanted.set(name, value));
    let options =
        AdminOptions::new().operation_timeout(Some(timeout)).request_timeout(Some(timeout));
    match admin.create_topics([&wanted], &options).await {
        Ok(results) => results
            .into_iter()
            .next()
            .unwrap_or_else(|| Ok(topic.name.clone()))
            .map(drop)
            .map_err(|(_, code)| code),
        Err(error) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
    }
}

pub(crate) fn create_error(brokers: &str, topic: &Topic, code: RDKafkaErrorCode) -> String {
    let advice = match code {
        RDKafkaErrorCode::InvalidReplicationFactor => {
            "; expected MERCH_KAFKA_REPLICATION to be at most the number of running brokers"
        }
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "; allow this user to create it, or create the topic beforehand"
        }
        RDKafkaErrorCode::InvalidConfig
        | RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidPartitions => {
            "; see the broker's log for the setting that it does not allow: partitions, \
             replication, retention, retention bytes or min.insync.replicas"
        }
        _ => "",
    };
    format!("Kafka at {brokers} did not create the topic {}: {code}{advice}", topic.name)
}

/// A broker that has just started may not see the others yet.
fn is_transient(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::NotController
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerNotAvailable
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::NetworkException
    )
}

async fn differences(
    admin: &AdminClient<KafkaContext>,
    topic: &Topic,
    layout: &TopicLayout,
) -> Vec<String> {
    let mut found = Vec::new();
    if usize::try_from(topic.partitions) != Ok(layout.partitions) {
        found.push(format!(
            "{} partitions, expected {}; kafka-topics.sh --alter adds partitions, but then \
             subjects move to other partitions and lose their order across the change",
            layout.partitions, topic.partitions
        ));
    }
    if let Some(wanted) = topic.replication
        && !layout.replication.iter().all(|copies| i32::try_from(*copies) == Ok(wanted))
    {
        let copies: Vec<String> = layout.replication.iter().map(ToString::to_string).collect();
        found.push(format!(
            "replication factor {}, expected {wanted}; kafka-reassign-partitions.sh changes it",
            copies.join(" and ")
        ));
    }
    match setting_differences(admin, topic).await {
        Ok(differences) => found.extend(differences),
        // Not fatal: the topic works. The embedded broker lacks this request.
        Err(error) => found.push(format!(
            "its settings were not compared because they could not be read: {error}"
        )),
    }
    found
}

pub(crate) async fn setting_differences(
    admin: &AdminClient<KafkaContext>,
    topic: &Topic,
) -> Result<Vec<String>, KafkaError> {
    let settings = topic.settings();
    if settings.is_empty() {
        return Ok(Vec::new());
    }
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let answer = admin.describe_configs([&ResourceSpecifier::Topic(&topic.name)], &options).await?;
    let missing = Err(RDKafkaErrorCode::UnknownTopicOrPartition);
    let resource: ConfigResource =
        answer.into_iter().next().unwrap_or(missing).map_err(KafkaError::AdminOp)?;
    let differs = settings.into_iter().filter_map(|(name, wanted)| {
        let has = resource.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or("unset");
        (has != wanted).then(|| {
            format!("{name} {has}, expected {wanted}; kafka-configs.sh --alter changes it")
        })
    });
    Ok(differs.collect())
}

fn format_duration(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_has_a_line_for_each_difference() {
        let topic = Topic {
            partitions: 6,
            replication: Some(3),
            retention: Some(Retention::For(Duration::from_secs(3600))),
            retention_bytes: Some(RetentionBytes::Limit(1024)),
            min_insync_replicas: Some(2),
            ..Topic::new("log-channel")
        };
        assert_eq!(
            EnsureOutcome::Created(topic.clone()).to_string(),
            "created log-channel with 6 partitions, replication factor 3, retention.ms 3600000, \
             retention.bytes 1024, min.insync.replicas 2"
        );
        assert_eq!(
            Topic { retention: Some(Retention::Forever), ..Topic::new("t") }.settings(),
            [(RETENTION_MS, "-1".to_owned())]
        );
        let unlimited =
            Topic { retention_bytes: Some(RetentionBytes::Unlimited), ..Topic::new("t") };
        assert_eq!(unlimited.settings(), [(RETENTION_BYTES, "-1".to_owned())]);
        let present = |differences: &[&str]| {
            EnsureOutcome::Exists {
                name: "t".to_owned(),
                differences: differences.iter().map(|text| (*text).to_owned()).collect(),
            }
            .to_string()
        };
        assert_eq!(present(&[]), "t exists with the requested settings");
        assert_eq!(
            present(&["one", "two"]),
            "t exists and was not changed\n  differs: one\n  differs: two"
        );
    }
}
