//! The pair of PostgreSQL servers keeps its own promises, which the runner relies on. About 15 s.
#![cfg(target_os = "linux")] // /proc
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::{
    collections::BTreeSet,
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chaos::postgres::{Options, Postgres};
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, DbErr,
    FromQueryResult as _, JsonValue, Statement,
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

const TIMEOUT: Duration = Duration::from_secs(60);

async fn start() -> (TempDir, Postgres) {
    // The user of PostgreSQL has to reach it.
    let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir();
    let dir = dir.unwrap();
    let pair = Postgres::start(&dir.path().join("postgres"), Options::default()).await.unwrap();
    let primary = connect(&pair.url()).await;
    primary.execute_unprepared("CREATE TABLE rows (id BIGINT PRIMARY KEY)").await.unwrap();
    (dir, pair)
}

async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    // Otherwise the pool tries to reach a killed server for 30 s.
    options.acquire_timeout(Duration::from_secs(5));
    Database::connect(options).await.unwrap()
}

async fn insert(connection: &DatabaseConnection, id: usize) -> Result<(), DbErr> {
    connection.execute_unprepared(&format!("INSERT INTO rows VALUES ({id})")).await.map(drop)
}

async fn rows(url: &str) -> BTreeSet<usize> {
    let connection = connect(url).await;
    let query = Statement::from_string(DbBackend::Postgres, "SELECT id FROM rows");
    let rows = JsonValue::find_by_statement(query).all(&connection).await.unwrap();
    rows.iter().map(|row| usize::try_from(row["id"].as_u64().unwrap()).unwrap()).collect()
}

/// The standby applies WAL after it has confirmed it.
async fn wait_for_rows(url: &str, expected: &BTreeSet<usize>) {
    let applied = async {
        while rows(url).await != *expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, applied).await.unwrap();
}

/// Inserts rows until the first error.
struct Writer {
    acknowledged: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Writer {
    async fn start(url: &str, from: usize) -> Self {
        let acknowledged = Arc::new(AtomicUsize::new(from));
        let (connection, counter) = (connect(url).await, acknowledged.clone());
        let task = tokio::spawn(async move {
            while insert(&connection, counter.load(Ordering::SeqCst)).await.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        let writer = Self { acknowledged, task };
        timeout(TIMEOUT, writer.wrote(from + 50)).await.unwrap();
        writer
    }

    async fn wrote(&self, id: usize) {
        while self.acknowledged.load(Ordering::SeqCst) < id {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns the first id that was not acknowledged.
    async fn end(self) -> usize {
        timeout(TIMEOUT, self.task).await.unwrap().unwrap();
        self.acknowledged.load(Ordering::SeqCst)
    }
}

fn assert_has(rows: &BTreeSet<usize>, acknowledged: std::ops::Range<usize>) {
    let lost: Vec<_> = acknowledged.clone().filter(|id| !rows.contains(id)).collect();
    assert!(lost.is_empty(), "of {acknowledged:?}, these are lost: {lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promotion_there_and_back_keeps_acknowledged_rows() {
    let (_dir, mut pair) = start().await;
    let first = pair.address();
    let writer = Writer::start(&pair.url(), 0).await;
    let second = pair.promote().await.unwrap();
    assert_eq!(second, pair.address());
    assert_ne!(first, second);
    let end = writer.end().await;
    assert_has(&rows(&pair.url()).await, 0..end);

    let refused = pair.promote().await.unwrap_err().to_string();
    assert!(refused.contains("can lack acknowledged commits"), "{refused}");
    let refused = pair.start_standby().await.unwrap_err().to_string();
    assert!(refused.contains("call rebuild_standby"), "{refused}");

    // The copy is made while rows are written.
    let writer = Writer::start(&pair.url(), 1_000_000).await;
    pair.rebuild_standby().await.unwrap();
    writer.wrote(writer.acknowledged.load(Ordering::SeqCst) + 20).await;
    pair.freeze().unwrap();
    assert_eq!(pair.promote().await.unwrap(), first);
    let later = writer.end().await;
    let kept = rows(&pair.url()).await;
    assert_has(&kept, 0..end);
    assert_has(&kept, 1_000_000..later);
    pair.rebuild_standby().await.unwrap();
    let [primary, standby] = pair.snapshot_urls();
    wait_for_rows(&standby, &rows(&primary).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_start_again_with_their_rows() {
    let (_dir, mut pair) = start().await;
    let writer = Writer::start(&pair.url(), 0).await;
    pair.kill().unwrap();
    let end = writer.end().await;
    pair.start_again().await.unwrap();
    pair.reattach().await.unwrap();
    assert_has(&rows(&pair.url()).await, 0..end);

    for frozen in [true, false] {
        let from = if frozen { 1_000_000 } else { 2_000_000 };
        let writer = Writer::start(&pair.url(), from).await;
        if frozen {
            pair.freeze_standby().unwrap()
        } else {
            pair.stop_standby().unwrap()
        }
        let connection = connect(&pair.url()).await;
        let commit = tokio::spawn(async move { insert(&connection, from + 500_000).await });
        // Commits wait: the standby is away for longer than its connection lasts.
        let query = "SELECT count(*) FROM pg_stat_replication";
        let monitor = connect(&pair.url()).await;
        timeout(TIMEOUT, async {
            let count = async || {
                let query = Statement::from_string(DbBackend::Postgres, query);
                let row = monitor.query_one_raw(query).await.unwrap().unwrap();
                row.try_get_by_index::<i64>(0).unwrap()
            };
            while count().await != 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        assert!(!commit.is_finished());
        pair.degrade().await.unwrap();
        assert!(!pair.is_synchronous());
        timeout(TIMEOUT, commit).await.unwrap().unwrap().unwrap();
        if frozen {
            pair.thaw_standby()
        } else {
            pair.start_standby().await.unwrap()
        }
        pair.reattach().await.unwrap();
        assert!(pair.is_synchronous());
        pair.kill().unwrap();
        let end = writer.end().await;
        pair.promote().await.unwrap();
        let kept = rows(&pair.url()).await;
        assert_has(&kept, from..end);
        assert!(kept.contains(&(from + 500_000)));
        pair.rebuild_standby().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_returns_to_the_backup() {
    let (dir, mut pair) = start().await;
    let writer = Writer::start(&pair.url(), 0).await;
    let before = writer.acknowledged.load(Ordering::SeqCst);
    let backup = dir.path().join("backup");
    pair.backup(&backup).await.unwrap();
    let after = writer.acknowledged.load(Ordering::SeqCst) + 1;
    writer.wrote(after + 50).await;
    for _ in 0..2 {
        pair.restore(&backup).await.unwrap();
        let restored = rows(&pair.url()).await;
        assert_has(&restored, 0..before);
        assert!(restored.range(after..).next().is_none(), "later rows are in {restored:?}");
        pair.rebuild_standby().await.unwrap();
        wait_for_rows(&pair.snapshot_urls()[1], &restored).await;
        insert(&connect(&pair.url()).await, 1_000_000).await.unwrap();
    }
}
