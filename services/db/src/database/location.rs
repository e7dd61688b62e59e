//! The location of the database. A path is never inserted into a URL, in which `?`, `#` and `%`
//! have a meaning. SQLite gets only absolute paths: it interprets `file:…` as a URI and `:memory:`
//! as no file.

use std::{
    fmt,
    path::{Path, PathBuf, absolute},
    str::FromStr as _,
};

use merch_chassis::StartError;
use sea_orm::sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};
use zeroize::Zeroizing;

const URL_FORMATS: &str = "postgres://user:password@host:port/database or sqlite:///path/to/file";
/// SQLite's `MAX_PATHNAME` on Unix, without the final NUL.
const MAX_PATH_BYTES: usize = 511;
const LONGEST_SUFFIX: &str = "-journal";

/// The location of the database. [`Location::file`] takes a path; a text is a URL:
///
/// - `postgres://user:password@host:port/database?sslmode=…`, with the parameters of libpq.
/// - `sqlite:PATH` or `sqlite://PATH`, optionally with `?mode=rwc`. PATH ends at the first `?` and
///   is percent-decoded: write `?` as `%3F` and `%` as `%25`. A relative path starts at the working
///   directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Location(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Url(Zeroizing<String>),
    File(PathBuf),
}

pub(super) enum Options {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions),
}

impl Location {
    /// Returns the location of the SQLite file at `path`, which may have any characters.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Validates the text. Connects to nothing and creates nothing.
    ///
    /// # Errors
    /// States what was expected, without the URL's password.
    pub fn check(&self) -> Result<(), StartError> {
        self.options().map(|_| ())
    }

    /// Returns the absolute path of the SQLite file; `None` for PostgreSQL.
    ///
    /// # Errors
    /// See [`Location::check`].
    pub fn sqlite_file(&self) -> Result<Option<PathBuf>, StartError> {
        match self.options()? {
            Options::Postgres(_) => Ok(None),
            Options::Sqlite(options) => Ok(Some(options.get_filename().to_owned())),
        }
    }

    pub(super) fn options(&self) -> Result<Options, StartError> {
        match &self.0 {
            Source::File(path) => {
                Ok(Options::Sqlite(SqliteConnectOptions::new().filename(checked_path(path)?)))
            }
            Source::Url(url) => match url.split_once(':') {
                Some(("postgres" | "postgresql", _)) => match PgConnectOptions::from_str(url) {
                    Ok(options) => Ok(Options::Postgres(options)),
                    Err(_) => Err(StartError::new(format!(
                        "the database URL is not a valid PostgreSQL URL: expected {URL_FORMATS}"
                    ))),
                },
                Some(("sqlite", rest)) => sqlite(url, rest),
                Some(_) | None => Err(StartError::new(format!(
                    "the database URL has an unknown scheme: expected {URL_FORMATS}"
                ))),
            },
        }
    }
}

fn sqlite(url: &str, rest: &str) -> Result<Options, StartError> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if path.is_empty() || path == ":memory:" || parameters.contains("mode=memory") {
        return Err(StartError::new(
            "an SQLite database in memory is lost when the process ends: expected a \
             file, sqlite:///path/to/file",
        ));
    }
    // No known value needs percent-encoding, and sqlx would decode it after this check.
    if parameters.contains(['%', '+']) {
        return Err(StartError::new(format!(
            "the parameters of an SQLite URL must not be percent-encoded: expected {URL_FORMATS}; \
             in the path, write `?` as %3F"
        )));
    }
    match SqliteConnectOptions::from_str(url) {
        Ok(options) => {
            let path = checked_path(options.get_filename())?;
            Ok(Options::Sqlite(options.filename(path)))
        }
        Err(error) => Err(StartError::new(format!(
            "the database URL is not a valid SQLite URL ({error}): expected {URL_FORMATS}; \
             in the path, write `?` as %3F and `%` as %25"
        ))),
    }
}

