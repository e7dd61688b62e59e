//! Starts what is measured: PostgreSQL, Kafka, the three roles, and the embedded store.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use chaos::{
    postgres::{Options as PostgresOptions, Postgres},
    role::Role,
};
use merch_test_kafka::{Kafka, Reaper, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    cpu::{self, Groups, Processes},
    database::{Database, username},
    tokens::Tokens,
};

/// Signs the tokens of both stores.
const KEY: &str = "0123456789abcdef0123456789abcdef-bench";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The user whose hash and token are copied.
const FIRST_USER: &str = "bench";
/// The owner of this program's own sessions, so that their statements do not count.
const OBSERVER: &str = "bench";

/// Settings of all processes. The rate limits are high, as 429 is no work.
const SETTINGS: [(&str, &str); 7] = [
    ("MERCH_WRITE_RATE", "1000000"),
    ("MERCH_LOG_IN_ADDRESS_RATE", "1000000"),
    ("MERCH_REGISTRATION_ADDRESS_RATE", "1000000"),
    ("MERCH_LOG_IN_RATE", "1000000"),
    ("MERCH_LOG_IN_ACCOUNT_RATE", "1000000"),
    ("MERCH_CONNECTIONS_PER_ADDRESS", "65535"),
    ("MERCH_JWT_KEY", KEY),
];

/// Settings of PostgreSQL: durable, with the memory and the checkpoints of a small server.
const POSTGRES: [(&str, &str); 6] = [
    ("max_connections", "600"),
    ("shared_buffers", "256MB"),
    ("min_wal_size", "512MB"),
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "15min"),
    ("shared_preload_libraries", "pg_stat_statements"),
];

/// What is started, and where.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The program `merch`.
    pub(crate) merch: PathBuf,
    /// log2 of scrypt's N.
    pub(crate) hash_cost: u8,
    /// Parent of the directory with all data.
    pub(crate) directory: PathBuf,
    /// Users beside the first one.
    pub(crate) users: usize,
}

/// Which store gets the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `merch api`, `merch db` and `merch logging`, with PostgreSQL and Kafka.
    Roles,
    /// `merch`, with SQLite and its own broker.
    Embedded,
}

/// All running processes. Dropping it kills them.
pub(crate) struct Store {
    setup: Setup,
    postgres: Postgres,
    kafka: Kafka,
    logging: Role,
    db: Role,
    api: Role,
    embedded: Role,
    pub(crate) api_address: SocketAddr,
    pub(crate) logging_address: SocketAddr,
    db_address: SocketAddr,
    embedded_address: SocketAddr,
    /// The database of the roles, and one with the same tables for the baseline.
    pub(crate) database: Database,
    pub(crate) baseline: Database,
    pub(crate) users: Vec<Uuid>,
    pub(crate) tokens: Tokens,
    password_hash: String,
    http: reqwest::Client,
    directory: TempDir,
    _reaper: Reaper,
}

impl Store {
    /// Starts everything but the embedded store, and adds the users.
    pub(crate) async fn start(setup: Setup) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("merch-bench.").tempdir_in(&setup.directory)?;
        let root = directory.path().canonicalize()?;
        // PostgreSQL runs as another user than root.
        fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let reaper = Reaper::of(&root);
        let settings = POSTGRES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = PostgresOptions { settings: settings.to_vec(), ..PostgresOptions::default() };
        let mut postgres = Postgres::start(&root.join("postgres"), options).await?;
        // One server, as in compose.yaml.
        postgres.degrade().await?;
        postgres.stop_standby()?;
        let owner = Database::connect(&postgres.url()).await?;
        owner.execute(&format!("CREATE ROLE {OBSERVER} SUPERUSER LOGIN")).await?;
        owner.execute("CREATE DATABASE baseline").await?;
        let kafka = tokio::task::spawn_blocking(Kafka::start).await?;

