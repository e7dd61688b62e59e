//! The table of all problems (RFC 9457): `code`, status, title and texts.

use std::{borrow::Cow, fmt, time::Duration};

use merch_contract::rest::server as rest;
use poem::{
    Response,
    http::{HeaderValue, StatusCode, header},
};
use poem_contract_runtime::{Fault, Faults, Location, shorten};

use crate::context::RequestContext;

macro_rules! codes {
    ($(
        $variant:ident $code:literal $status:ident $title:literal, $detail:literal,
        $explanation:literal;
    )*) => {
        /// The `code` of a problem. A new row also extends `/problems`; a test compares the table
        /// with `openapi.yaml`. A status that an operation does not declare becomes 500.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Code {
            $(#[doc = $explanation] $variant,)*
        }

        impl Code {
            pub(crate) const ALL: &'static [Code] = &[$(Code::$variant,)*];

            const fn entry(self) -> Entry {
                match self {
                    $(Code::$variant => Entry {
                        code: $code,
                        status: StatusCode::$status,
                        title: $title,
                        detail: $detail,
                        explanation: $explanation,
                    },)*
                }
            }
        }
    };
}

struct Entry {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    detail: &'static str,
    explanation: &'static str,
}

codes! {
    InvalidRequest "invalid_request" BAD_REQUEST "Invalid request",
        "Invalid request for this operation; `errors` lists the faults.",
        "The request does not match `openapi.yaml`. The member `errors` lists the faults with \
         their locations; it never contains values of the request.";
    TokenMissing "token_missing" UNAUTHORIZED "A token is missing",
        "Send `Authorization: Bearer` with the `access_token` of `POST /login`.",
        "The operation requires a bearer token, and the request has none.";
    TokenInvalid "token_invalid" UNAUTHORIZED "Invalid token",
        "The token is invalid, expired or revoked. Log in again.",
        "The token is malformed, expired, from another issuer, or revoked by a log-out, a password \
         change or a deactivation.";
    InvalidCredentials "invalid_credentials" UNAUTHORIZED "Wrong username or password",
        "No active user has this username and this password.",
        "The log-in failed. The response is the same for an unknown user, a deactivated user and a \
         wrong password.";
    WrongPassword "wrong_password" FORBIDDEN "Wrong current password",
        "The value of `current_password` is wrong. Nothing was changed.",
        "Changing the password requires the current one.";
    RouteNotFound "route_not_found" NOT_FOUND "Path not found",
        "No operation has this path. `GET /docs` lists all paths.",
        "No operation has this path.";
    UserNotFound "user_not_found" NOT_FOUND "User not found",
        "This is not the id of your account.",
        "The user does not exist, or the account belongs to another user. The response is the same \
         for both.";
    ProductNotFound "product_not_found" NOT_FOUND "Product not found",
        "No product has this id. `GET /products` lists all products.",
        "No product has this id.";
    OrderNotFound "order_not_found" NOT_FOUND "Order not found",
        "None of your orders has this id.",
        "The order does not exist, or it belongs to another user. The response is the same for \
         both.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "Method not allowed",
        "Use one of the methods in `Allow`.",
        "The path supports other methods. The header `Allow` lists them.";
    SidTaken "sid_taken" CONFLICT "Sid already taken",
        "Another user has this sid. If it is yours, log in.",
        "Another user has this sid. Sids are compared without regard to case, and those of \
         deactivated users stay taken.";
    UsernameTaken "username_taken" CONFLICT "Username already taken",
        "Another user has this username. Choose another one.",
        "Another user has this username. Usernames are compared without regard to case, and those \
         of deactivated users stay taken.";
    EmailTaken "email_taken" CONFLICT "Email address already taken",
        "Another user has this email address. Use another one.",
        "Another user has this email address. Addresses are compared without regard to case, and \
         those of deactivated users stay taken.";
    OutOfStock "out_of_stock" CONFLICT "Out of stock",
        "Fewer pieces are left than the order asks for. Nothing was sold.",
        "Fewer pieces are left than the order asks for. An order is filled completely or not at \
         all.";
    VersionMismatch "version_mismatch" PRECONDITION_FAILED "Version mismatch",
        "The user was changed since the version in `If-Match`. Get the user again and repeat the change.",
        "No entity tag in `If-Match` is the current one. Nothing was changed.";
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "Body too large",
        "The body exceeds the limit of this server.",
        "The body exceeds the limit of this server.";
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE
        "Unsupported media type",
        "Send `Content-Type` as `application/json`.",
        "The body is not declared as JSON, or it is declared as compressed.";
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY
        "Idempotency key reused",
        "This `Idempotency-Key` was sent with another body before. Use a new key for a new order.",
        "The same `Idempotency-Key` was used with another body before. Nothing was sold.";
    GuessablePassword "guessable_password" UNPROCESSABLE_ENTITY "Guessable password",
        "The new password is a common one, or equals your sid, username or email. Choose another one.",
        "A new password must not be a common one, and must not equal the user's own sid, username \
         or email.";
    TooManyAttempts "too_many_attempts" TOO_MANY_REQUESTS "Too many attempts",
        "Retry after the time in `Retry-After`.",
        "Wrong passwords are limited for each account. Log-ins, registrations, and changes of \
         names or passwords are limited for each client address.";
    TooManyWrites "too_many_writes" TOO_MANY_REQUESTS "Too many changes",
        "Wait for your other requests and for the time in `Retry-After`. Then send this one again.",
        "The user has too many changes in progress, or made too many within a minute. Nothing was \
         changed.";
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "Headers too large",
        "The request line and the headers exceed the limit of this server.",
        "The request line and all headers together exceed the limit of this server.";
    InternalError "internal_error" INTERNAL_SERVER_ERROR "Internal server error",
        "Retry later or report the `request_id`.",
        "The store has a bug. Retry later or report the `request_id`.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "Service unavailable",
        "Retry after the time in `Retry-After`.",
        "The store is overloaded, or a service that it needs is down. Retry; repeat an order with \
         the same `Idempotency-Key`.";
}

