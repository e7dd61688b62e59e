//! The store under test: its processes, the proxies between them, its disks and its clocks.

mod kafka;
mod operator;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as StdMutex, PoisonError},
};

use anyhow::{Context as _, Result};
use merch_test_kafka::{Kafka, Options as KafkaOptions, Reaper, free_port};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::{
    books::{Deployment, Exit},
    disk::Disk,
    postgres::{Options as PostgresOptions, Postgres},
    proxy::{Disturbance, Proxy},
    role::Role,
};

/// Replicas of each role.
const REPLICAS: usize = 2;
/// The size of the disk of an api's journal: small, so that it is filled fast.
const API_DISK: &str = "8m";
/// The size of the disk of both PostgreSQL servers, or of the embedded store.
const DATABASE_DISK: &str = "1g";
/// The size of Kafka's disk.
const KAFKA_DISK: &str = "256m";

/// Variables of a process.
type Variables = Vec<(String, String)>;

/// Settings of all roles. The rate limits are high, because 429 would hide violations.
const SETTINGS: [(&str, &str); 11] = [
    ("MERCH_HASH_COST", "10"),
    ("MERCH_HASH_CONCURRENCY", "32"),
    ("MERCH_WRITE_RATE", "1000000"),
    ("MERCH_WRITES_PER_USER", "1000"),
    ("MERCH_LOG_IN_ADDRESS_RATE", "1000000"),
    ("MERCH_REGISTRATION_ADDRESS_RATE", "1000000"),
    ("MERCH_LOG_IN_RATE", "1000000"),
    ("MERCH_LOG_IN_ACCOUNT_RATE", "1000000"),
    ("MERCH_REFUSAL_EVENTS", "10000"),
    ("MERCH_LOG_FILTER", "info"),
    ("RUST_BACKTRACE", "1"),
];

/// What a run needs from this machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The program `merch`.
    pub merch: PathBuf,
    /// libfaketime, if clocks are to be wrong.
    pub faketime: Option<PathBuf>,
    /// Whether disks are small, so that they can be filled.
    pub small_disks: bool,
    /// Where logs and books are written.
    pub directory: PathBuf,
}

/// A connection between two parts, or between clients and an api.
#[derive(Debug)]
pub struct Link {
    /// Its ends, such as `api 0 -> db 1`.
    pub name: String,
    /// The proxy on it.
    pub proxy: Proxy,
}

/// A running store. Dropping it kills all its processes.
pub struct Store {
    /// Which store it is.
    pub deployment: Deployment,
    /// Its processes: logging, db and api in this order, or the whole store.
    pub roles: Vec<Mutex<Role>>,
    /// Their names.
    pub names: Vec<String>,
    /// The connections between all parts.
    pub links: Vec<Link>,
    /// Clocks, one for each role; empty without libfaketime.
    pub clocks: Vec<PathBuf>,
    postgres_clock: Option<PathBuf>,
    /// The database of the roles.
    pub postgres: Option<Mutex<Postgres>>,
    kafka: Option<Arc<StdMutex<Kafka>>>,
    /// The disks that can be filled. Dropped after the processes that use them.
    pub disks: Vec<Disk>,
    machine: Machine,
    http: reqwest::Client,
    /// Holds the files of the processes; removed at the end.
    directory: TempDir,
    _reaper: Reaper,
}

