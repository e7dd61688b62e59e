use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::super::transport::{Address, Dialer, Transport, path_of_url};
use crate::StartError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Fixed(Address),
    Name(Host),
}

/// The endpoints of a service: `https://db:50051`, whose name may resolve to several addresses;
/// several such URIs, separated by commas; or `unix:/path`.
#[derive(Clone, Debug)]
pub struct Endpoints {
    service: &'static str,
    text: Arc<str>,
    targets: Arc<[Target]>,
    dialer: Dialer,
}

impl Endpoints {
    /// Parses `text`. `service` is the role in the certificate (`db`). It also names the service in
    /// errors, log lines and metrics.
    ///
    /// # Errors
    /// If a URI is invalid, schemes differ, or `transport` forbids them.
    pub fn parse(
        service: &'static str,
        text: &str,
        transport: &Transport,
    ) -> Result<Self, StartError> {
        let wrong = || {
            StartError::new(format!(
                "expected the endpoint of the {service} service as http://host:port or \
                https://host:port, several with commas between them, or unix:/path, got `{text}`"
            ))
        };
        let new = |targets: Vec<Target>, dialer| Self {
            service,
            text: text.into(),
            targets: targets.into(),
            dialer,
        };
        if text.starts_with("unix:") {
            let path = path_of_url(text).ok_or_else(wrong)?;
            return Ok(new(vec![Target::Fixed(Address::Unix(path.into()))], Dialer::default()));
        }
        let uris: Option<Vec<(bool, Host)>> = text.split(',').map(|uri| host(uri.trim())).collect();
        let uris = uris.ok_or_else(wrong)?;
        let is_tls = uris.iter().any(|(is_tls, _)| *is_tls);
        if uris.iter().any(|(other, _)| *other != is_tls) {
            return Err(wrong());
        }
        let dialer = if is_tls {
            let Some(tls) = transport.tls() else {
                return Err(StartError::new(format!(
                    "the endpoint of the {service} service is `{text}`, and this process has no \
                    certificate; expected MERCH_TLS_CERT_FILE, MERCH_TLS_KEY_FILE and \
                    MERCH_TLS_CA_FILE (`merch pki init` creates them)"
                )));
            };
            Dialer::with_tls(tls.clone(), service)?
        } else {
            for (_, host) in &uris {
                transport.plaintext_endpoint(
                    &format!("the connection to the {service} service"),
                    &host.name,
                )?;
            }
            Dialer::default()
        };
        let target = |(_, host): (bool, Host)| match host.name.parse::<IpAddr>() {
            Ok(address) => Target::Fixed(SocketAddr::new(address, host.port).into()),
            Err(_) => Target::Name(host),
        };
        Ok(new(uris.into_iter().map(target).collect(), dialer))
    }

    pub(super) fn service(&self) -> &'static str {
        self.service
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Returns whether the scheme is `https`, and the host without brackets.
fn host(uri: &str) -> Option<(bool, Host)> {
    let (scheme, authority) = uri.split_once("://")?;
    let is_tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = authority.trim_end_matches('/');
    let (name, port) = authority.rsplit_once(':')?;
    let name = match name.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').filter(|v6| v6.contains(':'))?,
        None => name,
    };
    let wrong = name.is_empty()
        || authority.contains(['/', '@', '?', '#'])
        || authority.contains(char::is_whitespace);
    (!wrong).then_some(())?;
    Some((is_tls, Host { name: name.to_owned(), port: port.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Endpoints, StartError> {
        Endpoints::parse("db", text, &Transport::new(None, true))
    }

    #[test]
    fn endpoints_are_parsed() {
        let name = |name: &str, port| Target::Name(Host { name: name.to_owned(), port });
        let fixed = |address: &str| Target::Fixed(Address::Tcp(address.parse().unwrap()));
        let parsed = |text| parse(text).unwrap().targets().to_vec();
        assert_eq!(parsed("http://db:50051"), [name("db", 50051)]);
        assert_eq!(parsed("http://[::1]:1/"), [fixed("[::1]:1")]);
        assert_eq!(
            parsed("http://127.0.0.1:1, http://db-2:2"),
            [fixed("127.0.0.1:1"), name("db-2", 2)]
        );
        let socket = std::path::Path::new("/a,b c/db.sock");
        assert_eq!(
            parsed("unix:/a%2Cb%20c/db.sock"),
            [Target::Fixed(Address::Unix(socket.into()))]
        );
    }

    #[test]
    fn invalid_endpoints_are_rejected() {
        for wrong in [
            "",
            "db:1",
            "grpc://db:1",
            "http://db",
            "http://:1",
            "http://u@db:1",
            "http://db:1/x",
            "http://db:1,",
            "http://db:1,https://db:2",
            "http://db:1,unix:/db.sock",
            "http://db:99999",
            "http://[db]:1",
            "unix:",
            "unix:/%zz",
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(
                error.starts_with("expected the endpoint of the db service as http://host:port")
                    && error.ends_with(&format!("got `{wrong}`")),
                "{error}"
            );
        }
    }

    #[test]
    fn plaintext_endpoints_must_be_loopback() {
        let local = |text| {
            Endpoints::parse("db", text, &Transport::default())
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        for text in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost:1",
            "http://[::ffff:127.0.0.1]:1",
            "unix:/db.sock",
        ] {
            assert_eq!(local(text), Ok(()), "{text}");
        }
        for text in [
            "http://db:1",
            "http://10.0.0.1:1",
            "http://0.0.0.0:1",
            "http://127.0.0.1:1,http://db:1",
            "http://localhost.example:1",
        ] {
            let error = local(text).unwrap_err();
            assert!(
                error.contains("plaintext without authentication")
                    && error.contains("--insecure-internal"),
                "{error}"
            );
        }
        let error = local("https://db:1").unwrap_err();
        assert!(error.contains("has no certificate; expected MERCH_TLS_CERT_FILE"), "{error}");
    }
}
