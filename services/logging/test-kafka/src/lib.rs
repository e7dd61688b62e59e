//! A real Apache Kafka for tests.
//!
//! [`Kafka::start`] gives one broker (4.1.1, KRaft) on free ports of loopback, with a folder of its
//! own; [`Options`] has the other shapes. It takes about two seconds and 300 MB a broker, so that
//! the tests of one program share one where they can ([`Kafka::shared`]) and use topics of their
//! own.
//!
//! The jars come from Maven Central: `tools/install kafka` fetches them. The brokers end with the
//! [`Kafka`], and with the process that started them however that ends: a panic, `kill -9`, the
//! `exit` at the end of a test program.
#![allow(
    clippy::unwrap_used,
    reason = "tests use it, and a test that cannot go on should stop where it is"
)]

mod certificates;
mod keeper;
mod process;
mod properties;
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

pub use self::{certificates::Certificates, segment::Batch};
use self::{keeper::Keeper, process::Java, properties::Ports};

/// A JVM that takes longer than this on a busy machine does not come up at all.
const PATIENCE: Duration = Duration::from_secs(90);

/// The user that a Kafka with [`Protection::TlsAndScram`] knows.
pub const USER: &str = "merch";
/// Its password.
pub const PASSWORD: &str = "correct horse battery staple";

/// What kind of Kafka.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many brokers; each of them is a controller, too.
    pub brokers: usize,
    /// What clients have to show.
    pub protection: Protection,
    /// Which Kafka.
    pub generation: Generation,
    /// Further lines for `server.properties`.
    pub properties: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: 1,
            protection: Protection::None,
            generation: Generation::KRaft,
            properties: Vec::new(),
        }
    }
}

/// What clients have to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nothing.
    None,
    /// They speak TLS and are [`USER`] with [`PASSWORD`], under SCRAM-SHA-512 (and under nothing
    /// else).
    TlsAndScram,
}

/// Which Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Kafka 4.1.1, which has its metadata in a log of its own.
    KRaft,
    /// Kafka 3.7.2, which has it in a ZooKeeper 3.8.
    ZooKeeper,
}

impl Generation {
    fn version(self) -> &'static str {
        match self {
            Self::KRaft => "4.1.1",
            Self::ZooKeeper => "3.7.2",
        }
    }
}

/// A Kafka that runs. Ends when it is dropped.
#[derive(Debug)]
pub struct Kafka {
    options: Options,
    java: Java,
    ports: Vec<Ports>,
    brokers: Vec<Option<process::Running>>,
    zookeeper: Option<process::Running>,
    certificates: Option<Certificates>,
    /// Before the folder, which it removes as well when the process is killed.
    _keeper: Keeper,
    folder: TempDir,
}

