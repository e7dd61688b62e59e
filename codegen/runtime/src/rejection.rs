//! Why a request was not handed to an operation, and who answers it.

use poem::Response;

/// Why a request never reached an operation. Exhaustive on purpose: a new reason must break the build of whoever maps reasons to answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// 400: the request is not what the document allows. Every fault that was found, at least one; none holds a value that was sent.
    InvalidRequest {
        /// The faults: of the path, the query and the headers in the document's order, then of the body.
        faults: Vec<Fault>,
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

/// One thing in a request that the document does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The part of the request in which it was found.
    pub location: Location,
    /// A JSON pointer (RFC 6901) into that part. In a body `""` is the whole of it, and a missing member is pointed at where it should be.
    /// Elsewhere it is `/` and the parameter's name, as the document writes it, or as it was sent if the document does not have it.
    pub pointer: String,
    /// What was expected, in plain words. Never the value that came.
    pub detail: String,
}

impl Fault {
    /// A fault of a body, at a JSON pointer.
    pub fn of_body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { location: Location::Body, pointer: pointer.into(), detail: detail.into() }
    }

    /// A fault of a parameter, by its name.
    pub fn of_parameter(location: Location, name: &str, detail: impl Into<String>) -> Self {
        Self { location, pointer: format!("/{}", crate::json::escape(name)), detail: detail.into() }
    }
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

/// What is wrong with the credential of a request. Whether a well-formed one is *good* is for the operation's implementation to say.
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

/// Answers what is rejected. One implementation, so that every rejection of a server looks the same.
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
