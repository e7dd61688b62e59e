//! Mutual TLS 1.3 by rustls: one certificate for a process, for what it serves and for what it
//! calls, read again when its files change.

use std::{
    fs, io,
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
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zeroize::Zeroizing;

use super::{Address, Io, Trust, trust::Side, unix};
use crate::{
    StartError, file_permissions,
    grpc::access::{Role, host},
};

/// The time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A certificate with less time left than this is warned of.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// The time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// A label that is no role's name.
const NO_ROLE: &str = "no-role";
/// After the notAfter of any certificate (RFC 5280: 9999-12-31).
pub(super) const FAR_FUTURE: Duration = Duration::from_secs(253_402_300_800);

static EXPIRY: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "merch_tls_certificate_expiry_seconds",
        "Seconds until this process's own certificate for the internal network expires; negative once it has"
    )
    .expect("the name is registered here and nowhere else")
});
static RELOADS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_tls_reloads_total",
        "Certificate files that changed, by result: loaded, or failed (the certificate before stays in use)",
        &["result"]
    )
    .expect("the name is registered here and nowhere else")
});

/// The files of a process's certificate, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and after it the chain that leads to the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificates of the authorities that others' certificates are verified against.
    pub ca: PathBuf,
}

/// A process's certificate, and whom it trusts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Files,
    current: watch::Sender<Arc<Snapshot>>,
}

/// What the files held when they were last good.
#[derive(Debug)]
pub(super) struct Snapshot {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// The one role that the certificate names.
    role: Option<Role>,
    /// Verify the peers of connections that are open.
    client_verifier: Arc<dyn ClientCertVerifier>,
    server_verifier: Arc<WebPkiServerVerifier>,
    /// Seconds since 1970.
    not_after: u64,
}

impl Tls {
    /// Reads the files, and follows their changes from now on. A change that cannot be used is
    /// logged, and the certificate before stays in use. A new certificate is for new connections.
    /// Open connections whose peer the new authorities do not trust are closed (see [`Trust`]).
    ///
    /// # Errors
    /// When a file cannot be read, the key is another certificate's, or the certificate is not the
    /// authority's or has expired.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn load(files: Files) -> Result<Self, StartError> {
        let stamps = Stamps::of(&files);
        let snapshot = Snapshot::read(&files).map_err(StartError::new)?;
        warn_of_open_key(&files);
        let inner = Arc::new(Inner { files, current: watch::Sender::new(Arc::new(snapshot)) });
        for result in ["loaded", "failed"] {
            RELOADS.with_label_values(&[result]);
        }
        tokio::spawn(follow(Arc::downgrade(&inner), stamps));
        Ok(Self(inner))
    }

    /// The one role that the certificate names.
    pub(super) fn role(&self) -> Option<Role> {
        self.0.current().role
    }

    /// For one connection to a server.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.current().server))
    }

    /// For one connection of a client.
    fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0.current().client))
    }

    /// Returns a receiver that is notified of each change of the files.
    pub(super) fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.current.subscribe()
    }

    /// Verifies a peer's certificate, and the chain after it, as of `time`.
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

/// How connections to the replicas of one service are made.
#[derive(Clone, Debug, Default)]
pub(in crate::grpc) struct Dialer(Option<(Tls, ServerName<'static>)>);

impl Dialer {
    /// By TLS; the server's certificate has to name the role `of`, whatever address it was found
    /// at.
    pub(in crate::grpc) fn with_tls(tls: Tls, of: &str) -> Result<Self, StartError> {
        let name = ServerName::try_from(host(of)).map_err(|error| {
            StartError::new(format!("the role `{of}` makes no host name: {error}"))
        })?;
        Ok(Self(Some((tls, name))))
    }

    /// Connects, and proves who both sides are where that is asked for.
    pub(in crate::grpc) async fn connect(
        &self,
        address: &Address,
    ) -> io::Result<(Io, Option<Trust>)> {
        let address = match address {
            Address::Unix(path) => return Ok((Io::Unix(unix::connect(path).await?), None)),
            Address::Tcp(address) => address,
        };
        let stream = TcpStream::connect(address).await?;
        // Without it an answer may wait for the acknowledgement of the one before. A socket that
        // refuses the option still works.
        let _ = stream.set_nodelay(true);
        match &self.0 {
            None => Ok((Io::Tcp(stream), None)),
            Some((tls, name)) => {
                let stream = tls.connector().connect(name.clone(), stream).await?;
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                // TLS accepts every certificate that is valid for the name, a wildcard's too.
                if chain.first().and_then(role).is_none_or(|role| role.host() != name.to_str()) {
                    let name = name.to_str();
                    let message =
                        format!("the server's certificate does not name {name} as its only role");
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
                }
                let trust = Trust::new(tls.clone(), Side::Server(name.clone()), chain);
                Ok((Io::Tls(Box::new(stream.into())), Some(trust)))
            }
        }
    }
}

/// Reads and checks files without using them: when the certificate expires, and the role that it
/// names.
#[cfg(feature = "pki")]
pub(crate) fn inspect(files: &Files) -> Result<(SystemTime, Option<Role>), String> {
    let snapshot = Snapshot::read(files)?;
    Ok((UNIX_EPOCH + Duration::from_secs(snapshot.not_after), snapshot.role))
}

/// Returns the role that a certificate names, if it names exactly one. A certificate of several
/// roles, or with a wildcard that covers them, would let its holder choose, so it grants none.
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

fn warn_of_open_key(files: &Files) {
    let what = "the private key of the internal network (MERCH_TLS_KEY_FILE)";
    file_permissions::warn_of_open_secret(&files.key, what);
}

impl Snapshot {
    /// Reads and checks the files. The error is a sentence.
    fn read(files: &Files) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("MERCH_TLS_CERT_FILE (--tls-cert-file)", &files.cert)?;
        let key_text = Zeroizing::new(read("MERCH_TLS_KEY_FILE (--tls-key-file)", &files.key)?);
        let key = PrivateKeyDer::from_pem_slice(&key_text).map(Zeroizing::new).map_err(|error| {
            format!(
                "MERCH_TLS_KEY_FILE (--tls-key-file): the file {} holds no private key ({error}); expected one in PEM",
                files.key.display()
            )
        })?;
        let mut roots = RootCertStore::empty();
        for authority in certificates("MERCH_TLS_CA_FILE (--tls-ca-file)", &files.ca)? {
            roots.add(authority).map_err(|error| {
                format!(
                    "MERCH_TLS_CA_FILE (--tls-ca-file): the file {} holds a certificate that is no authority's ({error})",
                    files.ca.display()
                )
            })?;
        }
        let roots = Arc::new(roots);
        let unusable = |error: rustls::Error| {
            format!(
                "the certificate in {} cannot be used: {error}; expected one with its key in {}, signed by an authority in {}; `merch pki renew` makes new ones",
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
        // As the others will do.
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

/// Pairs a certificate with its key. rustls's own builders take a key that they do not erase.
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
    // A resumed session would keep the certificate that it began with.
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

/// Returns when a certificate expires, in seconds since 1970, from its verification as of
/// [`FAR_FUTURE`]: rustls names the time if the certificate has expired by then.
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
            "{setting}: the file {} cannot be understood ({error}); expected certificates in PEM",
            path.display()
        )),
    }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| {
        format!("{setting}: the file {} cannot be read: {error}; `merch pki init` makes the roles' certificates", path.display())
    })
}

