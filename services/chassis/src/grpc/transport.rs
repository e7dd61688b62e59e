//! How services reach each other and prove who they are: mutual TLS between processes, Unix sockets
//! within one user's machine, plaintext on loopback.

mod accept;
mod address;
mod handshakes;
mod io;
mod tls;
mod trust;
mod unix;

use std::net::{IpAddr, SocketAddr};

#[cfg(feature = "pki")]
pub(crate) use self::tls::inspect;
pub(super) use self::{
    accept::{Identity, Incoming},
    io::Io,
    tls::Dialer,
    trust::Trust,
};
pub use self::{
    accept::{Listen, Listener, Peer},
    address::Address,
    tls::{Files, Tls},
    unix::{path_of_url, url_of_path},
};
use super::access::Role;
use crate::{StartError, network::is_loopback};

/// What a process may use to reach the others, and be reached by them.
///
/// The default is local: Unix sockets, and plaintext on loopback addresses.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    tls: Option<Tls>,
    insecure: bool,
}

impl Transport {
    /// With `tls`, every TCP listener takes mutual TLS only, and endpoints have to be `https://` or
    /// `unix:`. With `insecure`, plaintext is allowed on addresses other than loopback, and to
    /// endpoints in spite of `tls`.
    #[must_use]
    pub fn new(tls: Option<Tls>, insecure: bool) -> Self {
        Self { tls, insecure }
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Checks that this process can prove to be `role`.
    ///
    /// # Errors
    /// When there is a certificate, and it names another role, or more than this one.
    pub fn check_role(&self, role: Role) -> Result<(), StartError> {
        match &self.tls {
            Some(tls) if tls.role() != Some(role) => Err(StartError::new(format!(
                "the certificate in MERCH_TLS_CERT_FILE (--tls-cert-file) does not name {0} \
                as its only role; expected the one that `merch pki` made for the role {role}",
                role.host(),
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Decides about plaintext: fine on loopback, a warning elsewhere if it is allowed, an error if
    /// not.
    fn plaintext(&self, what: &str, host: &str, is_loopback: bool) -> Result<(), StartError> {
        if is_loopback {
            return Ok(());
        }
        if self.insecure {
            tracing::warn!(
                host,
                "{what} uses plaintext without authentication: every process that reaches the network can read and forge calls"
            );
            return Ok(());
        }
        Err(StartError::new(format!(
            "{what} would use plaintext without authentication on {host}; expected certificates (MERCH_TLS_CERT_FILE, MERCH_TLS_KEY_FILE and MERCH_TLS_CA_FILE; \
             `merch pki init` makes them), a loopback address, or --insecure-internal (MERCH_INSECURE_INTERNAL=true)"
        )))
    }

    fn plaintext_listener(&self, what: &str, address: SocketAddr) -> Result<(), StartError> {
        let is_loopback = is_loopback(address.ip());
        self.plaintext(what, &address.to_string(), is_loopback)?;
        if is_loopback {
            tracing::warn!(
                %address,
                "{what} uses plaintext without authentication: every program on this machine can \
                 call it"
            );
        }
        Ok(())
    }

    /// Decides about a client's plaintext to `host`, a name or an address.
    pub(super) fn plaintext_endpoint(&self, what: &str, host: &str) -> Result<(), StartError> {
        // RFC 6761, section 6.3: localhost is always a loopback address.
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(is_loopback);
        if self.tls.is_some() && !self.insecure {
            return Err(StartError::new(format!(
                "{what} would use plaintext without authentication to {host}, although this \
                 process has a certificate; expected https://, or --insecure-internal \
                 (MERCH_INSECURE_INTERNAL=true)"
            )));
        }
        self.plaintext(what, host, is_loopback && self.tls.is_none())
    }
}
