//! The roles as separate processes.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

mod support;

use tempfile::tempdir;

use support::{Running, http, merch, run, run_json, startup_error};

#[test]
fn separate_roles_work_beside_a_store() {
    let (dir, second) = (tempdir().unwrap(), tempdir().unwrap());
    let (data_dir, second_dir) = (dir.path().to_str().unwrap(), second.path().to_str().unwrap());
    // Provides the logging service, the broker and the signing key.
    let store = Running::store(dir.path());
    let addresses = run_json(dir.path());
    assert!(run(&["migrate", "--data-dir", second_dir]).status.success());
    let db = Running::start(
        merch(&[
            "db",
            "--data-dir",
            second_dir,
            "--db-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .env("MERCH_LOGGING_ENDPOINT", addresses["logging"].as_str().unwrap()),
    );
    let api = Running::start(
        merch(&[
            "api",
            "--data-dir",
            second_dir,
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ])
        .env("MERCH_DB_ENDPOINT", format!("http://{}", db.address("db")))
        .env("MERCH_LOGGING_ENDPOINT", addresses["logging"].as_str().unwrap())
        .env("MERCH_JWT_KEY_FILE", dir.path().join("jwt.key")),
    );
    let logging = Running::start(
        merch(&["logging", "--logging-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env("MERCH_KAFKA_BROKERS", addresses["kafka"].as_str().unwrap()),
    );
    assert_eq!(http(api.address("api"), "GET", "/products", None, None).0, 200);
    for role in [&db, &api, &logging] {
        let health = run(&["health", "--admin-listen", role.address("admin")]);
        assert!(health.status.success(), "{health:?}");
    }
    let taken = run(&["--data-dir", second_dir, "--listen", "127.0.0.1:0"]);
    assert!(startup_error(&taken).contains("is in use by another merch"));
    let logs = run(&["logs", "--data-dir", data_dir]);
    assert!(logs.status.success(), "{logs:?}");
    for role in [api, db, logging, store] {
        assert_eq!(role.stop().code(), Some(0));
    }
}
