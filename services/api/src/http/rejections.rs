//! What never reached an operation, as problems: the one mapping of the runtime's rejections.

use poem::{
    Response,
    http::{HeaderValue, header},
};
use poem_contract_runtime::{CredentialFault, Rejection, RejectionHandler};

use crate::{
    identity::Refusal,
    problem::{Code, Problem},
};

/// Answers rejections with problems.
pub(crate) struct Answers;

/// Left with a 401 of [`Answers`], which cannot wait for the disk: whoever sends the answer on
/// writes the log event first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusedCredential(pub(crate) Refusal);

impl RejectionHandler for Answers {
    fn respond(&self, rejection: Rejection) -> Response {
        match rejection {
            Rejection::InvalidRequest { faults } => Problem::invalid_request(faults).response(),
            Rejection::Unauthenticated { reason } => {
                let (code, refusal) = match reason {
                    CredentialFault::Missing => (Code::TokenMissing, Refusal::Missing),
                    // Another scheme's credential is no token.
                    CredentialFault::WrongScheme => (Code::TokenMissing, Refusal::WrongScheme),
                    CredentialFault::Malformed => (Code::TokenInvalid, Refusal::Malformed),
                    CredentialFault::Repeated => (Code::TokenInvalid, Refusal::Repeated),
                };
                let mut response = Problem::from(code).response();
                response.set_data(RefusedCredential(refusal));
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
                // RFC 9110 §12.5.3: tells this 415 from that of a media type.
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
    fn every_rejection_has_its_status_and_headers() {
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
            let response = Answers.respond(rejection);
            assert_eq!(
                (response.status().as_u16(), response.header(header)),
                (status, Some(value)),
                "{text}"
            );
            assert_eq!(response.data::<RefusedCredential>().is_some(), status == 401, "{text}");
        }
    }
}