/// What the system says of the files: when it differs, they are read again.
#[derive(Debug, PartialEq, Eq)]
struct Stamps([Option<(SystemTime, u64, u64)>; 3]);

impl Stamps {
    fn of(files: &Files) -> Self {
        let stamp = |path: &PathBuf| {
            let found = fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len(), found.ino()))
        };
        Self([&files.cert, &files.key, &files.ca].map(stamp))
    }
}

/// Polls the files for changes until the last `Tls` is dropped.
async fn follow(inner: Weak<Inner>, mut stamps: Stamps) {
    let mut unsettled = false;
    let mut warned: Option<SystemTime> = None;
    while let Some(inner) = inner.upgrade() {
        let now = Stamps::of(&inner.files);
        if now != stamps {
            stamps = now;
            // Not logged yet: certificate and key are two files, and this look may have come
            // between them.
            unsettled = reload(&inner).is_err();
        } else if unsettled {
            if let Err(reason) = reload(&inner) {
                RELOADS.with_label_values(&["failed"]).inc();
                tracing::error!(
                    error = reason,
                    "failed to load a changed certificate; the one before stays in use"
                );
            }
            unsettled = false;
        }
        watch_expiry(inner.current().not_after, &mut warned);
        drop(inner);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Takes changed files into use. The error says why they cannot be.
fn reload(inner: &Inner) -> Result<(), String> {
    let snapshot = Snapshot::read(&inner.files)?;
    if snapshot.role != inner.current().role {
        let found = snapshot.role.map_or("none", Role::name);
        return Err(format!(
            "the certificate in {} is of another role ({found}); \
            expected the role of the one before",
            inner.files.cert.display()
        ));
    }
    warn_of_open_key(&inner.files);
    let days_left = seconds_left(snapshot.not_after) / 86_400;
    inner.current.send_replace(Arc::new(snapshot));
    RELOADS.with_label_values(&["loaded"]).inc();
    tracing::info!(certificate = %inner.files.cert.display(), days_left, "loaded a changed certificate");
    Ok(())
}

fn watch_expiry(not_after: u64, warned: &mut Option<SystemTime>) {
    let left = seconds_left(not_after);
    EXPIRY.set(left);
    let soon = left < i64::try_from(EXPIRES_SOON.as_secs()).unwrap_or(i64::MAX);
    let quiet = warned.is_some_and(|time| time.elapsed().is_ok_and(|passed| passed < WARN_EVERY));
    if soon && !quiet {
        *warned = Some(SystemTime::now());
        tracing::warn!(
            days_left = left / 86_400,
            "the certificate for the internal network expires soon; `merch pki renew` makes a new one"
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
    fn a_changed_certificate_of_another_role_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), Renew::Due, ROLE_LIFETIME).unwrap();
        let at = |role: &str, file: &str| folder.path().join(role).join(file);
        let files =
            Files { cert: at("db", "tls.crt"), key: at("db", "tls.key"), ca: at("db", "ca.crt") };
        let current = watch::Sender::new(Arc::new(Snapshot::read(&files).unwrap()));
        let inner = Inner { files, current };
        for (role, taken) in [("api", false), ("db", true)] {
            make(folder.path(), Renew::All, ROLE_LIFETIME).unwrap();
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
