//! The one mapping from errors of the use cases to problems.

use merch_contract::grpc::assistant::v1::ErrorReason;
use merch_logging::client::journal::AppendError;
use poem_contract_runtime::{Fault, Location};
use tonic::Code as Grpc;

use crate::{
    app::AppError,
    db::DbError,
    identity::HashError,
    problem::{Code, Problem},
};

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        match error {
            AppError::InvalidToken => Code::TokenInvalid.into(),
            AppError::InvalidCredentials => Code::InvalidCredentials.into(),
            AppError::WrongPassword => Code::WrongPassword.into(),
            AppError::GuessablePassword => Code::GuessablePassword.into(),
            AppError::TooManyAttempts(wait) => Problem::too_many_attempts(wait),
            AppError::TooManyWritesInFlight => Code::TooManyWrites.into(),
            AppError::WriteRateExceeded(wait) => Problem::too_many_writes(wait),
            AppError::Db(error) => error.into(),
            AppError::Hash(HashError::Overloaded) => {
                Problem::unavailable(HashError::Overloaded, None)
            }
            AppError::Event(error) => error.into(),
            AppError::Hash(HashError::Internal(_))
            | AppError::Signing(_)
            | AppError::TaskPanicked => Problem::internal(error),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            // The journal has logged it once; here a flood would log it for each request.
            AppendError::Full { .. } => Code::Unavailable.into(),
            AppendError::TooLarge { .. } | AppendError::Disk(_) | AppendError::Closed => {
                Problem::unavailable(error, None)
            }
        }
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match &error {
            DbError::DeadlineExceeded | DbError::Unreachable(_) => {
                Problem::unavailable(error, None)
            }
            DbError::InvalidResponse(_) => Problem::internal(error),
            DbError::Refused { reason, retry_after, .. } => match reason {
                // The db service accepts what `openapi.yaml` accepts, so this is a bug.
                ErrorReason::Unspecified | ErrorReason::InvalidField => Problem::internal(error),
                ErrorReason::InvalidPageToken => invalid_page_token(),
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
                ErrorReason::DatabaseUnavailable
                | ErrorReason::Overloaded
                | ErrorReason::OrderExpired => {
                    let retry_after = *retry_after;
                    Problem::unavailable(error, retry_after)
                }
                ErrorReason::TooManyLogIns => {
                    Problem::too_many_attempts(retry_after.unwrap_or_default())
                }
                ErrorReason::TooManyWrites => Code::TooManyWrites.into(),
            },
            DbError::Status { code, retry_after, .. } => match code {
                // tonic reports a deadline that passed on this side as CANCELLED; nothing else
                // cancels these calls.
                Grpc::Unavailable
                | Grpc::ResourceExhausted
                | Grpc::DeadlineExceeded
                | Grpc::Cancelled => {
                    let retry_after = *retry_after;
                    Problem::unavailable(error, retry_after)
                }
                Grpc::Ok
                | Grpc::Unknown
                | Grpc::InvalidArgument
                | Grpc::NotFound
                | Grpc::AlreadyExists
                | Grpc::PermissionDenied
                | Grpc::FailedPrecondition
                | Grpc::Aborted
                | Grpc::OutOfRange
                | Grpc::Unimplemented
                | Grpc::Internal
                | Grpc::DataLoss
                | Grpc::Unauthenticated => Problem::internal(error),
            },
        }
    }
}

pub(super) fn invalid_page_token() -> Problem {
    let detail = "expected the `next_page` of a page of this list, with the same filter or none";
    Problem::invalid_request(Fault::of_parameter(Location::Query, "page_token", detail))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    const DOMAIN: &str = "assistant.merch";

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
        DbError::from(Status::with_error_details(code, "some text", details)).into()
    }

    #[test]
    fn each_reason_maps_to_its_problem() {
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
    fn codes_without_a_known_reason_are_500_or_503() {
        for code in CODES {
            let expected = match code {
                Grpc::Unavailable
                | Grpc::ResourceExhausted
                | Grpc::DeadlineExceeded
                | Grpc::Cancelled => Code::Unavailable,
                _ => Code::InternalError,
            };
            assert_eq!(
                Problem::from(DbError::from(Status::new(code, "user not found"))).code(),
                expected,
                "{code:?}"
            );
            assert_eq!(
                with_reason(code, DOMAIN, "ERROR_REASON_OF_TOMORROW").code(),
                expected,
                "{code:?}"
            );
            assert_eq!(
                with_reason(code, "another.service", "ERROR_REASON_USER_NOT_FOUND").code(),
                expected,
                "{code:?}"
            );
        }
        assert_eq!(
            with_reason(Grpc::NotFound, DOMAIN, "ERROR_REASON_SID_TAKEN").code(),
            Code::InternalError,
            "a reason with the code of another one"
        );
    }

    #[test]
    fn retry_after_comes_from_the_db_service() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(2500)));
        let problem = Problem::from(DbError::from(Status::with_error_details(
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
        let problem = Problem::from(DbError::from(Status::with_error_details(
            Grpc::ResourceExhausted,
            "",
            details,
        )));
        assert_eq!((problem.code(), problem.retry_after()), (Code::TooManyAttempts, 6));
    }

    #[test]
    fn invalid_page_token_names_its_parameter() {
        let body =
            with_reason(Grpc::InvalidArgument, DOMAIN, "ERROR_REASON_INVALID_PAGE_TOKEN").body();
        let errors = serde_json::to_value(body).unwrap()["errors"].clone();
        assert_eq!(
            (errors[0]["in"].as_str(), errors[0]["pointer"].as_str()),
            (Some("query"), Some("/page_token"))
        );
    }
}
