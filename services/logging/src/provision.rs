//! Making the topic of the events, and comparing the one that is there with the one that was asked
//! for.

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

use crate::connection::{Connection, Ears};

/// One question to Kafka takes at most this long.
const ANSWER: Duration = Duration::from_secs(5);
/// Kafka is asked again after this.
const PAUSE: Duration = Duration::from_millis(250);

const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// The topic that the operator asks for. What is `None` is left to the broker's defaults, and never
/// compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions. Order is kept within a partition: for each subject.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication: Option<i32>,
    /// How long the broker keeps a record.
    pub retention: Option<Retention>,
    /// How much of each partition the broker keeps.
    pub retention_bytes: Option<RetentionBytes>,
    /// Copies that have to have a record before it is acknowledged.
    pub min_insync_replicas: Option<i32>,
}

impl Topic {
    /// A topic of that name with three partitions; the rest is the broker's to decide.
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

    /// The settings that a topic is made with.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let retention =
            self.retention.map(|retention| (RETENTION, retention.milliseconds().to_string()));
        let retention_bytes =
            self.retention_bytes.map(|bytes| (RETENTION_BYTES, bytes.bytes().to_string()));
        let min_insync_replicas =
            self.min_insync_replicas.map(|number| (MIN_INSYNC_REPLICAS, number.to_string()));
        retention.into_iter().chain(retention_bytes).chain(min_insync_replicas).collect()
    }
}

/// How long the broker keeps a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// At least so long.
    For(Duration),
    /// Until the disk is full.
    Forever,
}

impl Retention {
    /// As Kafka has it: -1 is for ever.
    fn milliseconds(self) -> i64 {
        match self {
            Self::For(time) => i64::try_from(time.as_millis()).unwrap_or(i64::MAX),
            Self::Forever => -1,
        }
    }
}

/// How much of a partition the broker keeps: past it, the oldest segments are deleted, however
/// young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionBytes {
    /// At least this many bytes, as they are stored.
    Most(u64),
    /// As much as comes.
    Unlimited,
}

impl RetentionBytes {
    /// As Kafka has it: -1 is no bound.
    fn bytes(self) -> i64 {
        match self {
            Self::Most(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
            Self::Unlimited => -1,
        }
    }
}

/// What [`ensure`] found or did. Displays as one line, or as one and another for each difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// There was none; now there is, and each of its partitions has a leader.
    Created(Topic),
    /// It was there, and is as it was.
    Present {
        /// Its name.
        name: String,
        /// In what it is not as asked for: a sentence each.
        differences: Vec<String>,
    },
}

impl fmt::Display for Ensured {
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
            Self::Present { name, differences } if differences.is_empty() => {
                write!(formatter, "{name} is there, as asked for")
            }
            Self::Present { name, differences } => {
                write!(formatter, "{name} is there, and left as it is")?;
                differences
                    .iter()
                    .try_for_each(|difference| write!(formatter, "\n  differs: {difference}"))
            }
        }
    }
}

