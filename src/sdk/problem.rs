//! Why there is no result.

use std::{error, fmt, time::Duration};

use reqwest::StatusCode;

use super::retry::retry_after;
use crate::rest::client::{self, ResponseValue, types};

/// Why there is no result. `?` makes one of the generated client's errors.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The store refused, and says why.
    Problem(Problem),
    /// Nothing has changed since the version that `If-None-Match` named (304): what the caller has
    /// is still true.
    NotModified,
    /// The request was not sent, as it is none that the contract knows. Says what was expected.
    Request(String),
    /// The store was not reached, or did not answer in time. Whether the request was done is not
    /// known.
    Connection(reqwest::Error),
    /// An answer that the contract does not know: of something in between, or of another contract's
    /// store.
    Answer {
        /// Its status, unless the body was what could not be read.
        status: Option<StatusCode>,
        /// What is wrong with it.
        reason: String,
    },
}

/// A refusal (RFC 9457). Shown as its `detail`, `code` and `request_id`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// What to match on.
    pub code: Code,
    /// The status of the answer.
    pub status: StatusCode,
    /// The kind of problem in a few words.
    pub title: String,
    /// What happened this time and what to do, for people.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// To ask the store's operator about.
    pub request_id: String,
    /// Every fault of the request, with [`Code::InvalidRequest`].
    pub errors: Vec<types::Fault>,
    /// After which time it may be tried again, if the store says so.
    pub retry_after: Option<Duration>,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal,)*) => {
        /// The kinds of problems, as the contract names them.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
            /// One that came into the contract after this client was made. Treat it by its status.
            Unknown(String),
        }

        impl Code {
            /// All that this client knows.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $word,)*
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for Code {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$name,)*
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }
    };
}

codes! {
    /// 400: see [`Problem::errors`].
    InvalidRequest = "invalid_request",
    /// 401: no token was sent.
    TokenMissing = "token_missing",
    /// 401: the token is not valid, or not any more. Log in again.
    TokenInvalid = "token_invalid",
    /// 401: the username or the password is wrong.
    InvalidCredentials = "invalid_credentials",
    /// 403: the current password is wrong.
    WrongPassword = "wrong_password",
    /// 404: the store has no such path. Look at the base URL.
    RouteNotFound = "route_not_found",
    /// 404: no such user, or somebody else.
    UserNotFound = "user_not_found",
    /// 404: no such product.
    ProductNotFound = "product_not_found",
    /// 404: no such order, or somebody else's.
    OrderNotFound = "order_not_found",
    /// 405.
    MethodNotAllowed = "method_not_allowed",
    /// 409: another user has this sid.
    SidTaken = "sid_taken",
    /// 409: another user has this username.
    UsernameTaken = "username_taken",
    /// 409: another user has this email.
    EmailTaken = "email_taken",
    /// 409: fewer pieces are left than were asked for; nothing was sold.
    OutOfStock = "out_of_stock",
    /// 412: it has changed since the version that `If-Match` names.
    VersionMismatch = "version_mismatch",
    /// 413.
    BodyTooLarge = "body_too_large",
    /// 415.
    UnsupportedMediaType = "unsupported_media_type",
    /// 422: the key was used for another order.
    IdempotencyKeyReused = "idempotency_key_reused",
    /// 422: the new password is a common one, or the user's own sid, username or email.
    GuessablePassword = "guessable_password",
    /// 429: too many wrong passwords for this account, or too many log-ins, registrations, or
    /// changes of names or passwords from this address.
    TooManyAttempts = "too_many_attempts",
    /// 429: this user has too many changes in progress, or made too many within a minute. Nothing
    /// was changed.
    TooManyWrites = "too_many_writes",
    /// 431.
    HeadersTooLarge = "headers_too_large",
    /// 500: a fault of the store. Tell its operator the request id.
    InternalError = "internal_error",
    /// 503: try again after [`Problem::retry_after`].
    Unavailable = "unavailable",
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Error {
    /// The refusal's code, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            Self::NotModified | Self::Request(_) | Self::Connection(_) | Self::Answer { .. } => {
                None
            }
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
        Self::of(error, |answer| Self::Problem(answer.into()))
    }
}

/// `greet` can be refused in no way that the contract names.
impl From<client::Error<()>> for Error {
    fn from(error: client::Error<()>) -> Self {
        Self::of(error, |answer| Self::undeclared(answer.status()))
    }
}

impl Error {
    /// The same for every operation, but for what it makes of a declared refusal.
    fn of<E>(error: client::Error<E>, refusal: impl FnOnce(ResponseValue<E>) -> Self) -> Self {
        match error {
            client::Error::ErrorResponse(answer) => refusal(answer),
            client::Error::InvalidRequest(reason) | client::Error::Custom(reason) => {
                Self::Request(reason)
            }
            client::Error::CommunicationError(error)
            | client::Error::InvalidUpgrade(error)
            | client::Error::ResponseBodyError(error) => Self::Connection(error),
            client::Error::InvalidResponsePayload(_, error) => Self::Answer {
                status: None,
                reason: format!("the body is not what the contract says: {error}"),
            },
            client::Error::UnexpectedResponse(answer)
                if answer.status() == StatusCode::NOT_MODIFIED =>
            {
                Self::NotModified
            }
            client::Error::UnexpectedResponse(answer) => Self::undeclared(answer.status()),
        }
    }

    fn undeclared(status: StatusCode) -> Self {
        Self::Answer {
            status: Some(status),
            reason: format!("the contract knows no {status} of this operation"),
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
            Self::NotModified => {
                formatter.write_str("it has not changed since the version that the caller has")
            }
            Self::Request(reason) => write!(formatter, "the request was not sent: {reason}"),
            Self::Connection(_) => formatter.write_str(
                "the store was not reached, or did not answer in time; is its URL right?",
            ),
            Self::Answer { reason, .. } => {
                write!(formatter, "the answer is not one of a store of this contract: {reason}")
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Connection(error) => Some(error),
            Self::Problem(_) | Self::NotModified | Self::Request(_) | Self::Answer { .. } => None,
        }
    }
}

impl error::Error for Problem {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_codes_are_those_of_the_contract() {
        // The sentence that lists them.
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
    fn a_code_of_tomorrow_is_kept() {
        let code = Code::from("on_holiday");
        assert_eq!((code.as_str(), &code), ("on_holiday", &Code::Unknown("on_holiday".to_owned())));
    }
}
