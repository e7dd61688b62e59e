//! Responses, built from the parts that an operation's response enum holds.

use std::fmt::Display;

use poem::{
    Response,
    http::{HeaderName, HeaderValue, StatusCode, header},
};
use serde::Serialize;

/// A response under way.
#[derive(Debug)]
pub struct Answer(Response);

impl Answer {
    /// A response with a status, nothing else yet.
    ///
    /// # Panics
    /// When there is no such status; the generator knows them.
    #[must_use]
    pub fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status)
            .expect("the generator writes statuses that HTTP has a name for");
        Self(Response::builder().status(status).finish())
    }

    /// Adds a header, unless its value is `None`.
    ///
    /// # Panics
    /// When the value holds characters that HTTP does not carry in a header (control characters):
    /// whatever stood there would be wrong.
    #[must_use]
    pub fn header<T: Display>(mut self, name: &'static str, value: impl Into<Option<T>>) -> Self {
        if let Some(value) = value.into() {
            let value = HeaderValue::from_str(&value.to_string()).unwrap_or_else(|_| {
                panic!("the implementation gave the header {name} a value that HTTP cannot carry")
            });
            self.0.headers_mut().insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Ends it with a JSON body.
    ///
    /// # Panics
    /// When the body cannot be written as JSON. Of generated types only times can fail: RFC 3339
    /// writes neither years of five digits nor offsets with seconds.
    #[must_use]
    pub fn body<T: Serialize>(mut self, media_type: &'static str, body: &T) -> Response {
        let bytes = serde_json::to_vec(body)
            .expect("the implementation gave a time that RFC 3339 cannot write");
        self.0.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.0.set_body(bytes);
        self.0
    }

    /// Ends it without a body.
    #[must_use]
    pub fn empty(self) -> Response {
        self.0
    }
}