fn checked_path(path: &Path) -> Result<PathBuf, StartError> {
    let invalid =
        |what: &str| StartError::new(format!("the database file {} {what}", path.display()));
    let absolute =
        absolute(path).map_err(|error| invalid(&format!("has no absolute path: {error}")))?;
    if absolute.to_str().is_none() {
        return Err(invalid(
            "has a name that is not UTF-8, which SQLite cannot open; choose another directory or \
             name",
        ));
    }
    let bytes = absolute.as_os_str().len() + LONGEST_SUFFIX.len();
    if bytes > MAX_PATH_BYTES {
        return Err(invalid(&format!(
            "has a path that SQLite cannot open: {bytes} bytes with {LONGEST_SUFFIX} at its end; \
             expected at most {MAX_PATH_BYTES}"
        )));
    }
    Ok(absolute)
}

impl From<&str> for Location {
    fn from(url: &str) -> Self {
        url.to_owned().into()
    }
}

impl From<String> for Location {
    fn from(url: String) -> Self {
        Zeroizing::new(url).into()
    }
}

impl From<Zeroizing<String>> for Location {
    fn from(url: Zeroizing<String>) -> Self {
        Self(Source::Url(url))
    }
}

impl From<&String> for Location {
    fn from(url: &String) -> Self {
        url.clone().into()
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Self {
        location.clone()
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Url(_) => formatter.write_str("Location(redacted)"),
            Source::File(path) => formatter.debug_tuple("Location").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(location: impl Into<Location>) -> PathBuf {
        location.into().sqlite_file().unwrap().unwrap()
    }

    #[test]
    fn url_error_hides_the_password() {
        for url in [
            "mysql://user:hunter2@host/db",
            "postgres://user:hunter2@host:notaport/db",
            "hunter2",
            "sqlite:",
            "sqlite://?mode=rwc",
            "sqlite::memory:",
            "sqlite://x?mode=memory",
            "sqlite://x?m%6fde=m%65mory",
            "sqlite://x?mode=hunter2",
        ] {
            let error = Location::from(url).check().unwrap_err().to_string();
            assert!(error.contains("expected"), "{error}");
            assert!(!error.contains("user:hunter2"), "{error}");
            assert_eq!(format!("{:?}", Location::from(url)), "Location(redacted)");
        }
    }

    #[test]
    fn both_postgres_schemes_are_accepted() {
        for url in ["postgres://u:p@h/d", "postgresql://u:p@h/d"] {
            assert_eq!(Location::from(url).sqlite_file().unwrap(), None, "{url}");
        }
    }

    #[test]
    fn path_keeps_every_character() {
        for name in [
            "what?now",
            "shop%41",
            "a#b",
            "file:x",
            ":memory:",
            "-x",
            " a 'b\" ",
            "a\nb",
            "店",
            "a?mode=memory",
        ] {
            let absolute = std::env::current_dir().unwrap().join(name).join("merch.db");
            assert_eq!(
                file_of(Location::file(Path::new(name).join("merch.db"))),
                absolute,
                "{name}"
            );
            assert_eq!(file_of(Location::file(&absolute)), absolute, "{name}");
        }
    }

    #[test]
    fn url_path_is_percent_decoded() {
        for (url, path) in [
            ("sqlite:///a/b.db", "/a/b.db"),
            ("sqlite:/a/b.db?mode=rwc", "/a/b.db"),
            ("sqlite:///a%3Fb/c%2541.db", "/a?b/c%41.db"),
            ("sqlite:///a#b.db", "/a#b.db"),
            ("sqlite:///sqlite:/x:memory:.db", "/sqlite:/x:memory:.db"),
        ] {
            assert_eq!(file_of(url), Path::new(path), "{url}");
        }
        assert_eq!(file_of("sqlite://a/b.db"), std::env::current_dir().unwrap().join("a/b.db"));
    }

    #[test]
    fn unusable_sqlite_path_is_refused() {
        let long = Path::new("/").join("x".repeat(600));
        let error = Location::file(long).check().unwrap_err().to_string();
        assert!(
            error.contains("609 bytes with -journal at its end; expected at most 511"),
            "{error}"
        );
        #[cfg(unix)]
        {
            let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"/a\xff");
            let error = Location::file(name).check().unwrap_err().to_string();
            assert!(error.contains("not UTF-8"), "{error}");
        }
    }
}
