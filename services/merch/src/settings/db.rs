use std::{
    fmt::Write as _,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use merch_chassis::{StartError, grpc::ListenAddress};
use merch_db::Location;
use zeroize::Zeroizing;

use super::{
    api::MAX_RATE,
    secret,
    values::{self, Secret},
};
use crate::data_dir;

#[derive(Debug, Args)]
pub(crate) struct Db {
    /// Address of the db service's gRPC server, or unix:/path for processes of this user; not for
    /// public networks [default: 127.0.0.1:50051 for `merch db`; the whole store uses a socket in
    /// the data directory, and this address in addition]
    #[arg(
        long,
        env = "MERCH_DB_LISTEN",
        value_name = "ADDRESS",
        value_parser = values::listen,
        help_heading = "Addresses"
    )]
    pub(crate) db_listen: Option<ListenAddress>,
    /// Maximum connections to the database (with SQLite: readers)
    #[arg(
        long,
        env = "MERCH_DATABASE_CONNECTIONS",
        value_name = "NUMBER",
        default_value = "16",
        value_parser = values::integer(1..=1000_u32),
        help_heading = "Storage"
    )]
    pub(crate) database_connections: u32,
    /// Wrong passwords of one account from one client address, as a burst and per hour, over all
    /// replicas; more log-ins are answered with 429
    #[arg(
        long,
        env = "MERCH_LOG_IN_RATE",
        value_name = "AN HOUR",
        default_value = "10",
        value_parser = values::integer(NonZeroU32::MIN..=MAX_RATE),
        help_heading = "Identity"
    )]
    pub(crate) log_in_rate: NonZeroU32,
    /// Wrong passwords of one account from all client addresses from which it did not log in during
    /// the last 30 days, as a burst and per hour
    #[arg(
        long,
        env = "MERCH_LOG_IN_ACCOUNT_RATE",
        value_name = "AN HOUR",
        default_value = "100",
        value_parser = values::integer(NonZeroU32::MIN..=MAX_RATE),
        help_heading = "Identity"
    )]
    pub(crate) log_in_account_rate: NonZeroU32,
}

const URL: &str = "--database-url (MERCH_DATABASE_URL)";
const DIRECT_URL: &str = "--database-direct-url (MERCH_DATABASE_DIRECT_URL)";
const PASSWORD: &str = "--database-password (MERCH_DATABASE_PASSWORD)";
const POOLER: &str = "--database-pooler (MERCH_DATABASE_POOLER)";

/// The database connection.
#[derive(Debug, Args)]
pub(crate) struct DatabaseUrl {
    /// The database: postgres://user:password@host:port/database or sqlite:///path/to/file, where
    /// the path is percent-decoded and `?` is %3F. sslmode=verify-full&sslrootcert=FILE enables TLS
    /// to PostgreSQL [default: merch.db in the data directory]
    #[arg(
        long,
        env = "MERCH_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Storage"
    )]
    database_url: Option<Secret>,
    /// A file with that URL
    #[arg(
        long,
        env = "MERCH_DATABASE_URL_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Storage"
    )]
    database_url_file: Option<PathBuf>,
    /// PostgreSQL's password, in place of the URL's. Prefer --database-password-file or the
    /// variable
    #[arg(
        long,
        env = "MERCH_DATABASE_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        help_heading = "Storage"
    )]
    database_password: Option<Secret>,
    /// A file with that password. It is read again when the server refuses the password: a changed
    /// password needs no restart
    #[arg(
        long,
        env = "MERCH_DATABASE_PASSWORD_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Storage"
    )]
    database_password_file: Option<PathBuf>,
    /// The database's URL without the pooler, for migrations, which need a session
    #[arg(
        long,
        env = "MERCH_DATABASE_DIRECT_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Storage"
    )]
    database_direct_url: Option<Secret>,
    /// A file with that URL
    #[arg(
        long,
        env = "MERCH_DATABASE_DIRECT_URL_FILE",
        value_name = "FILE",
        value_parser = values::path("file"),
        help_heading = "Storage"
    )]
    database_direct_url_file: Option<PathBuf>,
    /// The pooler in front of PostgreSQL: `none`, or `transaction` for one that assigns connections
    /// per transaction, such as PgBouncer with pool_mode=transaction
    #[arg(
        long,
        env = "MERCH_DATABASE_POOLER",
        value_name = "MODE",
        default_value = "none",
        value_parser = pooler,
        help_heading = "Storage"
    )]
    database_pooler: Pooler,
    /// How long to wait at the start for a PostgreSQL that does not accept connections yet
    #[arg(
        long,
        env = "MERCH_DATABASE_PATIENCE",
        value_name = "TIME",
        default_value = "60s",
        value_parser = values::delay,
        help_heading = "Limits"
    )]
    database_patience: Duration,
}

