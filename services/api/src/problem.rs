//! The one table of what can go wrong for a client: `code`, status, title and text of every problem
//! (RFC 9457).

use std::{borrow::Cow, fmt, time::Duration};

use merch_contract::rest::server as rest;
use poem::{
    Response,
    http::{HeaderValue, StatusCode, header},
};
use poem_contract_runtime::{Fault, Faults, Location, shorten};

use crate::context::RequestContext;

macro_rules! codes {
    ($($variant:ident $word:literal $status:ident $title:literal, $detail:literal, $why:literal;)*) => {
        /// What programs match on. A new line of the table is all that a new code takes, also for
        /// `/problems`; that every code is in the document, and every code of the document here, is
        /// for a test. An operation that comes to a status that the document does not declare for
        /// it answers 500 (`http::refusals`): the build does not notice.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Code {
            $(#[doc = $why] $variant,)*
        }

        impl Code {
            /// Every code, in the order of their statuses.
            pub(crate) const ALL: &'static [Code] = &[$(Code::$variant,)*];

            const fn entry(self) -> Entry {
                match self {
                    $(Code::$variant => Entry { word: $word, status: StatusCode::$status, title: $title, detail: $detail, why: $why },)*
                }
            }
        }
    };
}

/// One line of the table.
struct Entry {
    word: &'static str,
    status: StatusCode,
    title: &'static str,
    detail: &'static str,
    why: &'static str,
}

codes! {
    InvalidRequest "invalid_request" BAD_REQUEST "The request is not valid",
        "The request is not what this operation takes; `errors` has every fault.",
        "The request is not what the document allows. The member `errors` names every fault with its place, and never repeats what was sent.";
    TokenMissing "token_missing" UNAUTHORIZED "A token is missing",
        "Send `Authorization: Bearer` and the `access_token` of `POST /login`.",
        "The operation wants a bearer token, and the request has none.";
    TokenInvalid "token_invalid" UNAUTHORIZED "The token is not valid",
        "The token is not valid, or not any more. Log in again.",
        "The token is malformed, expired, not of this store, or void since a log-out, a new password or a deactivation.";
    InvalidCredentials "invalid_credentials" UNAUTHORIZED "The username or the password is wrong",
        "No active user has this username and this password.",
        "Logging in was refused. An unknown user, a deactivated user and a wrong password are one and the same answer.";
    WrongPassword "wrong_password" FORBIDDEN "The current password is wrong",
        "The current password is not the one that was sent. Nothing was changed.",
        "A new password is set only for who knows the current one.";
    RouteNotFound "route_not_found" NOT_FOUND "There is no such path",
        "Nothing is at this path. `GET /docs` shows all paths.",
        "The path belongs to no operation.";
    UserNotFound "user_not_found" NOT_FOUND "There is no such user",
        "You have no user with this id.",
        "There is no such user, or it is somebody else: the two are never told apart.";
    ProductNotFound "product_not_found" NOT_FOUND "There is no such product",
        "No product has this id. `GET /products` lists those there are.",
        "There is no product with this id.";
    OrderNotFound "order_not_found" NOT_FOUND "There is no such order",
        "You have no order with this id.",
        "There is no such order, or it is somebody else's: the two are never told apart.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "This path does not have this method",
        "Use one of the methods that `Allow` names.",
        "The path exists, with other methods: the header `Allow` names them.";
    SidTaken "sid_taken" CONFLICT "The sid is taken",
        "Another user has this sid. Is it yours? Then log in.",
        "Another user has this sid, compared without regard to case. Those of deactivated users stay taken.";
    UsernameTaken "username_taken" CONFLICT "The username is taken",
        "Another user has this username. Choose another one.",
        "Another user has this username, compared without regard to case. Those of deactivated users stay taken.";
    EmailTaken "email_taken" CONFLICT "The email address is taken",
        "Another user has this email address. Use another one.",
        "Another user has this email address, compared without regard to case. Those of deactivated users stay taken.";
    OutOfStock "out_of_stock" CONFLICT "Not enough pieces are left",
        "Fewer pieces are left than you asked for. Nothing was sold.",
        "Fewer pieces are left than were asked for. An order is filled whole or not at all.";
    VersionMismatch "version_mismatch" PRECONDITION_FAILED "It has changed in the meantime",
        "The user has another version than `If-Match` names. Read it again and repeat the change.",
        "None of the entity tags in `If-Match` is the present one. Nothing was changed.";
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "The body is too large",
        "The body has more bytes than this server takes.",
        "The body has more bytes than this server reads.";
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body is of a type that is not taken here",
        "Send `Content-Type` as `application/json`.",
        "The body is not declared as JSON, or it is declared as compressed.";
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY "The idempotency key was used for another order",
        "You have sent this `Idempotency-Key` with another body before. Use a new key for a new order.",
        "The same `Idempotency-Key` came with another body before. Nothing was sold.";
    GuessablePassword "guessable_password" UNPROCESSABLE_ENTITY "The new password is easy to guess",
        "The new password is one of the most common ones, or your own sid, username or email. Choose another one.",
        "Common passwords and those equal to the user's own sid, username or email are guessed first. They are refused when a password is set.";
    TooManyAttempts "too_many_attempts" TOO_MANY_REQUESTS "Too many attempts",
        "Try again after the time that `Retry-After` says.",
        "Wrong passwords are limited for each account. Log-ins, registrations, and changes of names or passwords are limited for each client address.";
    TooManyWrites "too_many_writes" TOO_MANY_REQUESTS "Too many changes",
        "Wait for the time that `Retry-After` says, and for your other requests. Then send this one again.",
        "The user has too many changes in progress, or made too many within a minute. Nothing was changed.";
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "The headers are too large",
        "The request line and the headers have more bytes than this server takes.",
        "The request line and all headers together have more bytes than this server takes.";
    InternalError "internal_error" INTERNAL_SERVER_ERROR "The server has a fault",
        "Something went wrong that is not your fault. Tell us the request id.",
        "A fault of ours. Trying again is of no use; the `request_id` lets us find out what it was.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "The store is not available at the moment",
        "Try again after the time that `Retry-After` says.",
        "The store is too busy, or something that it needs is away. Try again; an order with the same `Idempotency-Key`.";
}

