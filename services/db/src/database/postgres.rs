use std::{sync::Arc, time::Duration};

use merch_chassis::StartError;
use sea_orm::sqlx::{
    self, ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgConnection},
};

use super::{
    connection::Connection,
    connector::Connector,
    password::{self, Password},
    pool::{Pool, Pooler},
    postgres_pool::PostgresPool,
    server,
    start_retry::StartRetry,
};

const RETRY_INTERVAL: Duration = Duration::from_millis(250);

pub(super) async fn open(options: PgConnectOptions, pool: &Pool) -> Result<Connection, StartError> {
    let pooled = pool.pooler == Some(Pooler::Transaction);
    let options = if pooled { pooler_options(options)? } else { direct_options(options, pool) };
    let password = match &pool.password_file {
        Some(file) => {
            Some(Arc::new(Password::read(file.clone(), options.clone(), pool.acquire_timeout)?))
        }
        None => None,
    };
    let options = probe(options, password.as_deref(), pool).await?;

    let connector = Connector { options, password: password.clone() };
    Ok(Connection::postgres(PostgresPool::new(connector, pool), password))
}

/// sqlx caches 100 prepared statements per connection, more than the store has.
fn direct_options(options: PgConnectOptions, pool: &Pool) -> PgConnectOptions {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    options.application_name("merch-db").disable_statement_logging().options([
        ("statement_timeout", milliseconds(pool.statement_timeout)),
        ("lock_timeout", milliseconds(pool.lock_timeout)),
        ("idle_in_transaction_session_timeout", milliseconds(pool.idle_timeout)),
    ])
}

fn pooler_options(options: PgConnectOptions) -> Result<PgConnectOptions, StartError> {
    if let Some(options) = options.get_options() {
        return Err(StartError::new(format!(
            "the database URL (or PGOPTIONS) sets session options, {options:?}, which a pooler \
             does not keep: expected a URL without `options`, and \
             `ALTER ROLE … SET …` instead"
        )));
    }
    Ok(options.application_name("merch-db").disable_statement_logging().extra_float_digits(None))
}

/// Makes one connection, checks the server, and returns the options. The pool itself would only
/// report a timeout.
///
/// Retries while the server is not available ([`Pool::start_timeout`]), and with a password file
/// for [`Pool::acquire_timeout`], as the operator may be changing it.
pub(super) async fn probe(
    options: PgConnectOptions,
    password: Option<&Password>,
    pool: &Pool,
) -> Result<PgConnectOptions, StartError> {
    let timeout = pool.acquire_timeout;
    let is_transient = |options: &PgConnectOptions, error: &sqlx::Error| {
        server::is_transient(error, options.get_socket().is_some(), pool.pooler.is_some())
    };
    let (mut until, mut start_retry) = (None, StartRetry::new(pool.start_timeout));
    loop {
        let options = match password {
            Some(password) => password.options().await,
            None => options.clone(),
        };
        let (message, is_transient) =
            match tokio::time::timeout(timeout, PgConnection::connect_with(&options)).await {
                Ok(Ok(mut connection)) => match tokio::time::timeout(
                    pool.statement_timeout,
                    server::read(&mut connection),
                )
                .await
                {
                    Ok(Ok(settings)) => {
                        settings.check(&address(&options))?;
                        if let Err(error) = connection.close().await {
                            tracing::debug!(%error, "failed to close the first connection");
                        }
                        return Ok(options);
                    }
                    Ok(Err(error)) => {
                        let message = format!(
                            "the settings of PostgreSQL at {} cannot be read: {error}; try again",
                            address(&options)
                        );
                        (message, is_transient(&options, &error))
                    }
                    Err(_) => (timeout_message(&options, pool.statement_timeout), true),
                },
                Ok(Err(error)) => {
                    if let Some(password) = password
                        && password::is_authentication_failure(&error)
                        && tokio::time::Instant::now() + RETRY_INTERVAL
                            < *until.get_or_insert_with(|| tokio::time::Instant::now() + timeout)
                    {
                        tokio::time::sleep(RETRY_INTERVAL).await;
                        password.reload().await;
                        continue;
                    }
                    (connect_error_message(&options, &error), is_transient(&options, &error))
                }
                Err(_) => (timeout_message(&options, timeout), true),
            };
        if !(is_transient && start_retry.wait(&message).await) {
            return Err(StartError::new(message));
        }
    }
}

fn timeout_message(options: &PgConnectOptions, timeout: Duration) -> String {
    format!(
        "PostgreSQL at {} did not answer within {timeout:?}: check the address and that the server \
         runs",
        address(options)
    )
}

fn address(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(path) => path.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// Neither PostgreSQL's nor sqlx's messages contain a password.
fn connect_error_message(options: &PgConnectOptions, error: &sqlx::Error) -> String {
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
            // An unknown role, or a rule of pg_hba.conf, such as one that requires TLS.
            Some("28000") => format!(
                "PostgreSQL at {server} refuses the user {:?} ({}): check the name, the server's \
                 pg_hba.conf, and sslmode in the URL",
                options.get_username(),
                error.message()
            ),
            Some("08P01") if error.message().contains("unsupported startup parameter") => {
                format!(
                    "the server at {server} is a pooler ({}): set \
                     MERCH_DATABASE_POOLER=transaction",
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
                "PostgreSQL at {server} cannot be reached by TLS, which sslmode in the URL \
                 requires: {error}; check the server's settings and the URL"
            )
        }
        // rustls' errors arrive as I/O errors.
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => format!(
            "PostgreSQL at {server} is not trusted: {error}; check that sslrootcert in the URL \
             names the authority that signed the server's certificate, \
             and that the URL has the certificate's host name"
        ),
        sqlx::Error::Io(error)
            if error.kind() == std::io::ErrorKind::NotFound && options.get_socket().is_none() =>
        {
            format!(
                "cannot read a file that the database URL names (sslrootcert, sslcert or sslkey): \
                 {error}; check its path"
            )
        }
        error => format!(
            "PostgreSQL at {server} cannot be reached: {error}; check the address and that the \
             server runs"
        ),
    }
}
