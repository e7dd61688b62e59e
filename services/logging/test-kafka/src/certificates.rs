use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// PEM files: an authority, its server certificate for `localhost`, and an unrelated authority.
#[derive(Clone, Debug)]
pub struct Certificates {
    ca: PathBuf,
    other_ca: PathBuf,
    server: PathBuf,
}

impl Certificates {
    pub(crate) fn make(dir: &Path) -> Self {
        let files = Self {
            ca: dir.join("ca.pem"),
            other_ca: dir.join("other-ca.pem"),
            server: dir.join("server.pem"),
        };
        let issuer = authority("Test authority");
        fs::write(&files.ca, issuer.pem()).unwrap();
        fs::write(&files.other_ca, authority("Another authority").pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "test-kafka");
        let certificate = params.signed_by(&key, &issuer).unwrap();
        // Kafka expects key and certificate in one file.
        fs::write(&files.server, format!("{}{}", key.serialize_pem(), certificate.pem())).unwrap();
        files
    }

    /// Returns the server certificate's authority.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca
    }

    /// Returns an authority that issued nothing.
    #[must_use]
    pub fn other_ca_file(&self) -> &Path {
        &self.other_ca
    }

    pub(crate) fn server_file(&self) -> &Path {
        &self.server
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