/// Sees to it that the topic is there: makes it where it is missing, and says how it differs where
/// it is not. A Kafka that does not answer yet is waited for, at most `patience`.
///
/// # Errors
/// When Kafka does not answer in time, or does not make the topic.
pub async fn ensure(
    connection: &Connection,
    topic: &Topic,
    patience: Duration,
) -> Result<Ensured, StartError> {
    let deadline = Instant::now() + patience;
    let ears = Ears::default();
    let unusable = |error: KafkaError| connection.unusable(&error);
    // A producer, as it polls by itself and so hears what is complained of.
    let asking: Arc<ThreadedProducer<Ears>> =
        Arc::new(connection.client()?.create_with_context(ears.clone()).map_err(unusable)?);
    let admin = admin(connection)?;
    let (mut created, mut told) = (false, None);
    loop {
        let (asked, name) = (Arc::clone(&asking), topic.name.clone());
        let sight = spawn_blocking(move || look(asked.client(), &name, ANSWER)).await;
        let problem = match sight
            .map_err(|error| StartError::new(format!("Kafka could not be asked: {error}")))?
        {
            Ok(Sight::There(_)) if created => return Ok(Ensured::Created(topic.clone())),
            Ok(Sight::There(shape)) => {
                return Ok(Ensured::Present {
                    name: topic.name.clone(),
                    differences: differences(&admin, topic, &shape).await,
                });
            }
            Ok(Sight::Leaderless(partitions)) => leaderless(partitions, &topic.name),
            Ok(Sight::Missing) => match create(&admin, topic, ANSWER).await {
                Ok(()) => {
                    created = true;
                    format!("Kafka has made the topic {} and does not show it yet", topic.name)
                }
                // Somebody else was quicker, and the next look shows what they made.
                Err(RDKafkaErrorCode::TopicAlreadyExists) => {
                    format!("Kafka does not show the topic {} yet", topic.name)
                }
                Err(code) if is_passing(code) => refused(&connection.brokers, topic, code),
                Err(code) => {
                    return Err(StartError::new(refused(&connection.brokers, topic, code)));
                }
            },
            Err(error) => connection.silence(&error, &ears),
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(StartError::new(format!("{problem} (after {})", shown(patience))));
        }
        if told.as_ref() != Some(&problem) {
            tracing::info!(reason = problem, "waiting for Kafka");
            told = Some(problem);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A client for what changes Kafka rather than using it.
pub(crate) fn admin(connection: &Connection) -> Result<AdminClient<Ears>, StartError> {
    connection
        .client()?
        .create_with_context(Ears::default())
        .map_err(|error| connection.unusable(&error))
}

/// What Kafka shows of a topic.
pub(crate) enum Sight {
    Missing,
    /// So many of its partitions cannot be written.
    Leaderless(usize),
    There(Shape),
}

/// What is seen of a topic without asking for its settings.
pub(crate) struct Shape {
    partitions: usize,
    /// The numbers of copies that partitions have; usually one number.
    replication: BTreeSet<usize>,
}

/// Asks Kafka for the topic. Blocks.
pub(crate) fn look<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<Sight, KafkaError> {
    let metadata = client.fetch_metadata(Some(name), timeout)?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Ok(Sight::Missing);
    };
    match topic.error().filter(|error| error.is_error()).map(RDKafkaErrorCode::from) {
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            return Ok(Sight::Missing);
        }
        Some(error) => return Err(KafkaError::MetadataFetch(error)),
        None => {}
    }
    if topic.partitions().is_empty() {
        return Ok(Sight::Missing);
    }
    Ok(match topic.partitions().iter().filter(|partition| partition.leader() < 0).count() {
        0 => Sight::There(Shape {
            partitions: topic.partitions().len(),
            replication: topic
                .partitions()
                .iter()
                .map(|partition| partition.replicas().len())
                .collect(),
        }),
        leaderless => Sight::Leaderless(leaderless),
    })
}

pub(crate) fn leaderless(partitions: usize, topic: &str) -> String {
    format!("{partitions} partition(s) of Kafka's topic {topic} have no leader")
}

/// Tells Kafka to make the topic.
pub(crate) async fn create(
    admin: &AdminClient<Ears>,
    topic: &Topic,
    timeout: Duration,
) -> Result<(), RDKafkaErrorCode> {
    let settings = topic.settings();
    // -1: as many as the broker has for its default.
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

/// Why Kafka did not make the topic, in a sentence.
pub(crate) fn refused(brokers: &str, topic: &Topic, code: RDKafkaErrorCode) -> String {
    let advice = match code {
        RDKafkaErrorCode::InvalidReplicationFactor => {
            "; it has fewer brokers than that, or not all of them are up: expected a MERCH_KAFKA_REPLICATION of at most their number"
        }
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "; expected a user who may create it, or a topic that somebody else has made"
        }
        RDKafkaErrorCode::InvalidConfig
        | RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidPartitions => {
            "; its own log says which of partitions, replication, retention, retention bytes and min.insync.replicas it does not allow"
        }
        _ => "",
    };
    format!("Kafka at {brokers} does not make the topic {}: {code}{advice}", topic.name)
}

/// Whether another attempt may end otherwise. A broker that has just started may not know of the
/// others yet.
fn is_passing(code: RDKafkaErrorCode) -> bool {
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

/// Returns a sentence on each difference of the topic from the one that the operator asks for.
async fn differences(admin: &AdminClient<Ears>, topic: &Topic, shape: &Shape) -> Vec<String> {
    let mut found = Vec::new();
    if usize::try_from(topic.partitions) != Ok(shape.partitions) {
        found.push(format!(
            "{} partitions, where {} were asked for; more can be added (kafka-topics.sh --alter), upon which subjects move to other ones and are out of order across the change",
            shape.partitions, topic.partitions
        ));
    }
    if let Some(wanted) = topic.replication
        && !shape.replication.iter().all(|copies| i32::try_from(*copies) == Ok(wanted))
    {
        let copies: Vec<String> = shape.replication.iter().map(ToString::to_string).collect();
        found.push(format!(
            "replication factor {}, where {wanted} was asked for; kafka-reassign-partitions.sh changes it",
            copies.join(" and ")
        ));
    }
    match setting_differences(admin, topic).await {
        Ok(differences) => found.extend(differences),
        // The topic works nevertheless. librdkafka's test broker does not have the request.
        Err(error) => {
            found.push(format!("its settings were not compared, as they cannot be read: {error}"))
        }
    }
    found
}

/// Returns a sentence on each setting in which the topic differs from the one that the operator
/// asks for.
pub(crate) async fn setting_differences(
    admin: &AdminClient<Ears>,
    topic: &Topic,
) -> Result<Vec<String>, KafkaError> {
    let settings = topic.settings();
    if settings.is_empty() {
        return Ok(Vec::new());
    }
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let answer = admin.describe_configs([&ResourceSpecifier::Topic(&topic.name)], &options).await?;
    let missing = Err(RDKafkaErrorCode::UnknownTopicOrPartition);
    let resource: ConfigResource =
        answer.into_iter().next().unwrap_or(missing).map_err(KafkaError::AdminOp)?;
    let differs = settings.into_iter().filter_map(|(name, wanted)| {
        let has = resource.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or("nothing");
        (has != wanted).then(|| {
            format!(
                "{name} {has}, where {wanted} was asked for; kafka-configs.sh --alter changes it"
            )
        })
    });
    Ok(differs.collect())
}

/// `90s`, `500ms`
fn shown(time: Duration) -> String {
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
    fn what_was_done_is_one_line_and_a_difference_another() {
        let topic = Topic {
            partitions: 6,
            replication: Some(3),
            retention: Some(Retention::For(Duration::from_secs(3600))),
            retention_bytes: Some(RetentionBytes::Most(1024)),
            min_insync_replicas: Some(2),
            ..Topic::new("log-channel")
        };
        assert_eq!(
            Ensured::Created(topic.clone()).to_string(),
            "created log-channel with 6 partitions, replication factor 3, retention.ms 3600000, retention.bytes 1024, min.insync.replicas 2"
        );
        assert_eq!(
            Topic { retention: Some(Retention::Forever), ..Topic::new("t") }.settings(),
            [(RETENTION, "-1".to_owned())]
        );
        let unlimited =
            Topic { retention_bytes: Some(RetentionBytes::Unlimited), ..Topic::new("t") };
        assert_eq!(unlimited.settings(), [(RETENTION_BYTES, "-1".to_owned())]);
        let present = |differences: &[&str]| {
            Ensured::Present {
                name: "t".to_owned(),
                differences: differences.iter().map(|text| (*text).to_owned()).collect(),
            }
            .to_string()
        };
        assert_eq!(present(&[]), "t is there, as asked for");
        assert_eq!(
            present(&["one", "two"]),
            "t is there, and left as it is\n  differs: one\n  differs: two"
        );
    }
}
