//! What a database error means, by its code and never by its text: the one function between the two
//! worlds.

use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, error::DatabaseError, sqlite::SqliteError},
};

use crate::failure::Failure;

/// What the statement was for, and so what a unique violation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Something that cannot violate uniqueness: a violation is a fault.
    Plain,
    /// Claiming a sid, a username or an email: a violation means that another user has it.
    Claim,
    /// Writing orders with their idempotency keys: a violation means that another process placed
    /// the same order first, so that the batch is to be judged anew.
    PlaceOrders,
}

/// A unique constraint. PostgreSQL reports its name; SQLite only its columns, in a fixed form of
/// words.
struct Unique {
    name: &'static str,
    columns: &'static str,
    meaning: Meaning,
}

#[derive(Clone, Copy)]
enum Meaning {
    Taken(ErrorReason),
    SameKey,
}

/// Every unique constraint that a request can violate.
const UNIQUE: [Unique; 4] = [
    Unique {
        name: "uq_users_sid",
        columns: "users.sid_key",
        meaning: Meaning::Taken(ErrorReason::SidTaken),
    },
    Unique {
        name: "uq_users_username",
        columns: "users.username_key",
        meaning: Meaning::Taken(ErrorReason::UsernameTaken),
    },
    Unique {
        name: "uq_users_email",
        columns: "users.email_key",
        meaning: Meaning::Taken(ErrorReason::EmailTaken),
    },
    Unique {
        name: "pk_idempotency_keys",
        columns: "idempotency_keys.user_id, idempotency_keys.key",
        meaning: Meaning::SameKey,
    },
];

/// What `error` means for a statement with this `intent`.
pub(crate) fn meaning(error: DbErr, intent: Intent) -> Failure {
    let trouble = match &error {
        DbErr::ConnectionAcquire(_) => Trouble::Away,
        DbErr::Conn(RuntimeErr::SqlxError(cause)) => match trouble(cause) {
            // Whatever the server says to a new connection (no such database any more, another
            // password): nothing can be asked of it now.
            Trouble::Fault => Trouble::Away,
            trouble => trouble,
        },
        DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
            trouble(cause)
        }
        DbErr::Conn(RuntimeErr::Internal(_))
        | DbErr::Exec(RuntimeErr::Internal(_))
        | DbErr::Query(RuntimeErr::Internal(_)) => Trouble::Fault,
        // Everything else is about types and models (the list is open): a mistake in this service,
        // never in its surroundings.
        _ => Trouble::Fault,
    };
    match (trouble, intent) {
        (Trouble::Unique(Meaning::Taken(reason)), Intent::Claim) => Failure::Refused(reason),
        (Trouble::Unique(Meaning::SameKey), Intent::PlaceOrders) | (Trouble::Undone, _) => {
            Failure::Undone(error)
        }
        (Trouble::Away, _) => Failure::Unavailable(error),
        (Trouble::Unique(_), Intent::Plain | Intent::Claim | Intent::PlaceOrders)
        | (Trouble::Fault, _) => Failure::Fault(error),
    }
}

/// Whether the database answered a COMMIT by saying that it was a rollback, because of another
/// transaction. Whatever else goes wrong with a COMMIT (a connection that breaks, a server that
/// goes down) leaves it open.
pub(crate) fn is_rolled_back(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(cause))
    | DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))) = error
    else {
        return false;
    };
    let Some(told) = cause.as_database_error() else { return false };
    // serialization_failure, deadlock_detected: PostgreSQL's alone, SQLite's codes are numbers.
    matches!(told.code().as_deref(), Some("40001" | "40P01"))
}

enum Trouble {
    Unique(Meaning),
    /// The transaction is undone and may be run again at once.
    Undone,
    /// The database is away or busy: not now.
    Away,
    Fault,
}

fn trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(error) => match error.try_downcast_ref::<SqliteError>() {
            Some(_) => sqlite(error.as_ref()),
            None => postgres(error.as_ref()),
        },
        sqlx::Error::Io(_) | sqlx::Error::BeginFailed => Trouble::Undone,
        sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Trouble::Away,
        // sqlx's own list is open, too; the rest is about decoding, arguments and configuration.
        _ => Trouble::Fault,
    }
}

/// By SQLSTATE (PostgreSQL 17, appendix A).
fn postgres(error: &dyn DatabaseError) -> Trouble {
    let code = error.code().unwrap_or_default();
    match code.as_ref() {
        "23505" => unique(|unique| error.constraint() == Some(unique.name)),
        // serialization_failure, deadlock_detected; admin_shutdown, crash_shutdown,
        // idle_in_transaction_session_timeout (this process did not run for a while): the
        // connection ends, and the transaction with it, and another may be had
        "40001" | "40P01" | "57P01" | "57P02" | "25P03" => Trouble::Undone,
        // read_only_sql_transaction (a stand-by after a fail-over), lock_not_available,
        // query_canceled (statement_timeout), transaction_timeout
        "25006" | "55P03" | "57014" | "25P04" => Trouble::Away,
        // connection exceptions, insufficient resources, cannot_connect_now, system errors
        code if ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)) => {
            Trouble::Away
        }
        _ => Trouble::Fault,
    }
}

/// By extended result code (<https://www.sqlite.org/rescode.html>): its low byte is the primary
/// code.
fn sqlite(error: &dyn DatabaseError) -> Trouble {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const CONSTRAINT_PRIMARYKEY: i32 = 1555;
    const CONSTRAINT_UNIQUE: i32 = 2067;
    let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    match code {
        CONSTRAINT_PRIMARYKEY | CONSTRAINT_UNIQUE => unique(|unique| {
            error.message().strip_prefix("UNIQUE constraint failed: ") == Some(unique.columns)
        }),
        code if [BUSY, LOCKED, IOERR, FULL, CANTOPEN].contains(&(code & 0xff)) => Trouble::Away,
        _ => Trouble::Fault,
    }
}

fn unique(is: impl Fn(&Unique) -> bool) -> Trouble {
    UNIQUE
        .iter()
        .find(|unique| is(unique))
        .map_or(Trouble::Fault, |unique| Trouble::Unique(unique.meaning))
}
