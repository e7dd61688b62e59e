//! Mutual TLS 1.3 with rustls. A process has one certificate for serving and calling.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus::{IntCounterVec, IntGauge, register_int_counter_vec, register_int_gauge};
use rustls::{
    CertificateError, ClientConfig, InconsistentKeys, RootCertStore, ServerConfig,
    client::{
        Resumption, WebPkiServerVerifier, danger::ServerCertVerifier as _, verify_server_name,
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zeroize::Zeroizing;

use crate::{
    StartError, file_permissions,
    grpc::role::{Role, host},
};

const POLL_INTERVAL: Duration = Duration::from_secs(2);
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
const NO_ROLE: &str = "no-role";
/// Later than any notAfter (RFC 5280: 9999-12-31).
pub(super) const FAR_FUTURE: Duration = Duration::from_secs(253_402_300_800);

static EXPIRY: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "merch_tls_certificate_expiry_seconds",
        "Seconds until this process's certificate for the internal network expires; negative \
        after expiry"
    )
    .expect("the name is registered here and nowhere else")
});
static RELOADS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_tls_reloads_total",
        "Reloads of changed certificate files, by result: loaded, or failed (the previous \
        certificate stays in use)",
        &["result"]
    )
    .expect("the name is registered here and nowhere else")
});

/// The PEM files of a process's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its chain to the authority.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Certificates of the trusted authorities.
    pub ca: PathBuf,
}

/// A process's certificate and trusted authorities. Clones share one state.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: TlsFiles,
    current: watch::Sender<Arc<Snapshot>>,
}

#[derive(Debug)]
pub(super) struct Snapshot {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    role: Option<Role>,
    client_verifier: Arc<dyn ClientCertVerifier>,
    server_verifier: Arc<WebPkiServerVerifier>,
    /// The expiry in seconds since 1970.
    not_after: u64,
}

/// What the peer is, and for a server its required name.
#[derive(Clone, Debug)]
pub(super) enum Side {
    Client,
    Server(ServerName<'static>),
}

impl Tls {
    /// Reads the files and reloads them when they change; if that fails, the previous certificate
    /// stays. Connections whose peer loses trust are closed (see `Trust`).
    ///
    /// # Errors
    /// If a file is unreadable, the key does not match, or the certificate is expired or from
    /// another authority.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn load(files: TlsFiles) -> Result<Self, StartError> {
        let stamps = FileStamps::of(&files);
        let snapshot = Snapshot::read(&files).map_err(StartError::new)?;
        warn_if_key_exposed(&files);
        let inner = Arc::new(Inner { files, current: watch::Sender::new(Arc::new(snapshot)) });
        for result in ["loaded", "failed"] {
            RELOADS.with_label_values(&[result]);
        }
        tokio::spawn(poll_files(Arc::downgrade(&inner), stamps));
        Ok(Self(inner))
    }

    pub(super) fn role(&self) -> Option<Role> {
        self.0.current().role
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.current().server))
    }

    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0.current().client))
    }

    pub(super) fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.current.subscribe()
    }

    pub(super) fn verify(
        &self,
        side: &Side,
        chain: &[CertificateDer<'_>],
        time: UnixTime,
    ) -> Result<(), rustls::Error> {
        let snapshot = self.0.current();
        let (certificate, chain) =
            chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        match side {
            Side::Client => {
                snapshot.client_verifier.verify_client_cert(certificate, chain, time).map(drop)
            }
            Side::Server(name) => snapshot
                .server_verifier
                .verify_server_cert(certificate, chain, name, &[], time)
                .map(drop),
        }
    }
}

impl Inner {
    fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }
}

#[cfg(feature = "pki")]
pub(crate) fn inspect(files: &TlsFiles) -> Result<(SystemTime, Option<Role>), String> {
    let snapshot = Snapshot::read(files)?;
    Ok((UNIX_EPOCH + Duration::from_secs(snapshot.not_after), snapshot.role))
}

