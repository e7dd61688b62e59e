use std::{path::PathBuf, time::Duration};

/// Limits of the database connections. A call that exceeds a time limit gets `UNAVAILABLE`.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Connections to PostgreSQL, or readers of an SQLite file besides its one writer. At least 1.
    pub connections: u32,
    /// The time to wait for a free connection.
    pub acquire_timeout: Duration,
    /// The time to wait at the start for a PostgreSQL that does not accept connections yet.
    pub start_timeout: Duration,
    /// The time limit of one statement (PostgreSQL).
    pub statement_timeout: Duration,
    /// The time to wait for a lock: of a row in PostgreSQL, of the file in SQLite.
    pub lock_timeout: Duration,
    /// The time limit of one transaction.
    pub transaction_timeout: Duration,
    /// The idle time between two statements (PostgreSQL). Well below `lock_timeout`, because all
    /// replicas wait for the rows of a frozen process.
    pub idle_timeout: Duration,
    /// The pooler in front of PostgreSQL, if any.
    pub pooler: Option<Pooler>,
    /// A file with PostgreSQL's password, which overrides the URL's. It is reread when the server
    /// refuses the password.
    pub password_file: Option<PathBuf>,
}

/// A pooler in front of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooler {
    /// One server connection per transaction (PgBouncer with `pool_mode=transaction`).
    Transaction,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            connections: 16,
            acquire_timeout: Duration::from_secs(3),
            start_timeout: Duration::from_secs(60),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(3),
            transaction_timeout: Duration::from_secs(8),
            idle_timeout: Duration::from_secs(1),
            pooler: None,
            password_file: None,
        }
    }
}
