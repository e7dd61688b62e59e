//! The errors of a request.

use std::{error, fmt, time::Duration};

use reqwest::StatusCode;

use super::retry::retry_after;
use crate::rest::client::{self, ResponseValue, types};

/// The error of a request. `?` converts the generated client's errors.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The store answered with a problem.
    Problem(Problem),
    /// 304: the resource still has the version of `If-None-Match`.
    NotModified,
    /// The request was not sent, because it violates the contract. States the expected value.
    Request(String),
    /// The connection failed or timed out. The store may have processed the request.
    Connection(reqwest::Error),
    /// The response violates the contract. Its sender may be a proxy, or a store of another
    /// version.
    UnexpectedResponse {
        /// The status, unless the body could not be read.
        status: Option<StatusCode>,
        /// The violation.
        reason: String,
    },
}

/// A problem (RFC 9457). `Display` shows `detail`, `code` and `request_id`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The code to match on.
    pub code: Code,
    /// The status of the response.
    pub status: StatusCode,
    /// A short summary of the code.
    pub title: String,
    /// The reason and the remedy, for people.
    pub detail: String,
    /// The path of the request.
    pub instance: String,
    /// The id to report to the store's operator.
    pub request_id: String,
    /// The faults of the request, with [`Code::InvalidRequest`].
    pub errors: Vec<types::Fault>,
    /// The time to wait before a retry.
    pub retry_after: Option<Duration>,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        /// The problem codes of the contract.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
            /// A code newer than this client. Handle it by the status.
            Unknown(String),
        }

        impl Code {
            /// All codes that this client knows.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the code in JSON.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unknown(code) => code,
                }
            }
        }

        impl From<&str> for Code {
            fn from(code: &str) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }
    };
}

codes! {
    /// 400: see [`Problem::errors`].
    InvalidRequest = "invalid_request",
    /// 401: the request has no token.
    TokenMissing = "token_missing",
    /// 401: the token is invalid, expired or revoked. Log in again.
    TokenInvalid = "token_invalid",
    /// 401: the username or the password is wrong.
    InvalidCredentials = "invalid_credentials",
    /// 403: the current password is wrong.
    WrongPassword = "wrong_password",
    /// 404: the store has no such path. Check the base URL.
    RouteNotFound = "route_not_found",
    /// 404: the user does not exist or is not the caller.
    UserNotFound = "user_not_found",
    /// 404: the product does not exist.
    ProductNotFound = "product_not_found",
    /// 404: the order does not exist or belongs to another user.
    OrderNotFound = "order_not_found",
    /// 405: the path does not support the method.
    MethodNotAllowed = "method_not_allowed",
    /// 409: another user has this sid.
    SidTaken = "sid_taken",
    /// 409: another user has this username.
    UsernameTaken = "username_taken",
    /// 409: another user has this email.
    EmailTaken = "email_taken",
    /// 409: the stock is smaller than the quantity. No order was placed.
    OutOfStock = "out_of_stock",
    /// 412: the resource has another version than `If-Match`.
    VersionMismatch = "version_mismatch",
    /// 413: the body exceeds the limit.
    BodyTooLarge = "body_too_large",
    /// 415: the media type or coding of the body is not supported.
    UnsupportedMediaType = "unsupported_media_type",
    /// 422: the key was used for another order.
    IdempotencyKeyReused = "idempotency_key_reused",
    /// 422: the new password is common, or is the user's sid, username or email.
    GuessablePassword = "guessable_password",
    /// 429: too many wrong passwords for this account, or too many log-ins, registrations, or
    /// changes of names or passwords from this address.
    TooManyAttempts = "too_many_attempts",
    /// 429: the user has too many changes in progress or within a minute. Nothing was changed.
    TooManyWrites = "too_many_writes",
    /// 431: the headers exceed the limit.
    HeadersTooLarge = "headers_too_large",
    /// 500: internal error. Report the request id to the operator.
    InternalError = "internal_error",
    /// 503: retry after [`Problem::retry_after`].
    Unavailable = "unavailable",
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Error {
    /// Returns the code of a problem.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            Self::NotModified
            | Self::Request(_)
            | Self::Connection(_)
            | Self::UnexpectedResponse { .. } => None,
        }
    }
}