        let url = |database: &str| format!("postgres://merch@{}/{database}", postgres.address());
        let as_observer =
            |database: &str| format!("postgres://{OBSERVER}@{}/{database}", postgres.address());
        for database in ["merch", "baseline"] {
            run(&setup.merch, &["migrate", "--database-url", &url(database)]).await?;
            let database = Database::connect(&as_observer(database)).await?;
            database.execute("CREATE EXTENSION pg_stat_statements").await?;
        }
        let [api_address, logging_address, db_address, embedded_address] =
            std::array::from_fn(|_| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let role = |name: &str, arguments: &[&str], envs: Vec<(String, String)>| {
            role(&setup, &root, name, arguments, envs)
        };
        let mut logging = role(
            "logging",
            &["logging"],
            vec![
                ("MERCH_LOGGING_LISTEN".to_owned(), logging_address.to_string()),
                ("MERCH_KAFKA_BROKERS".to_owned(), kafka.bootstrap_servers()),
            ],
        )?;
        let envs = db_envs(db_address, postgres.address(), logging_address);
        let mut db = role("db", &["db"], envs)?;
        let mut api = role(
            "api",
            &["api"],
            vec![
                ("MERCH_LISTEN".to_owned(), api_address.to_string()),
                ("MERCH_DB_ENDPOINT".to_owned(), format!("http://{db_address}")),
                ("MERCH_LOGGING_ENDPOINT".to_owned(), format!("http://{logging_address}")),
            ],
        )?;
        let listen = ("MERCH_LISTEN".to_owned(), embedded_address.to_string());
        let embedded = role("embedded", &[], vec![listen])?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        for role in [&mut logging, &mut db, &mut api] {
            role.start()?;
            role.wait_ready(&http).await?;
        }

        let database = Database::connect(&as_observer("merch")).await?;
        let baseline = Database::connect(&as_observer("baseline")).await?;
        let token = first_token(&http, api_address).await?;
        let password_hash = database.password_hash(FIRST_USER).await?;
        let users: Vec<Uuid> = (0..setup.users).map(|_| Uuid::now_v7()).collect();
        for database in [&database, &baseline] {
            database.insert_users(&users, &password_hash).await?;
            database.set_stock(crate::database::STOCK).await?;
        }
        Ok(Self {
            tokens: Tokens::like(&token, KEY.as_bytes())?,
            setup,
            postgres,
            kafka,
            logging,
            db,
            api,
            embedded,
            api_address,
            logging_address,
            db_address,
            embedded_address,
            database,
            baseline,
            users,
            password_hash,
            http,
            directory,
            _reaper: reaper,
        })
    }

    pub(crate) fn address(&self, target: Target) -> SocketAddr {
        match target {
            Target::Roles => self.api_address,
            Target::Embedded => self.embedded_address,
        }
    }

    /// Returns the URL of the baseline's database.
    pub(crate) fn baseline_url(&self) -> String {
        format!("postgres://merch@{}/baseline?sslmode=disable", self.postgres.address())
    }

    pub(crate) fn kafka(&self) -> String {
        self.kafka.bootstrap_servers()
    }

    /// Starts the embedded store with the same users and an empty list of orders, and waits until
    /// it is ready.
    pub(crate) async fn start_embedded(&mut self) -> Result<()> {
        let file = self.embedded_data().join("merch.db");
        if !file.exists() {
            // Creates the file.
            self.embedded.start()?;
            self.embedded.wait_ready(&self.http).await?;
            self.embedded.stop().await?;
            let database = self.embedded_database().await?;
            database.insert_users(&self.users, &self.password_hash).await?;
        }
        let database = self.embedded_database().await?;
        database.reset().await?;
        drop(database);
        self.embedded.start()?;
        self.embedded.wait_ready(&self.http).await
    }

    pub(crate) async fn stop_embedded(&mut self) -> Result<()> {
        self.embedded.stop().await
    }

    pub(crate) async fn embedded_database(&self) -> Result<Database> {
        let file = self.embedded_data().join("merch.db");
        Database::connect(&format!("sqlite://{}", file.display())).await
    }

    fn embedded_data(&self) -> PathBuf {
        self.directory.path().join("embedded").join("data")
    }

