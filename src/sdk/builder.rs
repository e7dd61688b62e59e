//! How a client is made.

use std::{fmt, time::Duration};

use reqwest::{Url, header::HeaderValue};

use super::{Retries, Session, Store};
use crate::{loopback::without_proxy, rest::client::Client};

/// A client that is being made: see [`Store::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is made before `build` is called"]
pub struct Builder {
    url: String,
    token: Option<Token>,
    timeout: Duration,
    connect_timeout: Duration,
    retries: Retries,
    user_agent: String,
    http: Option<reqwest::Client>,
}

/// Shows nothing of itself.
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
            retries: Retries::default(),
            user_agent: concat!("merch-contract/", env!("CARGO_PKG_VERSION")).to_owned(),
            http: None,
        }
    }

    /// The `access_token` of a log-in, sent with every request. None is sent by default.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token(token.into()));
        self
    }

    /// For how long one attempt at a request may take, with its answer. 30 s by default: hashing a
    /// password takes a moment.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// For how long it may take to connect. 5 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// What is tried again, and how often.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// What is sent as `User-Agent`.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Sends through this client, with its own time-outs, proxies and certificates: those of the
    /// builder are not looked at then.
    pub fn http(mut self, http: reqwest::Client) -> Self {
        self.http = Some(http);
        self
    }

    /// Makes the client. Nothing is sent.
    ///
    /// It takes its proxy from the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), and none
    /// if the URL is of this machine: see [`without_proxy`].
    ///
    /// # Errors
    /// When the URL or the token cannot be one, or TLS cannot be set up.
    pub fn build(self) -> Result<Store, BuildError> {
        let url = base(&self.url)?;
        let token = self.token.map(|token| authorization(&token.0)).transpose()?;
        let http = match self.http {
            Some(http) => http,
            None => without_proxy(reqwest::Client::builder(), &url)
                .user_agent(self.user_agent)
                .timeout(self.timeout)
                .connect_timeout(self.connect_timeout)
                // The store redirects nowhere; whoever else does shall not see the token.
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(|error| {
                    BuildError(format!("the HTTP client cannot be set up: {error}"))
                })?,
        };
        Ok(Store(Client::new_with_client(
            url.as_str().trim_end_matches('/'),
            http,
            Session { token, retries: self.retries },
        )))
    }
}

/// Why there is no client: what was expected, what came, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(String);

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

/// A base URL.
fn base(text: &str) -> Result<Url, BuildError> {
    let expected = |what: &str| {
        BuildError(format!(
            "the store's URL: expected one such as http://127.0.0.1:8080, got {text:?}: {what}"
        ))
    };
    let url = Url::parse(text).map_err(|error| expected(&error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err(expected("only http and https have stores"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(expected("leave out what stands behind `?` or `#`"));
    }
    Ok(url)
}

/// The value of `Authorization`. The token is shown nowhere.
pub(super) fn authorization(token: &str) -> Result<HeaderValue, BuildError> {
    // RFC 6750 §2.1.
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(known) {
        return Err(BuildError(
            "the token is not one: expected letters, digits and `-._~+/=`, as in the `access_token` of a log-in".to_owned(),
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
    fn a_url_is_one_that_requests_can_be_sent_to() {
        for (text, base) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("https://merch.example.com/store/", "https://merch.example.com/store"),
        ] {
            assert_eq!(super::base(text).unwrap().as_str().trim_end_matches('/'), base);
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
            let error = Store::builder(text).build().unwrap_err().to_string();
            assert!(
                error.contains("expected one such as http://127.0.0.1:8080")
                    && error.contains(&format!("{text:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_is_checked_and_never_shown() {
        for token in ["", "a b", "geheim\n", "gehéim"] {
            let error = Store::builder("http://a").token(token).build().unwrap_err().to_string();
            assert!(error.contains("access_token") && !error.contains("geh"), "{error}");
        }
        let builder = Store::builder("http://a").token("very.secret");
        assert!(!format!("{builder:?}").contains("secret"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("secret"));
    }
}
