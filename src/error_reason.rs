//! The gRPC code of each [`ErrorReason`], as `assistant.proto` states it.

use tonic::Code;

use crate::grpc::assistant::v1::ErrorReason;

impl ErrorReason {
    /// Returns the gRPC code of a call that fails for this reason.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Unspecified => Code::Internal,
            Self::InvalidField | Self::InvalidPageToken => Code::InvalidArgument,
            Self::TokenRevoked => Code::Unauthenticated,
            Self::UserNotFound | Self::ProductNotFound | Self::OrderNotFound => Code::NotFound,
            Self::SidTaken | Self::UsernameTaken | Self::EmailTaken => Code::AlreadyExists,
            Self::OutOfStock | Self::IdempotencyKeyReused => Code::FailedPrecondition,
            Self::VersionMismatch => Code::Aborted,
            Self::DatabaseUnavailable | Self::Overloaded | Self::OrderExpired => Code::Unavailable,
            Self::TooManyLogIns | Self::TooManyWrites => Code::ResourceExhausted,
        }
    }
}
