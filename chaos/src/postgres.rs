//! PostgreSQL 17 as a pair: a primary and a synchronous standby, each with a fixed port.
//!
//! The programs come from `tools/postgres-home`. They refuse to run as root, so a runner with that
//! user copies them and starts them without privileges. The copies must be able to enter the
//! directories of the pair.

mod server;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use merch_test_kafka::free_port;
use tokio::time::{sleep, timeout};

use self::server::{Programs, Server};
use crate::process::{self, Reaper};

/// The time-out of a start, a promotion, a backup and other waits.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Replication of the standby, as the primary sees it.
const REPLICATION: &str = "FROM pg_stat_replication WHERE application_name = 'standby' AND state = \
                           'streaming'";

/// How a [`Postgres`] runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the two data directories are, such as a small file system. `None`: beside the logs.
    pub data_root: Option<PathBuf>,
    /// Variables of the server processes, such as `LD_PRELOAD`.
    pub envs: Vec<(String, String)>,
    /// Settings that replace those of this module, such as `wal_sender_timeout`.
    pub settings: Vec<(String, String)>,
}

/// A running pair. Dropping it kills both servers, and so does the end of the runner.
///
/// Each method that waits fails after 90 s, with the ends of both logs.
#[derive(Debug)]
pub struct Postgres {
    servers: [Server; 2],
    /// Index of the primary.
    primary: usize,
    /// Whether the primary confirms only commits that the standby has flushed.
    synchronous: bool,
    /// Dropped after the servers.
    _reaper: Reaper,
}

impl Postgres {
    /// Creates a pair in `dir`, with the user and the database `merch`, and waits until its standby
    /// is synchronous.
    ///
    /// # Errors
    /// If the programs are missing, or a server does not start.
    pub async fn start(dir: &Path, options: Options) -> Result<Self> {
        let programs = Arc::new(Programs::install(dir, options)?);
        let [first, second] = [free_port(), free_port()];
        let servers = [
            Server::new("a", [first, second], dir, programs.clone())?,
            Server::new("b", [second, first], dir, programs)?,
        ];
        let reaper = Reaper::of(&servers.each_ref().map(|server| server.data().to_owned()))?;
        servers[0].init().await?;
        let mut pair = Self { servers, primary: 0, synchronous: false, _reaper: reaper };
        pair.start_server(0).await?;
        pair.servers[0].query("CREATE DATABASE merch").await?;
        pair.rebuild_standby().await?;
        Ok(pair)
    }

    /// Returns the URL of the database on the primary.
    #[must_use]
    pub fn url(&self) -> String {
        self.servers[self.primary].url("merch")
    }

