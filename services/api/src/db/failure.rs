//! What a failed gRPC call means to a client of this service: the one mapping between the two
//! worlds.

use std::{error::Error as _, time::Duration};

use merch_chassis::error_chain;
use merch_contract::grpc::assistant::v1::ErrorReason;
use poem_contract_runtime::{Fault, Location};
use tonic::{Code as Grpc, Status};
use tonic_types::StatusExt as _;

use crate::problem::{Code, Problem};

/// Why a call gave no answer. Decided by codes and details, never by text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallFailure {
    /// The deadline passed first.
    #[error("no answer within the deadline")]
    TooLate,
    /// There was no connection, or it broke.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The service answered with an error.
    #[error("{code:?} ({reason:?}): {message}")]
    Refused {
        /// What kind of error.
        code: Grpc,
        /// Why, if the service says so in words that are known here.
        reason: Option<ErrorReason>,
        /// When to try again, if the service says so.
        retry_after: Option<Duration>,
        /// For the log alone.
        message: String,
    },
    /// The service answered with something that its contract does not allow.
    #[error("the db service broke its contract: {0}")]
    BadAnswer(&'static str),
}

/// The `domain` of the db service's `ErrorInfo`.
const DOMAIN: &str = "assistant.merch";

impl From<Status> for CallFailure {
    fn from(status: Status) -> Self {
        // A status that came over the wire has no source; one that was made here, of a connection
        // that failed, has.
        if status.source().is_some() && status.code() != Grpc::DeadlineExceeded {
            return Self::Unreachable(error_chain(status.message(), &status));
        }
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| ErrorReason::from_str_name(&info.reason));
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        Self::Refused {
            code: status.code(),
            reason,
            retry_after,
            message: status.message().to_owned(),
        }
    }
}

impl CallFailure {
    /// The reason that the service gave.
    pub(crate) fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Refused { reason, .. } => *reason,
            Self::TooLate | Self::Unreachable(_) | Self::BadAnswer(_) => None,
        }
    }
}

impl From<CallFailure> for Problem {
    fn from(failure: CallFailure) -> Self {
        match &failure {
            CallFailure::TooLate | CallFailure::Unreachable(_) => {
                Problem::unavailable(failure, None)
            }
            CallFailure::BadAnswer(_) => Problem::internal(failure),
            CallFailure::Refused { code, reason, retry_after, message: _ } => match code {
                // The errors that carry a reason; it must be one that belongs to the code.
                Grpc::InvalidArgument
                | Grpc::Unauthenticated
                | Grpc::NotFound
                | Grpc::AlreadyExists
                | Grpc::FailedPrecondition
                | Grpc::Aborted => match reason {
                    Some(reason) if belongs(*reason) == Some(*code) => {
                        refused(*reason).unwrap_or_else(|| Problem::internal(failure))
                    }
                    Some(_) | None => Problem::internal(failure),
                },
                // The limits that the client is told of; every other one is the service's own
                // affair.
                Grpc::ResourceExhausted if *reason == Some(ErrorReason::TooManyLogIns) => {
                    Problem::too_many_attempts(retry_after.unwrap_or_default())
                }
                Grpc::ResourceExhausted if *reason == Some(ErrorReason::TooManyWrites) => {
                    Code::TooManyWrites.into()
                }
                // Try again. CANCELLED is how tonic reports a deadline that passed on this side:
                // nobody else cancels these calls.
                Grpc::Unavailable
                | Grpc::ResourceExhausted
                | Grpc::DeadlineExceeded
                | Grpc::Cancelled => {
                    let retry_after = *retry_after;
                    Problem::unavailable(failure, retry_after)
                }
                // Not in the contract, or a fault of the service.
                Grpc::Ok
                | Grpc::Unknown
                | Grpc::PermissionDenied
                | Grpc::OutOfRange
                | Grpc::Unimplemented
                | Grpc::Internal
                | Grpc::DataLoss => Problem::internal(failure),
            },
        }
    }
}

