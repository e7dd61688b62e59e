//! The certificate authority of the internal network and the roles' certificates.
//!
//! | file | content | mode |
//! |---|---|---|
//! | `ca/ca.crt`, `ca/ca.key` | the authority; its key is needed for signing only | 644, 600 |
//! | `ROLE/tls.crt`, `ROLE/tls.key` | a role's certificate and key | 644, 600 |
//! | `ROLE/ca.crt` | a copy of `ca/ca.crt` | 644 |

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    StartError,
    file_permissions::{check_private, open_lock, write_atomically},
    grpc::{Role, TlsFiles, inspect},
};

const CA_LIFETIME: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// Default lifetime of a role's certificate: 90 days.
pub const ROLE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How far a certificate is backdated, because the clocks of machines differ.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// The result for one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `ca`, or a role's name.
    pub name: &'static str,
    /// Whether a new certificate was made; otherwise the old one is kept.
    pub made: bool,
    /// Expiry; `None` for the authority.
    pub not_after: Option<SystemTime>,
}

/// Which role certificates are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renew {
    /// Missing and unusable ones, and those with less than a third of their lifetime left.
    Due,
    /// All.
    All,
}

/// Creates an authority in `dir` unless there is one, and role certificates for `lifetime`.
///
/// # Errors
/// If the directory is not writable, or the authority is incomplete or not private.
pub fn make(dir: &Path, renew: Renew, lifetime: Duration) -> Result<Vec<Outcome>, StartError> {
    let authority = dir.join("ca");
    for dir in [dir, &authority] {
        create(dir)?;
        check_private(dir).map_err(|error| untrusted(dir, &error))?;
    }
    let lock = authority.join("lock");
    let lock = open_lock(&lock).map_err(|error| unwritable(&lock, &error))?;
    lock.lock().map_err(|error| unwritable(dir, &error))?;

    let (made, pem, key) = open_authority(&authority)?;
    let issuer = Issuer::new(authority_params(), key);
    let mut outcomes = vec![Outcome { name: "ca", made, not_after: None }];
    for role in Role::ALL {
        let dir = dir.join(role.name());
        create(&dir)?;
        let files = TlsFiles {
            cert: dir.join("tls.crt"),
            key: dir.join("tls.key"),
            ca: dir.join("ca.crt"),
        };
        if fs::read_to_string(&files.ca).ok().as_ref() != Some(&pem) {
            write(&files.ca, &pem, 0o644)?;
        }
        let kept = valid_until(&files, role)
            .filter(|not_after| renew == Renew::Due && is_fresh(*not_after, lifetime));
        let not_after = match kept {
            Some(not_after) => not_after,
            None => sign(&files, role, &issuer, lifetime)?,
        };
        outcomes.push(Outcome {
            name: role.name(),
            made: kept.is_none(),
            not_after: Some(not_after),
        });
    }
    Ok(outcomes)
}

fn is_fresh(not_after: SystemTime, lifetime: Duration) -> bool {
    not_after.duration_since(SystemTime::now()).is_ok_and(|left| left > lifetime / 3)
}

fn valid_until(files: &TlsFiles, role: Role) -> Option<SystemTime> {
    let (not_after, named) = inspect(files).ok()?;
    (named == Some(role)).then_some(not_after)
}

fn open_authority(dir: &Path) -> Result<(bool, String, KeyPair), StartError> {
    let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
    for file in [&cert, &key].into_iter().filter(|file| file.exists()) {
        check_private(file).map_err(|error| untrusted(file, &error))?;
    }
    match (fs::read_to_string(&cert), fs::read_to_string(&key).map(Zeroizing::new)) {
        (Ok(pem), Ok(text)) => {
            let key_pair = KeyPair::from_pem(&text).map_err(|error| {
                StartError::new(format!(
                    "{} holds no private key: {error}; expected one in PEM",
                    key.display()
                ))
            })?;
            Ok((false, pem, key_pair))
        }
        (Err(no_cert), Err(no_key))
            if no_cert.kind() == io::ErrorKind::NotFound
                && no_key.kind() == io::ErrorKind::NotFound =>
        {
            let key_pair = KeyPair::generate().map_err(|error| failed(&error))?;
            let mut params = authority_params();
            valid_for(&mut params, CA_LIFETIME);
            let pem = params.self_signed(&key_pair).map_err(|error| failed(&error))?.pem();
            write(&key, &Zeroizing::new(key_pair.serialize_pem()), 0o600)?;
            write(&cert, &pem, 0o644)?;
            Ok((true, pem, key_pair))
        }
        (cert_read, key_read) => {
            let reason = [
                cert_read.err().map(|error| (cert, error)),
                key_read.err().map(|error| (key, error)),
            ];
            let reason: Vec<_> = reason
                .into_iter()
                .flatten()
                .map(|(path, error)| format!("{}: {error}", path.display()))
                .collect();
            Err(StartError::new(format!(
                "the authority in {} cannot be read ({}); expected both of its files, or none to \
                create a new one",
                dir.display(),
                reason.join("; ")
            )))
        }
    }
}

// Limits the authority to the roles' names.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("merch internal authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let names = GeneralSubtree::DnsName("merch.internal".to_owned());
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: vec![names], excluded_subtrees: vec![] });
    params
}