/// A newtype, because clap interprets `Option`.
#[derive(Clone, Copy, Debug)]
struct Pooler(Option<merch_db::Pooler>);

fn pooler(text: &str) -> Result<Pooler, String> {
    match text {
        "none" => Ok(Pooler(None)),
        "transaction" => Ok(Pooler(Some(merch_db::Pooler::Transaction))),
        _ => Err("expected `none` or `transaction` (PgBouncer's pool_mode; its mode `session` \
                  needs no setting)"
            .to_owned()),
    }
}

impl DatabaseUrl {
    /// Checks the settings' consistency and the URLs' syntax, without a connection.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let (url, direct) = (self.url()?, self.direct_url()?);
        for (option, url) in [(URL, &url), (DIRECT_URL, &direct)] {
            if let Some(url) = url {
                Location::from(url.reveal())
                    .check()
                    .map_err(|error| StartError::new(format!("{option}: {error}")))?;
            }
        }
        let is_postgres = url.as_ref().is_some_and(is_postgres_url);
        for (option, set) in [
            (PASSWORD, self.password()?.is_some()),
            (DIRECT_URL, direct.is_some()),
            (POOLER, self.database_pooler.0.is_some()),
        ] {
            if set && !is_postgres {
                return Err(StartError::new(format!(
                    "{option} is set, which requires PostgreSQL; expected --database-url \
                     (MERCH_DATABASE_URL) to be a postgres:// URL"
                )));
            }
        }
        if direct.is_some_and(|direct| !is_postgres_url(&direct)) {
            return Err(StartError::new(format!(
                "{DIRECT_URL}: expected the same database of PostgreSQL as --database-url names"
            )));
        }
        Ok(())
    }

    /// As [`DatabaseUrl::check`]; also checks that SQLite can open the default file in `data_dir`.
    /// Call it before the directory is created.
    pub(crate) fn check_in(&self, data_dir: &Path) -> Result<(), StartError> {
        self.check()?;
        if self.is_default() { data_dir::database(data_dir).check() } else { Ok(()) }
    }

    /// Returns true for the SQLite file in the data directory.
    pub(crate) fn is_default(&self) -> bool {
        self.database_url.is_none() && self.database_url_file.is_none()
    }

    /// The configured database, or the SQLite file in `data_dir`.
    pub(crate) fn or_in(&self, data_dir: &Path) -> Result<Location, StartError> {
        let Some(url) = self.url()? else { return Ok(data_dir::database(data_dir)) };
        Ok(with_password(url.reveal(), self.password()?.as_ref()).into())
    }

    /// As [`DatabaseUrl::or_in`], but without the pooler.
    ///
    /// # Errors
    /// When a file cannot be read, or a pooler is set and no direct URL.
    pub(crate) fn direct_or_in(&self, data_dir: &Path) -> Result<Location, StartError> {
        match self.direct_url()? {
            Some(url) => Ok(with_password(url.reveal(), self.password()?.as_ref()).into()),
            None if self.database_pooler.0.is_some() => Err(StartError::new(
                "a migration needs a session, but --database-url leads to a pooler \
                 (--database-pooler, MERCH_DATABASE_POOLER); expected --database-direct-url \
                 (MERCH_DATABASE_DIRECT_URL), the URL of PostgreSQL itself",
            )),
            None => self.or_in(data_dir),
        }
    }

    pub(crate) fn apply(&self, pool: &mut merch_db::Pool) {
        pool.pooler = self.database_pooler.0;
        pool.start_timeout = self.database_patience;
        pool.password_file.clone_from(&self.database_password_file);
    }

    pub(crate) fn patience(&self) -> Duration {
        self.database_patience
    }

    fn url(&self) -> Result<Option<Secret>, StartError> {
        secret::read(
            "MERCH_DATABASE_URL",
            self.database_url.as_ref(),
            self.database_url_file.as_deref(),
        )
    }

    fn direct_url(&self) -> Result<Option<Secret>, StartError> {
        secret::read(
            "MERCH_DATABASE_DIRECT_URL",
            self.database_direct_url.as_ref(),
            self.database_direct_url_file.as_deref(),
        )
    }

    fn password(&self) -> Result<Option<Secret>, StartError> {
        secret::read(
            "MERCH_DATABASE_PASSWORD",
            self.database_password.as_ref(),
            self.database_password_file.as_deref(),
        )
    }
}

