//! Starts Apache Kafka for tests.
//!
//! [`Kafka::start`] runs one broker (4.1.1, KRaft) on free loopback ports; [`Options`] has other
//! setups. A broker takes about two seconds and 300 MB, so tests share one ([`Kafka::shared`]).
//!
//! `tools/install kafka` downloads the jars. The brokers end with the [`Kafka`] value or with the
//! test process, even after `kill -9`.
#![allow(
    clippy::unwrap_used,
    reason = "tests use it, and a test that cannot go on should stop where it is"
)]

mod certificates;
mod process;
mod properties;
mod reaper;
mod segment;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

use tempfile::TempDir;

pub use self::{certificates::Certificates, reaper::Reaper, segment::Batch};
use self::{process::Java, properties::Ports};

const START_TIMEOUT: Duration = Duration::from_secs(90);

/// User with [`SecurityProtocol::SaslSsl`].
pub const USER: &str = "merch";
/// The user's password.
pub const PASSWORD: &str = "correct horse battery staple";

/// Setup of a [`Kafka`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of brokers, each also a controller.
    pub brokers: usize,
    /// Security protocol for clients.
    pub security_protocol: SecurityProtocol,
    /// Metadata storage.
    pub metadata_mode: MetadataMode,
    /// Further lines for `server.properties`.
    pub properties: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: 1,
            security_protocol: SecurityProtocol::Plaintext,
            metadata_mode: MetadataMode::KRaft,
            properties: Vec::new(),
        }
    }
}

/// Security protocol for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// No TLS or authentication.
    Plaintext,
    /// TLS and SCRAM-SHA-512 as [`USER`] with [`PASSWORD`].
    SaslSsl,
}

/// Metadata storage of a Kafka version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMode {
    /// Kafka 4.1.1 with KRaft.
    KRaft,
    /// Kafka 3.7.2 with ZooKeeper 3.8.
    ZooKeeper,
}

impl MetadataMode {
    fn version(self) -> &'static str {
        match self {
            Self::KRaft => "4.1.1",
            Self::ZooKeeper => "3.7.2",
        }
    }
}

/// A running Kafka. Drop ends the brokers.
#[derive(Debug)]
pub struct Kafka {
    options: Options,
    java: Java,
    ports: Vec<Ports>,
    brokers: Vec<Option<process::Jvm>>,
    zookeeper: Option<process::Jvm>,
    certificates: Option<Certificates>,
    /// Dropped before the directory.
    _reaper: Reaper,
    dir: TempDir,
}

