//! Concurrent `merch migrate` processes, and schemas of other versions.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

mod support;

use std::process::Output;

use sea_orm::{ConnectionTrait as _, Database};

use support::{finish, merch, sqlite_url, startup_error};

fn lines(output: &Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn migrate(url: &str, arguments: &[&str]) -> Output {
    finish(
        merch(&[&["migrate"], arguments].concat()).env("MERCH_DATABASE_URL", url).spawn().unwrap(),
    )
}

fn ten_at_once(url: &str) {
    let ten: Vec<_> = (0..10)
        .map(|_| merch(&["migrate"]).env("MERCH_DATABASE_URL", url).spawn().unwrap())
        .collect();
    let said: Vec<_> = ten.into_iter().map(|one| lines(&finish(one))).collect();
    let (idle, busy): (Vec<_>, Vec<_>) =
        said.iter().partition(|lines| *lines == &["the schema is up to date"]);
    assert_eq!((idle.len(), busy.len()), (9, 1), "{said:?}");
    assert!(
        busy[0].len() >= 3 && busy[0].iter().all(|line| line.starts_with("applied m2")),
        "{said:?}"
    );
    assert_eq!(lines(&migrate(url, &["--status"])), ["the schema is up to date"]);
}

fn sql(url: &str, statements: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = Database::connect(url).await.unwrap();
        for statement in statements {
            connection.execute_unprepared(statement).await.unwrap();
        }
        connection.close().await.unwrap();
    });
}

#[test]
fn concurrent_migrations_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    ten_at_once(&sqlite_url(&dir.path().join("store.db")));
}

#[test]
fn concurrent_migrations_on_postgres() {
    let server = std::env::var("MERCH_TEST_POSTGRES_URL").expect(
        "MERCH_TEST_POSTGRES_URL is not set: `make test` and `tools/with-postgres COMMAND` bring a \
         PostgreSQL",
    );
    let (base, _) = server.rsplit_once('/').unwrap();
    let name = format!("merch_migrate_test_{}", std::process::id());
    sql(&server, &[&format!("CREATE DATABASE {name}")]);
    ten_at_once(&format!("{base}/{name}"));
    sql(&server, &[&format!("DROP DATABASE {name} WITH (FORCE)")]);
}

#[test]
fn newer_schema_is_accepted_unless_incompatible() {
    let dir = tempfile::tempdir().unwrap();
    let url = sqlite_url(&dir.path().join("store.db"));
    let output =
        finish(merch(&["migrate", "--status"]).env("MERCH_DATABASE_URL", &url).spawn().unwrap());
    assert!(startup_error(&output).contains("run `merch migrate` to create it"));
    lines(&migrate(&url, &[]));

    sql(
        &url,
        &["INSERT INTO seaql_migrations (version, applied_at) VALUES \
           ('m20990101_000001_of_the_next_release', 0)"],
    );
    let newer = [
        "newer m20990101_000001_of_the_next_release",
        "the schema is newer than this `merch`, but compatible",
    ];
    assert_eq!(lines(&migrate(&url, &["--status"])), newer);
    assert_eq!(lines(&migrate(&url, &[])), newer);

    sql(
        &url,
        &["UPDATE schema_requirements SET oldest_migration = \
           'm20990101_000001_of_the_next_release'"],
    );
    let status = migrate(&url, &["--status"]);
    assert_eq!(status.status.code(), Some(1));
    let said = String::from_utf8(status.stdout).unwrap();
    assert_eq!(
        said.trim_end(),
        "the schema requires a `merch` with the migration m20990101_000001_of_the_next_release; \
         start a newer one"
    );
    assert!(startup_error(&migrate(&url, &[])).contains("start a newer `merch`"));
}

#[test]
fn migrate_behind_a_pooler_needs_a_direct_url() {
    let pooled = merch(&["migrate"])
        .env("MERCH_DATABASE_URL", "postgres://u@127.0.0.1:1/d")
        .env("MERCH_DATABASE_POOLER", "transaction")
        .spawn();
    assert!(
        startup_error(&finish(pooled.unwrap()))
            .contains("expected --database-direct-url (MERCH_DATABASE_DIRECT_URL)")
    );
}
