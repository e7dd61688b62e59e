//! One of the two servers: its programs, settings, processes and files.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryResult,
    Statement, TransactionTrait as _,
};
use tokio::time::timeout;

use super::Options;
use crate::process;

/// The time-out of a new session and its statement. A checkpoint takes longest.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Real durability, small memory, and time-outs that detect a dead peer in 2 s.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "200"),
    ("shared_buffers", "16MB"),
    // Files of the data directory, as shared memory outlives a killed server.
    ("dynamic_shared_memory_type", "mmap"),
    ("max_parallel_workers_per_gather", "0"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_level", "replica"),
    ("max_wal_senders", "5"),
    ("wal_sender_timeout", "2s"),
    ("wal_receiver_timeout", "2s"),
    ("wal_receiver_status_interval", "1s"),
    ("wal_retrieve_retry_interval", "200ms"),
    // A standby that was away for a while needs it.
    ("wal_keep_size", "128MB"),
    ("min_wal_size", "16MB"),
    ("max_wal_size", "64MB"),
    ("checkpoint_timeout", "30s"),
    // Faster than an fsync of each file when a killed server or a copy starts.
    ("recovery_init_sync_method", "syncfs"),
    ("hot_standby_feedback", "on"),
    ("log_line_prefix", "%m [%p] "),
];

/// Directories whose files belong to a running server and not to a backup.
const NOT_COPIED: &[&str] = &[
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal",
];

/// The programs of PostgreSQL, and how they are run.
#[derive(Debug)]
pub(super) struct Programs {
    home: PathBuf,
    /// User and group, if the runner is root.
    owner: Option<(u32, u32)>,
    options: Options,
}

impl Programs {
    pub(super) fn install(dir: &Path, options: Options) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("{} cannot be created", dir.display()))?;
        let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/postgres-home");
        let mut home = PathBuf::from(output(&mut Command::new(tool))?);
        let mut owner = None;
        if geteuid().is_root() {
            let id = |of| output(Command::new("id").args([of, "nobody"]));
            owner = Some((id("-u")?.parse()?, id("-g")?.parse()?));
            output(Command::new("cp").arg("-R").arg(&home).arg(dir.join("native")))?;
            home = dir.canonicalize()?.join("native");
        }
        Ok(Self { home, owner, options })
    }

    fn command(&self, program: &str, envs: &[(String, String)]) -> Command {
        // A library that is loaded into `setpriv` would create its files with privileges.
        let mut command = match self.owner {
            None => Command::new("env"),
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={group}"));
                command.args(["--clear-groups", "--", "env"]);
                command
            }
        };
        command.args(envs.iter().map(|(name, value)| format!("{name}={value}")));
        command
            .arg(self.home.join("bin").join(program))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.owner.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }

    /// Copies the entries of a directory that are wanted, by their paths in it. Files may vanish
    /// meanwhile.
    fn copy(&self, from: &Path, to: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(from.join(&directory))? {
                let entry = entry?;
                let path = directory.join(entry.file_name());
                let target = to.join(&path);
                if !is_wanted(&path) {
                    continue;
                }
                if entry.file_type()?.is_dir() {
                    fs::create_dir(&target)?;
                    fs::set_permissions(&target, fs::Permissions::from_mode(0o700))?;
                    directories.push(path);
                } else {
                    match fs::copy(entry.path(), &target) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        copied => copied?,
                    };
                }
                self.give(&target)?;
            }
        }
        Ok(())
    }
}

