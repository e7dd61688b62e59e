//! What each error of Kafka means for a record: try again, or never.
//!
//! Every code that librdkafka knows is listed. A code that is not (of a newer librdkafka or broker)
//! counts as
//! [`ErrorClass::Retryable`]: waiting loses nothing, and the age of the oldest event shows that
//! something waits.

use rdkafka::error::RDKafkaErrorCode as Code;

/// What an error means for the record that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// Another attempt may succeed: the broker, the network, permissions or the topic have to
    /// change, and the record does not.
    Retryable,
    /// Kafka refuses this record, now and later. In a batch of several records, it refuses one of
    /// them.
    Refused,
    /// Kafka refuses the record's timestamp. Without one it may take the record.
    TimestampRefused,
}

/// The class of an error; see the module for codes that are not known.
pub(super) fn classify(code: Code) -> ErrorClass {
    listed(code).unwrap_or(ErrorClass::Retryable)
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn listed(code: Code) -> Option<ErrorClass> {
    Some(match code {
        Code::InvalidTimestamp => ErrorClass::TimestampRefused,

        // The record itself: too large, malformed, or against a rule of the topic.
        Code::InvalidMessageSize
        | Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidRecord
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat
        | Code::BadMessage
        | Code::KeySerialization
        | Code::ValueSerialization
        // Another record of the batch: this one is innocent, which its next attempt, alone, shows.
        | Code::InvalidDifferentRecord => ErrorClass::Refused,

        // The network and the brokers.
        Code::BrokerDestroy
        | Code::BrokerTransportFailure
        | Code::Resolve
        | Code::MessageTimedOut
        | Code::AllBrokersDown
        | Code::OperationTimedOut
        | Code::ISRInsufficient
        | Code::NodeUpdate
        | Code::TimedOutQueue
        | Code::WaitCache
        | Code::UnknownBroker
        | Code::DestroyBroker
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::RequestTimedOut
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::StaleControllerEpoch
        | Code::NetworkException
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::NotController
        | Code::KafkaStorageError
        | Code::LogDirNotFound
        | Code::ReassignmentInProgress
        | Code::ListenerNotFound
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::StaleBrokerEpoch
        | Code::OffsetNotAvailable
        | Code::PreferredLeaderNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::ElectionNotNeeded
        | Code::NoReassignmentInProgress
        | Code::ThrottlingQuotaExceeded
        | Code::RebootstrapRequired
        // A checksum that does not match: what was sent was damaged on its way.
        | Code::InvalidMessage
        // Permissions, which an administrator grants.
        | Code::SSL
        | Code::Authentication
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SecurityDisabled
        | Code::SaslAuthenticationFailed
        | Code::DelegationTokenAuthDisabled
        | Code::DelegationTokenNotFound
        | Code::DelegationTokenOwnerMismatch
        | Code::DelegationTokenRequestNotAllowed
        | Code::DelegationTokenAuthorizationFailed
        | Code::DelegationTokenExpired
        | Code::InvalidPrincipalType
        | Code::UnacceptableCredential
        | Code::PrincipalDeserializationFailure
        // The topic and its settings, which an operator makes and changes; they hold for all
        // records alike.
        | Code::UnknownPartition
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic
        | Code::TopicAlreadyExists
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidConfig
        | Code::TopicDeletionDisabled
        | Code::InvalidRequiredAcks
        | Code::BadCompression
        | Code::UnsupportedCompressionType
        | Code::UnsupportedFeature
        | Code::UnsupportedVersion
        | Code::InvalidRequest
        | Code::NotConfigured
        // The producer's state: a new one, or the next attempt, has another.
        | Code::QueueFull
        | Code::Retry
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::Fatal
        | Code::Inconsistent
        | Code::GaplessGuarantee
        | Code::Fenced
        | Code::State
        | Code::Conflict
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::Interrupted
        | Code::Partial
        | Code::Outdated
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::InvalidTransactionalState
        | Code::InvalidProducerIdMapping
        | Code::InvalidTransactionTimeout
        | Code::ConcurrentTransactions
        | Code::TransactionCoordinatorFenced
        | Code::OperationNotAttempted
        | Code::UnknownProducerId
        | Code::ProducerFenced
        // This program's machine.
        | Code::Fail
        | Code::CriticalSystemResource
        | Code::FileSystem
        | Code::InvalidArgument
        | Code::UnknownProtocol
        | Code::NotImplemented
        | Code::ReadOnly
        | Code::NoEnt
        | Code::Underflow
        | Code::InvalidType
        | Code::Application
        | Code::Noop
        | Code::Unknown
        // Of consumers, groups, administration and telemetry: no answer to a record.
        | Code::PartitionEOF
        | Code::WaitingForCoordinator
        | Code::UnknownGroup
        | Code::ExistingSubscription
        | Code::AssignPartitions
        | Code::RevokePartitions
        | Code::NoOffset
        | Code::KeyDeserialization
        | Code::ValueDeserialization
        | Code::PollExceeded
        | Code::AssignmentLost
        | Code::AutoOffsetReset
        | Code::LogTruncation
        | Code::OffsetOutOfRange
        | Code::OffsetMetadataTooLarge
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::IllegalGeneration
        | Code::InconsistentGroupProtocol
        | Code::InvalidGroupId
        | Code::UnknownMemberId
        | Code::InvalidSessionTimeout
        | Code::RebalanceInProgress
        | Code::InvalidCommitOffsetSize
        | Code::NonEmptyGroup
        | Code::GroupIdNotFound
        | Code::FetchSessionIdNotFound
        | Code::InvalidFetchSessionEpoch
        | Code::MemberIdRequired
        | Code::GroupMaxSizeReached
        | Code::FencedInstanceId
        | Code::GroupSubscribedToTopic
        | Code::UnstableOffsetCommit
        | Code::ResourceNotFound
        | Code::DuplicateResource
        | Code::InconsistentVoterSet
        | Code::InvalidUpdateVersion
        | Code::FeatureUpdateFailed
        | Code::FencedMemberEpoch
        | Code::UnreleasedInstanceId
        | Code::UnsupportedAssignor
        | Code::StaleMemberEpoch
        | Code::UnknownSubscriptionId
        | Code::TelemetryTooLarge
        // The marks of the enumeration, and success.
        | Code::Begin
        | Code::End
        | Code::EndAll
        | Code::NoError => ErrorClass::Retryable,

        // rdkafka may add codes; the test below finds those that its librdkafka has.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaRespErr;

    use super::*;

    #[test]
    fn every_code_of_librdkafka_has_a_class() {
        let codes: Vec<Code> = (-200..1000)
            .filter_map(|number| RDKafkaRespErr::try_from(number).ok())
            .map(Code::from)
            .collect();
        assert!(codes.len() > 150, "{} codes", codes.len());
        let unlisted: Vec<Code> =
            codes.into_iter().filter(|code| listed(*code).is_none()).collect();
        assert_eq!(unlisted, []);
    }

    #[test]
    fn permissions_and_topics_are_waited_for_and_records_are_refused() {
        for code in [
            Code::TopicAuthorizationFailed,
            Code::UnknownTopicOrPartition,
            Code::BrokerTransportFailure,
            Code::Fatal,
            Code::InvalidMessage,
        ] {
            assert_eq!(classify(code), ErrorClass::Retryable, "{code:?}");
        }
        for code in [
            Code::MessageSizeTooLarge,
            Code::MessageBatchTooLarge,
            Code::InvalidRecord,
            Code::PolicyViolation,
            Code::InvalidDifferentRecord,
        ] {
            assert_eq!(classify(code), ErrorClass::Refused, "{code:?}");
        }
        assert_eq!(classify(Code::InvalidTimestamp), ErrorClass::TimestampRefused);
    }
}