impl Store {
    /// Starts everything and waits until it is ready.
    pub async fn start(deployment: Deployment, machine: Machine) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("merch-chaos.").tempdir()?;
        // PostgreSQL runs as another user than root.
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let reaper = Reaper::of(directory.path());
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut store = Self {
            deployment,
            roles: Vec::new(),
            names: Vec::new(),
            links: Vec::new(),
            disks: Vec::new(),
            clocks: Vec::new(),
            postgres_clock: None,
            postgres: None,
            kafka: None,
            machine,
            http,
            directory,
            _reaper: reaper,
        };
        match deployment {
            Deployment::Roles => store.start_roles().await?,
            Deployment::Embedded => store.start_embedded().await?,
        }
        store.wait_ready().await?;
        Ok(store)
    }

    async fn start_roles(&mut self) -> Result<()> {
        let root = self.directory.path().to_owned();
        let data_root = root.join("postgres");
        self.mount("disk of postgres", &data_root, DATABASE_DISK).await?;
        let mut options =
            PostgresOptions { data_root: Some(data_root), ..PostgresOptions::default() };
        if let Some((clock, envs)) = self.clock(&root.join("postgres-clock"))? {
            self.postgres_clock = Some(clock);
            options.envs = envs;
        }
        let postgres = Postgres::start(&root, options).await?;
        let database = postgres.address();
        self.run(&["migrate", "--database-url", &postgres.url()], &[]).await?;
        self.postgres = Some(Mutex::new(postgres));

        // Clients get Kafka's address from Kafka, so it has to advertise the proxy.
        let to_kafka = self.link("logging -> kafka", ([127, 0, 0, 1], 9).into()).await?;
        let kafka_data = root.join("kafka");
        self.mount("disk of kafka", &kafka_data, KAFKA_DISK).await?;
        let options = KafkaOptions {
            properties: vec![
                format!("advertised.listeners=PLAINTEXT://{to_kafka}"),
                format!("log.dirs={}", kafka_data.display()),
            ],
            ..KafkaOptions::default()
        };
        let kafka = tokio::task::spawn_blocking(|| Kafka::with(options)).await?;
        let behind: SocketAddr = kafka.bootstrap_servers().parse()?;
        self.links.last().context("the link to Kafka")?.proxy.redirect(behind);
        self.kafka = Some(Arc::new(StdMutex::new(kafka)));

        let key = "0123456789abcdef0123456789abcdef-chaos";
        let admin_token = ("MERCH_ADMIN_TOKEN", key);
        let mut logging = Vec::new();
        for number in 0..REPLICAS {
            let listen = listen_address();
            let kafka = to_kafka.to_string();
            self.role(
                &format!("logging {number}"),
                &["logging"],
                &[("MERCH_LOGGING_LISTEN", &listen.to_string()), ("MERCH_KAFKA_BROKERS", &kafka)],
            )?;
            logging.push(listen);
        }
        let mut db = Vec::new();
        for number in 0..REPLICAS {
            let listen = listen_address();
            let name = format!("db {number}");
            let endpoints = self.endpoints(&name, "logging", &logging).await?;
            let proxied = self.link(&format!("{name} -> postgres"), database).await?;
            self.role(
                &name,
                &["db"],
                &[
                    ("MERCH_DB_LISTEN", &listen.to_string()),
                    ("MERCH_LOGGING_ENDPOINT", &endpoints),
                    (
                        "MERCH_DATABASE_URL",
                        &format!("postgres://merch@{proxied}/merch?sslmode=disable"),
                    ),
                    admin_token,
                ],
            )?;
            db.push(listen);
        }
        let mut api = Vec::new();
        for number in 0..REPLICAS {
            let listen = listen_address();
            let name = format!("api {number}");
            let to_logging = self.endpoints(&name, "logging", &logging).await?;
            let to_db = self.endpoints(&name, "db", &db).await?;
            self.role(
                &name,
                &["api"],
                &[
                    ("MERCH_LISTEN", &listen.to_string()),
                    ("MERCH_LOGGING_ENDPOINT", &to_logging),
                    ("MERCH_DB_ENDPOINT", &to_db),
                    ("MERCH_JWT_KEY", key),
                ],
            )?;
            let data_dir = self.directory_of(&name).join("data");
            self.mount(&format!("disk of {name}"), &data_dir, API_DISK).await?;
            api.push(listen);
        }
        // `merch admin` does not balance, so it has connections of its own.
        for (number, listen) in db.iter().enumerate() {
            self.link(&format!("operator -> db {number}"), *listen).await?;
        }
        for (number, listen) in api.iter().enumerate() {
            self.link(&format!("clients -> api {number}"), *listen).await?;
        }
        for role in &self.roles {
            role.lock().await.start()?;
        }
        Ok(())
    }

    async fn start_embedded(&mut self) -> Result<()> {
        let listen = listen_address();
        let data_dir = self.data_dir();
        self.mount("disk of store", &data_dir, DATABASE_DISK).await?;
        self.role("store", &[], &[("MERCH_LISTEN", &listen.to_string())])?;
        self.link("clients -> store", listen).await?;
        for role in &self.roles {
            role.lock().await.start()?;
        }
        Ok(())
    }

    async fn mount(&mut self, name: &str, path: &Path, size: &str) -> Result<()> {
        fs::create_dir_all(path)?;
        if self.machine.small_disks {
            self.disks.extend(Disk::mount(name, path, size).await?);
        }
        Ok(())
    }

    fn directory_of(&self, name: &str) -> PathBuf {
        self.directory.path().join(name.replace(' ', "-"))
    }

    fn data_dir(&self) -> PathBuf {
        self.directory_of("store").join("data")
    }

    /// Adds a proxy and returns its address.
    async fn link(&mut self, name: &str, to: SocketAddr) -> Result<SocketAddr> {
        let proxy = Proxy::start(to).await?;
        let address = proxy.address();
        self.links.push(Link { name: name.to_owned(), proxy });
        Ok(address)
    }

    /// Adds a proxy to each replica and returns the setting for all of them.
    async fn endpoints(&mut self, from: &str, to: &str, replicas: &[SocketAddr]) -> Result<String> {
        let mut urls = Vec::new();
        for (number, replica) in replicas.iter().enumerate() {
            let proxied = self.link(&format!("{from} -> {to} {number}"), *replica).await?;
            urls.push(format!("http://{proxied}"));
        }
        Ok(urls.join(","))
    }

    fn role(&mut self, name: &str, arguments: &[&str], envs: &[(&str, &str)]) -> Result<()> {
        let directory = self.directory_of(name);
        let admin = listen_address();
        fs::create_dir_all(&directory)?;
        let data_dir = directory.join("data");
        let mut all: Vec<(String, String)> = SETTINGS
            .iter()
            .chain(envs)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        all.push(("MERCH_ADMIN_LISTEN".to_owned(), admin.to_string()));
        all.push(("MERCH_DATA_DIR".to_owned(), data_dir.display().to_string()));
        if let Some((clock, envs)) = self.clock(&directory.join("clock"))? {
            all.extend(envs);
            self.clocks.push(clock);
        }
        let role = Role::new(name, &directory, &self.machine.merch, arguments, all, admin)?;
        self.roles.push(Mutex::new(role));
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Creates a clock, and returns it with the variables of the processes that use it.
    fn clock(&self, file: &Path) -> Result<Option<(PathBuf, Variables)>> {
        let Some(library) = &self.machine.faketime else { return Ok(None) };
        fs::write(file, "+0\n")?;
        let envs = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            // Only the time of day is wrong.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        let envs = envs.map(|(name, value)| (name.to_owned(), value));
        Ok(Some((file.to_owned(), envs.into())))
    }

    /// Returns the addresses for clients: of all api replicas.
    #[must_use]
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.proxies("clients -> ")
    }

    /// Returns the number of db that the operator can use; 0 for the embedded store's socket.
    #[must_use]
    pub fn operator_replicas(&self) -> usize {
        self.proxies("operator -> ").len()
    }

    fn proxies(&self, prefix: &str) -> Vec<SocketAddr> {
        let links = self.links.iter().filter(|link| link.name.starts_with(prefix));
        links.map(|link| link.proxy.address()).collect()
    }

    /// Waits until all processes are ready. Starts those that do not run.
    pub async fn wait_ready(&self) -> Result<()> {
        for role in &self.roles {
            let mut role = role.lock().await;
            // Clears a process that has exited, so that the next line starts another one.
            let _ = role.exited();
            role.start()?;
            role.wait_ready(&self.http).await?;
        }
        Ok(())
    }

    /// Waits until a process is ready.
    pub async fn wait_for(&self, role: &Role) -> Result<()> {
        role.wait_ready(&self.http).await
    }

    /// Restarts processes that have exited by themselves, and returns a message for each.
    pub async fn restart_exited(&self) -> Result<Vec<String>> {
        let mut sentences = Vec::new();
        for role in &self.roles {
            // A running fault holds the lock.
            let Ok(mut role) = role.try_lock() else { continue };
            if let Some(status) = role.exited() {
                sentences.push(format!("{} exited: {status}", role.name));
                role.start()?;
            }
        }
        Ok(sentences)
    }

    /// Returns the broker's address, for reading the topic. Kafka redirects to its proxy.
    pub fn bootstrap_servers(&self) -> Result<String> {
        if let Some(kafka) = &self.kafka {
            return Ok(kafka.lock().unwrap_or_else(PoisonError::into_inner).bootstrap_servers());
        }
        let file = self.data_dir().join("run.json");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let addresses: serde_json::Value = serde_json::from_str(&text)?;
        addresses["kafka"].as_str().map(str::to_owned).context("run.json has no `kafka`")
    }

    /// Returns the database's URL, without a proxy.
    pub async fn database_url(&self) -> String {
        match &self.postgres {
            Some(postgres) => postgres.lock().await.url(),
            None => format!("sqlite://{}?mode=ro", self.data_dir().join("merch.db").display()),
        }
    }

    /// Sends db's new connections to another PostgreSQL, and resets the open ones.
    pub fn redirect_database(&self, to: SocketAddr) {
        for link in self.links.iter().filter(|link| link.name.ends_with("-> postgres")) {
            link.proxy.redirect(to);
        }
    }

    /// Returns a directory for files of the run, on a disk that is never filled.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// Sets the offset of a role's clock, in milliseconds.
    pub fn skew(&self, role: usize, milliseconds: i64) -> Result<()> {
        set_clock(&self.clocks[role], milliseconds)
    }

    /// Sets the offset of the clock of both PostgreSQL servers, in milliseconds.
    pub fn skew_postgres(&self, milliseconds: i64) -> Result<()> {
        self.postgres_clock.iter().try_for_each(|clock| set_clock(clock, milliseconds))
    }

    /// Ends faults of links, disks, clocks and PostgreSQL, and waits until all roles are ready.
    pub async fn heal(&self) -> Result<()> {
        for link in &self.links {
            link.proxy.disturb(Disturbance::None);
        }
        for disk in &self.disks {
            disk.empty().await?;
        }
        for role in 0..self.clocks.len() {
            self.skew(role, 0)?;
        }
        self.skew_postgres(0)?;
        if let Some(postgres) = &self.postgres {
            let mut postgres = postgres.lock().await;
            postgres.ensure_running().await?;
        }
        self.wait_ready().await
    }

    /// Returns the number of events that wait in journals.
    pub async fn journal_backlog(&self) -> Result<f64> {
        let mut waiting = 0.0;
        for role in &self.roles {
            let role = role.lock().await;
            if role.name.starts_with("api") || role.name == "store" {
                waiting += role.metric(&self.http, "merch_log_journal_backlog_events").await?;
            }
        }
        Ok(waiting)
    }

    /// Returns the processes that ended although no fault ended them.
    pub async fn exits(&self) -> Vec<Exit> {
        let mut exits = Vec::new();
        for role in &self.roles {
            exits.extend_from_slice(role.lock().await.exits());
        }
        exits
    }

    /// Copies all logs to the run's directory. Returns the panics in those of the roles.
    pub async fn keep_logs(&self) -> Result<Vec<String>> {
        let mut panics = Vec::new();
        self.keep_kafka_log()?;
        for server in self.postgres.iter().flat_map(|_| ["a", "b"]) {
            let kept = self.machine.directory.join(format!("postgres-{server}.log"));
            fs::copy(self.directory.path().join(format!("{server}.log")), kept)?;
        }
        for role in &self.roles {
            let role = role.lock().await;
            panics.extend(role.panics()?);
            let name = format!("{}.log", role.name.replace(' ', "-"));
            fs::copy(role.log(), self.machine.directory.join(name))?;
        }
        Ok(panics)
    }
}

fn set_clock(clock: &Path, milliseconds: i64) -> Result<()> {
    let seconds = milliseconds as f64 / 1000.0;
    // Renamed, because libfaketime must not read half of it.
    let fresh = clock.with_extension("new");
    fs::write(&fresh, format!("{seconds:+.3}\n"))?;
    fs::rename(&fresh, clock)?;
    Ok(())
}

fn listen_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}
