//! Transport between services.

mod accept;
mod address;
mod dialer;
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
    dialer::Dialer,
    io::Io,
    trust::Trust,
};
pub use self::{
    accept::{ListenAddress, Listener, Peer},
    address::Address,
    tls::{Tls, TlsFiles},
    unix::{path_of_url, url_of_path},
};
use super::role::Role;
use crate::{StartError, network::is_loopback};

/// Transports that a process may use. The default: Unix sockets, and plaintext on loopback.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    tls: Option<Tls>,
    insecure: bool,
}

impl Transport {
    /// With `tls`, TCP requires mutual TLS. `insecure` also allows plaintext listeners beyond
    /// loopback, and plaintext endpoints.
    #[must_use]
    pub fn new(tls: Option<Tls>, insecure: bool) -> Self {
        Self { tls, insecure }
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Checks that the certificate, if any, names `role`.
    ///
    /// # Errors
    /// If it names others.
    pub fn check_role(&self, role: Role) -> Result<(), StartError> {
        match &self.tls {
            Some(tls) if tls.role() != Some(role) => Err(StartError::new(format!(
                "the certificate in MERCH_TLS_CERT_FILE (--tls-cert-file) does not name {0} \
                as its only role; expected the one that `merch pki` created for the role {role}",
                role.host(),
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Permits plaintext on loopback; elsewhere warns if it is allowed, or fails.
    fn plaintext(&self, what: &str, host: &str, is_loopback: bool) -> Result<(), StartError> {
        if is_loopback {
            return Ok(());
        }
        if self.insecure {
            tracing::warn!(
                host,
                "{what} uses plaintext without authentication: every process that reaches the \
                network can read and forge calls"
            );
            return Ok(());
        }
        Err(StartError::new(format!(
            "{what} would use plaintext without authentication on {host}; expected certificates \
            (MERCH_TLS_CERT_FILE, MERCH_TLS_KEY_FILE and MERCH_TLS_CA_FILE; `merch pki init` \
            creates them), a loopback address, or --insecure-internal \
            (MERCH_INSECURE_INTERNAL=true)"
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

    pub(super) fn plaintext_endpoint(&self, what: &str, host: &str) -> Result<(), StartError> {
        // RFC 6761, section 6.3.
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
