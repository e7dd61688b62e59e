//! Why a request was not done, and how that is told: a reason for the caller, the causes for the
//! log.

use std::{fmt, time::Duration};

use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::DbErr;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// The `domain` of every `google.rpc.ErrorInfo` of this service.
const DOMAIN: &str = "assistant.merch";
/// After this time it is worth trying again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request's field that breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The path of the field in the request, for example `caller.user_id`.
    pub(crate) field: String,
    /// What was expected. Never the value.
    pub(crate) expected: &'static str,
}

/// Why a use-case did not do what it was asked.
#[derive(Clone)]
pub(crate) enum Failure {
    /// The store's rules forbid it; the caller is told the reason.
    Refused(ErrorReason),
    /// The request breaks the contract's rules.
    Invalid(Vec<Fault>),
    /// Too many passwords were checked of this account; after this time another one may be.
    TooManyLogIns(Duration),
    /// The database undid the transaction, because of another one or by going away. Nothing of it
    /// is stored; it may be run again at once.
    Undone(DbErr),
    /// The database is away or busy; or something failed while committing, and nobody knows whether
    /// the work was done.
    Unavailable(DbErr),
    /// The transaction took longer than it may.
    TimedOut,
    /// A fault of this service.
    Fault(DbErr),
}

impl Failure {
    /// The request broke one rule.
    pub(crate) fn invalid(field: &str, expected: &'static str) -> Self {
        Self::Invalid(vec![Fault { field: field.to_owned(), expected }])
    }
}

/// Errors displayed, never debugged: PostgreSQL's details quote the row, and that may hold a
/// password's hash.
impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => formatter.debug_tuple("Refused").field(reason).finish(),
            Self::Invalid(faults) => formatter.debug_tuple("Invalid").field(faults).finish(),
            Self::TooManyLogIns(wait) => {
                formatter.debug_tuple("TooManyLogIns").field(wait).finish()
            }
            Self::Undone(error) => write!(formatter, "Undone({error})"),
            Self::Unavailable(error) => write!(formatter, "Unavailable({error})"),
            Self::TimedOut => formatter.write_str("TimedOut"),
            Self::Fault(error) => write!(formatter, "Fault({error})"),
        }
    }
}

/// What the caller is told. Called within the request's span, so that the log lines carry its id.
impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(reason) => refusal(reason),
            Failure::Invalid(faults) => {
                let mut details = error_info(ErrorReason::InvalidField);
                let violations: Vec<_> = faults
                    .into_iter()
                    .map(|fault| FieldViolation::new(fault.field, fault.expected))
                    .collect();
                details.set_bad_request(violations);
                Status::with_error_details(
                    Code::InvalidArgument,
                    sentence(ErrorReason::InvalidField),
                    details,
                )
            }
            Failure::TooManyLogIns(wait) => after(ErrorReason::TooManyLogIns, wait),
            Failure::Undone(error) | Failure::Unavailable(error) => {
                tracing::warn!(%error, "the database is away or busy");
                refusal(ErrorReason::DatabaseUnavailable)
            }
            Failure::TimedOut => {
                tracing::warn!("a transaction took longer than it may");
                refusal(ErrorReason::DatabaseUnavailable)
            }
            Failure::Fault(error) => {
                tracing::error!(%error, "a fault in the db service");
                Status::internal("a fault in the db service; its log has the details")
            }
        }
    }
}

fn refusal(reason: ErrorReason) -> Status {
    let code = code(reason);
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) {
        return after(reason, RETRY_AFTER);
    }
    Status::with_error_details(code, sentence(reason), error_info(reason))
}

/// A refusal that says after what time to try again.
fn after(reason: ErrorReason, wait: Duration) -> Status {
    let mut details = error_info(reason);
    details.set_retry_info(Some(wait));
    Status::with_error_details(code(reason), sentence(reason), details)
}

fn error_info(reason: ErrorReason) -> ErrorDetails {
    ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, [])
}

