//! Whether the peer of an open connection is still trusted.
//!
//! A handshake verifies a certificate once, and a connection may outlive the certificate or the
//! authority that signed it.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::time::sleep;

use super::tls::{FAR_FUTURE, Tls, not_after, seconds_left};

/// The longest time between two verifications, as the system's clock may be set meanwhile.
const VERIFY_EVERY: Duration = Duration::from_secs(60);

/// Which side of a connection the peer is.
#[derive(Clone, Debug)]
pub(super) enum Side {
    Client,
    /// A server, whose certificate has to name this role.
    Server(ServerName<'static>),
}

/// The certificate that the peer of one connection presented, with the chain after it.
#[derive(Debug)]
pub(in crate::grpc) struct Trust {
    tls: Tls,
    side: Side,
    chain: Vec<CertificateDer<'static>>,
}

impl Trust {
    pub(super) fn new(tls: Tls, side: Side, chain: &[CertificateDer<'_>]) -> Self {
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Self { tls, side, chain }
    }

    /// Returns why the peer is no longer trusted, once it is not: its certificate has expired, or
    /// the authority that signed it is no longer in the file of the authorities.
    pub(in crate::grpc) async fn ended(&self) -> rustls::Error {
        let mut changes = self.tls.changes();
        loop {
            if let Err(error) = self.verify(UnixTime::now()) {
                return error;
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(self.time_left().min(VERIFY_EVERY)) => {}
            }
        }
    }

    /// The time until the certificate has expired: it is valid to the end of its last second.
    fn time_left(&self) -> Duration {
        not_after(&self.verify(UnixTime::since_unix_epoch(FAR_FUTURE))).map_or(
            VERIFY_EVERY,
            |time| {
                let left = u64::try_from(seconds_left(time)).unwrap_or(0);
                Duration::from_secs(left.saturating_add(1))
            },
        )
    }

    fn verify(&self, time: UnixTime) -> Result<(), rustls::Error> {
        self.tls.verify(&self.side, &self.chain, time)
    }
}