impl From<ResponseValue<types::Problem>> for Problem {
    fn from(answer: ResponseValue<types::Problem>) -> Self {
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        let types::Problem {
            code,
            detail,
            errors,
            instance,
            request_id,
            status: _,
            title,
            type_: _,
        } = answer.into_inner();
        Self {
            code: Code::from(code.as_str()),
            status,
            title,
            detail,
            instance,
            request_id,
            errors,
            retry_after,
        }
    }
}

impl From<client::Error<types::Problem>> for Error {
    fn from(error: client::Error<types::Problem>) -> Self {
        Self::convert(error, |answer| Self::Problem(answer.into()))
    }
}

/// `greet` declares no problem.
impl From<client::Error<()>> for Error {
    fn from(error: client::Error<()>) -> Self {
        Self::convert(error, |answer| Self::undeclared(answer.status()))
    }
}

impl Error {
    /// Converts an error of any operation; `refusal` converts a declared response.
    fn convert<E>(error: client::Error<E>, refusal: impl FnOnce(ResponseValue<E>) -> Self) -> Self {
        match error {
            client::Error::ErrorResponse(answer) => refusal(answer),
            client::Error::InvalidRequest(reason) | client::Error::Custom(reason) => {
                Self::Request(reason)
            }
            client::Error::CommunicationError(error)
            | client::Error::InvalidUpgrade(error)
            | client::Error::ResponseBodyError(error) => Self::Connection(error),
            client::Error::InvalidResponsePayload(_, error) => {
                Self::UnexpectedResponse { status: None, reason: format!("invalid body: {error}") }
            }
            client::Error::UnexpectedResponse(answer)
                if answer.status() == StatusCode::NOT_MODIFIED =>
            {
                Self::NotModified
            }
            client::Error::UnexpectedResponse(answer) => Self::undeclared(answer.status()),
        }
    }

    fn undeclared(status: StatusCode) -> Self {
        Self::UnexpectedResponse {
            status: Some(status),
            reason: format!("the operation declares no status {status}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({}, request {})", self.detail, self.code, self.request_id)?;
        for fault in &self.errors {
            write!(formatter, "\n  {}{}: {}", fault.in_, fault.pointer, fault.detail)?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => problem.fmt(formatter),
            Self::NotModified => formatter
                .write_str("not modified: the resource still has the version in `If-None-Match`"),
            Self::Request(reason) => write!(formatter, "invalid request, not sent: {reason}"),
            Self::Connection(_) => {
                formatter.write_str("no response from the store; check its URL and retry")
            }
            Self::UnexpectedResponse { reason, .. } => {
                write!(formatter, "the response violates the contract: {reason}")
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Connection(error) => Some(error),
            Self::Problem(_)
            | Self::NotModified
            | Self::Request(_)
            | Self::UnexpectedResponse { .. } => None,
        }
    }
}

impl error::Error for Problem {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_equal_the_contract() {
        let list = crate::OPENAPI_YAML
            .split("`code` is one of")
            .nth(1)
            .unwrap()
            .split('.')
            .next()
            .unwrap();
        let contract: BTreeSet<&str> = list.split('`').skip(1).step_by(2).collect();
        let known: BTreeSet<&str> = Code::ALL.iter().map(Code::as_str).collect();
        assert_eq!(known, contract);
        for code in Code::ALL {
            assert_eq!(Code::from(code.as_str()), *code);
        }
    }

    #[test]
    fn unknown_codes_are_preserved() {
        let code = Code::from("on_holiday");
        assert_eq!((code.as_str(), &code), ("on_holiday", &Code::Unknown("on_holiday".to_owned())));
    }
}
