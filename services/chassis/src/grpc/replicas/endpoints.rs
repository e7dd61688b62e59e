//! Which hosts a setting names.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::StartError;

/// One `host:port` of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// A name, or an address without brackets.
    pub(super) name: String,
    pub(super) port: u16,
}

impl Host {
    /// The address itself, where there is no name to look up.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }
}

/// Where the replicas of a service are: one URI such as `http://db:50051`, whose name may stand for many addresses, or several with commas between them.
#[derive(Clone, Debug)]
pub struct Endpoints {
    of: &'static str,
    text: Arc<str>,
    hosts: Arc<[Host]>,
}

impl Endpoints {
    /// Reads `text`. `of` names the service in errors, log lines and metrics: `db`.
    ///
    /// # Errors
    /// When it is anything but URIs of a host and a port.
    pub fn parse(of: &'static str, text: &str) -> Result<Self, StartError> {
        let hosts: Option<Vec<Host>> = text.split(',').map(|uri| host(uri.trim())).collect();
        let Some(hosts) = hosts else {
            return Err(StartError::new(format!(
                "expected the endpoint of the {of} service as http://host:port, several with commas between them, got `{text}`"
            )));
        };
        Ok(Self { of, text: text.into(), hosts: hosts.into() })
    }

    /// The name of the service.
    pub(super) fn of(&self) -> &'static str {
        self.of
    }

    pub(super) fn hosts(&self) -> &[Host] {
        &self.hosts
    }
}

/// As it was set.
impl fmt::Display for Endpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn host(uri: &str) -> Option<Host> {
    let authority = uri.strip_prefix("http://")?.trim_end_matches('/');
    let (name, port) = authority.rsplit_once(':')?;
    let name = match name.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').filter(|v6| v6.contains(':'))?,
        None => name,
    };
    let wrong = name.is_empty() || authority.contains(['/', '@', '?', '#']) || authority.contains(char::is_whitespace);
    (!wrong).then_some(())?;
    Some(Host { name: name.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_uri_or_several_are_read() {
        let host = |name: &str, port| Host { name: name.to_owned(), port };
        let parsed = |text| Endpoints::parse("db", text).unwrap().hosts().to_vec();
        assert_eq!(parsed("http://db:50051"), [host("db", 50051)]);
        assert_eq!(parsed("http://[::1]:1/"), [host("::1", 1)]);
        assert_eq!(parsed("http://127.0.0.1:1, http://db-2:2"), [host("127.0.0.1", 1), host("db-2", 2)]);
        assert_eq!(parsed("http://127.0.0.1:1")[0].address(), Some([127, 0, 0, 1].into()));
        assert_eq!(parsed("http://db:1")[0].address(), None);
    }

    #[test]
    fn anything_else_is_told() {
        for wrong in [
            "",
            "db:1",
            "https://db:1",
            "http://db",
            "http://:1",
            "http://u@db:1",
            "http://db:1/x",
            "http://db:1,",
            "http://db:99999",
            "http://[db]:1",
        ] {
            let error = Endpoints::parse("db", wrong).unwrap_err().to_string();
            assert!(
                error.starts_with("expected the endpoint of the db service as http://host:port")
                    && error.ends_with(&format!("got `{wrong}`")),
                "{error}"
            );
        }
    }
}
