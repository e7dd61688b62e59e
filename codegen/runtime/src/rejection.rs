//! Why a request was not handed to an operation, and who answers it.

use poem::Response;

use crate::Faults;

/// Why a request never reached an operation. Exhaustive on purpose: a new reason must break the
/// build of whoever maps reasons to answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// 400: the request is not what the document allows. At least one fault; none holds a value
    /// that was sent.
    InvalidRequest {
        /// The faults: of the path, the query and the headers in the document's order, then of the
        /// body in its own.
        faults: Faults,
    },
    /// 401: the credential that the operation wants is not there, or is none.
    Unauthenticated {
        /// What is wrong with it.
        reason: CredentialFault,
    },
    /// 404: no route has this path.
    UnknownRoute,
    /// 405: the path exists, but not for this method.
    MethodNotAllowed {
        /// The methods for `Allow`, in alphabetical order. `HEAD` is there wherever `GET` is.
        allowed: Vec<&'static str>,
    },
    /// 413: the body is longer than the server reads.
    BodyTooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// 415: the body is not declared as what the operation takes.
    UnsupportedMediaType {
        /// The media type that the operation takes.
        expected: &'static str,
    },
    /// 415: the body has a `Content-Encoding`; none is taken but `identity`.
    UnsupportedContentCoding,
}

/// The parts of a request that the document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// The body.
    Body,
    /// A segment of the path.
    Path,
    /// A parameter in the query.
    Query,
    /// A header.
    Header,
}

impl Location {
    /// The document's word for it: `body`, `path`, `query`, `header`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// What is wrong with the credential of a request. Whether a well-formed one is *good* is for the
/// operation's implementation to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFault {
    /// There is no `Authorization` header.
    Missing,
    /// There is one, with another scheme than the document's.
    WrongScheme,
    /// The scheme is right, what follows is no token (RFC 6750: one `b64token`).
    Malformed,
    /// There is more than one.
    Repeated,
}

/// Answers what is rejected. One implementation, so that every rejection of a server looks the
/// same.
pub trait Rejections: Send + Sync + 'static {
    /// The response to a request that was rejected.
    fn respond(&self, rejection: Rejection) -> Response;
}

/// Bounds on what is read from a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body that is read, in bytes.
    pub body_bytes: usize,
}
