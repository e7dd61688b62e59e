//! The errors of a call to the db service.

use std::{error::Error as _, time::Duration};

use merch_chassis::error_chain;
use merch_contract::grpc::assistant::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Why a call failed. Derived from codes and details, never from message texts.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DbError {
    #[error("the db service did not respond within the deadline")]
    DeadlineExceeded,
    #[error("failed to reach the db service: {0}")]
    Unreachable(String),
    /// The db service refused the call for a reason of `assistant.proto`, with the code of that
    /// reason.
    #[error("the db service refused the call: {} ({message})", reason.as_str_name())]
    Refused { reason: ErrorReason, retry_after: Option<Duration>, message: String },
    /// Without a known reason, or with a reason of another code.
    #[error("the call to the db service failed: {code:?} ({message})")]
    Status { code: Code, retry_after: Option<Duration>, message: String },
    /// The response violates `assistant.proto`.
    #[error("the db service sent an invalid response: {0}")]
    InvalidResponse(&'static str),
}

const DOMAIN: &str = "assistant.merch";

impl From<Status> for DbError {
    fn from(status: Status) -> Self {
        // Only a status that tonic creates for a failed connection has a source.
        if status.source().is_some() && status.code() != Code::DeadlineExceeded {
            return Self::Unreachable(error_chain(status.message(), &status));
        }
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| ErrorReason::from_str_name(&info.reason))
            .filter(|reason| reason.code() == status.code());
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let message = status.message().to_owned();
        match reason {
            Some(reason) => Self::Refused { reason, retry_after, message },
            None => Self::Status { code: status.code(), retry_after, message },
        }
    }
}

impl DbError {
    pub(crate) fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Refused { reason, .. } => Some(*reason),
            Self::DeadlineExceeded
            | Self::Unreachable(_)
            | Self::Status { .. }
            | Self::InvalidResponse(_) => None,
        }
    }
}
