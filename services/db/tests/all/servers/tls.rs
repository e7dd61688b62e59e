use merch_db::{Database, Pool};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::{
    journey,
    program::{Directory, Postgres},
};
use crate::harness::*;

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn required_tls_is_used_and_verified() {
    let (ours, other) = (authority("ours"), authority("another"));
    let key = KeyPair::generate().unwrap();
    // The certificate names only the host name, not the IP address.
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
    let files = [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, pem)| (*name, pem.as_str())).collect();
    let settings = ["ssl=on", "ssl_cert_file=../server.crt", "ssl_key_file=../server.key"];
    let server =
        Postgres::start("17", &settings, "hostssl all all 127.0.0.1/32 scram-sha-256", &files)
            .await;

    let dir = Directory::new();
    let (ours, other) =
        (dir.write("ours.pem", &ours.pem()), dir.write("another.pem", &other.pem()));
    let url = |host: &str, parameters: &str| {
        format!("postgres://merch:password@{host}:{}/postgres?{parameters}", server.port)
    };
    let verified = url("localhost", &format!("sslmode=verify-full&sslrootcert={}", ours.display()));
    merch_db::migrate(&verified).await.unwrap();
    let test_database = journey(TestDatabase::external(verified), |_| {}).await;
    let database = Database::open(&test_database.url, &Pool::default()).await.unwrap();
    let found = rows(
        database.reader(),
        "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    )
    .await;
    assert!(found[0].try_get_by::<bool, _>(0).unwrap());
    database.close().await;

    let refused = async |host: &str, parameters: String| {
        let error = Database::open(&url(host, &parameters), &Pool::default())
            .await
            .unwrap_err()
            .to_string();
        assert!(!error.contains("password@"), "{error}");
        error
    };
    let error =
        refused("localhost", format!("sslmode=verify-full&sslrootcert={}", other.display())).await;
    assert!(
        error.contains("is not trusted: ")
            && error.contains("UnknownIssuer")
            && error.contains("sslrootcert"),
        "{error}"
    );
    let error =
        refused("127.0.0.1", format!("sslmode=verify-full&sslrootcert={}", ours.display())).await;
    assert!(
        error.contains("is not trusted: ")
            && error.contains("not valid for name")
            && error.contains("host name"),
        "{error}"
    );
    let error = refused("localhost", "sslmode=disable".to_owned()).await;
    assert!(
        error.contains("refuses the user \"merch\" (no pg_hba.conf entry")
            && error.contains("sslmode"),
        "{error}"
    );
    let error =
        refused("localhost", "sslmode=verify-full&sslrootcert=/nowhere/ca.pem".to_owned()).await;
    assert!(
        error.starts_with("cannot read a file that the database URL names")
            && error.contains("sslrootcert"),
        "{error}"
    );
}

#[tokio::test]
async fn sslmode_verify_full_refuses_a_server_without_tls() {
    let test_database = TestDatabase::empty_postgres().await;
    let error =
        Database::open(&format!("{}?sslmode=verify-full", test_database.url), &Pool::default())
            .await
            .unwrap_err()
            .to_string();
    assert!(
        error.contains("which sslmode in the URL requires: server does not support TLS"),
        "{error}"
    );
}