impl Code {
    /// The word on the wire.
    pub(crate) const fn word(self) -> &'static str {
        self.entry().word
    }

    /// The one status of this code.
    pub(crate) const fn status(self) -> StatusCode {
        self.entry().status
    }

    /// A few words, always the same.
    pub(crate) const fn title(self) -> &'static str {
        self.entry().title
    }

    /// The explanation that `/problems` shows.
    pub(crate) const fn explanation(self) -> &'static str {
        self.entry().why
    }
}

/// The longest cause that is logged, in bytes: a panic's text or another service's message may hold
/// what a client sent.
const CAUSE_BYTES: usize = 1024;

/// What `Retry-After` says when nothing better is known, in seconds.
const RETRY_AFTER: u32 = 1;

/// An answer of 400 or above, before it is bound to a request. It holds public text only: what went
/// wrong inside is logged where the problem is made, with the request id, and cannot be sent by
/// accident.
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
            retry_after: RETRY_AFTER,
        }
    }
}

impl Problem {
    /// 400 with its faults.
    pub(crate) fn invalid_request(faults: impl Into<Faults>) -> Self {
        let faults = faults.into();
        let detail = match (faults.listed().len(), faults.omitted()) {
            (1, 0) => "1 fault was found; `errors` has it.".to_owned(),
            (count, 0) => format!("{count} faults were found; `errors` has them all."),
            (count, omitted) => {
                format!(
                    "{} faults were found; `errors` has the first {count}.",
                    count.saturating_add(omitted)
                )
            }
        };
        Self { detail: Cow::Owned(detail), faults, ..Code::InvalidRequest.into() }
    }