/// The code that a reason comes with, as `assistant.proto` has it.
const fn belongs(reason: ErrorReason) -> Option<Grpc> {
    match reason {
        ErrorReason::Unspecified => None,
        ErrorReason::InvalidField | ErrorReason::InvalidPageToken => Some(Grpc::InvalidArgument),
        ErrorReason::TokenRevoked => Some(Grpc::Unauthenticated),
        ErrorReason::UserNotFound | ErrorReason::ProductNotFound | ErrorReason::OrderNotFound => {
            Some(Grpc::NotFound)
        }
        ErrorReason::SidTaken | ErrorReason::UsernameTaken | ErrorReason::EmailTaken => {
            Some(Grpc::AlreadyExists)
        }
        ErrorReason::OutOfStock | ErrorReason::IdempotencyKeyReused => {
            Some(Grpc::FailedPrecondition)
        }
        ErrorReason::VersionMismatch => Some(Grpc::Aborted),
        ErrorReason::DatabaseUnavailable | ErrorReason::Overloaded => Some(Grpc::Unavailable),
        ErrorReason::TooManyLogIns | ErrorReason::TooManyWrites => Some(Grpc::ResourceExhausted),
    }
}

/// 400 for a `page_token` that no page of the list had as its `next_page`.
pub(crate) fn wrong_page_token() -> Problem {
    let detail = "expected the `next_page` of a page of this list, with the same filter or none";
    Problem::invalid_request(Fault::of_parameter(Location::Query, "page_token", detail))
}

