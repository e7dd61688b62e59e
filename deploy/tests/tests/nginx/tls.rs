//! TLS with the certificate of `tools/operate/certificate`.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Output,
    time::Duration,
};

use anyhow::ensure;
use merch_deploy_tests::{command::Command, directories::root, wait::wait_until};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    client::send,
    mock_api::{MockReplicas, Reply},
    proxy::Proxy,
};

/// A directory that NGINX's user can read.
fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

async fn certificate(dir: &Path) -> Output {
    let script = root().join("tools/operate/certificate");
    Command::new(script)
        .args(["shop.example", "127.0.0.1"])
        .env("MERCH_TLS_DIR", dir.as_os_str())
        .limit(Duration::from_secs(60))
        .output()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn certificate_enables_tls_and_http_2() {
    let dir = dir();
    let made = certificate(dir.path()).await;
    assert!(made.status.success(), "{made:?}");
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start_with_tls(&replicas, &[], dir.path()).await;
    let url = format!("https://shop.example:{}", proxy.tls_port);
    let resolve = format!("shop.example:{}:127.0.0.1", proxy.tls_port);
    let trusting = ["--cacert", "/etc/nginx/tls/tls.crt", "--resolve", &resolve, "--include"];
    let ask = async |arguments: &[&str]| {
        let output = proxy.curl(&[&trusting, arguments].concat()).await;
        (String::from_utf8_lossy(&output.stdout).to_lowercase(), output.status.code().unwrap())
    };
    for (version, line) in [("--http2", "http/2 200"), ("--http1.1", "http/1.1 200 ok")] {
        let (response, _) = ask(&[version, &format!("{url}/products?x=1")]).await;
        assert!(
            response.starts_with(line)
                && response.contains("strict-transport-security: max-age=31536000"),
            "{version}: {response}"
        );
        let request = replicas.take_one();
        assert_eq!(
            (request.target.as_str(), request.header("x-forwarded-proto")),
            ("/products?x=1", "https")
        );
        assert_eq!(request.header("x-forwarded-host"), format!("shop.example:{}", proxy.tls_port));
    }
    let (response, _) = ask(&[
        "--http2",
        "--json",
        "{}",
        "--header",
        "Idempotency-Key: k",
        &format!("{url}/orders"),
    ])
    .await;
    assert!(response.starts_with("http/2 200"), "{response}");
    assert_eq!((replicas.take_one().body, replicas.take().len()), (b"{}".to_vec(), 0));
    // Also NGINX's own responses.
    let (response, _) = ask(&[
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
        assert!(response.contains(part), "{part} in {response}");
    }
    // curl's exit codes: 35 handshake failed, 60 unknown certificate.
    assert_eq!(ask(&["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", &url]).await.1, 35);
    assert!(ask(&["--tlsv1.2", "--tls-max", "1.2", &url]).await.0.contains("200"));
    assert!(ask(&["--tlsv1.3", &url]).await.0.contains("200"));
    assert_eq!(proxy.curl(&["--resolve", &resolve, &url]).await.status.code(), Some(60));
    // A reload takes a renewed certificate, as in docs/operations.md.
    for file in ["tls.crt", "tls.key"] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    assert!(certificate(dir.path()).await.status.success());
    assert_eq!(ask(&[&url]).await.1, 60, "the old one is still served");
    proxy.reload().await;
    let renewed = async || {
        let (response, code) = ask(&[&url]).await;
        ensure!(response.contains(" 200"), "curl ends with {code}: {response}");
        Ok(())
    };
    wait_until("the renewed certificate to be served", Duration::from_secs(10), renewed)
        .await
        .unwrap();
    // Plain HTTP still works, without HSTS, and accepts HTTP/2.
    assert_eq!(
        send(proxy.port, "GET", "/", "", "").await.header("strict-transport-security"),
        None
    );
    let plain = proxy
        .curl(&[
            "--http2-prior-knowledge",
            "--include",
            &format!("http://127.0.0.1:{}/", proxy.port),
        ])
        .await;
    assert!(String::from_utf8_lossy(&plain.stdout).starts_with("HTTP/2 200"), "{plain:?}");
    let confused = send(proxy.tls_port, "GET", "/", "", "").await;
    crate::problems::assert_problem(&confused, 400, "invalid_request", "/");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn tls_is_off_without_a_certificate() {
    let replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let dir = dir();
    let proxy = Proxy::start_with_tls(&replicas, &[], dir.path()).await;
    assert!(TcpStream::connect(("127.0.0.1", proxy.tls_port)).await.is_err());
    assert_eq!(proxy.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn certificate_is_created_once_with_private_key() {
    let dir = dir();
    assert!(certificate(dir.path()).await.status.success());
    let key = dir.path().join("tls.key");
    let metadata = key.metadata().unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.gid()), (0o640, 101));
    let before = std::fs::read(&key).unwrap();
    let again = certificate(dir.path()).await;
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("already exists"), "{said}");
    assert_eq!(std::fs::read(&key).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn invalid_settings_fail_the_start() {
    let dir = dir();
    let missing = Path::new("/nowhere");
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
        let refusal = Proxy::start_error(settings, missing).await;
        assert!(refusal.contains(said), "{settings:?}: {refusal}");
    }
    std::fs::write(dir.path().join("tls.crt"), "x").unwrap();
    assert!(
        Proxy::start_error(&[], dir.path())
            .await
            .contains("tls.key is missing; expected a certificate")
    );
    std::fs::write(dir.path().join("tls.key"), "x").unwrap();
    std::fs::set_permissions(dir.path().join("tls.key"), Permissions::from_mode(0o600)).unwrap();
    assert!(
        Proxy::start_error(&[], dir.path()).await.contains("tls.key cannot be read by user 101")
    );
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(
        Proxy::start_error(&[], dir.path())
            .await
            .contains("cannot be read by user 101; give it the mode 755")
    );
}
