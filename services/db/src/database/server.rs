use std::io;

use merch_chassis::StartError;
use sea_orm::sqlx::{
    self, Executor as _, Row as _,
    postgres::{PgConnection, PgRow},
};

/// The only encoding that can store every text.
const ENCODING: &str = "UTF8";

/// Any role may read these settings.
const SELECT_SETTINGS: &str = "
    SELECT current_database() AS database,
        current_setting('server_encoding') AS encoding,
        current_setting('fsync') AS fsync,
        current_setting('full_page_writes') AS full_page_writes,
        current_setting('synchronous_commit') AS synchronous_commit,
        current_setting('synchronous_standby_names') AS standbys";

/// Whether a connection may succeed later without a change of settings.
pub(super) fn is_transient(error: &sqlx::Error, has_socket: bool, is_pooled: bool) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| is_transient_code(&code, is_pooled))
        }
        sqlx::Error::Io(error) => match error.kind() {
            // An untrusted certificate, a malformed address, an unreadable file.
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::PermissionDenied => false,
            // The server creates its socket when it starts.
            io::ErrorKind::NotFound => has_socket,
            // Network errors, including a name that does not resolve yet.
            _ => true,
        },
        _ => false,
    }
}

/// By SQLSTATE (PostgreSQL 17, appendix A).
fn is_transient_code(code: &str, is_pooled: bool) -> bool {
    match code {
        // protocol_violation: from PgBouncer while its server is unavailable, from PostgreSQL for
        // unknown settings.
        "08P01" => is_pooled,
        // sqlserver_rejected_establishment_of_sqlconnection
        "08004" => false,
        // connection exceptions; insufficient resources, including too_many_connections; system
        // errors
        code if ["08", "53", "58"].iter().any(|class| code.starts_with(class)) => true,
        // admin_shutdown, crash_shutdown, cannot_connect_now; object_in_use, lock_not_available:
        // the database is being copied
        "57P01" | "57P02" | "57P03" | "55006" | "55P03" => true,
        _ => false,
    }
}

#[derive(Debug)]
pub(super) struct Settings {
    database: String,
    encoding: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    standbys: String,
}

/// Uses the simple protocol, which a pooler passes on unchanged.
pub(super) async fn read(connection: &mut PgConnection) -> Result<Settings, sqlx::Error> {
    let row: PgRow = connection.fetch_one(sqlx::raw_sql(SELECT_SETTINGS)).await?;
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
    /// Warns of each setting by which `server` may lose an acknowledged order. Fails if the
    /// encoding is not UTF8.
    pub(super) fn check(&self, server: &str) -> Result<(), StartError> {
        if self.encoding != ENCODING {
            return Err(StartError::new(format!(
                "the database {:?} at {server} has the encoding {}; expected {ENCODING}: create \
                 the database again with \
                 `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`",
                self.database, self.encoding
            )));
        }
        for (setting, value, consequence) in self.durability_risks() {
            tracing::warn!(setting, value, "acknowledged orders may be lost {consequence}");
        }
        Ok(())
    }

    fn durability_risks(&self) -> Vec<(&'static str, &str, &'static str)> {
        let has_standbys = !self.standbys.trim().is_empty();
        let mut risks = Vec::new();
        if self.fsync != "on" {
            risks.push(("fsync", self.fsync.as_str(), "after a power failure; set fsync=on"));
        }
        if self.full_page_writes != "on" {
            risks.push((
                "full_page_writes",
                self.full_page_writes.as_str(),
                "if a page is partially written during a power failure; set full_page_writes=on",
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
            // `on` and stricter, `remote_write` (loses data only if both machines crash), future
            // values.
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
    fn durability_risks_are_named() {
        let names = |settings: &Settings| {
            settings.durability_risks().iter().map(|(name, _, _)| *name).collect::<Vec<_>>()
        };
        for safe in ["on", "remote_apply", "remote_write"] {
            assert_eq!(names(&settings("on", "on", safe, "standby")), [] as [&str; 0], "{safe}");
        }
        assert_eq!(
            names(&settings("on", "on", "local", "")),
            [] as [&str; 0],
            "without a standby, local is the strictest setting"
        );
        assert_eq!(names(&settings("on", "on", "local", "standby")), ["synchronous_commit"]);
        assert_eq!(
            names(&settings("off", "off", "off", "")),
            ["fsync", "full_page_writes", "synchronous_commit"]
        );
    }

    #[test]
    fn transient_errors_are_distinguished() {
        for code in
            ["57P01", "57P02", "57P03", "53300", "53200", "08006", "08001", "58030", "55006"]
        {
            assert!(is_transient_code(code, false), "{code}");
        }
        for code in
            ["28P01", "28000", "3D000", "08P01", "08004", "42501", "0A000", "55000", "XX000", ""]
        {
            assert!(!is_transient_code(code, false), "{code}");
        }
        assert!(is_transient_code("08P01", true));
        let io = |kind: io::ErrorKind| sqlx::Error::Io(kind.into());
        for kind in [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::Other,
        ] {
            assert!(is_transient(&io(kind), false, false), "{kind:?}");
        }
        for kind in
            [io::ErrorKind::InvalidData, io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied]
        {
            assert!(!is_transient(&io(kind), false, false), "{kind:?}");
        }
        assert!(is_transient(&io(io::ErrorKind::NotFound), true, false));
    }
}