/// Returns the role that a certificate names. Several names, or a wildcard, grant none.
pub(super) fn role(certificate: &CertificateDer<'_>) -> Option<Role> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let is_valid_for = |name: String| {
        let name = ServerName::try_from(name);
        name.is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
    };
    if is_valid_for(host(NO_ROLE)) {
        return None;
    }
    let mut named = Role::ALL.into_iter().filter(|role| is_valid_for(role.host()));
    match (named.next(), named.next()) {
        (Some(role), None) => Some(role),
        _ => None,
    }
}

fn warn_if_key_exposed(files: &TlsFiles) {
    let what = "the private key of the internal network (MERCH_TLS_KEY_FILE)";
    file_permissions::warn_if_exposed(&files.key, what);
}

impl Snapshot {
    fn read(files: &TlsFiles) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("MERCH_TLS_CERT_FILE (--tls-cert-file)", &files.cert)?;
        let key_text = Zeroizing::new(read("MERCH_TLS_KEY_FILE (--tls-key-file)", &files.key)?);
        let key = PrivateKeyDer::from_pem_slice(&key_text).map(Zeroizing::new).map_err(|error| {
            format!(
                "MERCH_TLS_KEY_FILE (--tls-key-file): the file {} holds no private key ({error}); \
                expected one in PEM",
                files.key.display()
            )
        })?;
        let mut roots = RootCertStore::empty();
        for authority in certificates("MERCH_TLS_CA_FILE (--tls-ca-file)", &files.ca)? {
            roots.add(authority).map_err(|error| {
                format!(
                    "MERCH_TLS_CA_FILE (--tls-ca-file): the file {} holds a certificate that is \
                    not an authority's ({error}); expected CA certificates in PEM",
                    files.ca.display()
                )
            })?;
        }
        let roots = Arc::new(roots);
        let unusable = |error: rustls::Error| {
            format!(
                "the certificate in {} cannot be used: {error}; expected one with its key in {}, \
                signed by an authority in {}; `merch pki renew` creates new ones",
                files.cert.display(),
                files.key.display(),
                files.ca.display()
            )
        };
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| unusable(rustls::Error::General(error.to_string())))?;
        let certificate = chain
            .first()
            .cloned()
            .ok_or_else(|| unusable(rustls::Error::NoCertificatesPresented))?;
        verifier
            .verify_client_cert(&certificate, &chain[1..], UnixTime::now())
            .map_err(unusable)?;
        let in_far_future = verifier.verify_client_cert(
            &certificate,
            &chain[1..],
            UnixTime::since_unix_epoch(FAR_FUTURE),
        );
        let not_after = not_after(&in_far_future).unwrap_or(FAR_FUTURE.as_secs());
        let key = Arc::new(SingleCertAndKey::from(certified(chain, &key).map_err(unusable)?));
        let server_verifier =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| unusable(rustls::Error::General(error.to_string())))?;
        Ok(Self {
            server: server(&provider, Arc::clone(&verifier), Arc::clone(&key)).map_err(unusable)?,
            client: client(&provider, Arc::clone(&server_verifier), key).map_err(unusable)?,
            role: role(&certificate),
            client_verifier: verifier,
            server_verifier,
            not_after,
        })
    }
}

/// rustls's own builders take a key that is not zeroized.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    let certified = CertifiedKey::new(chain, ring::sign::any_supported_type(key)?);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(error) => Err(error),
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    key: Arc<SingleCertAndKey>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(key);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would keep its original certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
    key: Arc<SingleCertAndKey>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_cert_resolver(key);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Returns the expiry in seconds since 1970. rustls includes it in the error of a verification as
/// of [`FAR_FUTURE`].
pub(super) fn not_after<T>(verdict: &Result<T, rustls::Error>) -> Option<u64> {
    match verdict {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => Some(not_after.as_secs()),
        Ok(_) | Err(_) => None,
    }
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(setting, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!(
            "{setting}: the file {} holds no certificate; expected PEM",
            path.display()
        )),
        Err(error) => Err(format!(
            "{setting}: the file {} cannot be parsed ({error}); expected certificates in PEM",
            path.display()
        )),
    }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| {
        format!(
            "{setting}: the file {} cannot be read: {error}; `merch pki init` creates the roles' \
        certificates",
            path.display()
        )
    })
}