/// A server, running or stopped.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    port: u16,
    /// The port of the other server.
    peer: u16,
    programs: Arc<Programs>,
    data: PathBuf,
    /// Outside of the data: a backup has none, and a full file system of the data does not matter.
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// The ports are its own and that of the other server.
    pub(super) fn new(
        name: &'static str,
        [port, peer]: [u16; 2],
        dir: &Path,
        programs: Arc<Programs>,
    ) -> Result<Self> {
        let dir = dir.canonicalize()?;
        let root = programs.options.data_root.as_ref().unwrap_or(&dir).canonicalize()?;
        let data = root.join(format!("data-{name}"));
        fs::create_dir(&data).with_context(|| format!("{} cannot be created", data.display()))?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        programs.give(&data)?;
        let [config, log] = ["conf", "log"].map(|kind| dir.join(format!("{name}.{kind}")));
        let server = Self { name, port, peer, programs, data, config, log, child: None };
        server.configure(false)?;
        Ok(server)
    }

    pub(super) async fn init(&self) -> Result<()> {
        let mut initdb = self.programs.command("initdb", &[]);
        initdb.arg("--pgdata").arg(&self.data).args(["--username=merch", "--auth=trust"]);
        // Small segments of WAL fit on small file systems.
        initdb.args(["--encoding=UTF8", "--no-locale", "--no-sync", "--wal-segsize=4"]);
        initdb.current_dir("/");
        tokio::task::spawn_blocking(move || output(&mut initdb)).await??;
        Ok(())
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://merch@{}/{database}", self.address())
    }

    /// Writes its settings, which it reads at its start and at [`reload`](Self::reload).
    pub(super) fn configure(&self, synchronous: bool) -> Result<()> {
        let own = [
            ("port", self.port.to_string()),
            (
                "primary_conninfo",
                format!("host=127.0.0.1 port={} user=merch application_name=standby", self.peer),
            ),
            ("synchronous_standby_names", if synchronous { "standby" } else { "" }.to_owned()),
        ];
        let settings = SETTINGS.iter().map(|(name, value)| (*name, *value));
        let settings = settings.chain(own.iter().map(|(name, value)| (*name, value.as_str())));
        let given = self.programs.options.settings.iter();
        // PostgreSQL uses the last value of a setting.
        let settings = settings.chain(given.map(|(name, value)| (name.as_str(), value.as_str())));
        let text: String = settings
            .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")))
            .collect();
        fs::write(&self.config, text)
            .with_context(|| format!("{} cannot be written", self.config.display()))
    }

    /// Starts the processes, if they do not run.
    pub(super) fn spawn(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        // Processes may be left if only the first one was killed.
        process::kill_all(&self.data)?;
        // The process id in it can be that of another server by now.
        fs::remove_file(self.data.join("postmaster.pid")).or_else(|error| {
            (error.kind() == io::ErrorKind::NotFound).then_some(()).ok_or(error)
        })?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.programs.command("postgres", &self.programs.options.envs);
        command.arg("-D").arg(&self.data).arg("-c");
        command.arg(format!("config_file={}", self.config.display()));
        // A group of its own is spared by Ctrl-C, which would stop it before the runner does.
        command.current_dir(&self.data).process_group(0).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("setpriv or postgres cannot be started")?);
        Ok(())
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        process::kill_all(&self.data)?;
        if let Some(mut child) = self.child.take() {
            // Does nothing if it has ended; otherwise the wait could be endless.
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(super) fn reload(&self) {
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::HUP);
        }
    }

    /// Empties the data directory. It stays, as PostgreSQL finds the shared memory of a killed
    /// server by its inode.
    pub(super) fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.data)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn make_standby(&self) -> Result<()> {
        self.configure(false)?;
        fs::write(self.data.join("standby.signal"), "")?;
        Ok(self.programs.give(&self.data.join("standby.signal"))?)
    }

    pub(super) fn is_standby(&self) -> bool {
        self.data.join("standby.signal").exists()
    }

    /// Runs a statement in a new session, and returns the text in its first row.
    pub(super) async fn query(&self, sql: &str) -> Result<Option<String>> {
        let query = async {
            let connection = self.connect().await?;
            let row = query(&connection, sql).await?;
            connection.close().await?;
            Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
        };
        timeout(QUERY_TIMEOUT, query)
            .await
            .unwrap_or_else(|_| bail!("no response within {QUERY_TIMEOUT:?}"))
            .with_context(|| format!("server {}: {sql}", self.name))
    }

    async fn connect(&self) -> Result<DatabaseConnection> {
        let mut options = ConnectOptions::new(self.url("postgres"));
        options.max_connections(1).acquire_timeout(CONNECT_TIMEOUT).sqlx_logging(false);
        Ok(Database::connect(options).await?)
    }

    pub(super) async fn backup(&self, to: &Path) -> Result<()> {
        let connection = self.connect().await?;
        // PostgreSQL ends a backup with its session, so all statements are in one.
        let session = connection.begin().await?;
        query(&session, "SELECT pg_backup_start('chaos', true)::text").await?;
        self.copy(&self.data, to, |path| {
            let is_in_skipped = path
                .parent()
                .and_then(Path::to_str)
                .is_some_and(|directory| NOT_COPIED.contains(&directory));
            !is_in_skipped && !matches!(path.to_str(), Some("postmaster.pid" | "postmaster.opts"))
        })
        .await?;
        let stop = "SELECT labelfile, pg_walfile_name(lsn) FROM pg_backup_stop(false)";
        let row = query(&session, stop).await?.context("pg_backup_stop returned no row")?;
        let (label, last): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        session.commit().await?;
        connection.close().await?;
        let first = label.split_once("(file ").and_then(|(_, rest)| rest.split_once(')'));
        let first = first.context("backup_label has no WAL file")?.0.to_owned();
        let first_copied = to.join("pg_wal").join(&first);
        self.copy(&self.data.join("pg_wal"), &to.join("pg_wal"), move |path| {
            path.extension().is_some_and(|kind| kind == "history")
                || path.to_str().is_some_and(|name| (&*first..=&*last).contains(&name))
        })
        .await?;
        ensure!(first_copied.exists(), "PostgreSQL has removed WAL that the backup needs");
        fs::write(to.join("backup_label"), label)?;
        Ok(self.programs.give(&to.join("backup_label"))?)
    }

    /// Copies a backup into the empty data directory.
    pub(super) async fn copy_from(&self, backup: &Path) -> Result<()> {
        self.copy(backup, &self.data, |_| true).await
    }

    async fn copy(
        &self,
        from: &Path,
        to: &Path,
        is_wanted: impl Fn(&Path) -> bool + Send + 'static,
    ) -> Result<()> {
        let (from, to, programs) = (from.to_owned(), to.to_owned(), self.programs.clone());
        tokio::task::spawn_blocking(move || {
            programs
                .copy(&from, &to, &is_wanted)
                .with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))
        })
        .await?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.kill());
        // The seventh line has the key and the id of its System V segment, which stays otherwise.
        let lock = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        if let Some(id) = lock.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
            drop(Command::new("ipcrm").args(["-m", id]).output());
        }
    }
}

async fn query(session: &impl ConnectionTrait, sql: &str) -> Result<Option<QueryResult>> {
    Ok(session.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} cannot be run"))?;
    let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    ensure!(output.status.success(), "{command:?} failed: {}", error.trim());
    Ok(out.trim().to_owned())
}
