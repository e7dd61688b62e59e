//! A database per test: a migrated template, copied for each test and dropped at the end.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use merch_db::Location;
use reqwest::Url;
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, DatabaseConnection, QueryResult, SqlxSqliteConnector,
    Statement,
    sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

const POSTGRES_URL: &str = "MERCH_TEST_POSTGRES_URL";

/// Prefix of test databases; a UUIDv7 follows, which contains the creation time.
const PREFIX: &str = "merch_test_";

/// The kind of database of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite,
    /// A database on the server of `MERCH_TEST_POSTGRES_URL`. Without the variable, the test fails.
    Postgres,
}

#[derive(Debug)]
pub(crate) enum OwnDatabase {
    /// A file, deleted with its directory.
    File(PathBuf),
    /// The name of a PostgreSQL database.
    Postgres(String),
}

impl OwnDatabase {
    /// Copies the template; an SQLite file is created in `dir`.
    pub(crate) async fn create(database: Database, dir: &Path) -> Self {
        match database {
            Database::Sqlite => {
                let file = dir.join("store.db");
                tokio::fs::copy(sqlite_template().await, &file)
                    .await
                    .expect("a file can be copied into a directory just made");
                Self::File(file)
            }
            Database::Postgres => {
                let (template, name) = (postgres_template().await, new_name());
                on_postgres(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
                Self::Postgres(name)
            }
        }
    }

    pub(crate) fn location(&self) -> Location {
        match self {
            Self::File(file) => Location::file(file),
            Self::Postgres(name) => on_server(name).into(),
        }
    }

    async fn connect(&self) -> DatabaseConnection {
        match self {
            Self::File(file) => {
                let pool = SqlitePoolOptions::new()
                    .max_connections(1)
                    .connect_with(SqliteConnectOptions::new().filename(file))
                    .await;
                SqlxSqliteConnector::from_sqlx_sqlite_pool(
                    pool.unwrap_or_else(|error| panic!("{}: {error}", file.display())),
                )
            }
            Self::Postgres(name) => connect(&on_server(name)).await,
        }
    }

    pub(crate) async fn execute(&self, sql: &str) {
        execute(self.connect().await, sql).await;
    }

    pub(crate) async fn integer(&self, sql: &str) -> i64 {
        let connection = self.connect().await;
        let row = connection
            .query_one_raw(Statement::from_string(connection.get_database_backend(), sql))
            .await;
        let row = row
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
            .unwrap_or_else(|| panic!("{sql}: no row"));
        let value = row
            .try_get_by_index::<i64>(0)
            .or_else(|_| row.try_get_by_index::<i32>(0).map(i64::from));
        connection.close().await.expect("a connection closes");
        value.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) async fn drop(self) {
        match self {
            Self::File(_) => {}
            Self::Postgres(name) => {
                on_postgres(&format!("DROP DATABASE {name} WITH (FORCE)")).await
            }
        }
    }
}

/// A migrated database without services, for tests of the schema.
#[derive(Debug)]
pub struct BareDatabase {
    own: OwnDatabase,
    _dir: TempDir,
}

impl BareDatabase {
    /// Creates a migrated database.
    ///
    /// # Panics
    /// If the database cannot be created.
    pub async fn create(database: Database) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        Self { own: OwnDatabase::create(database, dir.path()).await, _dir: dir }
    }

    /// Executes statements on a new connection.
    ///
    /// # Panics
    /// If one fails.
    pub async fn execute(&self, sql: &str) {
        self.own.execute(sql).await;
    }

    /// The rows of a query with text columns, none of them NULL.
    ///
    /// # Panics
    /// If the query fails or returns other types.
    pub async fn texts(&self, query: &str, columns: usize) -> Vec<Vec<String>> {
        let connection = self.own.connect().await;
        let rows = connection
            .query_all_raw(Statement::from_string(connection.get_database_backend(), query))
            .await;
        let rows = rows.unwrap_or_else(|error| panic!("{query}: {error}"));
        let text = |row: &QueryResult, index| {
            row.try_get_by_index(index).unwrap_or_else(|error| panic!("{query}: {error}"))
        };
        let texts =
            rows.iter().map(|row| (0..columns).map(|index| text(row, index)).collect()).collect();
        connection.close().await.expect("a connection closes");
        texts
    }

    /// Drops the database.
    pub async fn drop(self) {
        self.own.drop().await;
    }
}

async fn sqlite_template() -> PathBuf {
    static DIRECTORY: OnceCell<TempDir> = OnceCell::const_new();
    let file = |dir: &TempDir| dir.path().join("template.db");
    let dir = DIRECTORY.get_or_init(|| async {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        merch_db::migrate(Location::file(file(&dir)))
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        dir
    });
    file(dir.await)
}

async fn postgres_template() -> &'static str {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            drop_stale().await;
            let name = new_name();
            on_postgres(&format!("CREATE DATABASE {name}")).await;
            merch_db::migrate(on_server(&name)).await.unwrap_or_else(|error| panic!("{error}"));
            name
        })
        .await
}

/// Drops databases that earlier runs left behind.
async fn drop_stale() {
    const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
    let connection = connect(postgres().as_str()).await;
    let query = format!("SELECT datname::text FROM pg_database WHERE datname LIKE '{PREFIX}%'");
    let rows = connection
        .query_all_raw(Statement::from_string(connection.get_database_backend(), query))
        .await
        .expect("the catalogue can be read");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970");
    for row in rows {
        let name: String = row.try_get_by_index(0).expect("a name is text");
        let made = name
            .strip_prefix(PREFIX)
            .and_then(|id| id.parse::<Uuid>().ok())
            .and_then(|id| id.get_timestamp());
        if made.is_some_and(|made| Duration::from_secs(made.to_unix().0) + MAX_AGE < now) {
            // A parallel run may have dropped it.
            connection.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name}")).await.ok();
        }
    }
    connection.close().await.expect("a connection closes");
}

fn new_name() -> String {
    format!("{PREFIX}{}", Uuid::now_v7().simple())
}

fn postgres() -> Url {
    let url = env::var(POSTGRES_URL).unwrap_or_else(|_| {
        panic!(
            "{POSTGRES_URL} is not set: expected postgres://user@host:port/database of PostgreSQL \
             17 with a user that may create databases. `make test` and `tools/with-postgres \
             COMMAND` start one."
        )
    });
    Url::parse(&url).unwrap_or_else(|error| {
        panic!("{POSTGRES_URL} is not a URL ({error}): expected postgres://user@host:port/database")
    })
}

fn on_server(name: &str) -> String {
    let mut url = postgres();
    url.set_path(name);
    url.into()
}

async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options)
        .await
        .unwrap_or_else(|error| panic!("failed to connect to the database: {error}"))
}

async fn on_postgres(sql: &str) {
    execute(connect(postgres().as_str()).await, sql).await;
}

async fn execute(connection: DatabaseConnection, sql: &str) {
    connection.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.expect("a connection closes");
}