fn is_postgres_url(url: &Secret) -> bool {
    url.reveal().starts_with("postgres://") || url.reveal().starts_with("postgresql://")
}

/// Appends the password as the last parameter, which takes precedence.
fn with_password(url: &str, password: Option<&Secret>) -> Zeroizing<String> {
    let Some(password) = password else { return url.to_owned().into() };
    let mut url =
        Zeroizing::new(format!("{url}{}password=", if url.contains('?') { '&' } else { '?' }));
    for byte in password.reveal().bytes() {
        if byte.is_ascii_alphanumeric() {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").expect("a String takes whatever is written");
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use super::*;
    use crate::settings::{Arguments, Command};

    /// Parses the settings of `merch migrate`.
    fn database(options: &[&str]) -> DatabaseUrl {
        let arguments = [&["merch", "migrate"], options].concat();
        match Arguments::try_parse_from(arguments).unwrap().command {
            Some(Command::Migrate(migrate)) => migrate.database,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn separate_password_replaces_the_urls() {
        let dir = tempfile::tempdir().unwrap();
        let (file, url_file) = (dir.path().join("password"), dir.path().join("url"));
        fs::write(&file, "p w&ä=%\n").unwrap();
        fs::write(&url_file, "postgres://u:old@h/d?sslmode=require\n").unwrap();
        let (file, url_file) = (file.to_str().unwrap(), url_file.to_str().unwrap());
        let (plain, missing) = (["--database-url", "postgres://u:old@h/d"], Path::new("/nowhere"));
        assert_eq!(
            database(&plain).or_in(missing).unwrap(),
            Location::from("postgres://u:old@h/d")
        );
        let new = database(&[&plain[..], &["--database-password-file", file]].concat());
        assert_eq!(
            new.or_in(missing).unwrap(),
            Location::from("postgres://u:old@h/d?password=p%20w%26%C3%A4%3D%25")
        );
        let both = database(&["--database-url-file", url_file, "--database-password", "x"]);
        assert_eq!(
            both.or_in(missing).unwrap(),
            Location::from("postgres://u:old@h/d?sslmode=require&password=x")
        );
        assert!(!both.is_default() && both.check().is_ok());
        assert_eq!(
            database(&[]).or_in(Path::new("/data")).unwrap(),
            Location::file("/data/merch.db")
        );
    }

    #[test]
    fn migrations_behind_a_pooler_need_a_direct_url() {
        let pooled =
            ["--database-url", "postgres://u@pooler/d", "--database-pooler", "transaction"];
        let error = database(&pooled).direct_or_in(Path::new("/")).unwrap_err().to_string();
        assert!(
            error.contains("expected --database-direct-url (MERCH_DATABASE_DIRECT_URL)"),
            "{error}"
        );
        let direct = database(
            &[
                &pooled[..],
                &["--database-direct-url", "postgres://u@server/d", "--database-password", "x"],
            ]
            .concat(),
        );
        assert_eq!(
            direct.direct_or_in(Path::new("/")).unwrap(),
            Location::from("postgres://u@server/d?password=x")
        );
        let mut pool = merch_db::Pool::default();
        direct.apply(&mut pool);
        assert_eq!(pool.pooler, Some(merch_db::Pooler::Transaction));
    }

    #[test]
    fn inconsistent_database_settings_are_explained_without_secrets() {
        for (options, expected) in [
            (
                &["--database-password", "hush"][..],
                "MERCH_DATABASE_PASSWORD) is set, which requires PostgreSQL",
            ),
            (
                &["--database-url", "sqlite://x.db", "--database-pooler", "transaction"],
                "MERCH_DATABASE_POOLER) is set, which requires PostgreSQL",
            ),
            (
                &["--database-url", "postgres://h/d", "--database-direct-url", "sqlite://hush.db"],
                "expected the same database of PostgreSQL",
            ),
            (
                &["--database-url", "mysql://hush@h/d"],
                "--database-url (MERCH_DATABASE_URL): the database URL has an unknown scheme",
            ),
            (
                &["--database-url", "postgres://hush@h/d", "--database-url-file", "/nowhere"],
                "both MERCH_DATABASE_URL (--database-url) and",
            ),
        ] {
            let error = database(options).check().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hush"), "{error}");
        }
        let error = Arguments::try_parse_from(["merch", "migrate", "--database-pooler", "session"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("expected `none` or `transaction`"), "{error}");
    }
}
