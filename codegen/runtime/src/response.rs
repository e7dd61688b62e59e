//! Builds responses from the variants of an operation's response enum.

use std::fmt::Display;

use poem::{
    Response,
    http::{HeaderName, HeaderValue, StatusCode, header},
};
use serde::Serialize;

/// A builder for a response.
#[derive(Debug)]
pub struct ResponseBuilder(Response);

impl ResponseBuilder {
    /// Creates a response with a status.
    ///
    /// # Panics
    /// If `status` is invalid; the generator emits valid ones.
    #[must_use]
    pub fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("the generator emits valid statuses");
        Self(Response::builder().status(status).finish())
    }

    /// Adds a header unless its value is `None`.
    ///
    /// # Panics
    /// If the value contains control characters.
    #[must_use]
    pub fn header<T: Display>(mut self, name: &'static str, value: impl Into<Option<T>>) -> Self {
        if let Some(value) = value.into() {
            let value = HeaderValue::from_str(&value.to_string()).unwrap_or_else(|_| {
                panic!(
                    "the implementation set the header {name} to a value with control characters"
                )
            });
            self.0.headers_mut().insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Adds a JSON body and returns the response.
    ///
    /// # Panics
    /// If the body cannot be serialized. In generated types only times can fail: RFC 3339 has
    /// neither five-digit years nor offsets with seconds.
    #[must_use]
    pub fn body<T: Serialize>(mut self, media_type: &'static str, body: &T) -> Response {
        let bytes = serde_json::to_vec(body)
            .expect("the implementation returned a time that RFC 3339 cannot represent");
        self.0.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.0.set_body(bytes);
        self.0
    }

    /// Returns a response without a body.
    #[must_use]
    pub fn empty(self) -> Response {
        self.0
    }
}
