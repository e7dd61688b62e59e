//! Builds clients.

use std::{fmt, time::Duration};

use reqwest::{Url, header::HeaderValue};

use super::{RetryPolicy, Session, StoreClient};
use crate::{loopback::without_proxy, rest::client::Client};

/// A builder for a client: see [`StoreClient::builder`].
#[derive(Clone, Debug)]
#[must_use = "call `build` to create the client"]
pub struct Builder {
    url: String,
    token: Option<Token>,
    timeout: Duration,
    connect_timeout: Duration,
    retries: RetryPolicy,
    user_agent: String,
    http: Option<reqwest::Client>,
}

/// A token that `Debug` does not show.
#[derive(Clone)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl Builder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            token: None,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            retries: RetryPolicy::default(),
            user_agent: concat!("merch-contract/", env!("CARGO_PKG_VERSION")).to_owned(),
            http: None,
        }
    }

    /// Sets the token for all requests: the `access_token` of a log-in. Default: none.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token(token.into()));
        self
    }

    /// Sets the time limit of one attempt, including the response body. Default: 30 s, because
    /// hashing a password takes a while.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the time limit for connecting. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the retry policy.
    pub fn retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }

    /// Sets `User-Agent`.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Uses `http` with its own time-outs, proxies and certificates instead of the builder's.
    pub fn http(mut self, http: reqwest::Client) -> Self {
        self.http = Some(http);
        self
    }

    /// Builds the client and sends nothing.
    ///
    /// The client uses the environment's proxies (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), but not
    /// for loopback URLs: see [`without_proxy`].
    ///
    /// # Errors
    /// If the URL or the token is invalid, or TLS cannot be set up.
    pub fn build(self) -> Result<StoreClient, BuildError> {
        let url = base_url(&self.url)?;
        let token = self.token.map(|token| authorization(&token.0)).transpose()?;
        let http = match self.http {
            Some(http) => http,
            None => without_proxy(reqwest::Client::builder(), &url)
                .user_agent(self.user_agent)
                .timeout(self.timeout)
                .connect_timeout(self.connect_timeout)
                // The store never redirects, and another server must not receive the token.
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(|error| {
                    BuildError(format!("failed to set up the HTTP client: {error}"))
                })?,
        };
        Ok(StoreClient(Client::new_with_client(
            url.as_str().trim_end_matches('/'),
            http,
            Session { token, retries: self.retries },
        )))
    }
}

/// An invalid setting of a client. States the expected value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(String);

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

fn base_url(text: &str) -> Result<Url, BuildError> {
    let invalid = |reason: &str| {
        BuildError(format!(
            "invalid store URL: expected one such as http://127.0.0.1:8080, got {text:?}: {reason}"
        ))
    };
    let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err(invalid("use http:// or https:// and a host"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("remove the query and the fragment"));
    }
    Ok(url)
}

/// Returns the value of `Authorization`, marked as sensitive.
pub(super) fn authorization(token: &str) -> Result<HeaderValue, BuildError> {
    // RFC 6750 §2.1.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(allowed) {
        return Err(BuildError(
            "invalid token: expected letters, digits and `-._~+/=`; use the `access_token` of a log-in"
                .to_owned(),
        ));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|error| BuildError(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_base_urls_are_accepted() {
        for (text, base) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("https://merch.example.com/store/", "https://merch.example.com/store"),
        ] {
            assert_eq!(base_url(text).unwrap().as_str().trim_end_matches('/'), base);
        }
        for text in [
            "",
            "127.0.0.1:8080",
            "ftp://127.0.0.1",
            "http://",
            "http://a/?b",
            "http://a/#b",
            "unix:/run/store",
        ] {
            let error = StoreClient::builder(text).build().unwrap_err().to_string();
            assert!(
                error.contains("expected one such as http://127.0.0.1:8080")
                    && error.contains(&format!("{text:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn invalid_tokens_are_refused_and_never_shown() {
        for token in ["", "a b", "geheim\n", "gehéim"] {
            let error =
                StoreClient::builder("http://a").token(token).build().unwrap_err().to_string();
            assert!(error.contains("access_token") && !error.contains("geh"), "{error}");
        }
        let builder = StoreClient::builder("http://a").token("very.secret");
        assert!(!format!("{builder:?}").contains("secret"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("secret"));
    }
}