impl Code {
    pub(crate) const fn as_str(self) -> &'static str {
        self.entry().code
    }

    pub(crate) const fn status(self) -> StatusCode {
        self.entry().status
    }

    pub(crate) const fn title(self) -> &'static str {
        self.entry().title
    }

    pub(crate) const fn explanation(self) -> &'static str {
        self.entry().explanation
    }
}

/// Maximum length of a logged cause, which may contain text that a client sent.
const MAX_CAUSE_BYTES: usize = 1024;

const DEFAULT_RETRY_AFTER: u32 = 1;

/// A response of 400 or above with public text only; the constructors log internal causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    faults: Faults,
    retry_after: u32,
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.entry().detail),
            faults: Faults::new(),
            retry_after: DEFAULT_RETRY_AFTER,
        }
    }
}

impl Problem {
    pub(crate) fn invalid_request(faults: impl Into<Faults>) -> Self {
        let faults = faults.into();
        let detail = match (faults.listed().len(), faults.omitted()) {
            (1, 0) => "The request has 1 fault, listed in `errors`.".to_owned(),
            (count, 0) => format!("The request has {count} faults, listed in `errors`."),
            (count, omitted) => {
                format!(
                    "The request has {} faults; `errors` lists the first {count}.",
                    count.saturating_add(omitted)
                )
            }
        };
        Self { detail: Cow::Owned(detail), faults, ..Code::InvalidRequest.into() }
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        Self {
            detail: Cow::Owned(format!("The body may have at most {limit} bytes.")),
            ..Code::BodyTooLarge.into()
        }
    }

    pub(crate) fn unsupported_media_type(expected: &str) -> Self {
        Self {
            detail: Cow::Owned(format!("Send `Content-Type` as `{expected}`.")),
            ..Code::UnsupportedMediaType.into()
        }
    }

    pub(crate) fn unsupported_content_coding() -> Self {
        Self {
            detail: Cow::Borrowed("Send the body without `Content-Encoding`."),
            ..Code::UnsupportedMediaType.into()
        }
    }

    pub(crate) fn headers_too_large(limit: usize) -> Self {
        let detail =
            format!("The request line and the headers may have at most {limit} bytes together.");
        Self { detail: Cow::Owned(detail), ..Code::HeadersTooLarge.into() }
    }

    /// `Retry-After` is rounded up to whole seconds.
    pub(crate) fn too_many_attempts(wait: Duration) -> Self {
        Self { retry_after: whole_seconds(wait), ..Code::TooManyAttempts.into() }
    }