    /// Returns the address of the primary.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.servers[self.primary].address()
    }

    /// Returns the URLs of the primary and of the standby, for consistency snapshots.
    #[must_use]
    pub fn snapshot_urls(&self) -> [String; 2] {
        [self.primary, self.standby()].map(|server| self.servers[server].url("merch"))
    }

    /// Returns whether the standby has every acknowledged commit, so that it can be promoted.
    #[must_use]
    pub fn is_synchronous(&self) -> bool {
        self.synchronous
    }

    /// Kills all processes of the primary with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.servers[self.primary].kill()
    }

    /// Starts the primary after [`kill`](Self::kill), or after it has exited, and waits until it
    /// accepts connections.
    ///
    /// Commits that were waiting for the standby are visible then, even if the standby lacks them.
    /// If a client reads one, and a fail-over follows before [`reattach`](Self::reattach) returns,
    /// the client has read what is lost.
    pub async fn start_again(&mut self) -> Result<()> {
        self.start_server(self.primary).await
    }

    /// Stops all processes of the primary with SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        process::freeze_all(self.servers[self.primary].data())
    }

    /// Continues the primary after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        process::thaw_all(self.servers[self.primary].data());
    }

    /// Kills all processes of the standby with SIGKILL. Commits wait until it is back, or for
    /// [`degrade`](Self::degrade).
    pub fn stop_standby(&mut self) -> Result<()> {
        let standby = self.standby();
        self.servers[standby].kill()
    }

    /// Starts the standby, and waits until it accepts connections.
    ///
    /// # Errors
    /// If its data is not that of a standby, as after [`promote`](Self::promote) and
    /// [`restore`](Self::restore).
    pub async fn start_standby(&mut self) -> Result<()> {
        let standby = self.standby();
        ensure!(
            self.servers[standby].is_standby(),
            "server {} has not the data of a standby; call rebuild_standby",
            self.servers[standby].name()
        );
        self.start_server(standby).await
    }

    /// Stops all processes of the standby with SIGSTOP. Commits wait, as after
    /// [`stop_standby`](Self::stop_standby).
    pub fn freeze_standby(&self) -> Result<()> {
        process::freeze_all(self.servers[self.standby()].data())
    }

    /// Continues the standby after [`freeze_standby`](Self::freeze_standby).
    pub fn thaw_standby(&self) {
        process::thaw_all(self.servers[self.standby()].data());
    }

    /// Lets the primary commit without the standby, which cannot be promoted until
    /// [`reattach`](Self::reattach). If the primary does not run, this holds from its next start.
    pub async fn degrade(&mut self) -> Result<()> {
        self.synchronous = false;
        self.set_synchronous(false).await
    }

    /// Waits until the standby streams and has all WAL, and makes it synchronous if it was not.
    pub async fn reattach(&mut self) -> Result<()> {
        let primary = self.primary;
        let streams = format!("EXISTS (SELECT {REPLICATION})");
        self.wait_for(primary, "a standby that streams", &streams).await?;
        if !self.synchronous {
            self.set_synchronous(true).await?;
            // The checkpointer tells the backends to wait for the standby. It reads its settings
            // between two checkpoints, and the first may have begun before the reload.
            for _ in 0..2 {
                self.servers[primary].query("CHECKPOINT").await?;
            }
        }
        let wal = self.servers[primary].query("SELECT pg_current_wal_flush_lsn()::text").await?;
        let wal = wal.context("PostgreSQL returned no WAL position")?;
        let has_all = format!(
            "EXISTS (SELECT {REPLICATION} AND sync_state = 'sync' AND flush_lsn >= '{wal}')"
        );
        self.wait_for(primary, &format!("a synchronous standby with the WAL to {wal}"), &has_all)
            .await?;
        self.synchronous = true;
        Ok(())
    }

    /// Fails over: kills the primary, promotes the standby, waits until it accepts writes, and
    /// returns its address. It commits without a standby until
    /// [`rebuild_standby`](Self::rebuild_standby).
    ///
    /// # Errors
    /// If the standby can lack an acknowledged commit.
    pub async fn promote(&mut self) -> Result<SocketAddr> {
        ensure!(
            self.synchronous,
            "the standby can lack acknowledged commits; call reattach or rebuild_standby first"
        );
        self.promote_asynchronous().await
    }

    /// Fails over as [`promote`](Self::promote) does, also to a standby that lacks acknowledged
    /// commits.
    pub async fn promote_asynchronous(&mut self) -> Result<SocketAddr> {
        self.kill()?;
        let standby = self.standby();
        self.thaw_standby();
        self.start_standby().await?;
        // From here on, only one of them may run.
        (self.primary, self.synchronous) = (standby, false);
        self.servers[standby].query("SELECT pg_promote(false)::text").await?;
        self.wait_for(standby, "the end of recovery", "NOT pg_is_in_recovery()").await?;
        Ok(self.address())
    }

    /// Replaces the data of the other server by a copy of the primary's, starts it as standby and
    /// waits until it is synchronous. Until then, the primary commits without it.
    pub async fn rebuild_standby(&mut self) -> Result<()> {
        self.degrade().await?;
        let standby = self.standby();
        self.servers[standby].kill()?;
        self.servers[standby].clear()?;
        let data = self.servers[standby].data().to_owned();
        self.backup_into(&data).await?;
        self.servers[standby].make_standby()?;
        self.start_standby().await?;
        self.reattach().await
    }

    /// Copies the data of the running primary into a new directory, with the WAL that it needs.
    ///
    /// The copy has what was acknowledged before the call, and nothing that began after it.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        fs::create_dir(to).with_context(|| format!("{} cannot be created", to.display()))?;
        self.backup_into(to).await
    }

    /// Kills both servers, replaces the primary's data by a [`backup`](Self::backup), and starts
    /// it. It commits without a standby until [`rebuild_standby`](Self::rebuild_standby).
    pub async fn restore(&mut self, from: &Path) -> Result<()> {
        let (primary, standby) = (self.primary, self.standby());
        for server in [standby, primary] {
            self.servers[server].kill()?;
            self.servers[server].clear()?;
        }
        self.degrade().await?;
        self.servers[primary].copy_from(from).await?;
        self.start_server(primary).await
    }

    /// Starts servers that have exited, and waits until the standby is synchronous. A standby that
    /// cannot follow any more is rebuilt.
    pub async fn ensure_running(&mut self) -> Result<()> {
        self.thaw();
        self.thaw_standby();
        self.start_again().await?;
        let standby = self.standby();
        if self.servers[standby].is_standby() && self.start_standby().await.is_ok() {
            return self.reattach().await;
        }
        self.rebuild_standby().await
    }

    fn standby(&self) -> usize {
        1 - self.primary
    }

    async fn start_server(&mut self, server: usize) -> Result<()> {
        self.servers[server].spawn()?;
        self.wait_for(server, "connections", "true").await
    }

    async fn set_synchronous(&mut self, synchronous: bool) -> Result<()> {
        let primary = self.primary;
        self.servers[primary].configure(synchronous)?;
        if !self.servers[primary].is_running() {
            return Ok(());
        }
        self.servers[primary].reload();
        let operator = if synchronous { "<>" } else { "=" };
        let condition = format!("current_setting('synchronous_standby_names') {operator} ''");
        self.wait_for(primary, "its new settings", &condition).await
    }

    async fn backup_into(&self, to: &Path) -> Result<()> {
        let backup = timeout(TIMEOUT, self.servers[self.primary].backup(to)).await;
        let backup = backup.unwrap_or_else(|_| bail!("it did not end within {TIMEOUT:?}"));
        backup.with_context(|| format!("backup into {} failed; {}", to.display(), self.logs()))
    }

    /// Waits until the SQL condition is true in a new session.
    async fn wait_for(&mut self, server: usize, what: &str, condition: &str) -> Result<()> {
        let query = format!("SELECT ({condition})::text");
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = match self.servers[server].query(&query).await {
                Ok(Some(value)) if value == "true" => return Ok(()),
                Ok(value) => format!("{condition} is {value:?}"),
                Err(error) => format!("{error:#}"),
            };
            let name = self.servers[server].name();
            if !self.servers[server].is_running() {
                bail!("server {name} exited while it should have {what}; {}", self.logs());
            }
            if Instant::now() >= deadline {
                bail!("server {name} has no {what} after {TIMEOUT:?}: {found}; {}", self.logs());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn logs(&self) -> String {
        let tails = self.servers.each_ref().map(|server| {
            format!("end of the log of server {}:\n{}", server.name(), process::tail(server.log()))
        });
        tails.join("\n")
    }
}
