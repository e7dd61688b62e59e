//! The one mapping from the runtime's rejections to problems.

use poem::{
    Response,
    http::{HeaderValue, header},
};
use poem_contract_runtime::{CredentialFault, Rejection, RejectionHandler};

use crate::{
    identity::TokenError,
    problem::{Code, Problem},
};

pub(crate) struct ProblemRejections;

/// Attached to a 401 of [`ProblemRejections`], which is synchronous: the middleware writes the
/// event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RejectedCredential(pub(crate) TokenError);

impl RejectionHandler for ProblemRejections {
    fn respond(&self, rejection: Rejection) -> Response {
        match rejection {
            Rejection::InvalidRequest { faults } => Problem::invalid_request(faults).response(),
            Rejection::Unauthenticated { reason } => {
                let (code, error) = match reason {
                    CredentialFault::Missing => (Code::TokenMissing, TokenError::Missing),
                    CredentialFault::WrongScheme => (Code::TokenMissing, TokenError::WrongScheme),
                    CredentialFault::Malformed => (Code::TokenInvalid, TokenError::Malformed),
                    CredentialFault::Repeated => (Code::TokenInvalid, TokenError::Repeated),
                };
                let mut response = Problem::from(code).response();
                response.set_data(RejectedCredential(error));
                response
            }
            Rejection::UnknownRoute => Problem::from(Code::RouteNotFound).response(),
            Rejection::MethodNotAllowed { allowed } => {
                let mut response = Problem::from(Code::MethodNotAllowed).response();
                let allowed =
                    HeaderValue::from_str(&allowed.join(", ")).expect("methods are tokens");
                response.headers_mut().insert(header::ALLOW, allowed);
                response
            }
            Rejection::BodyTooLarge { limit } => Problem::body_too_large(limit).response(),
            Rejection::UnsupportedMediaType { expected } => {
                Problem::unsupported_media_type(expected).response()
            }
            Rejection::UnsupportedContentCoding => {
                let mut response = Problem::unsupported_content_coding().response();
                // Distinguishes this 415 from that of a media type (RFC 9110 §12.5.3).
                response
                    .headers_mut()
                    .insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
                response
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use poem_contract_runtime::Fault;

    use super::*;

    #[test]
    fn rejections_have_their_status_and_headers() {
        let unauthenticated = |reason| Rejection::Unauthenticated { reason };
        let challenge = r#"Bearer error="invalid_token""#;
        let fault = Fault::of_body("", "expected an object");
        for (rejection, status, header, value) in [
            (
                Rejection::InvalidRequest { faults: fault.into() },
                400,
                "content-type",
                "application/problem+json",
            ),
            (unauthenticated(CredentialFault::Missing), 401, "www-authenticate", "Bearer"),
            (unauthenticated(CredentialFault::WrongScheme), 401, "www-authenticate", "Bearer"),
            (unauthenticated(CredentialFault::Malformed), 401, "www-authenticate", challenge),
            (unauthenticated(CredentialFault::Repeated), 401, "www-authenticate", challenge),
            (Rejection::UnknownRoute, 404, "content-type", "application/problem+json"),
            (
                Rejection::MethodNotAllowed { allowed: vec!["GET", "HEAD"] },
                405,
                "allow",
                "GET, HEAD",
            ),
            (Rejection::BodyTooLarge { limit: 7 }, 413, "content-type", "application/problem+json"),
            (
                Rejection::UnsupportedMediaType { expected: "application/json" },
                415,
                "content-type",
                "application/problem+json",
            ),
            (Rejection::UnsupportedContentCoding, 415, "accept-encoding", "identity"),
        ] {
            let text = format!("{rejection:?}");
            let response = ProblemRejections.respond(rejection);
            assert_eq!(
                (response.status().as_u16(), response.header(header)),
                (status, Some(value)),
                "{text}"
            );
            assert_eq!(response.data::<RejectedCredential>().is_some(), status == 401, "{text}");
        }
    }
}
