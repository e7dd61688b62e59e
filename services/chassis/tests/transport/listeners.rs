use std::{fs, path::PathBuf, time::Duration};

use merch_chassis::{
    grpc::{ListenAddress, Listener, Role, Tls, TlsFiles, Transport, replicas::Endpoints},
    pki::{Renew, make},
};

use crate::support::{Pki, Server, call, code, connect, tls, until};

#[tokio::test]
async fn plaintext_endpoint_is_refused_with_a_certificate() {
    let pki = Pki::make();
    let loaded = Tls::load(pki.files("api")).unwrap();
    let parse = |url: &str, insecure| {
        let transport = Transport::new(Some(loaded.clone()), insecure);
        Endpoints::parse("db", url, &transport).map(drop).map_err(|error| error.to_string())
    };
    for url in ["http://127.0.0.1:50051", "http://localhost:50051", "http://db:50051"] {
        let error = parse(url, false).unwrap_err();
        let expected = "although this process has a certificate; expected https://, or \
                        --insecure-internal";
        assert!(error.contains(expected), "{error}");
        assert_eq!(parse(url, true), Ok(()), "{url}");
    }
    for url in ["https://127.0.0.1:50051", "unix:/db.sock"] {
        assert_eq!(parse(url, false), Ok(()), "{url}");
    }
}

#[tokio::test]
async fn unusable_certificate_files_are_refused() {
    let (pki, other) = (Pki::make(), Pki::make());
    let expect = |files: TlsFiles, text: &str| {
        let error = Tls::load(files).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(text) && !error.contains("PRIVATE"), "{text} is not in: {error}");
    };
    let good = pki.files("db");
    let missing = PathBuf::from("/nowhere/tls.pem");
    expect(
        TlsFiles { cert: missing.clone(), ..good.clone() },
        "MERCH_TLS_CERT_FILE (--tls-cert-file): the file /nowhere/tls.pem cannot be read",
    );
    expect(
        TlsFiles { key: missing.clone(), ..good.clone() },
        "MERCH_TLS_KEY_FILE (--tls-key-file): the file /nowhere/tls.pem cannot be read",
    );
    expect(
        TlsFiles { ca: missing, ..good.clone() },
        "MERCH_TLS_CA_FILE (--tls-ca-file): the file /nowhere/tls.pem cannot be read",
    );
    expect(
        TlsFiles { cert: good.key.clone(), ..good.clone() },
        "holds no certificate; expected PEM",
    );
    expect(TlsFiles { key: good.cert.clone(), ..good.clone() }, "holds no private key");
    expect(TlsFiles { key: other.files("db").key, ..good.clone() }, "cannot be used");
    expect(TlsFiles { ca: other.files("db").ca, ..good.clone() }, "invalid peer certificate");
    // Valid to the end of this second.
    drop(make(other.0.path(), Renew::All, Duration::ZERO));
    until("a certificate without a lifetime expires", || Tls::load(other.files("api")).is_err())
        .await;
    expect(other.files("api"), "certificate expired");
    let wrong = tls(good).check_role(Role::Api).unwrap_err().to_string();
    assert!(wrong.contains("does not name api.merch.internal"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_socket_identifies_the_same_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b,c").join("db.sock");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let server = Server::start(&ListenAddress::Unix(path.clone()), &Transport::default()).await;
    assert!(
        server.url.starts_with("unix:/") && server.url.ends_with("/a%20b%2Cc/db.sock"),
        "{}",
        server.url
    );
    let replicas = connect("db", &server.url, &Transport::default());
    assert_eq!(
        code(call(&replicas, "/test.Who/Gateway").await).unwrap(),
        "a process of the same user"
    );
    drop(server);
    until("the socket goes with its server", || !path.exists()).await;
    until("the replica is gone", || replicas.serving() == 0).await;
}

#[tokio::test]
async fn plaintext_listener_must_be_loopback() {
    let anywhere = ListenAddress::Tcp(([0, 0, 0, 0], 0).into());
    let error = Listener::bind("the db service (--db-listen)", &anywhere, &Transport::default())
        .await
        .unwrap_err()
        .to_string();
    let expected = "the db service (--db-listen) would use plaintext without authentication on \
    0.0.0.0:0; expected";
    assert!(error.starts_with(expected), "{error}");
    Listener::bind("the test", &anywhere, &Transport::new(None, true)).await.unwrap();
    let pki = Pki::make();
    let listener = Listener::bind("the test", &anywhere, &tls(pki.files("db"))).await.unwrap();
    assert!(listener.url(|address| address.to_string()).starts_with("https://"));
}