    /// `Retry-After` is rounded up to whole seconds.
    pub(crate) fn too_many_writes(wait: Duration) -> Self {
        Self { retry_after: whole_seconds(wait), ..Code::TooManyWrites.into() }
    }

    /// Logs `cause`; the response does not contain it.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        let request_id = RequestContext::current().request_id().to_owned();
        let cause = shorten(cause, MAX_CAUSE_BYTES);
        tracing::error!(request_id, cause, "internal error; responding 500");
        Code::InternalError.into()
    }

    /// Logs `cause`; the response does not contain it.
    pub(crate) fn unavailable(cause: impl fmt::Display, wait: Option<Duration>) -> Self {
        let request_id = RequestContext::current().request_id().to_owned();
        let cause = shorten(cause, MAX_CAUSE_BYTES);
        tracing::warn!(request_id, cause, "service unavailable; responding 503");
        Self {
            retry_after: wait.map_or(DEFAULT_RETRY_AFTER, whole_seconds),
            ..Code::Unavailable.into()
        }
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Returns the value of `Retry-After` in seconds.
    pub(crate) fn retry_after(&self) -> i32 {
        i32::try_from(self.retry_after).unwrap_or(i32::MAX)
    }

    /// Returns the challenge, without an error code if the request had no token (RFC 6750 §3.1).
    pub(crate) fn challenge(&self) -> &'static str {
        if self.code == Code::TokenInvalid { r#"Bearer error="invalid_token""# } else { "Bearer" }
    }

    pub(crate) fn body(self) -> rest::Problem {
        let context = RequestContext::current();
        let errors = (!self.faults.listed().is_empty())
            .then(|| self.faults.into_iter().map(to_rest).collect());
        rest::Problem {
            r#type: format!("/problems#{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: i32::from(self.code.status().as_u16()),
            detail: self.detail.into_owned(),
            instance: instance(context.path()),
            code: self.code.as_str().to_owned(),
            request_id: context.request_id().to_owned(),
            errors,
        }
    }

    /// Returns the response to a request that belongs to no operation.
    pub(crate) fn response(self) -> Response {
        let (status, retry_after, challenge) =
            (self.code.status(), self.retry_after(), self.challenge());
        let body = serde_json::to_vec(&self.body())
            .expect("a problem has string keys and no part that can fail");
        let mut response =
            Response::builder().status(status).header(header::CONTENT_TYPE, MEDIA_TYPE).body(body);
        match status {
            StatusCode::UNAUTHORIZED => {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
            }
            _ => {} // the other statuses have no header of their own
        }
        response
    }
}

/// RFC 9457 §3.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

fn to_rest(fault: Fault) -> rest::Fault {
    let r#in = match fault.location {
        Location::Body => rest::FaultIn::Body,
        Location::Path => rest::FaultIn::Path,
        Location::Query => rest::FaultIn::Query,
        Location::Header => rest::FaultIn::Header,
    };
    rest::Fault { r#in, pointer: fault.pointer, detail: fault.detail }
}