#[derive(Debug, PartialEq, Eq)]
struct FileStamps([Option<(SystemTime, u64, u64)>; 3]);

impl FileStamps {
    fn of(files: &TlsFiles) -> Self {
        let stamp = |path: &PathBuf| {
            let found = fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len(), found.ino()))
        };
        Self([&files.cert, &files.key, &files.ca].map(stamp))
    }
}

async fn poll_files(inner: Weak<Inner>, mut stamps: FileStamps) {
    let mut retry_reload = false;
    let mut warned: Option<SystemTime> = None;
    while let Some(inner) = inner.upgrade() {
        let now = FileStamps::of(&inner.files);
        if now != stamps {
            stamps = now;
            // Logged only if the next poll fails too: the two files are not replaced together.
            retry_reload = reload(&inner).is_err();
        } else if retry_reload {
            if let Err(reason) = reload(&inner) {
                RELOADS.with_label_values(&["failed"]).inc();
                tracing::error!(
                    error = reason,
                    "failed to reload certificate; the previous one stays in use"
                );
            }
            retry_reload = false;
        }
        watch_expiry(inner.current().not_after, &mut warned);
        drop(inner);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn reload(inner: &Inner) -> Result<(), String> {
    let snapshot = Snapshot::read(&inner.files)?;
    if snapshot.role != inner.current().role {
        let found = snapshot.role.map_or("none", Role::name);
        return Err(format!(
            "the certificate in {} is of another role ({found}); \
            expected the role of the previous one",
            inner.files.cert.display()
        ));
    }
    warn_if_key_exposed(&inner.files);
    let days_left = seconds_left(snapshot.not_after) / 86_400;
    inner.current.send_replace(Arc::new(snapshot));
    RELOADS.with_label_values(&["loaded"]).inc();
    tracing::info!(certificate = %inner.files.cert.display(), days_left, "reloaded certificate");
    Ok(())
}

fn watch_expiry(not_after: u64, warned: &mut Option<SystemTime>) {
    let left = seconds_left(not_after);
    EXPIRY.set(left);
    let soon = left < i64::try_from(EXPIRY_WARNING.as_secs()).unwrap_or(i64::MAX);
    let recently_warned =
        warned.is_some_and(|time| time.elapsed().is_ok_and(|passed| passed < WARN_INTERVAL));
    if soon && !recently_warned {
        *warned = Some(SystemTime::now());
        tracing::warn!(
            days_left = left / 86_400,
            "certificate for the internal network expires soon; run `merch pki renew`"
        );
    }
}

pub(super) fn seconds_left(not_after: u64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(not_after).unwrap_or(i64::MAX) - i64::try_from(now).unwrap_or(i64::MAX)
}

#[cfg(all(test, feature = "pki"))]
mod tests {
    use super::*;
    use crate::pki::{ROLE_LIFETIME, Renew, make};

    #[test]
    fn reload_rejects_a_certificate_of_another_role() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), Renew::Due, ROLE_LIFETIME).unwrap();
        let at = |role: &str, file: &str| dir.path().join(role).join(file);
        let files = TlsFiles {
            cert: at("db", "tls.crt"),
            key: at("db", "tls.key"),
            ca: at("db", "ca.crt"),
        };
        let current = watch::Sender::new(Arc::new(Snapshot::read(&files).unwrap()));
        let inner = Inner { files, current };
        for (role, taken) in [("api", false), ("db", true)] {
            make(dir.path(), Renew::All, ROLE_LIFETIME).unwrap();
            if role != "db" {
                for file in ["tls.crt", "tls.key"] {
                    fs::copy(at(role, file), at("db", file)).unwrap();
                }
            }
            let outcome = reload(&inner);
            assert_eq!(outcome.is_ok(), taken, "{outcome:?}");
            assert!(outcome.err().is_none_or(|reason| reason.contains("is of another role (api)")));
            assert_eq!(inner.current().role, Some(Role::Db));
        }
    }
}
