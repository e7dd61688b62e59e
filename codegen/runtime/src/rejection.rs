//! The reasons to reject a request before its operation runs.

use poem::Response;

use crate::Faults;

/// The reason for rejecting a request before its operation runs. Exhaustive, so that a new reason
/// breaks every `match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// 400: the request violates the document.
    InvalidRequest {
        /// At least one fault: of path, query and headers in the document's order, then of the
        /// body. None contains a sent value.
        faults: Faults,
    },
    /// 401: the operation requires a credential, and it is missing or malformed.
    Unauthenticated {
        /// The fault of the credential.
        reason: CredentialFault,
    },
    /// 404: no route has this path.
    UnknownRoute,
    /// 405: the path has no operation for this method.
    MethodNotAllowed {
        /// The methods for `Allow`, in alphabetical order. `HEAD` accompanies `GET`.
        allowed: Vec<&'static str>,
    },
    /// 413: the body exceeds the limit.
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// 415: the media type of the body is not the expected one.
    UnsupportedMediaType {
        /// The media type that the operation accepts.
        expected: &'static str,
    },
    /// 415: the body has a `Content-Encoding` other than `identity`.
    UnsupportedContentCoding,
}

/// The fault of a credential. The operation verifies well-formed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFault {
    /// The request has no `Authorization` header.
    Missing,
    /// The scheme is not `Bearer`.
    WrongScheme,
    /// The token is not a `b64token` (RFC 6750).
    Malformed,
    /// The request has several `Authorization` headers.
    Repeated,
}

/// Turns every rejection of a server into a response.
pub trait RejectionHandler: Send + Sync + 'static {
    /// Returns the response to a rejected request.
    fn respond(&self, rejection: Rejection) -> Response;
}

/// Limits on the size of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum length of a body, in bytes.
    pub body_bytes: usize,
}