/// Returns the path as a URI reference (RFC 3986); valid percent-encodings stay.
fn instance(path: &str) -> String {
    let bytes = path.as_bytes();
    // `//` would start an authority (§4.2); clients remove the segment `.` (§5.2.4).
    let mut reference = if path.starts_with("//") { "/.".to_owned() } else { String::new() };
    for (at, byte) in bytes.iter().copied().enumerate() {
        let encoded = || {
            bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        if byte.is_ascii_alphanumeric()
            || b"-._~!$&'()*+,;=:@/".contains(&byte)
            || (byte == b'%' && encoded())
        {
            reference.push(char::from(byte));
        } else {
            reference.push_str(&format!("%{byte:02X}"));
        }
    }
    reference
}

fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::MAX_PATH_BYTES;

    #[test]
    fn table_lists_the_codes_of_openapi() {
        let words: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let text = merch_contract::OPENAPI_YAML;
        let listed =
            &text[text.find("`code` is one of `invalid_request`").expect("the list of codes")..];
        let listed = &listed[..listed.find("Later versions can add codes").expect("its end")];
        let listed: Vec<&str> = listed.split('`').skip(3).step_by(2).collect();
        assert_eq!(listed, words);
    }

    #[test]
    fn codes_have_unique_titles_and_error_statuses() {
        let mut titles: Vec<&str> = Code::ALL.iter().map(|code| code.title()).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(
                code.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{code:?}"
            );
        }
    }

    #[test]
    fn examples_of_openapi_match_the_table() {
        let document: serde_json::Value =
            serde_norway::from_str(merch_contract::OPENAPI_YAML).expect("the document is YAML");
        let responses = document["components"]["responses"].as_object().expect("responses");
        let mut seen = 0;
        for example in responses
            .values()
            .filter_map(|response| response["content"][MEDIA_TYPE]["examples"].as_object())
            .flat_map(|e| e.values())
        {
            let value = &example["value"];
            let code = Code::ALL
                .iter()
                .find(|code| code.as_str() == value["code"])
                .expect("a code of the table");
            assert_eq!(value["title"], code.title());
            assert_eq!(value["status"], code.status().as_u16());
            assert_eq!(value["type"], format!("/problems#{}", code.as_str()));
            if !matches!(code, Code::InvalidRequest | Code::BodyTooLarge) {
                assert_eq!(value["detail"], code.entry().detail);
            }
            seen += 1;
        }
        assert!(seen >= 16, "only {seen} examples");
    }

    #[test]
    fn faults_have_json_pointers_and_a_limit() {
        let mut faults = Faults::from(Fault::of_body("/quantity", "expected at most 3"));
        let unknown = "unknown parameter";
        faults.add(|| Fault::of_parameter(Location::Query, "a/b~c", unknown));
        let body = Problem::invalid_request(faults.clone()).body();
        let json = serde_json::to_value(body).expect("JSON");
        assert_eq!(json["detail"], "The request has 2 faults, listed in `errors`.");
        assert_eq!(
            json["errors"][0],
            serde_json::json!({
                "in": "body", "pointer": "/quantity", "detail": "expected at most 3"
            })
        );
        assert_eq!(json["errors"][1]["pointer"], "/a~1b~0c");

        for index in 0..1000 {
            faults.add(|| Fault::of_body(format_args!("/{index}"), "unknown member"));
        }
        let json = serde_json::to_value(Problem::invalid_request(faults).body()).expect("JSON");
        assert_eq!(json["errors"].as_array().map(Vec::len), Some(Faults::MAX_LISTED));
        assert_eq!(json["detail"], "The request has 1002 faults; `errors` lists the first 32.");
    }

    #[test]
    fn problems_have_a_maximum_length() {
        let mut faults = Faults::new();
        for _ in 0..1000 {
            faults.add(|| {
                Fault::of_parameter(Location::Header, &"\0".repeat(10_000), "\0".repeat(10_000))
            });
        }
        let mut body = Problem::invalid_request(faults).body();
        body.instance = instance(&shorten("\0".repeat(10_000), MAX_PATH_BYTES));
        body.request_id = "x".repeat(128);
        let length = serde_json::to_vec(&body).expect("JSON").len();
        assert!((12 * 1024..15 * 1024).contains(&length), "{length}");
    }

    #[test]
    fn instance_is_a_uri_reference() {
        for (path, reference) in [
            ("/", "/"),
            (
                "/orders/0192f0c1-7b5e-7c3a-9d2e-1f6a5b4c3d2e",
                "/orders/0192f0c1-7b5e-7c3a-9d2e-1f6a5b4c3d2e",
            ),
            ("/a~b!$&'()*+,;=:@", "/a~b!$&'()*+,;=:@"),
            ("/caf%c3%A9", "/caf%c3%A9"),
            ("/50%/%2/%zz/%%41", "/50%25/%252/%25zz/%25%41"),
            ("/a|b\"c{d}e^f\\g`<h>[i]", "/a%7Cb%22c%7Bd%7De%5Ef%5Cg%60%3Ch%3E%5Bi%5D"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("//evil.example/x", "/.//evil.example/x"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(instance(path), reference, "{path}");
        }
    }

    #[test]
    fn retry_after_is_rounded_up() {
        for (wait, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (59_001, 60)] {
            assert_eq!(
                Problem::too_many_attempts(Duration::from_millis(wait)).retry_after(),
                seconds,
                "{wait} ms"
            );
        }
    }
}
