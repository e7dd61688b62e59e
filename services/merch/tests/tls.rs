//! Mutual TLS between the roles.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

mod support;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use tempfile::{TempDir, tempdir};

use support::{Running, http, merch, metric, run, run_json, startup_error, wait_until};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn certified<'a>(command: &'a mut Command, pki: &Path, role: &str) -> &'a mut Command {
    for (variable, file) in [("CERT", "tls.crt"), ("KEY", "tls.key"), ("CA", "ca.crt")] {
        command.env(format!("MERCH_TLS_{variable}_FILE"), pki.join(role).join(file));
    }
    command
}

/// A whole store provides the broker.
struct Roles {
    dir: TempDir,
    lender: Running,
    logging: Running,
    db: Option<Running>,
    api: Running,
}

impl Roles {
    fn start() -> Self {
        let dir = tempdir().unwrap();
        let pki = dir.path().join("pki");
        let made = run(&["pki", "init", "--pki-dir", text(&pki)]);
        assert!(made.status.success(), "{made:?}");
        let lender = Running::store(&dir.path().join("lender"));
        let kafka = run_json(&dir.path().join("lender"))["kafka"].as_str().unwrap().to_owned();
        assert!(run(&["migrate", "--data-dir", text(&dir.path().join("data"))]).status.success());
        // On all addresses, where plaintext would be refused.
        let mut logging = merch(&[
            "logging",
            "--logging-listen",
            "0.0.0.0:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--kafka-brokers",
            &kafka,
        ]);
        let logging = Running::start(certified(&mut logging, &pki, "logging"));
        let db = start_db(dir.path(), "0.0.0.0:0", logging.address("logging"));
        let mut api = merch(&["api", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        api.env("MERCH_DATA_DIR", dir.path().join("api"))
            .env("MERCH_JWT_KEY", TOKEN)
            .env("MERCH_DB_ENDPOINT", db.address("db"))
            .env("MERCH_LOGGING_ENDPOINT", logging.address("logging"));
        let api = Running::start(certified(&mut api, &pki, "api"));
        Self { dir, lender, logging, db: Some(db), api }
    }

    fn pki(&self) -> std::path::PathBuf {
        self.dir.path().join("pki")
    }

    fn db(&self) -> &str {
        self.db.as_ref().unwrap().address("db")
    }

    fn admin(&self, role: &str) -> Command {
        let mut command = merch(&["admin", "list-users", "--db-endpoint", self.db()]);
        command.env("MERCH_ADMIN_TOKEN", TOKEN);
        certified(&mut command, &self.pki(), role);
        command
    }

    fn serves(&self) -> bool {
        http(self.api.address("api"), "GET", "/products", None, None).0 == 200
    }
}

fn start_db(dir: &Path, listen: &str, logging: &str) -> Running {
    let mut db = merch(&["db", "--db-listen", listen, "--admin-listen", "127.0.0.1:0"]);
    db.env("MERCH_DATA_DIR", dir.join("data"))
        .env("MERCH_LOGGING_ENDPOINT", logging)
        .env("MERCH_ADMIN_TOKEN", TOKEN);
    Running::start(certified(&mut db, &dir.join("pki"), "db"))
}

/// Returns the remaining lifetime of a role's certificate in seconds.
fn left(role: &Running) -> Option<f64> {
    metric(role.address("admin"), "merch_tls_certificate_expiry_seconds")
}

#[test]
fn roles_authenticate_and_renewal_fails_no_request() {
    let mut roles = Roles::start();
    assert!(roles.db().starts_with("https://127.0.0.1:"), "{}", roles.db());
    assert!(roles.serves());
    let day = 86_400.0;
    let seconds = left(roles.db.as_ref().unwrap()).unwrap();
    assert!((89.0 * day..=90.0 * day).contains(&seconds), "{seconds}");

    // Accepted together with the token.
    for role in ["operator", "db"] {
        let listed = roles.admin(role).output().unwrap();
        assert!(listed.status.success(), "{role}: {listed:?}");
    }
    let wrong = roles
        .admin("operator")
        .env("MERCH_ADMIN_TOKEN", "hush-hush-hush-hush-hush-hush-hush-hush")
        .output()
        .unwrap();
    assert!(startup_error(&wrong).contains("refused the credential"), "{wrong:?}");
    for role in ["api", "logging"] {
        let refused = startup_error(&roles.admin(role).output().unwrap());
        assert!(
            refused.contains(&format!("the role {role}"))
                && refused.contains("may not call this method"),
            "{refused}"
        );
    }

    // New connections use renewed certificates.
    let pki = roles.pki();
    let before = fs::read(pki.join("db/tls.crt")).unwrap();
    let renewed = run(&["pki", "renew", "--pki-dir", text(&pki), "--pki-lifetime", "30d"]);
    assert!(renewed.status.success(), "{renewed:?}");
    assert_ne!(fs::read(pki.join("db/tls.crt")).unwrap(), before);
    for role in [roles.db.as_ref().unwrap(), &roles.api, &roles.logging] {
        wait_until("the new certificate is in use", || {
            assert!(roles.serves());
            left(role).is_some_and(|seconds| seconds < 31.0 * day)
        });
    }
    let address = roles.db().trim_start_matches("https://").to_owned();
    assert_eq!(roles.db.take().unwrap().stop().code(), Some(0));
    roles.db = Some(start_db(roles.dir.path(), &address, roles.logging.address("logging")));
    wait_until("the restarted db serves", || roles.serves());

    let Roles { lender, logging, db, api, dir: _dir } = roles;
    for role in [api, db.unwrap(), logging, lender] {
        assert_eq!(role.stop().code(), Some(0));
    }
}

#[test]
fn plaintext_on_a_network_is_refused() {
    let dir = tempdir().unwrap();
    let data_dir = text(dir.path());
    let pki = dir.path().join("pki");
    assert!(run(&["pki", "init", "--pki-dir", text(&pki)]).status.success());
    assert!(run(&["migrate", "--data-dir", data_dir]).status.success());
    let db = ["db", "--data-dir", data_dir, "--admin-listen", "127.0.0.1:0"];
    let refused = |more: &[&str]| startup_error(&run(&[&db[..], more].concat()));
    let message = refused(&["--db-listen", "0.0.0.0:0"]);
    assert!(
        message.starts_with(
            "the db service (--db-listen) would use plaintext without authentication on 0.0.0.0:0; \
             expected"
        ),
        "{message}"
    );
    let message =
        refused(&["--db-listen", "127.0.0.1:0", "--logging-endpoint", "http://logging:50052"]);
    assert!(
        message.contains("the connection to the logging service would use plaintext"),
        "{message}"
    );
    let message =
        refused(&["--db-listen", "127.0.0.1:0", "--logging-endpoint", "https://logging:50052"]);
    assert!(message.contains("this process has no certificate"), "{message}");
    let message = refused(&["--tls-cert-file", text(&pki.join("db/tls.crt"))]);
    assert!(message.contains("expected all of them or none"), "{message}");
    let other = certified(&mut merch(&db), &pki, "api").output().unwrap();
    assert!(startup_error(&other).contains("does not name db.merch.internal"), "{other:?}");
    let warns = |output: &std::process::Output| {
        String::from_utf8_lossy(&output.stderr)
            .contains("may read or change the private key of the internal network")
    };
    assert!(!warns(&other), "{other:?}");
    fs::set_permissions(pki.join("api/tls.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let open = certified(&mut merch(&db), &pki, "api").output().unwrap();
    assert!(warns(&open), "{open:?}");
    let local = ["--db-listen", "127.0.0.1:0", "--logging-endpoint", "http://127.0.0.1:50052"];
    let mut with_certificate = merch(&[&db[..], &local].concat());
    let plain = startup_error(&certified(&mut with_certificate, &pki, "db").output().unwrap());
    assert!(
        plain.contains("although this process has a certificate; expected https://"),
        "{plain}"
    );
    let whole =
        run(&["--data-dir", data_dir, "--listen", "127.0.0.1:0", "--db-listen", "0.0.0.0:0"]);
    assert!(startup_error(&whole).contains("plaintext without authentication"), "{whole:?}");

    let db = Running::start(&mut merch(
        &[&db[..], &["--db-listen", "0.0.0.0:0", "--insecure-internal"]].concat(),
    ));
    assert_eq!(db.stop().code(), Some(0));
}
