//! Verifies the peers of open connections, which may outlive a certificate or its authority.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::time::sleep;

use super::tls::{FAR_FUTURE, Side, Tls, not_after, seconds_left};

/// Repeated, because the system clock may be changed.
const VERIFY_INTERVAL: Duration = Duration::from_secs(60);

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

    /// Waits until the peer's certificate expires or its authority is removed.
    pub(in crate::grpc) async fn ended(&self) -> rustls::Error {
        let mut changes = self.tls.changes();
        loop {
            if let Err(error) = self.verify(UnixTime::now()) {
                return error;
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(self.time_left().min(VERIFY_INTERVAL)) => {}
            }
        }
    }

    fn time_left(&self) -> Duration {
        not_after(&self.verify(UnixTime::since_unix_epoch(FAR_FUTURE))).map_or(
            VERIFY_INTERVAL,
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
