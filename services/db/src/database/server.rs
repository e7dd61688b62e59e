//! What a PostgreSQL server says before the store works on it: whether it is there yet, its
//! encoding, and whether it keeps what it has acknowledged.

use std::io;

use merch_chassis::StartError;
use sea_orm::sqlx::{
    self, Executor as _, Row as _,
    postgres::{PgConnection, PgRow},
};

/// The only encoding that holds every text of the store.
const ENCODING: &str = "UTF8";

/// Settings that decide whether an acknowledged order can be lost. Any user may read them.
const SETTINGS: &str = "SELECT current_database() AS database, current_setting('server_encoding') AS encoding, \
                        current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes, \
                        current_setting('synchronous_commit') AS synchronous_commit, \
                        current_setting('synchronous_standby_names') AS standbys";

/// Whether a connection that failed like this may succeed later without a change of any setting:
/// the server starts, recovers from a crash, restarts, has no connection left, or is not reached
/// yet.
pub(super) fn is_not_there_yet(error: &sqlx::Error, has_socket: bool, is_pooled: bool) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| passes(&code, is_pooled)),
        sqlx::Error::Io(error) => match error.kind() {
            // A certificate that is not trusted, a wrong address, a file that must not be read.
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::PermissionDenied => false,
            // The server makes its socket when it starts; other files are named in the URL.
            io::ErrorKind::NotFound => has_socket,
            // Everything else is about the way to the server: refused, reset, unreachable, a name
            // that does not resolve yet. The list is open.
            _ => true,
        },
        // What is left is about TLS, the protocol and this program's settings. The list is open.
        _ => false,
    }
}

/// Whether a server that refuses a connection with this SQLSTATE may accept it later (PostgreSQL
/// 17, appendix A).
fn passes(code: &str, is_pooled: bool) -> bool {
    match code {
        // protocol_violation: what PgBouncer says also while its server is away. PostgreSQL itself
        // says it of settings that it does not know.
        "08P01" => is_pooled,
        // sqlserver_rejected_establishment_of_sqlconnection: of a database or a user.
        "08004" => false,
        // connection exceptions; insufficient resources, too_many_connections among them; system
        // errors
        code if ["08", "53", "58"].iter().any(|class| code.starts_with(class)) => true,
        // admin_shutdown, crash_shutdown, cannot_connect_now; object_in_use, lock_not_available: a
        // database that is being copied
        "57P01" | "57P02" | "57P03" | "55006" | "55P03" => true,
        _ => false,
    }
}

/// What decides whether the store can work on a database.
#[derive(Debug)]
pub(super) struct Settings {
    database: String,
    encoding: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    standbys: String,
}

/// Reads them by one message of the simple protocol, which a pooler passes on unchanged.
pub(super) async fn read(connection: &mut PgConnection) -> Result<Settings, sqlx::Error> {
    let row: PgRow = connection.fetch_one(sqlx::raw_sql(SETTINGS)).await?;
    let text = |name| row.try_get::<String, _>(name);
    Ok(Settings {
        database: text("database")?,
        encoding: text("encoding")?,
        fsync: text("fsync")?,
        full_page_writes: text("full_page_writes")?,
        synchronous_commit: text("synchronous_commit")?,
        standbys: text("standbys")?,
    })
}

impl Settings {
    /// Warns of a `server` that may lose an acknowledged order.
    ///
    /// # Errors
    /// One sentence, if the database's encoding is not UTF8.
    pub(super) fn check(&self, server: &str) -> Result<(), StartError> {
        if self.encoding != ENCODING {
            return Err(StartError::new(format!(
                "the database {:?} at {server} has the encoding {}; expected {ENCODING}, which holds every text: create the database anew with \
                 `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`",
                self.database, self.encoding
            )));
        }
        for (setting, value, consequence) in self.risks() {
            tracing::warn!(setting, value, "an acknowledged order could be lost: {consequence}");
        }
        Ok(())
    }

    /// The settings by which an acknowledged order can be lost: name, value, and what loses it.
    fn risks(&self) -> Vec<(&'static str, &str, &'static str)> {
        let has_standbys = !self.standbys.trim().is_empty();
        let mut risks = Vec::new();
        if self.fsync != "on" {
            risks.push(("fsync", self.fsync.as_str(), "by a loss of power; set fsync=on"));
        }
        if self.full_page_writes != "on" {
            risks.push((
                "full_page_writes",
                self.full_page_writes.as_str(),
                "by a page half written at a loss of power; set full_page_writes=on",
            ));
        }
        let commit = self.synchronous_commit.as_str();
        match commit {
            "off" => risks.push((
                "synchronous_commit",
                commit,
                "by a crash of the server; set synchronous_commit=on",
            )),
            "local" if has_standbys => risks.push((
                "synchronous_commit",
                commit,
                "by a fail-over to a standby; set synchronous_commit=on",
            )),
            // `on` and stricter, `remote_write`, which survives all but a crash of both machines,
            // and what later releases may add.
            _ => {}
        }
        risks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(
        fsync: &str,
        full_page_writes: &str,
        synchronous_commit: &str,
        standbys: &str,
    ) -> Settings {
        let text = str::to_owned;
        Settings {
            database: text("merch"),
            encoding: text("UTF8"),
            fsync: text(fsync),
            full_page_writes: text(full_page_writes),
            synchronous_commit: text(synchronous_commit),
            standbys: text(standbys),
        }
    }

    #[test]
    fn each_setting_that_can_lose_an_order_is_named() {
        let names = |settings: &Settings| {
            settings.risks().iter().map(|(name, _, _)| *name).collect::<Vec<_>>()
        };
        for safe in ["on", "remote_apply", "remote_write"] {
            assert_eq!(names(&settings("on", "on", safe, "standby")), [] as [&str; 0], "{safe}");
        }
        assert_eq!(
            names(&settings("on", "on", "local", "")),
            [] as [&str; 0],
            "without a standby local is all there is"
        );
        assert_eq!(names(&settings("on", "on", "local", "standby")), ["synchronous_commit"]);
        assert_eq!(
            names(&settings("off", "off", "off", "")),
            ["fsync", "full_page_writes", "synchronous_commit"]
        );
    }

    #[test]
    fn a_server_that_is_not_there_yet_is_told_from_one_that_refuses() {
        for code in
            ["57P01", "57P02", "57P03", "53300", "53200", "08006", "08001", "58030", "55006"]
        {
            assert!(passes(code, false), "{code}");
        }
        for code in
            ["28P01", "28000", "3D000", "08P01", "08004", "42501", "0A000", "55000", "XX000", ""]
        {
            assert!(!passes(code, false), "{code}");
        }
        assert!(passes("08P01", true));
        let io = |kind: io::ErrorKind| sqlx::Error::Io(kind.into());
        for kind in [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::Other,
        ] {
            assert!(is_not_there_yet(&io(kind), false, false), "{kind:?}");
        }
        for kind in
            [io::ErrorKind::InvalidData, io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied]
        {
            assert!(!is_not_there_yet(&io(kind), false, false), "{kind:?}");
        }
        assert!(is_not_there_yet(&io(io::ErrorKind::NotFound), true, false));
    }
}
