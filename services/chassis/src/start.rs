//! Why a role could not start, in one sentence that a person can act on.

use std::{fmt, io, net::SocketAddr};

use tokio::net::TcpListener;

/// A failure to start, or a failure that ended a role while it ran.
///
/// Its text is one sentence that says what was expected, what came, and what to do. It is shown to the person who started the program as it stands,
/// so it never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(String);

impl StartError {
    /// `sentence` is shown as it stands.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Binds `address` for `what`, for example `"the api (--listen)"`. Port 0 takes any free port.
///
/// # Errors
/// When the address is in use, is not one of this machine, or may not be used by this user.
pub async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::new(format!("{what} cannot listen on {address}: {}", advice(&error, address))))
}

/// What is wrong with an address, and what to do. The list of kinds is open (`io::ErrorKind` is not exhaustive), so the last arm shows the system's words.
fn advice(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program is listening there; stop it, or choose another address (port 0 takes any free port)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {}; choose one of its own, 127.0.0.1 for this machine alone, or 0.0.0.0 for all",
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => "this user may not use that port; choose one above 1023".to_owned(),
        _ => format!("{error}; choose another address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_one_clear_sentence() {
        let first = bind("the api (--listen)", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind("the api (--listen)", address).await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the api (--listen) cannot listen on {address}: another program is listening there; stop it, or choose another address (port 0 takes any free port)"
            )
        );
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        // TEST-NET-1 (RFC 5737): never an address of a machine.
        let error = bind("the admin server (--admin-listen)", ([192, 0, 2, 1], 0).into()).await.unwrap_err().to_string();
        assert!(
            error.starts_with("the admin server (--admin-listen) cannot listen on 192.0.2.1:0: this machine has no address 192.0.2.1"),
            "{error}"
        );
    }

    #[test]
    fn a_forbidden_port_says_what_to_do() {
        let text = advice(&io::Error::from(io::ErrorKind::PermissionDenied), ([127, 0, 0, 1], 80).into());
        assert!(text.contains("above 1023"), "{text}");
    }
}