impl Kafka {
    /// Starts one broker without security.
    ///
    /// # Panics
    /// If the jars are missing or the broker does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Returns the Kafka that a program's tests share and must not stop.
    ///
    /// # Panics
    /// See [`start`](Self::start).
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Kafka> = LazyLock::new(Kafka::start);
        &SHARED
    }

    /// Starts Kafka with these options.
    ///
    /// # Panics
    /// See [`start`](Self::start).
    #[must_use]
    pub fn with(options: Options) -> Self {
        let java = Java::new(options.metadata_mode.version());
        loop {
            match Self::try_start(options.clone(), java.clone()) {
                Ok(kafka) => return kafka,
                // Another process took the port in the meantime.
                Err(reason) if reason.contains("Address already in use") => {}
                Err(reason) => {
                    panic!("Kafka {} did not start: {reason}", options.metadata_mode.version())
                }
            }
        }
    }

    fn try_start(options: Options, java: Java) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("merch-kafka.").tempdir().unwrap();
        let reaper = Reaper::of(dir.path());
        let certificates = (options.security_protocol == SecurityProtocol::SaslSsl)
            .then(|| Certificates::make(dir.path()));
        let ports: Vec<Ports> = (0..options.brokers)
            .map(|_| Ports { client: free_port(), controller: free_port() })
            .collect();
        let zookeeper = match options.metadata_mode {
            MetadataMode::KRaft => None,
            MetadataMode::ZooKeeper => Some(start_zookeeper(&java, dir.path(), ports[0])?),
        };
        let mut kafka = Self {
            options,
            java,
            ports,
            brokers: Vec::new(),
            zookeeper,
            certificates,
            _reaper: reaper,
            dir,
        };
        for number in 0..kafka.options.brokers {
            kafka.format_storage(number);
            // Brokers wait for each other.
            let running = kafka.start_broker(number);
            kafka.brokers.push(Some(running));
        }
        for broker in kafka.brokers.iter_mut().flatten() {
            broker.wait_for(kafka.options.metadata_mode.started_message(), START_TIMEOUT)?;
        }
        Ok(kafka)
    }

    /// Returns the clients' addresses, separated by commas.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<String> =
            self.ports.iter().map(|ports| format!("{}:{}", self.host(), ports.client)).collect();
        addresses.join(",")
    }

    /// Returns the certificates.
    ///
    /// # Panics
    /// If TLS is not configured.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a Kafka with TLS")
    }

    /// Kills a broker with SIGKILL. Brokers count from 0.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, broker: usize) {
        self.brokers[broker].take().expect("a broker that runs").kill();
    }

    /// Restarts a killed broker with the same ports and data.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self, broker: usize) {
        assert!(self.brokers[broker].is_none(), "broker {broker} runs");
        let mut running = self.start_broker(broker);
        running.wait_for(self.options.metadata_mode.started_message(), START_TIMEOUT).unwrap();
        self.brokers[broker] = Some(running);
    }

    /// Pauses a broker (SIGSTOP); connections stay open.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self, broker: usize) {
        self.brokers[broker].as_ref().expect("a broker that runs").signal("-STOP");
    }

    /// Resumes a paused broker.
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self, broker: usize) {
        self.brokers[broker].as_ref().expect("a broker that runs").signal("-CONT");
    }

    /// Returns the file with the output of a broker's last process.
    #[must_use]
    pub fn log(&self, broker: usize) -> PathBuf {
        self.home(broker).join("log")
    }

    /// Returns the batches in a broker's files, oldest first; unflushed ones are missing.
    ///
    /// # Panics
    /// If the broker has no such partition.
    #[must_use]
    pub fn batches(&self, broker: usize, topic: &str, partition: u32) -> Vec<Batch> {
        segment::batches(&self.home(broker).join("data").join(format!("{topic}-{partition}")))
    }

    /// Certificates need a name.
    fn host(&self) -> &'static str {
        if self.certificates.is_some() { "localhost" } else { "127.0.0.1" }
    }

    fn home(&self, number: usize) -> PathBuf {
        self.dir.path().join(number.to_string())
    }

    fn format_storage(&self, number: usize) {
        let home = self.home(number);
        fs::create_dir(&home).unwrap();
        let file = home.join("server.properties");
        fs::write(&file, self.properties(number, &home)).unwrap();
        if self.options.metadata_mode == MetadataMode::KRaft {
            let mut format = self.java.command(&[
                "kafka.tools.StorageTool",
                "format",
                "--cluster-id",
                CLUSTER,
                "--config",
            ]);
            format.arg(&file);
            if self.options.security_protocol == SecurityProtocol::SaslSsl {
                format.args([
                    "--add-scram",
                    &format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]"),
                ]);
            }
            let output = format.output().unwrap();
            assert!(
                output.status.success(),
                "Kafka's storage cannot be formatted: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    fn start_broker(&self, number: usize) -> process::Jvm {
        let home = self.home(number);
        let file = home.join("server.properties");
        self.java.run(&home, &["kafka.Kafka", file.to_str().unwrap()])
    }

    fn properties(&self, number: usize, home: &Path) -> String {
        let mut lines = properties::common(self.options.brokers);
        lines.extend(match self.options.metadata_mode {
            MetadataMode::KRaft => properties::kraft(number, &self.ports),
            MetadataMode::ZooKeeper => properties::zookeeper(number, self.ports[number]),
        });
        lines.extend(match &self.certificates {
            None => properties::plain(self.options.metadata_mode, self.host(), self.ports[number]),
            Some(certificates) => {
                properties::sasl_ssl(self.host(), self.ports[number], certificates)
            }
        });
        lines.push(format!("log.dirs={}", home.join("data").display()));
        lines.extend(self.options.properties.iter().cloned());
        lines.join("\n")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // SIGKILL, because the data is no longer needed. Brokers first: without ZooKeeper they log
        // errors.
        for running in self.brokers.iter_mut().filter_map(Option::take).chain(self.zookeeper.take())
        {
            running.kill();
        }
    }
}

/// Any 16 bytes in base64.
const CLUSTER: &str = "bWVyY2gtdGVzdC1rYWZrYQ";

impl MetadataMode {
    fn started_message(self) -> &'static str {
        match self {
            Self::KRaft => "Kafka Server started",
            Self::ZooKeeper => "[KafkaServer id=1] started",
        }
    }
}

fn start_zookeeper(java: &Java, dir: &Path, ports: Ports) -> Result<process::Jvm, String> {
    let home = dir.join("zookeeper");
    fs::create_dir(&home).unwrap();
    let file = home.join("zoo.cfg");
    fs::write(&file, properties::zoo_cfg(&home, ports)).unwrap();
    let mut running = java
        .run(&home, &["org.apache.zookeeper.server.ZooKeeperServerMain", file.to_str().unwrap()]);
    running.wait_for("binding to port", START_TIMEOUT)?;
    Ok(running)
}

/// Returns a free port of the loopback address. It is outside of the ephemeral range, so that it is
/// still free when a process restarts.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher as _, RandomState};
    (0..1000)
        .map(|_| 15_000 + u16::try_from(RandomState::new().hash_one(()) % 15_000).unwrap())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port from 15000 to 29999")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap()
}

fn command_output(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
