//! Classifies database errors by code, never by text. Every mapping is here.

use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{
        self,
        error::DatabaseError,
        postgres::{PgDatabaseError, PgSeverity},
        sqlite::SqliteError,
    },
};

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// A unique violation is an internal error.
    Other,
    /// A violation means that another user has the sid, username or email.
    ClaimName,
    /// A violation means that another process used the key first, so the transaction must run
    /// again.
    PlaceOrders,
}

/// PostgreSQL reports the name; SQLite only the columns, in a fixed format.
struct UniqueConstraint {
    name: &'static str,
    columns: &'static str,
    violation: Violation,
}

#[derive(Clone, Copy)]
enum Violation {
    Taken(ErrorReason),
    DuplicateKey,
}

const UNIQUE_CONSTRAINTS: [UniqueConstraint; 4] = [
    UniqueConstraint {
        name: "uq_users_sid",
        columns: "users.sid_key",
        violation: Violation::Taken(ErrorReason::SidTaken),
    },
    UniqueConstraint {
        name: "uq_users_username",
        columns: "users.username_key",
        violation: Violation::Taken(ErrorReason::UsernameTaken),
    },
    UniqueConstraint {
        name: "uq_users_email",
        columns: "users.email_key",
        violation: Violation::Taken(ErrorReason::EmailTaken),
    },
    UniqueConstraint {
        name: "pk_idempotency_keys",
        columns: "idempotency_keys.user_id, idempotency_keys.key",
        violation: Violation::DuplicateKey,
    },
];

pub(crate) fn classify(error: DbErr, intent: Intent) -> Failure {
    let class = match &error {
        DbErr::ConnectionAcquire(_) => ErrorClass::Unavailable,
        DbErr::Conn(RuntimeErr::SqlxError(source)) => match error_class(source) {
            // A server that refuses a new connection is unavailable for any reason.
            ErrorClass::Internal => ErrorClass::Unavailable,
            class => class,
        },
        DbErr::Exec(RuntimeErr::SqlxError(source))
        | DbErr::Query(RuntimeErr::SqlxError(source)) => error_class(source),
        DbErr::Conn(RuntimeErr::Internal(_))
        | DbErr::Exec(RuntimeErr::Internal(_))
        | DbErr::Query(RuntimeErr::Internal(_)) => ErrorClass::Internal,
        _ => ErrorClass::Internal,
    };
    match (class, intent) {
        (ErrorClass::Unique(Violation::Taken(reason)), Intent::ClaimName) => {
            Failure::Refused(reason)
        }
        (ErrorClass::Unique(Violation::DuplicateKey), Intent::PlaceOrders)
        | (ErrorClass::Retryable, _) => Failure::Retryable(error),
        (ErrorClass::Unavailable, _) => Failure::Unavailable(error),
        (ErrorClass::Unique(_), Intent::Other | Intent::ClaimName | Intent::PlaceOrders)
        | (ErrorClass::Internal, _) => Failure::Internal(error),
    }
}

/// As [`classify`], for a statement that commits by itself: unless the server reports an error of
/// the statement, it may have committed, and the failure is [`Failure::Unavailable`].
pub(crate) fn classify_alone(error: DbErr) -> Failure {
    let nothing_is_written = match &error {
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(source))
        | DbErr::Query(RuntimeErr::SqlxError(source)) => source
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
            .is_some_and(|error| error.severity() == PgSeverity::Error),
        _ => false,
    };
    match classify(error, Intent::PlaceOrders) {
        Failure::Retryable(error) | Failure::Internal(error) if !nothing_is_written => {
            Failure::Unavailable(error)
        }
        failure => failure,
    }
}

/// Whether a failed COMMIT certainly rolled back. After other errors, such as a lost connection,
/// the outcome is unknown.
pub(crate) fn is_rolled_back(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(source))
    | DbErr::Exec(RuntimeErr::SqlxError(source))
    | DbErr::Query(RuntimeErr::SqlxError(source))) = error
    else {
        return false;
    };
    let Some(answer) = source.as_database_error() else { return false };
    // serialization_failure, deadlock_detected of PostgreSQL; SQLite's codes are numbers.
    matches!(answer.code().as_deref(), Some("40001" | "40P01"))
}

enum ErrorClass {
    Unique(Violation),
    /// The transaction was rolled back and may be retried immediately.
    Retryable,
    /// The database is unavailable or busy.
    Unavailable,
    Internal,
}

fn error_class(error: &sqlx::Error) -> ErrorClass {
    match error {
        sqlx::Error::Database(error) => match error.try_downcast_ref::<SqliteError>() {
            Some(_) => sqlite_class(error.as_ref()),
            None => postgres_class(error.as_ref()),
        },
        sqlx::Error::Io(_) | sqlx::Error::BeginFailed => ErrorClass::Retryable,
        sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => ErrorClass::Unavailable,
        _ => ErrorClass::Internal,
    }
}

/// By SQLSTATE (PostgreSQL 17, appendix A).
fn postgres_class(error: &dyn DatabaseError) -> ErrorClass {
    let code = error.code().unwrap_or_default();
    match code.as_ref() {
        "23505" => unique_violation(|unique| error.constraint() == Some(unique.name)),
        // serialization_failure, deadlock_detected; admin_shutdown, crash_shutdown,
        // idle_in_transaction_session_timeout (this process was frozen)
        "40001" | "40P01" | "57P01" | "57P02" | "25P03" => ErrorClass::Retryable,
        // read_only_sql_transaction (a standby after a fail-over), lock_not_available,
        // query_canceled (statement_timeout), transaction_timeout
        "25006" | "55P03" | "57014" | "25P04" => ErrorClass::Unavailable,
        // connection exceptions, insufficient resources, cannot_connect_now, system errors
        code if ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)) => {
            ErrorClass::Unavailable
        }
        _ => ErrorClass::Internal,
    }
}

/// By extended result code (<https://www.sqlite.org/rescode.html>); its low byte is the primary
/// code.
fn sqlite_class(error: &dyn DatabaseError) -> ErrorClass {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const CONSTRAINT_PRIMARYKEY: i32 = 1555;
    const CONSTRAINT_UNIQUE: i32 = 2067;
    let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    match code {
        CONSTRAINT_PRIMARYKEY | CONSTRAINT_UNIQUE => unique_violation(|unique| {
            error.message().strip_prefix("UNIQUE constraint failed: ") == Some(unique.columns)
        }),
        code if [BUSY, LOCKED, IOERR, FULL, CANTOPEN].contains(&(code & 0xff)) => {
            ErrorClass::Unavailable
        }
        _ => ErrorClass::Internal,
    }
}

fn unique_violation(is_violated: impl Fn(&UniqueConstraint) -> bool) -> ErrorClass {
    UNIQUE_CONSTRAINTS
        .iter()
        .find(|unique| is_violated(unique))
        .map_or(ErrorClass::Internal, |unique| ErrorClass::Unique(unique.violation))
}
