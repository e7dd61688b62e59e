//! A database password that changes while the program runs: its file is looked at again when the
//! server refuses the one that was in it.
//!
//! Connections that are there stay, as PostgreSQL asks for a password only when one is made. So
//! whoever changes it may write the file first or tell the server first: what is needed is read
//! when it is needed, and not before.

use std::{
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use merch_chassis::StartError;
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{
        self,
        postgres::{PgConnectOptions, PgPool},
    },
};
use tokio::{sync::Mutex, time::Instant};
use zeroize::Zeroizing;

/// The time between two looks at a file that has nothing new.
const LOOK: Duration = Duration::from_millis(100);
/// After this time the password of the file is tried again though it is the same: whoever changes
/// it may have written the file first.
const AGAIN: Duration = Duration::from_millis(500);

/// A password in a file, and the pool whose new connections use it.
pub(super) struct Password {
    file: PathBuf,
    options: PgConnectOptions,
    /// Set once the pool is made, which needs the first password.
    pool: OnceLock<PgPool>,
    /// How long somebody who is refused waits for another one.
    patience: Duration,
    /// What the file had in it when it was last looked at.
    known: Mutex<Zeroizing<String>>,
    /// Counts the passwords.
    generation: AtomicU64,
}

/// One statement's tries.
pub(super) struct Renewal<'a> {
    password: &'a Password,
    /// The password of the last try.
    generation: u64,
    until: Instant,
}

impl Password {
    /// Reads the file, for connections with `options`.
    ///
    /// # Errors
    /// If it cannot be read, or there is nothing in it.
    pub(super) fn read(
        file: PathBuf,
        options: PgConnectOptions,
        patience: Duration,
    ) -> Result<Self, StartError> {
        let known = content(&file).map_err(|error| {
            StartError::new(format!(
                "the file of the database's password, {}, {error}; expected the password and nothing else",
                file.display()
            ))
        })?;
        Ok(Self {
            file,
            options,
            pool: OnceLock::new(),
            patience,
            known: Mutex::new(known),
            generation: AtomicU64::new(0),
        })
    }

    /// What connections are made with now.
    pub(super) async fn options(&self) -> PgConnectOptions {
        self.options.clone().password(&self.known.lock().await)
    }

    /// `pool` gets every new password.
    pub(super) fn is_of(&self, pool: &PgPool) {
        // Each password has one pool; a second one would be a mistake in `postgres::open`, and
        // change nothing here.
        let _ = self.pool.set(pool.clone());
    }

    pub(super) fn renewal(&self) -> Renewal<'_> {
        Renewal {
            password: self,
            generation: self.generation.load(Ordering::Acquire),
            until: Instant::now() + self.patience,
        }
    }

    /// Looks at the file. A file that is just being written, or gone for a moment, says nothing.
    pub(super) async fn look(&self) {
        let mut known = self.known.lock().await;
        match content(&self.file) {
            Ok(found) if found != *known => {
                tracing::info!(file = %self.file.display(), "the database's password has changed");
                if let Some(pool) = self.pool.get() {
                    pool.set_connect_options(self.options.clone().password(&found));
                }
                *known = found;
                self.generation.fetch_add(1, Ordering::Release);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(file = %self.file.display(), error, "the file of the database's password cannot be used")
            }
        }
    }
}

impl Renewal<'_> {
    /// Whether `error` says that the password was refused, and the file's may be accepted by now.
    /// Waits for that, within the patience.
    pub(super) async fn worth_another_attempt(&mut self, error: &DbErr) -> bool {
        let DbErr::Conn(RuntimeErr::SqlxError(error)) = error else { return false };
        is_refusal(error) && self.another_or_again().await
    }

    /// Waits for another password than that of the last try, or for the time to try the same one
    /// again; `false` when the patience is over.
    async fn another_or_again(&mut self) -> bool {
        let again = Instant::now() + AGAIN;
        loop {
            if self.password.generation.load(Ordering::Acquire) == self.generation {
                self.password.look().await;
            }
            let generation = self.password.generation.load(Ordering::Acquire);
            if generation != self.generation {
                self.generation = generation;
                return true;
            }
            let now = Instant::now();
            if now + LOOK > self.until {
                return false;
            }
            if now >= again {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether the server did not let somebody in: `invalid_password`,
/// `invalid_authorization_specification`, and `protocol_violation`, which is what PgBouncer says
/// for either (up to 1.20).
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if matches!(error.code().as_deref(), Some("28P01" | "28000" | "08P01")))
}

/// The file's text without one line break at the end. The error never shows it.
fn content(file: &std::path::Path) -> Result<Zeroizing<String>, String> {
    let text = Zeroizing::new(
        std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?,
    );
    let text = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |rest| rest.strip_suffix('\r').unwrap_or(rest));
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned().into()) }
}