impl Kafka {
    /// One broker, plain.
    ///
    /// # Panics
    /// When the jars are not there or no broker comes up; the message says what to do, or holds the
    /// broker's last words.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// The one that all tests of this program share. It is not to be stopped or killed by any of
    /// them.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Kafka> = LazyLock::new(Kafka::start);
        &SHARED
    }

    /// Kafka as `options` describe it.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn with(options: Options) -> Self {
        let java = Java::new(options.generation.version());
        loop {
            match Self::attempt(options.clone(), java.clone()) {
                Ok(kafka) => return kafka,
                // Another process took a port between the choice and the start.
                Err(reason) if reason.contains("Address already in use") => {}
                Err(reason) => {
                    panic!("Kafka {} did not start: {reason}", options.generation.version())
                }
            }
        }
    }

    fn attempt(options: Options, java: Java) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("merch-kafka.").tempdir().unwrap();
        let keeper = Keeper::of(folder.path());
        let certificates = (options.protection == Protection::TlsAndScram)
            .then(|| Certificates::make(folder.path()));
        let ports: Vec<Ports> = (0..options.brokers)
            .map(|_| Ports { client: free_port(), other: free_port() })
            .collect();
        let zookeeper = match options.generation {
            Generation::KRaft => None,
            Generation::ZooKeeper => Some(start_zookeeper(&java, folder.path(), ports[0])?),
        };
        let mut kafka = Self {
            options,
            java,
            ports,
            brokers: Vec::new(),
            zookeeper,
            certificates,
            _keeper: keeper,
            folder,
        };
        for number in 0..kafka.options.brokers {
            kafka.prepare(number);
            // All of them before any is waited for: each needs the others.
            let running = kafka.launch(number);
            kafka.brokers.push(Some(running));
        }
        for broker in kafka.brokers.iter_mut().flatten() {
            broker.wait_for(kafka.options.generation.started(), PATIENCE)?;
        }
        Ok(kafka)
    }

    /// The addresses for clients: `127.0.0.1:port`, with commas between them.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<String> =
            self.ports.iter().map(|ports| format!("{}:{}", self.host(), ports.client)).collect();
        addresses.join(",")
    }

    /// The authority, where there is TLS.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a Kafka with TLS")
    }

    /// Ends a broker as `kill -9` does. Brokers count from 0.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, broker: usize) {
        self.brokers[broker].take().expect("a broker that runs").kill();
    }

    /// Starts a broker again that was killed: same ports, same data. Returns when it serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self, broker: usize) {
        assert!(self.brokers[broker].is_none(), "broker {broker} runs");
        let mut running = self.launch(broker);
        running.wait_for(self.options.generation.started(), PATIENCE).unwrap();
        self.brokers[broker] = Some(running);
    }

    /// Makes a broker stand still: it holds its connections and answers nothing.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self, broker: usize) {
        self.brokers[broker].as_ref().expect("a broker that runs").signal("-STOP");
    }

    /// Lets a broker go on that stands still.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&self, broker: usize) {
        self.brokers[broker].as_ref().expect("a broker that runs").signal("-CONT");
    }

    /// The batches of a topic's partition as a broker has them on its disk, oldest first; those
    /// that it has not written yet are not among them.
    ///
    /// # Panics
    /// When it has no such partition.
    #[must_use]
    pub fn batches(&self, broker: usize, topic: &str, partition: u32) -> Vec<Batch> {
        segment::batches(&self.home(broker).join("data").join(format!("{topic}-{partition}")))
    }

    /// The name in the certificates where there are any: TLS is about names.
    fn host(&self) -> &'static str {
        if self.certificates.is_some() { "localhost" } else { "127.0.0.1" }
    }

    fn home(&self, number: usize) -> PathBuf {
        self.folder.path().join(number.to_string())
    }

    /// The settings and the empty data folder of a broker.
    fn prepare(&self, number: usize) {
        let home = self.home(number);
        fs::create_dir(&home).unwrap();
        let file = home.join("server.properties");
        fs::write(&file, self.properties(number, &home)).unwrap();
        if self.options.generation == Generation::KRaft {
            let mut format = self.java.command(&[
                "kafka.tools.StorageTool",
                "format",
                "--cluster-id",
                CLUSTER,
                "--config",
            ]);
            format.arg(&file);
            if self.options.protection == Protection::TlsAndScram {
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

    fn launch(&self, number: usize) -> process::Running {
        let home = self.home(number);
        let file = home.join("server.properties");
        self.java.run(&home, &["kafka.Kafka", file.to_str().unwrap()])
    }

    fn properties(&self, number: usize, home: &Path) -> String {
        let mut lines = properties::common(self.options.brokers);
        lines.extend(match self.options.generation {
            Generation::KRaft => properties::kraft(number, &self.ports),
            Generation::ZooKeeper => properties::zookeeper(number, self.ports[number]),
        });
        lines.extend(match &self.certificates {
            None => properties::plain(self.options.generation, self.host(), self.ports[number]),
            Some(certificates) => {
                properties::tls_and_scram(self.host(), self.ports[number], certificates)
            }
        });
        lines.push(format!("log.dirs={}", home.join("data").display()));
        lines.extend(self.options.properties.iter().cloned());
        lines.join("\n")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // At once: nobody will read their data again. The brokers before the ZooKeeper, about which
        // they would complain.
        for running in self.brokers.iter_mut().filter_map(Option::take).chain(self.zookeeper.take())
        {
            running.kill();
        }
    }
}

/// Any cluster id will do: 16 bytes in base64.
const CLUSTER: &str = "bWVyY2gtdGVzdC1rYWZrYQ";

impl Generation {
    /// What a broker writes when it serves.
    fn started(self) -> &'static str {
        match self {
            Self::KRaft => "Kafka Server started",
            Self::ZooKeeper => "[KafkaServer id=1] started",
        }
    }
}

fn start_zookeeper(java: &Java, folder: &Path, ports: Ports) -> Result<process::Running, String> {
    let home = folder.join("zookeeper");
    fs::create_dir(&home).unwrap();
    let file = home.join("zoo.cfg");
    fs::write(&file, properties::zoo_cfg(&home, ports)).unwrap();
    let mut running = java
        .run(&home, &["org.apache.zookeeper.server.ZooKeeperServerMain", file.to_str().unwrap()]);
    running.wait_for("binding to port", PATIENCE)?;
    Ok(running)
}

/// A port of loopback that nobody listens on now. Not one of those that the system hands out for
/// connections, so that a broker finds its own free again when it comes back.
fn free_port() -> u16 {
    use std::hash::{BuildHasher as _, RandomState};
    (0..1000)
        .map(|_| 15_000 + u16::try_from(RandomState::new().hash_one(()) % 15_000).unwrap())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port from 15000 to 29999")
}

/// The root of this checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap()
}

/// What a command prints, without the line break.
fn printed_by(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
