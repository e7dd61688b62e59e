//! Connections to PostgreSQL: their time limits, whether they are alive, and why the first one
//! could not be made.

use std::{sync::Arc, time::Duration};

use merch_chassis::StartError;
use sea_orm::sqlx::{
    self, ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
};

use super::{
    connection::Connection,
    password::{self, Password},
    patience::Patience,
    postgres_pool::PostgresPool,
    server,
};
use crate::config::{Pool, Pooler};

/// A connection that nobody needs is closed after this time: before the firewalls and balancers of
/// clouds forget it without a word (350 s and more).
const IDLE: Duration = Duration::from_secs(300);
/// A connection is made anew after this time, so that an address that moved, or a changed password,
/// is noticed while both are good.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// The time between two tries with a password that the server refuses at the start.
const AGAIN: Duration = Duration::from_millis(250);

/// The pool for `options`, once one connection could be made.
///
/// # Errors
/// One sentence on why none could.
pub(super) async fn open(options: PgConnectOptions, pool: &Pool) -> Result<Connection, StartError> {
    let pooled = pool.pooler == Some(Pooler::Transaction);
    let options = if pooled { without_session(options)? } else { with_limits(options, pool) };
    let password = match &pool.password_file {
        Some(file) => {
            Some(Arc::new(Password::read(file.clone(), options.clone(), pool.acquire_timeout)?))
        }
        None => None,
    };
    let options = probe(options, password.as_deref(), pool).await?;

    // A dead connection is replaced while somebody waits for one, so the question whether it is
    // well has a part of that time.
    let patience = pool.acquire_timeout / 3;
    let connections = PgPoolOptions::new()
        .max_connections(pool.connections.max(1))
        .min_connections(1)
        .acquire_timeout(pool.acquire_timeout)
        .idle_timeout(IDLE)
        .max_lifetime(LIFETIME)
        // sqlx's own question has no time limit.
        .test_before_acquire(false)
        // Behind a pooler BEGIN is the ping.
        .before_acquire(move |connection, _| {
            Box::pin(
                async move { if pooled { Ok(true) } else { well(connection, patience).await } },
            )
        })
        .connect_lazy_with(options);
    if let Some(password) = &password {
        password.is_of(&connections);
    }
    Ok(Connection::postgres(PostgresPool::new(connections, pool), password))
}

/// sqlx keeps a hundred statements prepared on each connection, more than the store has.
fn with_limits(options: PgConnectOptions, pool: &Pool) -> PgConnectOptions {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    options.application_name("merch-db").disable_statement_logging().options([
        ("statement_timeout", milliseconds(pool.statement_timeout)),
        ("lock_timeout", milliseconds(pool.lock_timeout)),
        ("idle_in_transaction_session_timeout", milliseconds(pool.idle_timeout)),
    ])
}

/// Nothing at the start of a connection that a pooler refuses, as it could not keep it for one
/// client.
fn without_session(options: PgConnectOptions) -> Result<PgConnectOptions, StartError> {
    if let Some(options) = options.get_options() {
        return Err(StartError::new(format!(
            "the database URL (or PGOPTIONS) has options for the session, {options:?}, and a pooler keeps none: expected a URL without `options`, and \
             `ALTER ROLE … SET …` in their place"
        )));
    }
    Ok(options.application_name("merch-db").disable_statement_logging().extra_float_digits(None))
}

/// An answer, or an error after `patience`, at which the pool lets go of the connection.
async fn well(connection: &mut PgConnection, patience: Duration) -> Result<bool, sqlx::Error> {
    tokio::time::timeout(patience, connection.ping())
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map(|()| true)
}

