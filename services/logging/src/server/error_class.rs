//! Classifies librdkafka's error codes: retry the record, or refuse it permanently.
//!
//! Unknown codes are [`ErrorClass::Retryable`]: waiting loses nothing, and the age of the oldest
//! event reveals the problem.

use rdkafka::error::RDKafkaErrorCode as Code;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// A retry may succeed without a change of the record.
    Retryable,
    /// For a batch: Kafka refused one of its records.
    Refused,
    /// Kafka may accept the record without its timestamp.
    TimestampRefused,
}

pub(super) fn classify(code: Code) -> ErrorClass {
    lookup(code).unwrap_or(ErrorClass::Retryable)
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn lookup(code: Code) -> Option<ErrorClass> {
    Some(match code {
        Code::InvalidTimestamp => ErrorClass::TimestampRefused,

        // The record: too large, malformed, or against a rule of the topic.
        Code::InvalidMessageSize
        | Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidRecord
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat
        | Code::BadMessage
        | Code::KeySerialization
        | Code::ValueSerialization
        // Kafka refused another record of the batch; a retry of this one alone succeeds.
        | Code::InvalidDifferentRecord => ErrorClass::Refused,

        // Network and brokers.
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
        // The checksum does not match: damaged in transit.
        | Code::InvalidMessage
        // Permissions.
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
        // Topic and settings: the same for all records.
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
        // Producer: gone with the next attempt or a new producer.
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
        // Local machine.
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
        // Consumers, groups, administration and telemetry.
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
        // Markers and success.
        | Code::Begin
        | Code::End
        | Code::EndAll
        | Code::NoError => ErrorClass::Retryable,

        // The enum is non-exhaustive; the test below finds unlisted codes.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaRespErr;

    use super::*;

    #[test]
    fn every_librdkafka_code_is_classified() {
        let codes: Vec<Code> = (-200..1000)
            .filter_map(|number| RDKafkaRespErr::try_from(number).ok())
            .map(Code::from)
            .collect();
        assert!(codes.len() > 150, "{} codes", codes.len());
        let unlisted: Vec<Code> =
            codes.into_iter().filter(|code| lookup(*code).is_none()).collect();
        assert_eq!(unlisted, []);
    }

    #[test]
    fn only_record_errors_are_permanent() {
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