    /// 413 with the bound.
    pub(crate) fn body_too_large(limit: usize) -> Self {
        Self {
            detail: Cow::Owned(format!("The body may have at most {limit} bytes.")),
            ..Code::BodyTooLarge.into()
        }
    }

    /// 415 with the type that is taken.
    pub(crate) fn unsupported_media_type(expected: &str) -> Self {
        Self {
            detail: Cow::Owned(format!("Send `Content-Type` as `{expected}`.")),
            ..Code::UnsupportedMediaType.into()
        }
    }

    /// 415 for a body that is compressed, or otherwise coded.
    pub(crate) fn unsupported_content_coding() -> Self {
        Self {
            detail: Cow::Borrowed("Send the body as it is, without `Content-Encoding`."),
            ..Code::UnsupportedMediaType.into()
        }
    }

    /// 431 with the bound.
    pub(crate) fn headers_too_large(limit: usize) -> Self {
        let detail =
            format!("The request line and the headers may have at most {limit} bytes together.");
        Self { detail: Cow::Owned(detail), ..Code::HeadersTooLarge.into() }
    }

    /// 429; the time is rounded up to whole seconds.
    pub(crate) fn too_many_attempts(wait: Duration) -> Self {
        Self { retry_after: whole_seconds(wait), ..Code::TooManyAttempts.into() }
    }

    /// 429 for a user who changes too much a minute; the time is rounded up to whole seconds.
    pub(crate) fn too_many_writes(wait: Duration) -> Self {
        Self { retry_after: whole_seconds(wait), ..Code::TooManyWrites.into() }
    }

    /// 500. `cause` is for the log alone.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        let request_id = RequestContext::current().request_id().to_owned();
        let cause = shorten(cause, CAUSE_BYTES);
        tracing::error!(request_id, cause, "answering 500: this is a bug");
        Code::InternalError.into()
    }

    /// 503. `cause` is for the log alone; `wait` is rounded up to whole seconds.
    pub(crate) fn unavailable(cause: impl fmt::Display, wait: Option<Duration>) -> Self {
        let request_id = RequestContext::current().request_id().to_owned();
        let cause = shorten(cause, CAUSE_BYTES);
        tracing::warn!(request_id, cause, "answering 503");
        Self { retry_after: wait.map_or(RETRY_AFTER, whole_seconds), ..Code::Unavailable.into() }
    }

    /// The code.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// The value of `Retry-After`, in seconds; meaningful with 429 and 503.
    pub(crate) fn retry_after(&self) -> i32 {
        i32::try_from(self.retry_after).unwrap_or(i32::MAX)
    }

    /// The value of `WWW-Authenticate`; meaningful with 401. A request without a token is not told
    /// of an error (RFC 6750 §3.1).
    pub(crate) fn challenge(&self) -> &'static str {
        if self.code == Code::TokenInvalid { r#"Bearer error="invalid_token""# } else { "Bearer" }
    }

    /// The body, for the request that is being answered.
    pub(crate) fn body(self) -> rest::Problem {
        let context = RequestContext::current();
        let errors = (!self.faults.listed().is_empty())
            .then(|| self.faults.into_iter().map(fault).collect());
        rest::Problem {
            r#type: format!("/problems#{}", self.code.word()),
            title: self.code.title().to_owned(),
            status: i32::from(self.code.status().as_u16()),
            detail: self.detail.into_owned(),
            instance: instance(context.path()),
            code: self.code.word().to_owned(),
            request_id: context.request_id().to_owned(),
            errors,
        }
    }

    /// The whole answer, for what is answered outside of any operation.
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

/// The runtime's fault, as the document has it.
fn fault(fault: Fault) -> rest::Fault {
    let r#in = match fault.location {
        Location::Body => rest::FaultIn::Body,
        Location::Path => rest::FaultIn::Path,
        Location::Query => rest::FaultIn::Query,
        Location::Header => rest::FaultIn::Header,
    };
    rest::Fault { r#in, pointer: fault.pointer, detail: fault.detail }
}

