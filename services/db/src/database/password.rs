//! The password file of the database, reread when the server refuses the password.
//!
//! PostgreSQL checks the password only when a connection starts, so open connections keep working.
//! The operator may change the file or the server first.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use merch_chassis::StartError;
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, postgres::PgConnectOptions},
};
use tokio::{sync::Mutex, time::Instant};
use zeroize::Zeroizing;

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The delay before the same password is tried again: the operator may have changed the file before
/// the server.
const SAME_PASSWORD_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Password {
    file: PathBuf,
    options: PgConnectOptions,
    timeout: Duration,
    current: Mutex<Zeroizing<String>>,
    generation: AtomicU64,
}

pub(super) struct PasswordRetry<'a> {
    password: &'a Password,
    generation: u64,
    deadline: Instant,
}

impl Password {
    pub(super) fn read(
        file: PathBuf,
        options: PgConnectOptions,
        timeout: Duration,
    ) -> Result<Self, StartError> {
        let current = read_password(&file).map_err(|error| {
            StartError::new(format!(
                "the database password file {} {error}; expected only the password",
                file.display()
            ))
        })?;
        Ok(Self {
            file,
            options,
            timeout,
            current: Mutex::new(current),
            generation: AtomicU64::new(0),
        })
    }

    pub(super) async fn options(&self) -> PgConnectOptions {
        self.options.clone().password(&self.current.lock().await)
    }

    pub(super) fn retry(&self) -> PasswordRetry<'_> {
        PasswordRetry {
            password: self,
            generation: self.generation.load(Ordering::Acquire),
            deadline: Instant::now() + self.timeout,
        }
    }

    /// Rereads the file. Ignores it while it is missing, empty or unreadable.
    pub(super) async fn reload(&self) {
        let mut current = self.current.lock().await;
        match read_password(&self.file) {
            Ok(found) if found != *current => {
                tracing::info!(
                    file = %self.file.display(),
                    "reloaded the changed database password"
                );
                *current = found;
                self.generation.fetch_add(1, Ordering::Release);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    file = %self.file.display(), error,
                    "failed to read the database password file"
                )
            }
        }
    }
}

impl PasswordRetry<'_> {
    /// Returns whether to try again after `error`. Waits for a new password, or until the same one
    /// is due again.
    pub(super) async fn should_retry(&mut self, error: &DbErr) -> bool {
        let DbErr::Conn(RuntimeErr::SqlxError(error)) = error else { return false };
        is_authentication_failure(error) && self.wait_for_change().await
    }

    async fn wait_for_change(&mut self) -> bool {
        let retry_same_at = Instant::now() + SAME_PASSWORD_INTERVAL;
        loop {
            if self.password.generation.load(Ordering::Acquire) == self.generation {
                self.password.reload().await;
            }
            let generation = self.password.generation.load(Ordering::Acquire);
            if generation != self.generation {
                self.generation = generation;
                return true;
            }
            let now = Instant::now();
            if now + POLL_INTERVAL > self.deadline {
                return false;
            }
            if now >= retry_same_at {
                return true;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Matches `invalid_password`, `invalid_authorization_specification`, and `protocol_violation`,
/// which PgBouncer up to 1.20 sends for both.
pub(super) fn is_authentication_failure(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    matches!(error.code().as_deref(), Some("28P01" | "28000" | "08P01"))
}

/// The error never contains the text.
fn read_password(file: &std::path::Path) -> Result<Zeroizing<String>, String> {
    let text = Zeroizing::new(
        std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?,
    );
    let text = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |rest| rest.strip_suffix('\r').unwrap_or(rest));
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned().into()) }
}
