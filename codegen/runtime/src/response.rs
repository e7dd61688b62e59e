//! Builds responses from the variants of an operation's response enum.

use std::{
    fmt::{self, Display},
    marker::PhantomData,
};

use bytes::Bytes;
use poem::{
    Response,
    http::{HeaderName, HeaderValue, StatusCode, header},
};
use serde::Serialize;

/// A body: the JSON text of a `T`, encoded once. Clones share it.
pub struct Encoded<T> {
    text: Bytes,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize> From<T> for Encoded<T> {
    /// Encodes a value.
    ///
    /// # Panics
    /// If it cannot be serialized. In generated types only times can fail: RFC 3339 has neither
    /// five-digit years nor offsets with seconds.
    fn from(value: T) -> Self {
        let text = serde_json::to_vec(&value)
            .expect("the implementation returned a time that RFC 3339 cannot represent");
        Self { text: text.into(), value: PhantomData }
    }
}

impl<T> Clone for Encoded<T> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), value: PhantomData }
    }
}

impl<T> PartialEq for Encoded<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> fmt::Debug for Encoded<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.text))
    }
}

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
    #[must_use]
    pub fn body<T>(mut self, media_type: &'static str, body: Encoded<T>) -> Response {
        self.0.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.0.set_body(body.text);
        self.0
    }

    /// Returns a response without a body.
    #[must_use]
    pub fn empty(self) -> Response {
        self.0
    }
}