/// The path that was asked for as a URI reference (RFC 3986). HTTP libraries take more in a path
/// than a URI may hold; what it may not is percent-encoded, and what is percent-encoded already
/// stays as it is.
fn instance(path: &str) -> String {
    let bytes = path.as_bytes();
    // Two slashes would begin a host (§4.2); one dot before them is no step anywhere (§5.2.4).
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
    use crate::context::PATH_BYTES;

    #[test]
    fn the_table_is_the_one_of_the_document() {
        let words: Vec<&str> = Code::ALL.iter().map(|code| code.word()).collect();
        let text = merch_contract::OPENAPI_YAML;
        let listed =
            &text[text.find("`code` is one of `invalid_request`").expect("the list of codes")..];
        let listed = &listed[..listed.find("Later versions can add codes").expect("its end")];
        let listed: Vec<&str> = listed.split('`').skip(3).step_by(2).collect();
        assert_eq!(listed, words);
    }

    #[test]
    fn every_code_has_one_title_and_a_status_of_an_error() {
        let mut titles: Vec<&str> = Code::ALL.iter().map(|code| code.title()).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(
                code.word().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{code:?}"
            );
        }
    }

    #[test]
    fn the_documents_examples_are_what_is_sent() {
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
                .find(|code| code.word() == value["code"])
                .expect("a code of the table");
            assert_eq!(value["title"], code.title());
            assert_eq!(value["status"], code.status().as_u16());
            assert_eq!(value["type"], format!("/problems#{}", code.word()));
            if !matches!(code, Code::InvalidRequest | Code::BodyTooLarge) {
                assert_eq!(value["detail"], code.entry().detail);
            }
            seen += 1;
        }
        assert!(seen >= 16, "only {seen} examples");
    }

    #[test]
    fn faults_point_as_the_document_says() {
        let mut faults = Faults::from(Fault::of_body("/quantity", "expected at most 3"));
        let unknown = "this parameter is not known here";
        faults.add(|| Fault::of_parameter(Location::Query, "a/b~c", unknown));
        let body = Problem::invalid_request(faults.clone()).body();
        let json = serde_json::to_value(body).expect("JSON");
        assert_eq!(json["detail"], "2 faults were found; `errors` has them all.");
        assert_eq!(
            json["errors"][0],
            serde_json::json!({"in": "body", "pointer": "/quantity", "detail": "expected at most 3"})
        );
        assert_eq!(json["errors"][1]["pointer"], "/a~1b~0c");

        for index in 0..1000 {
            faults
                .add(|| Fault::of_body(format_args!("/{index}"), "this member is not known here"));
        }
        let json = serde_json::to_value(Problem::invalid_request(faults).body()).expect("JSON");
        assert_eq!(json["errors"].as_array().map(Vec::len), Some(Faults::MAX_LISTED));
        assert_eq!(json["detail"], "1002 faults were found; `errors` has the first 32.");
    }

    /// The longest texts everywhere, in characters that JSON writes with six bytes.
    #[test]
    fn the_longest_problem_is_short_enough() {
        let mut faults = Faults::new();
        for _ in 0..1000 {
            faults.add(|| {
                Fault::of_parameter(Location::Header, &"\0".repeat(10_000), "\0".repeat(10_000))
            });
        }
        let mut body = Problem::invalid_request(faults).body();
        body.instance = instance(&shorten("\0".repeat(10_000), PATH_BYTES));
        body.request_id = "x".repeat(128);
        let length = serde_json::to_vec(&body).expect("JSON").len();
        assert!((12 * 1024..15 * 1024).contains(&length), "{length}");
    }

    #[test]
    fn an_instance_is_a_uri_reference() {
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
    fn waiting_is_rounded_up() {
        for (wait, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (59_001, 60)] {
            assert_eq!(
                Problem::too_many_attempts(Duration::from_millis(wait)).retry_after(),
                seconds,
                "{wait} ms"
            );
        }
    }
}