/// What a reason means to the client; `None` where it means that this service sent something wrong.
pub(crate) fn refused(reason: ErrorReason) -> Option<Problem> {
    Some(match reason {
        // Whatever the document allows the db service takes, so that its refusal is a bug of ours.
        ErrorReason::Unspecified | ErrorReason::InvalidField => return None,
        ErrorReason::InvalidPageToken => wrong_page_token(),
        ErrorReason::TokenRevoked => Code::TokenInvalid.into(),
        ErrorReason::UserNotFound => Code::UserNotFound.into(),
        ErrorReason::ProductNotFound => Code::ProductNotFound.into(),
        ErrorReason::OrderNotFound => Code::OrderNotFound.into(),
        ErrorReason::SidTaken => Code::SidTaken.into(),
        ErrorReason::UsernameTaken => Code::UsernameTaken.into(),
        ErrorReason::EmailTaken => Code::EmailTaken.into(),
        ErrorReason::OutOfStock => Code::OutOfStock.into(),
        ErrorReason::IdempotencyKeyReused => Code::IdempotencyKeyReused.into(),
        ErrorReason::VersionMismatch => Code::VersionMismatch.into(),
        ErrorReason::DatabaseUnavailable | ErrorReason::Overloaded => {
            Problem::unavailable(reason.as_str_name(), None)
        }
        ErrorReason::TooManyLogIns => Code::TooManyAttempts.into(),
        ErrorReason::TooManyWrites => Code::TooManyWrites.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    const CODES: [Grpc; 17] = [
        Grpc::Ok,
        Grpc::Cancelled,
        Grpc::Unknown,
        Grpc::InvalidArgument,
        Grpc::DeadlineExceeded,
        Grpc::NotFound,
        Grpc::AlreadyExists,
        Grpc::PermissionDenied,
        Grpc::ResourceExhausted,
        Grpc::FailedPrecondition,
        Grpc::Aborted,
        Grpc::OutOfRange,
        Grpc::Unimplemented,
        Grpc::Internal,
        Grpc::Unavailable,
        Grpc::DataLoss,
        Grpc::Unauthenticated,
    ];

    fn with_reason(code: Grpc, domain: &str, reason: &str) -> Problem {
        let details =
            ErrorDetails::with_error_info(reason, domain, HashMap::<String, String>::new());
        CallFailure::from(Status::with_error_details(code, "some text", details)).into()
    }

    #[test]
    fn each_reason_has_its_problem() {
        for (code, reason, expected) in [
            (Grpc::InvalidArgument, "ERROR_REASON_INVALID_PAGE_TOKEN", Code::InvalidRequest),
            (Grpc::InvalidArgument, "ERROR_REASON_INVALID_FIELD", Code::InternalError),
            (Grpc::Unauthenticated, "ERROR_REASON_TOKEN_REVOKED", Code::TokenInvalid),
            (Grpc::NotFound, "ERROR_REASON_USER_NOT_FOUND", Code::UserNotFound),
            (Grpc::NotFound, "ERROR_REASON_PRODUCT_NOT_FOUND", Code::ProductNotFound),
            (Grpc::NotFound, "ERROR_REASON_ORDER_NOT_FOUND", Code::OrderNotFound),
            (Grpc::AlreadyExists, "ERROR_REASON_SID_TAKEN", Code::SidTaken),
            (Grpc::AlreadyExists, "ERROR_REASON_USERNAME_TAKEN", Code::UsernameTaken),
            (Grpc::AlreadyExists, "ERROR_REASON_EMAIL_TAKEN", Code::EmailTaken),
            (Grpc::FailedPrecondition, "ERROR_REASON_OUT_OF_STOCK", Code::OutOfStock),
            (
                Grpc::FailedPrecondition,
                "ERROR_REASON_IDEMPOTENCY_KEY_REUSED",
                Code::IdempotencyKeyReused,
            ),
            (Grpc::Aborted, "ERROR_REASON_VERSION_MISMATCH", Code::VersionMismatch),
            (Grpc::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE", Code::Unavailable),
            (Grpc::Unavailable, "ERROR_REASON_OVERLOADED", Code::Unavailable),
            (Grpc::ResourceExhausted, "ERROR_REASON_TOO_MANY_LOG_INS", Code::TooManyAttempts),
            (Grpc::ResourceExhausted, "ERROR_REASON_TOO_MANY_WRITES", Code::TooManyWrites),
        ] {
            assert_eq!(with_reason(code, DOMAIN, reason).code(), expected, "{reason}");
        }
    }

    #[test]
    fn each_code_without_a_known_reason_is_a_bug_or_a_time_to_try_again() {
        for code in CODES {
            let expected = match code {
                Grpc::Unavailable
                | Grpc::ResourceExhausted
                | Grpc::DeadlineExceeded
                | Grpc::Cancelled => Code::Unavailable,
                _ => Code::InternalError,
            };
            assert_eq!(
                Problem::from(CallFailure::from(Status::new(code, "user not found"))).code(),
                expected,
                "{code:?}"
            );
            assert_eq!(
                with_reason(code, DOMAIN, "ERROR_REASON_OF_TOMORROW").code(),
                expected,
                "{code:?}"
            );
            assert_eq!(
                with_reason(code, "somebody.else", "ERROR_REASON_USER_NOT_FOUND").code(),
                expected,
                "{code:?}"
            );
        }
        assert_eq!(
            with_reason(Grpc::NotFound, DOMAIN, "ERROR_REASON_SID_TAKEN").code(),
            Code::InternalError,
            "a reason of another code"
        );
    }

    #[test]
    fn the_time_to_try_again_is_the_services() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(2500)));
        let problem = Problem::from(CallFailure::from(Status::with_error_details(
            Grpc::Unavailable,
            "",
            details,
        )));
        assert_eq!((problem.code(), problem.retry_after()), (Code::Unavailable, 3));

        let mut details = ErrorDetails::with_error_info(
            "ERROR_REASON_TOO_MANY_LOG_INS",
            DOMAIN,
            HashMap::<String, String>::new(),
        );
        details.set_retry_info(Some(Duration::from_millis(5001)));
        let problem = Problem::from(CallFailure::from(Status::with_error_details(
            Grpc::ResourceExhausted,
            "",
            details,
        )));
        assert_eq!((problem.code(), problem.retry_after()), (Code::TooManyAttempts, 6));
    }

    #[test]
    fn a_wrong_page_token_is_pointed_at() {
        let body =
            with_reason(Grpc::InvalidArgument, DOMAIN, "ERROR_REASON_INVALID_PAGE_TOKEN").body();
        let errors = serde_json::to_value(body).unwrap()["errors"].clone();
        assert_eq!(
            (errors[0]["in"].as_str(), errors[0]["pointer"].as_str()),
            (Some("query"), Some("/page_token"))
        );
    }
}