fn sign(
    files: &TlsFiles,
    role: Role,
    issuer: &Issuer<'_, KeyPair>,
    lifetime: Duration,
) -> Result<SystemTime, StartError> {
    let mut params = CertificateParams::new(vec![role.host()]).map_err(|error| failed(&error))?;
    params.distinguished_name = name(&format!("merch {role}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, lifetime);
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let certificate = params.signed_by(&key, issuer).map_err(|error| failed(&error))?;
    write(&files.key, &Zeroizing::new(key.serialize_pem()), 0o600)?;
    write(&files.cert, &certificate.pem(), 0o644)?;
    valid_until(files, role).ok_or_else(|| {
        StartError::new(format!(
            "the new certificate of the role {role} does not verify; expected ca/ca.crt and \
            ca/ca.key to be a pair that `merch pki` created"
        ))
    })
}

fn valid_for(params: &mut CertificateParams, lifetime: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + lifetime;
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn create(dir: &Path) -> Result<(), StartError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| unwritable(dir, &error))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), StartError> {
    write_atomically(path, text.as_bytes(), mode).map_err(|error| unwritable(path, &error))
}

fn untrusted(path: &Path, error: &io::Error) -> StartError {
    StartError::new(format!(
        "{} cannot be used for the authority of the internal network: {error}; \
        `chown` it if its content is your own, or choose another directory (--pki-dir)",
        path.display()
    ))
}

fn unwritable(path: &Path, error: &io::Error) -> StartError {
    StartError::new(format!(
        "{} cannot be written: {error}; expected a directory that this user may write to \
         (--pki-dir)",
        path.display()
    ))
}

fn failed(error: &rcgen::Error) -> StartError {
    StartError::new(format!("failed to create a certificate: {error}; please report this bug"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn made(outcomes: &[Outcome]) -> Vec<&str> {
        outcomes.iter().filter(|outcome| outcome.made).map(|outcome| outcome.name).collect()
    }

    #[test]
    fn authority_is_created_once_and_certificates_when_due() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("pki");
        let everything = ["ca", "api", "db", "logging", "operator"];
        assert_eq!(made(&make(&dir, Renew::Due, ROLE_LIFETIME).unwrap()), everything);
        let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode("ca"), mode("ca/ca.key"), mode("api"), mode("api/tls.key"), mode("api/tls.crt")),
            (0o700, 0o600, 0o700, 0o600, 0o644)
        );
        let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap();
        let (authority, key, cert) = (read("ca/ca.key"), read("api/tls.key"), read("api/tls.crt"));

        assert_eq!(made(&make(&dir, Renew::Due, ROLE_LIFETIME).unwrap()), Vec::<&str>::new());
        assert_eq!((read("api/tls.key"), read("api/tls.crt")), (key.clone(), cert));
        let outcomes = make(&dir, Renew::All, ROLE_LIFETIME).unwrap();
        assert_eq!(made(&outcomes), everything[1..]);
        let left = outcomes[1].not_after.unwrap().duration_since(SystemTime::now()).unwrap();
        assert!(
            left <= ROLE_LIFETIME && left > ROLE_LIFETIME - Duration::from_secs(60),
            "{left:?}"
        );
        assert!(read("ca/ca.key") == authority && read("api/tls.key") != key);

        make(&dir, Renew::All, Duration::from_secs(600)).unwrap();
        assert_eq!(
            made(&make(&dir, Renew::Due, Duration::from_secs(600)).unwrap()),
            Vec::<&str>::new()
        );
        assert_eq!(made(&make(&dir, Renew::Due, ROLE_LIFETIME).unwrap()), everything[1..]);
        fs::remove_file(dir.join("db/tls.key")).unwrap();
        fs::copy(dir.join("api/tls.crt"), dir.join("logging/tls.crt")).unwrap();
        fs::copy(dir.join("api/tls.key"), dir.join("logging/tls.key")).unwrap();
        assert_eq!(made(&make(&dir, Renew::Due, ROLE_LIFETIME).unwrap()), ["db", "logging"]);
    }

    #[test]
    fn authority_writable_by_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        make(dir.path(), Renew::Due, ROLE_LIFETIME).unwrap();
        let cert = fs::read(at("api/tls.crt")).unwrap();
        let refused = |path: &str, reason: &str| {
            let error = make(dir.path(), Renew::All, ROLE_LIFETIME).unwrap_err().to_string();
            let what = format!("{path} cannot be used for the authority");
            assert!(error.contains(&what) && error.contains(reason), "{error}");
            assert_eq!(fs::read(at("api/tls.crt")).unwrap(), cert);
        };
        let modes = [("", 0o770), ("ca", 0o702), ("ca/ca.key", 0o620), ("ca/ca.crt", 0o666)];
        for (path, open) in modes {
            let path_of = if path.is_empty() { dir.path().to_owned() } else { at(path) };
            let mode = fs::metadata(&path_of).unwrap().permissions();
            fs::set_permissions(&path_of, fs::Permissions::from_mode(open)).unwrap();
            refused(path, "other users of this machine may write to it");
            fs::set_permissions(&path_of, mode).unwrap();
            if std::os::unix::fs::chown(&path_of, Some(65_534), None).is_ok() {
                refused(path, "it belongs to the user 65534");
                std::os::unix::fs::chown(&path_of, Some(0), None).unwrap();
            }
        }
        make(dir.path(), Renew::All, ROLE_LIFETIME).unwrap();
    }

    #[test]
    fn incomplete_authority_is_not_completed() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), Renew::Due, ROLE_LIFETIME).unwrap();
        fs::remove_file(dir.path().join("ca/ca.key")).unwrap();
        let error = make(dir.path(), Renew::Due, ROLE_LIFETIME).unwrap_err().to_string();
        assert!(
            error.contains("ca.key") && error.contains("expected both of its files"),
            "{error}"
        );
        assert!(!dir.path().join("ca/ca.key").exists());
    }
}
