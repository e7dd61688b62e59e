//! Failures of requests: the caller gets a reason, the log gets the cause.

use std::{fmt, time::Duration};

use merch_contract::{grpc::assistant::v1::ErrorReason, validation::Violation};
use sea_orm::DbErr;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

const DOMAIN: &str = "assistant.merch";
/// The `retry_delay` of refusals without their own.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) enum Failure {
    Refused(ErrorReason),
    Invalid(Vec<Violation>),
    /// The account has no password check left until after this time.
    TooManyLogIns(Duration),
    /// The transaction was rolled back because of another one or a lost connection. It may run
    /// again immediately.
    Retryable(DbErr),
    /// The database is unavailable or busy, or the outcome of a commit is unknown.
    Unavailable(DbErr),
    TimedOut,
    Internal(DbErr),
}

impl Failure {
    pub(crate) fn invalid(field: &str, expected: &'static str) -> Self {
        Self::Invalid(vec![Violation::new(field, expected)])
    }
}

/// Uses `Display`: the debug output of PostgreSQL's errors quotes the row.
impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => formatter.debug_tuple("Refused").field(reason).finish(),
            Self::Invalid(violations) => {
                formatter.debug_tuple("Invalid").field(violations).finish()
            }
            Self::TooManyLogIns(wait) => {
                formatter.debug_tuple("TooManyLogIns").field(wait).finish()
            }
            Self::Retryable(error) => write!(formatter, "Retryable({error})"),
            Self::Unavailable(error) => write!(formatter, "Unavailable({error})"),
            Self::TimedOut => formatter.write_str("TimedOut"),
            Self::Internal(error) => write!(formatter, "Internal({error})"),
        }
    }
}

/// Logs the cause. Called in the request's span.
impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(reason) => refused_status(reason),
            Failure::Invalid(violations) => {
                let mut details = error_info(ErrorReason::InvalidField);
                let violations: Vec<_> = violations
                    .into_iter()
                    .map(|violation| FieldViolation::new(violation.field, violation.expected))
                    .collect();
                details.set_bad_request(violations);
                Status::with_error_details(
                    Code::InvalidArgument,
                    message(ErrorReason::InvalidField),
                    details,
                )
            }
            Failure::TooManyLogIns(wait) => retry_status(ErrorReason::TooManyLogIns, wait),
            Failure::Retryable(error) | Failure::Unavailable(error) => {
                tracing::warn!(%error, "the database is unavailable");
                refused_status(ErrorReason::DatabaseUnavailable)
            }
            Failure::TimedOut => {
                tracing::warn!("a transaction timed out");
                refused_status(ErrorReason::DatabaseUnavailable)
            }
            Failure::Internal(error) => {
                tracing::error!(%error, "internal error in the db service");
                Status::internal("internal error in the db service; see its log")
            }
        }
    }
}

fn refused_status(reason: ErrorReason) -> Status {
    let code = reason.code();
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) {
        return retry_status(reason, RETRY_AFTER);
    }
    Status::with_error_details(code, message(reason), error_info(reason))
}

fn retry_status(reason: ErrorReason, wait: Duration) -> Status {
    let mut details = error_info(reason);
    details.set_retry_info(Some(wait));
    Status::with_error_details(reason.code(), message(reason), details)
}

fn error_info(reason: ErrorReason) -> ErrorDetails {
    ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, [])
}

pub(crate) fn message(reason: ErrorReason) -> &'static str {
    match reason {
        ErrorReason::Unspecified => "internal error in the db service: the error has no reason",
        ErrorReason::InvalidField => "the request has invalid fields",
        ErrorReason::InvalidPageToken => "the page token is not from this method and filter",
        ErrorReason::TokenRevoked => "the caller's token is revoked",
        ErrorReason::UserNotFound => "the user does not exist",
        ErrorReason::ProductNotFound => "the product does not exist",
        ErrorReason::OrderNotFound => "the order does not exist",
        ErrorReason::SidTaken => "another user has this sid",
        ErrorReason::UsernameTaken => "another user has this username",
        ErrorReason::EmailTaken => "another user has this email",
        ErrorReason::OutOfStock => "the stock is smaller than the quantity",
        ErrorReason::IdempotencyKeyReused => "the idempotency key was used for another order",
        ErrorReason::VersionMismatch => "the version does not match an expected one",
        ErrorReason::DatabaseUnavailable => "the database does not answer; try again",
        ErrorReason::Overloaded => "the order queue is full; try again",
        ErrorReason::TooManyLogIns => "too many password checks of this account; try again later",
        ErrorReason::TooManyWrites => {
            "the user has too many changes in flight; wait for one of them"
        }
        ErrorReason::OrderExpired => "the order waited until its time was over; try again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retryable_refusal_has_a_retry_delay() {
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
    fn too_many_log_ins_has_a_retry_delay() {
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

    #[derive(Debug)]
    struct RowError(#[expect(dead_code, reason = "only its debug output is used")] &'static str);

    impl fmt::Display for RowError {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a check was violated")
        }
    }

    impl std::error::Error for RowError {}

    #[test]
    fn failures_never_show_row_data() {
        let error = || {
            DbErr::Query(sea_orm::RuntimeErr::SqlxError(
                sea_orm::sqlx::Error::Encode(Box::new(RowError("$scrypt$"))).into(),
            ))
        };
        assert!(format!("{:?}", error()).contains("$scrypt$"), "the error itself shows it");
        for failure in
            [Failure::Retryable(error()), Failure::Unavailable(error()), Failure::Internal(error())]
        {
            let shown = format!("{failure:?}");
            assert!(
                shown.contains("a check was violated") && !shown.contains("$scrypt$"),
                "{shown}"
            );
        }
    }

    #[test]
    fn internal_error_hides_its_cause() {
        let status = Status::from(Failure::Internal(DbErr::Custom(
            "relation \"users\" does not exist".into(),
        )));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("users"));
        assert!(status.details().is_empty());
    }
}
