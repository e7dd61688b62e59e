//! A Compose project on free ports, started for the tests of one process and always removed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    command::Command,
    container::{self, Container},
    directories::{root, target},
    http::Client,
    settings::{Settings, free_port},
    wait::wait_until,
};

/// Replicas of each role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaCounts {
    pub api: usize,
    pub db: usize,
    pub logging: usize,
}

/// A running stack. It is removed with the process: see `reaper`.
#[derive(Debug)]
pub struct Stack {
    project: String,
    dir: PathBuf,
    settings: Mutex<Settings>,
    replicas: ReplicaCounts,
    url: String,
    tls_port: u16,
    startup_time: Duration,
    /// Its standard input keeps the stack alive; see [`reaper`].
    _reaper: Option<std::process::Child>,
}

/// The roles' admin port in their containers.
const ADMIN_PORT: u16 = 9100;

const UP: Duration = Duration::from_secs(300);

impl Stack {
    /// Starts a stack and waits until it is healthy.
    ///
    /// `change` may modify its `.env`: `.env.example` with random secrets, free ports and high rate
    /// limits.
    pub async fn up(replicas: ReplicaCounts, change: impl FnOnce(&mut Settings)) -> Result<Self> {
        let project = format!("{}-{}", prefix(), &uuid::Uuid::new_v4().simple().to_string()[..6]);
        let dir = target().join("compose-tests").join(&project);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let image = crate::image::name().await?;
        let (port, tls_port) = (free_port()?, free_port()?);
        let example = fs::read_to_string(root().join(".env.example")).context(".env.example")?;
        let mut settings = Settings::from_example(&example)?;
        for (name, value) in [
            ("MERCH_IMAGE", &image[..]),
            ("MERCH_BIND", "127.0.0.1"),
            ("COMPOSE_PROJECT_NAME", &project),
        ] {
            settings.set(name, value);
        }
        let counts = [("API", replicas.api), ("DB", replicas.db), ("LOGGING", replicas.logging)];
        for (role, count) in counts {
            settings.set(&format!("MERCH_{role}_REPLICAS"), &count.to_string());
        }
        settings.set("MERCH_LOG_IN_ADDRESS_RATE", "100000");
        settings.set("MERCH_WRITE_RATE", "1000000");
        // Low enough for the contract suite to reach it on any replicas.
        settings.set("MERCH_REGISTRATION_ADDRESS_RATE", "100");
        // The checker expects every single event.
        settings.set("MERCH_REFUSAL_EVENTS", "10000");
        settings.set("MERCH_PORT", &port.to_string());
        settings.set("MERCH_TLS_PORT", &tls_port.to_string());
        change(&mut settings);
        settings.write(&dir.join("env"))?;
        fs::write(dir.join("overlay.yaml"), OVERLAY).context("overlay.yaml")?;
        let reaper = if std::env::var_os("MERCH_TEST_KEEP").is_some() {
            None
        } else {
            Some(reaper(&project, &dir)?)
        };
        let url = format!("http://127.0.0.1:{port}");
        let mut stack = Self {
            project,
            dir,
            settings: Mutex::new(settings),
            replicas,
            url,
            tls_port,
            startup_time: Duration::ZERO,
            _reaper: reaper,
        };
        let began = Instant::now();
        if let Err(first) = stack.compose_up(&[]).await {
            // A health check may time out on a busy machine; a real failure repeats.
            eprintln!(
                "    up: tried again, as the first time failed: {:.300}",
                format!("{first:#}").lines().last().unwrap_or_default()
            );
            if let Err(error) = stack.compose_up(&[]).await {
                let kept = stack.save_logs("up");
                bail!("{error:#}\nThe logs are in {}", kept.display());
            }
        }
        stack.startup_time = began.elapsed();
        Ok(stack)
    }

    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// NGINX's URL, such as `http://127.0.0.1:41234`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// NGINX's TLS port, if it has a certificate.
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// The current `.env`.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings.lock().expect("no task panics while it holds the lock").clone()
    }

    /// Changes the `.env`, as an operator does; containers read it when they are recreated.
    pub fn change_settings(&self, changes: &[(&str, &str)]) -> Result<()> {
        let mut settings = self.settings.lock().expect("no task panics while it holds the lock");
        for (name, value) in changes {
            settings.set(name, value);
        }
        settings.write(&self.dir.join("env"))
    }

    #[must_use]
    pub fn replicas(&self) -> ReplicaCounts {
        self.replicas
    }

    /// The time until all was healthy, without building the image.
    #[must_use]
    pub fn startup_time(&self) -> Duration {
        self.startup_time
    }

    /// Creates a client with its own connections and record.
    pub fn client(&self) -> Result<Client> {
        Client::new(self.url.as_str())
    }

    /// Prepares `docker`, `make` or a script to work on this project.
    pub fn command(&self, program: &str) -> Command {
        // Selects the project by variables alone, so that the operations commands work on it too.
        let mut files = vec![root().join("compose.yaml")];
        if self.settings().get("MERCH_SECRETS_DIR").is_some() {
            files.push(root().join("compose.secrets.yaml"));
        }
        files.push(self.dir.join("overlay.yaml"));
        let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        Command::new(program)
            .in_dir(root())
            .env("COMPOSE_PROJECT_NAME", &self.project)
            .env("COMPOSE_FILE", files.join(":"))
            .env("COMPOSE_ENV_FILES", self.dir.join("env"))
            .env("COMPOSE_PROGRESS", "plain")
            .env("MERCH_ENV_FILE", self.dir.join("env"))
    }

    /// Prepares `docker compose` with these arguments.
    pub fn compose(&self, words: &[&str]) -> Command {
        self.command("docker").args(["compose"]).args(words)
    }

    /// Runs `docker compose up --detach --wait` with the replicas of the `.env`.
    pub async fn compose_up(&self, more: &[&str]) -> Result<()> {
        let words = [&["up", "--detach", "--wait", "--no-build"], more].concat();
        self.compose(&words).limit(UP).succeed().await.map(drop)
    }

    /// Lists the containers, of one service if it is named.
    pub async fn containers(&self, service: Option<&str>) -> Result<Vec<Container>> {
        let mut containers = container::of_project(&self.project).await?;
        containers.retain(|container| service.is_none_or(|service| container.service == service));
        Ok(containers)
    }

    /// The first container of a service.
    pub async fn container(&self, service: &str) -> Result<Container> {
        self.containers(Some(service))
            .await?
            .into_iter()
            .next()
            .with_context(|| format!("no container of {service}"))
    }

    /// Restarts containers that a test has stopped or paused, and waits until all replicas are
    /// healthy.
    pub async fn wait_healthy(&self) -> Result<()> {
        for container in self.containers(None).await? {
            let state = container.state().await?;
            let once = ["migrate", "pki", "topic"].contains(&container.service.as_str());
            match state.as_str() {
                "paused" => container.unpause().await?,
                "exited" | "created" if !once => container.start().await?,
                _ => {}
            }
        }
        let look = async || {
            let mut count: BTreeMap<String, usize> = BTreeMap::new();
            for container in self.containers(None).await? {
                if container.state().await? == "healthy" {
                    *count.entry(container.service).or_default() += 1;
                }
            }
            let ReplicaCounts { api, db, logging } = self.replicas;
            for (service, wanted) in [
                ("postgres", 1),
                ("kafka", 1),
                ("nginx", 1),
                ("api", api),
                ("db", db),
                ("logging", logging),
            ] {
                let healthy = count.get(service).copied().unwrap_or(0);
                ensure!(healthy == wanted, "{healthy} of {wanted} {service} are healthy");
            }
            Ok(())
        };
        wait_until("all of the stack to be healthy", Duration::from_secs(120), look).await.map(drop)
    }

    /// Runs SQL in the postgres container. Returns unaligned rows without headers.
    pub async fn psql(&self, sql: &str) -> Result<String> {
        let program = r#"exec psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --no-psqlrc --no-align --tuples-only --quiet --set ON_ERROR_STOP=1"#;
        self.container("postgres")
            .await?
            .exec(&["sh", "-c", program], sql, Duration::from_secs(60))
            .await
    }

    /// Runs a query and returns its rows as objects.
    pub async fn rows(&self, query: &str) -> Result<Vec<Value>> {
        let printed = self
            .psql(&format!("SELECT coalesce(json_agg(row), '[]') FROM ({query}) AS row;"))
            .await?;
        serde_json::from_str(&printed)
            .with_context(|| format!("{query}: expected JSON, got {printed:?}"))
    }

    /// Kafka's address within its network, from the logging service's settings.
    pub async fn brokers(&self) -> Result<String> {
        let inspected = self.container("logging").await?.inspect().await?;
        let variables = inspected["Config"]["Env"].as_array().map_or(&[][..], Vec::as_slice);
        let found = variables
            .iter()
            .filter_map(Value::as_str)
            .find_map(|variable| variable.strip_prefix("MERCH_KAFKA_BROKERS="));
        found.map(str::to_owned).context("the logging service has no MERCH_KAFKA_BROKERS")
    }

    /// Reads `/metrics` of a container from within its network; the port is not published.
    pub async fn metrics(&self, of: &Container) -> Result<String> {
        // PostgreSQL's image contains bash and is already pulled.
        let image = self.container("postgres").await?.inspect().await?["Image"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let read = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{ADMIN_PORT}; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' \
             >&3; cat <&3"
        );
        let network = format!("container:{}", of.id);
        container::docker(&[
            "run",
            "--rm",
            "--network",
            &network,
            "--entrypoint",
            "bash",
            &image,
            "-c",
            &read,
        ])
        .await
    }

    /// Saves the logs and states of all containers in `target/compose-logs`. Returns the path.
    pub fn save_logs(&self, name: &str) -> PathBuf {
        let dir = target().join("compose-logs");
        let path = dir.join(format!("{}-{name}.log", self.project));
        // Without tokio: this runs during a panic.
        let run = |words: &[&str]| {
            let said =
                std::process::Command::new("docker").args(words).stdin(Stdio::null()).output();
            said.map_or_else(
                |error| error.to_string().into_bytes(),
                |said| [said.stdout, said.stderr].concat(),
            )
        };
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let mut kept = run(&["ps", "--all", "--filter", &filter]);
        let listed = run(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
        for container in String::from_utf8_lossy(&listed).lines() {
            kept.extend(format!("\n==> {container}\n").bytes());
            kept.extend(run(&["logs", "--timestamps", container]));
        }
        if let Err(error) = fs::create_dir_all(&dir).and_then(|()| fs::write(&path, kept)) {
            return PathBuf::from(format!("nowhere ({}: {error})", path.display()));
        }
        path
    }
}

/// The overlay of the tests; it changes nothing that they test.
const OVERLAY: &str = "\
# Written by the tests. Cheap hashes, so that a load generator can log in, and rates that it does not meet.
services:
  api:
    environment:
      MERCH_HASH_COST: '10'
";

/// The prefix of this process's project names. `tools/test-compose` sets it and removes what
/// remains.
fn prefix() -> String {
    std::env::var("MERCH_TEST_PROJECT")
        .unwrap_or_else(|_| format!("merch-test-{}", std::process::id()))
}

/// Starts a shell that removes the stack when this process ends: it waits for the end of its
/// standard input. Its own process group survives Ctrl-C, and it works after a panic or SIGKILL.
fn reaper(project: &str, dir: &Path) -> Result<std::process::Child> {
    use std::os::unix::process::CommandExt as _;
    let script = r#"
        trap '' INT TERM HUP
        cat >/dev/null
        docker compose --project-name "$1" kill
        docker compose --project-name "$1" down --volumes --remove-orphans --timeout 1
        rm -rf "$2"
    "#;
    std::process::Command::new("bash")
        .args(["-c", script, "merch-test-reaper", project])
        .arg(dir)
        // Outside of the checkout, whose compose.yaml docker would read.
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("bash")
}