/// Makes one connection and checks the server, or says in one sentence why not; the pool would only
/// say that it waited. Yields the options that the connection was made with.
///
/// A server that is not there yet is waited for: [`Pool::start_patience`]. With a password in a
/// file, one that is refused is tried again for [`Pool::acquire_timeout`] from the first refusal,
/// as the operator may be changing it.
pub(super) async fn probe(
    options: PgConnectOptions,
    password: Option<&Password>,
    pool: &Pool,
) -> Result<PgConnectOptions, StartError> {
    let patience = pool.acquire_timeout;
    let is_not_there_yet = |options: &PgConnectOptions, error: &sqlx::Error| {
        server::is_not_there_yet(error, options.get_socket().is_some(), pool.pooler.is_some())
    };
    let (mut until, mut start) = (None, Patience::new(pool.start_patience));
    loop {
        let options = match password {
            Some(password) => password.options().await,
            None => options.clone(),
        };
        let (sentence, passes) =
            match tokio::time::timeout(patience, PgConnection::connect_with(&options)).await {
                Ok(Ok(mut connection)) => match tokio::time::timeout(
                    pool.statement_timeout,
                    server::read(&mut connection),
                )
                .await
                {
                    Ok(Ok(settings)) => {
                        settings.check(&address(&options))?;
                        if let Err(error) = connection.close().await {
                            tracing::debug!(%error, "the first connection was not closed cleanly");
                        }
                        return Ok(options);
                    }
                    Ok(Err(error)) => {
                        let sentence = format!(
                            "the settings of PostgreSQL at {} cannot be read: {error}; try again",
                            address(&options)
                        );
                        (sentence, is_not_there_yet(&options, &error))
                    }
                    Err(_) => (silence(&options, pool.statement_timeout), true),
                },
                Ok(Err(error)) => {
                    if let Some(password) = password
                        && password::is_refusal(&error)
                        && tokio::time::Instant::now() + AGAIN
                            < *until.get_or_insert_with(|| tokio::time::Instant::now() + patience)
                    {
                        tokio::time::sleep(AGAIN).await;
                        password.look().await;
                        continue;
                    }
                    (sentence(&options, &error), is_not_there_yet(&options, &error))
                }
                Err(_) => (silence(&options, patience), true),
            };
        if !(passes && start.wait(&sentence).await) {
            return Err(StartError::new(sentence));
        }
    }
}

fn silence(options: &PgConnectOptions, patience: Duration) -> String {
    format!(
        "PostgreSQL at {} did not answer within {patience:?}: check the address and that the server runs",
        address(options)
    )
}

fn address(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(path) => path.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// Why no connection could be made, and what to do. Neither the server's words nor sqlx's have a
/// password in them.
fn sentence(options: &PgConnectOptions, error: &sqlx::Error) -> String {
    let server = address(options);
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("3D000") => format!(
                "PostgreSQL at {server} has no database {:?}: create it, then run `merch migrate`",
                options.get_database().unwrap_or(options.get_username())
            ),
            Some("28P01") => {
                format!(
                    "PostgreSQL at {server} refuses the user {:?}: check the name and the password",
                    options.get_username()
                )
            }
            // A role that there is not, or a rule of pg_hba.conf, such as one that asks for TLS.
            Some("28000") => format!(
                "PostgreSQL at {server} refuses the user {:?} ({}): check the name, the server's pg_hba.conf, and sslmode in the URL",
                options.get_username(),
                error.message()
            ),
            Some("08P01") if error.message().contains("unsupported startup parameter") => {
                format!(
                    "what answers at {server} is a pooler ({}): set MERCH_DATABASE_POOLER=transaction",
                    error.message()
                )
            }
            code => format!(
                "PostgreSQL at {server} refuses the connection ({}): {}",
                code.unwrap_or("no code"),
                error.message()
            ),
        },
        sqlx::Error::Tls(error) => {
            format!(
                "PostgreSQL at {server} cannot be reached by TLS as sslmode in the URL asks for: {error}; check the server's settings and the URL"
            )
        }
        // rustls' errors come as those of input and output.
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => format!(
            "PostgreSQL at {server} is not trusted: {error}; check that sslrootcert in the URL names the authority that signed the server's certificate, \
             and that the URL has the host name that stands in it"
        ),
        sqlx::Error::Io(error)
            if error.kind() == std::io::ErrorKind::NotFound && options.get_socket().is_none() =>
        {
            format!(
                "a file that the database URL names (sslrootcert, sslcert or sslkey) cannot be read: {error}; check its path"
            )
        }
        error => format!(
            "PostgreSQL at {server} cannot be reached: {error}; check the address and that the server runs"
        ),
    }
}
