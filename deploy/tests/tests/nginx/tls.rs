//! TLS, with the certificate that `tools/operate/certificate` makes.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Output,
    time::Duration,
};

use anyhow::ensure;
use merch_deploy_tests::{command::Command, stack::root, wait::until};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    client::send,
    edge::Edge,
    replicas::{Replicas, Reply},
};

/// One that NGINX's user may read, as a checkout is.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

async fn certificate(folder: &Path) -> Output {
    let script = root().join("tools/operate/certificate");
    Command::new(script)
        .args(["shop.example", "127.0.0.1"])
        .env("MERCH_TLS_DIR", folder.as_os_str())
        .limit(Duration::from_secs(60))
        .output()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_certificate_in_its_folder_is_all_that_tls_and_http_2_need() {
    let folder = folder();
    let made = certificate(folder.path()).await;
    assert!(made.status.success(), "{made:?}");
    let replicas = Replicas::start(1, |_| Reply::ok()).await;
    let edge = Edge::start_with_tls(&replicas, &[], folder.path()).await;
    let url = format!("https://shop.example:{}", edge.tls_port);
    let resolve = format!("shop.example:{}:127.0.0.1", edge.tls_port);
    let trusting = ["--cacert", "/etc/nginx/tls/tls.crt", "--resolve", &resolve, "--include"];
    let ask = async |arguments: &[&str]| {
        let output = edge.curl(&[&trusting, arguments].concat()).await;
        (String::from_utf8_lossy(&output.stdout).to_lowercase(), output.status.code().unwrap())
    };
    for (version, line) in [("--http2", "http/2 200"), ("--http1.1", "http/1.1 200 ok")] {
        let (answer, _) = ask(&[version, &format!("{url}/products?x=1")]).await;
        assert!(
            answer.starts_with(line)
                && answer.contains("strict-transport-security: max-age=31536000"),
            "{version}: {answer}"
        );
        let request = replicas.take_one();
        assert_eq!(
            (request.target.as_str(), request.header("x-forwarded-proto")),
            ("/products?x=1", "https")
        );
        assert_eq!(request.header("x-forwarded-host"), format!("shop.example:{}", edge.tls_port));
    }
    let (answer, _) = ask(&[
        "--http2",
        "--json",
        "{}",
        "--header",
        "Idempotency-Key: k",
        &format!("{url}/orders"),
    ])
    .await;
    assert!(answer.starts_with("http/2 200"), "{answer}");
    assert_eq!((replicas.take_one().body, replicas.take().len()), (b"{}".to_vec(), 0));
    // NGINX's own answers go over it, too.
    let (answer, _) = ask(&[
        "--http2",
        "--header",
        "X-Request-Id: over-tls",
        "--request",
        "TRACE",
        &format!("{url}/orders"),
    ])
    .await;
    for part in [
        "http/2 405",
        "application/problem+json",
        "strict-transport-security: ",
        "\"request_id\":\"over-tls\"",
        "\"instance\":\"/orders\"",
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    // 35: the handshake failed. 60: the certificate is not known.
    assert_eq!(ask(&["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", &url]).await.1, 35);
    assert!(ask(&["--tlsv1.2", "--tls-max", "1.2", &url]).await.0.contains("200"));
    assert!(ask(&["--tlsv1.3", &url]).await.0.contains("200"));
    assert_eq!(edge.curl(&["--resolve", &resolve, &url]).await.status.code(), Some(60));
    // A renewed certificate is taken without a restart, by the command of docs/operations.md.
    for file in ["tls.crt", "tls.key"] {
        std::fs::remove_file(folder.path().join(file)).unwrap();
    }
    assert!(certificate(folder.path()).await.status.success());
    assert_eq!(ask(&[&url]).await.1, 60, "the old one is still served");
    edge.reload().await;
    let renewed = async || {
        let (answer, code) = ask(&[&url]).await;
        ensure!(answer.contains(" 200"), "curl ends with {code}: {answer}");
        Ok(())
    };
    until("the renewed certificate to be served", Duration::from_secs(10), renewed).await.unwrap();
    // Without TLS it goes on, says nothing of it, and takes HTTP/2 as well.
    assert_eq!(send(edge.port, "GET", "/", "", "").await.header("strict-transport-security"), None);
    let plain = edge
        .curl(&[
            "--http2-prior-knowledge",
            "--include",
            &format!("http://127.0.0.1:{}/", edge.port),
        ])
        .await;
    assert!(String::from_utf8_lossy(&plain.stdout).starts_with("HTTP/2 200"), "{plain:?}");
    let confused = send(edge.tls_port, "GET", "/", "", "").await;
    crate::problems::assert_problem(&confused, 400, "invalid_request", "/");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn without_a_certificate_there_is_no_tls() {
    let replicas = Replicas::start(1, |_| Reply::ok()).await;
    let folder = folder();
    let edge = Edge::start_with_tls(&replicas, &[], folder.path()).await;
    assert!(TcpStream::connect(("127.0.0.1", edge.tls_port)).await.is_err());
    assert_eq!(edge.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_certificate_is_made_once_and_its_key_is_not_for_everybody() {
    let folder = folder();
    assert!(certificate(folder.path()).await.status.success());
    let key = folder.path().join("tls.key");
    let metadata = key.metadata().unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.gid()), (0o640, 101));
    let before = std::fs::read(&key).unwrap();
    let again = certificate(folder.path()).await;
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("is there already"), "{said}");
    assert_eq!(std::fs::read(&key).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn what_cannot_be_is_told_at_the_start() {
    let folder = folder();
    let nowhere = Path::new("/nowhere");
    for (settings, said) in [
        (
            &[("MERCH_LOG_IN_ADDRESS_RATE", "0")][..],
            "MERCH_LOG_IN_ADDRESS_RATE: expected a whole number from 1 to 1000000, got 0",
        ),
        (
            &[("MERCH_LOG_IN_ADDRESS_RATE", "10r/s")],
            "MERCH_LOG_IN_ADDRESS_RATE: expected a whole number",
        ),
        (
            &[("MERCH_CONNECTIONS_PER_ADDRESS", "0")],
            "MERCH_CONNECTIONS_PER_ADDRESS: expected a whole number from 1 to 65535, got 0",
        ),
        (
            &[("MERCH_CORS_ORIGINS", "https://shop.example/")],
            "MERCH_CORS_ORIGINS: expected origins such as https://shop.example",
        ),
        (
            &[("MERCH_CORS_ORIGINS", "*,https://shop.example")],
            "MERCH_CORS_ORIGINS: expected origins such as https://shop.example",
        ),
        (
            &[("MERCH_EDGE_WORKERS", "auto")],
            "MERCH_EDGE_WORKERS: expected a whole number from 1 to 64",
        ),
        (&[("MERCH_EDGE_UPSTREAM", "api:1;}")], "MERCH_EDGE_UPSTREAM: expected a name and a port"),
        (
            &[("MERCH_EDGE_TRUSTED_PROXIES", "10.0.0.0/8;")],
            "MERCH_EDGE_TRUSTED_PROXIES: expected addresses and networks",
        ),
        (&[("MERCH_EDGE_TRUSTED_PROXIES", "10.0.0.0/99")], "set_real_ip_from \"10.0.0.0/99\""),
    ] {
        let refusal = Edge::refusal(settings, nowhere).await;
        assert!(refusal.contains(said), "{settings:?}: {refusal}");
    }
    std::fs::write(folder.path().join("tls.crt"), "x").unwrap();
    assert!(
        Edge::refusal(&[], folder.path())
            .await
            .contains("tls.key is missing; expected a certificate")
    );
    std::fs::write(folder.path().join("tls.key"), "x").unwrap();
    std::fs::set_permissions(folder.path().join("tls.key"), Permissions::from_mode(0o600)).unwrap();
    assert!(Edge::refusal(&[], folder.path()).await.contains("tls.key cannot be read by user 101"));
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(
        Edge::refusal(&[], folder.path())
            .await
            .contains("cannot be read by user 101; give it the mode 755")
    );
}
