//! What a certificate allows.

use std::{fs, time::Duration};

use merch_chassis::grpc::{Files, Role, Transport, replicas::CallError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::Code;

use crate::support::{PATIENCE, Pki, Server, call, code, find, metric, tls, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_calls_what_its_certificate_allows() {
    let pki = Pki::make();
    let server = Server::with_tls(pki.files("db")).await;
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    for (role, gateway, both) in [
        ("api", true, true),
        ("operator", false, true),
        ("logging", false, false),
        ("db", false, false),
    ] {
        let replicas = find("db", &server.url, &tls(pki.files(role)));
        let expected = |allowed: bool| {
            if allowed { Ok(format!("the role {role}")) } else { Err(Code::PermissionDenied) }
        };
        assert_eq!(code(call(&replicas, "/test.Who/Gateway").await), expected(gateway), "{role}");
        assert_eq!(code(call(&replicas, "/test.Who/Both").await), expected(both), "{role}");
        // One that is not listed, and one that does not exist.
        assert_eq!(
            code(call(&replicas, "/test.Who/New").await),
            Err(Code::PermissionDenied),
            "{role}"
        );
        assert_eq!(
            code(call(&replicas, "/test.Other/Read").await),
            Err(Code::PermissionDenied),
            "{role}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_get_through_the_handshake() {
    let (pki, other) = (Pki::make(), Pki::make());
    let server = Server::with_tls(pki.files("db")).await;
    let refused = metric("merch_grpc_refused_connections_total", "handshake");
    // A certificate of another authority, though of the right name; it trusts this one.
    let mut stranger = other.files("api");
    let both = other.0.path().join("both.crt");
    fs::write(
        &both,
        [fs::read(&stranger.ca).unwrap(), fs::read(pki.files("api").ca).unwrap()].concat(),
    )
    .unwrap();
    stranger.ca = both;
    let replicas = find("db", &server.url, &tls(stranger));
    until("the handshake is refused", || {
        metric("merch_grpc_refused_connections_total", "handshake") > refused
    })
    .await;
    assert_eq!(replicas.serving(), 0);

    // No certificate at all, and no TLS at all.
    let address = server.url.strip_prefix("https://").unwrap();
    let refused = metric("merch_grpc_refused_connections_total", "handshake");
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ =
        timeout(PATIENCE, plain.read_to_end(&mut answer)).await.expect("the connection is closed");
    assert!(!answer.windows(4).any(|bytes| bytes == [0, 0, 0, 4]), "no settings frame: {answer:?}");
    until("it is refused", || {
        metric("merch_grpc_refused_connections_total", "handshake") > refused
    })
    .await;

    let plaintext = find("db", &server.url.replace("https", "http"), &Transport::default());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(plaintext.serving(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_has_to_be_the_role_that_is_called() {
    let (pki, other) = (Pki::make(), Pki::make());
    let impostors =
        [Server::with_tls(pki.files("logging")).await, Server::with_tls(other.files("db")).await];
    for impostor in &impostors {
        let replicas = find("db", &impostor.url, &tls(pki.files("api")));
        let outcome = call(&replicas, "/test.Who/Both").await;
        assert!(matches!(outcome, Err(CallError::NoReplica)), "{outcome:?}");
    }
    // By the same way the right one is found.
    let replicas = find("logging", &impostors[0].url, &tls(pki.files("api")));
    assert_eq!(code(call(&replicas, "/test.Who/Both").await).unwrap(), "the role api");
}

/// An authority that signs any names, as an operator's own may do.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn certificate(&self, names: &[&str]) -> Files {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = names.concat();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let at = |suffix: &str| self.folder.path().join(format!("{file}.{suffix}"));
        fs::write(at("key"), key.serialize_pem()).unwrap();
        fs::write(at("crt"), certificate.pem()).unwrap();
        Files { cert: at("crt"), key: at("key"), ca: self.folder.path().join("ca.crt") }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_grants_a_role_only_if_it_names_that_one_alone() {
    let authority = Authority::new();
    let api = authority.certificate(&["api.merch.internal"]);
    let server = Server::with_tls(authority.certificate(&["db.merch.internal"])).await;
    for names in [
        &["*.merch.internal"][..],
        &["api.merch.internal", "db.merch.internal"],
        &["*.merch.internal", "api.merch.internal"],
        &["api.example.com"],
    ] {
        let files = authority.certificate(names);
        // It starts no service, calls nothing, and is no service to a caller.
        for role in Role::ALL {
            let error = tls(files.clone()).check_role(role).unwrap_err().to_string();
            let expected = format!("does not name {} as its only role", role.host());
            assert!(error.contains(&expected), "{error}");
        }
        let outcome =
            call(&find("db", &server.url, &tls(files.clone())), "/test.Who/Gateway").await;
        // Not even the health check is answered.
        assert!(matches!(outcome, Err(CallError::NoReplica)), "{names:?}: {outcome:?}");
        let impostor = Server::with_tls(files).await;
        let outcome = call(&find("db", &impostor.url, &tls(api.clone())), "/test.Who/Both").await;
        assert!(matches!(outcome, Err(CallError::NoReplica)), "{names:?}: {outcome:?}");
    }
    // Further names that are no roles' do no harm.
    let names = ["api.merch.internal", "api.example.com", "*.example.com"];
    let api = tls(authority.certificate(&names));
    api.check_role(Role::Api).unwrap();
    let db = authority.certificate(&["db.example.com", "db.merch.internal"]);
    let server = Server::with_tls(db).await;
    let replicas = find("db", &server.url, &api);
    assert_eq!(code(call(&replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
}