/// The gRPC code of each reason, as the contract says.
fn code(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::Unspecified => Code::Internal,
        ErrorReason::InvalidField | ErrorReason::InvalidPageToken => Code::InvalidArgument,
        ErrorReason::TokenRevoked => Code::Unauthenticated,
        ErrorReason::UserNotFound | ErrorReason::ProductNotFound | ErrorReason::OrderNotFound => {
            Code::NotFound
        }
        ErrorReason::SidTaken | ErrorReason::UsernameTaken | ErrorReason::EmailTaken => {
            Code::AlreadyExists
        }
        ErrorReason::OutOfStock | ErrorReason::IdempotencyKeyReused => Code::FailedPrecondition,
        ErrorReason::VersionMismatch => Code::Aborted,
        ErrorReason::DatabaseUnavailable | ErrorReason::Overloaded => Code::Unavailable,
        ErrorReason::TooManyLogIns | ErrorReason::TooManyWrites => Code::ResourceExhausted,
    }
}

/// One sentence for people.
pub(crate) fn sentence(reason: ErrorReason) -> &'static str {
    match reason {
        ErrorReason::Unspecified => {
            "there is no reason for this error, which is a fault in the db service"
        }
        ErrorReason::InvalidField => "the request breaks the rules of its fields",
        ErrorReason::InvalidPageToken => {
            "the page token was not made by this method for this filter"
        }
        ErrorReason::TokenRevoked => "the caller's token is void",
        ErrorReason::UserNotFound => "there is no such user",
        ErrorReason::ProductNotFound => "there is no such product",
        ErrorReason::OrderNotFound => "there is no such order",
        ErrorReason::SidTaken => "another user has this sid",
        ErrorReason::UsernameTaken => "another user has this username",
        ErrorReason::EmailTaken => "another user has this email",
        ErrorReason::OutOfStock => "fewer pieces are left than were asked for",
        ErrorReason::IdempotencyKeyReused => "this idempotency key was used for another order",
        ErrorReason::VersionMismatch => "the row has another version than was expected",
        ErrorReason::DatabaseUnavailable => "the database does not answer; try again",
        ErrorReason::Overloaded => "more orders are waiting than the service takes; try again",
        ErrorReason::TooManyLogIns => {
            "too many passwords were checked for this account; try again later"
        }
        ErrorReason::TooManyWrites => {
            "this user has too many changes under way; wait for one of them"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_says_when() {
        let status = Status::from(Failure::Refused(ErrorReason::Overloaded));
        assert_eq!(status.code(), Code::Unavailable);
        let details = status.get_error_details();
        assert_eq!(
            details.error_info().map(|info| (info.reason.as_str(), info.domain.as_str())),
            Some(("ERROR_REASON_OVERLOADED", DOMAIN))
        );
        assert_eq!(details.retry_info().and_then(|info| info.retry_delay), Some(RETRY_AFTER));
    }

    #[test]
    fn who_logs_in_too_often_is_told_how_long_to_wait() {
        let wait = Duration::from_millis(5_250);
        let status = Status::from(Failure::TooManyLogIns(wait));
        assert_eq!(status.code(), Code::ResourceExhausted);
        let details = status.get_error_details();
        assert_eq!(
            details.error_info().map(|info| info.reason.as_str()),
            Some("ERROR_REASON_TOO_MANY_LOG_INS")
        );
        assert_eq!(details.retry_info().and_then(|info| info.retry_delay), Some(wait));
    }

    /// As PostgreSQL tells it, with the row in its details.
    #[derive(Debug)]
    struct Violation(#[expect(dead_code, reason = "it is there to be debugged")] &'static str);

    impl fmt::Display for Violation {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a check was violated")
        }
    }

    impl std::error::Error for Violation {}

    #[test]
    fn no_form_of_a_failure_quotes_a_row() {
        let error = || {
            DbErr::Query(sea_orm::RuntimeErr::SqlxError(
                sea_orm::sqlx::Error::Encode(Box::new(Violation("$scrypt$"))).into(),
            ))
        };
        assert!(format!("{:?}", error()).contains("$scrypt$"), "the error itself does");
        for failure in
            [Failure::Undone(error()), Failure::Unavailable(error()), Failure::Fault(error())]
        {
            let told = format!("{failure:?}");
            assert!(told.contains("a check was violated") && !told.contains("$scrypt$"), "{told}");
        }
    }

    #[test]
    fn a_fault_says_nothing_of_its_cause() {
        let status =
            Status::from(Failure::Fault(DbErr::Custom("relation \"users\" does not exist".into())));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("users"));
        assert!(status.details().is_empty());
    }
}