    /// Returns the processes that a measurement of this store needs.
    pub(crate) fn groups(&self, target: Target) -> Result<Groups> {
        let pid = |role: &Role| {
            role.pid()
                .with_context(|| format!("{} has ended; see {}", role.name, role.log().display()))
        };
        if target == Target::Embedded {
            return Ok(vec![
                ("embedded", Processes::One(pid(&self.embedded)?)),
                ("load", Processes::Own),
            ]);
        }
        let data = self.directory.path().canonicalize()?.join("postgres").join("data-a");
        let kafka = *cpu::children_named("java").first().context("Kafka's process has ended")?;
        Ok(vec![
            ("api", Processes::One(pid(&self.api)?)),
            ("db", Processes::One(pid(&self.db)?)),
            ("logging", Processes::One(pid(&self.logging)?)),
            ("postgres", Processes::WorkingDirectory(data)),
            ("kafka", Processes::One(kafka)),
            ("load", Processes::Own),
        ])
    }

    /// Restarts db with another address of PostgreSQL; `None` is PostgreSQL itself.
    pub(crate) async fn restart_db(&mut self, through: Option<SocketAddr>) -> Result<()> {
        self.db.stop().await?;
        let address = through.unwrap_or(self.postgres.address());
        let root = self.directory.path().canonicalize()?;
        let envs = db_envs(self.db_address, address, self.logging_address);
        self.db = role(&self.setup, &root, "db", &["db"], envs)?;
        self.db.start()?;
        self.db.wait_ready(&self.http).await?;
        self.api.wait_ready(&self.http).await
    }

    pub(crate) fn postgres_address(&self) -> SocketAddr {
        self.postgres.address()
    }

    /// Copies the logs of the roles to a directory.
    pub(crate) fn keep_logs(&self, to: &Path) -> Result<()> {
        for role in [&self.logging, &self.db, &self.api, &self.embedded] {
            if role.log().exists() {
                fs::copy(role.log(), to.join(format!("{}.log", role.name)))?;
            }
        }
        Ok(())
    }
}

fn db_envs(listen: SocketAddr, postgres: SocketAddr, logging: SocketAddr) -> Vec<(String, String)> {
    let url = format!("postgres://merch@{postgres}/merch?sslmode=disable");
    vec![
        ("MERCH_DB_LISTEN".to_owned(), listen.to_string()),
        ("MERCH_DATABASE_URL".to_owned(), url),
        ("MERCH_LOGGING_ENDPOINT".to_owned(), format!("http://{logging}")),
    ]
}

fn role(
    setup: &Setup,
    root: &Path,
    name: &str,
    arguments: &[&str],
    mut envs: Vec<(String, String)>,
) -> Result<Role> {
    let directory = root.join(name);
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let settings = SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    envs.extend(settings);
    envs.extend([
        ("MERCH_HASH_COST".to_owned(), setup.hash_cost.to_string()),
        ("MERCH_ADMIN_LISTEN".to_owned(), admin.to_string()),
        ("MERCH_DATA_DIR".to_owned(), directory.join("data").display().to_string()),
    ]);
    Role::new(name, &directory, &setup.merch, arguments, envs, admin)
}

/// Runs `merch` and waits until it exits.
async fn run(merch: &Path, arguments: &[&str]) -> Result<()> {
    let output =
        Command::new(merch).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output)
        .await
        .with_context(|| format!("merch {arguments:?} did not end in 60 s"))?
        .with_context(|| format!("{} cannot be started", merch.display()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "merch {arguments:?}: {}: {stderr}", output.status);
    Ok(())
}

/// Registers the first user and returns its token.
async fn first_token(http: &reqwest::Client, server: SocketAddr) -> Result<String> {
    let email = format!("{FIRST_USER}@mail.example.com");
    let body = json!({
        "sid": FIRST_USER, "username": FIRST_USER, "email": email, "password": PASSWORD,
    });
    let response = http.post(format!("http://{server}/users")).json(&body).send().await?;
    ensure!(response.status() == 201, "a registration: {}", response.status());
    let body = log_in(FIRST_USER);
    let response = http.post(format!("http://{server}/login")).json(&body).send().await?;
    let body: Value = response.json().await?;
    body["access_token"].as_str().map(str::to_owned).context("a log-in without a token")
}

fn log_in(username: &str) -> Value {
    json!({ "username": username, "password": PASSWORD })
}

/// Returns the body of the log-in of the user with this number.
pub(crate) fn log_in_body(user: usize) -> String {
    log_in(&username(user)).to_string()
}
