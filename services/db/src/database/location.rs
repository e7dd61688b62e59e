//! Where the database is: a URL as the operator writes it, or the path of an SQLite file.
//!
//! A path is never put into a URL as text: `?`, `#` and `%` have a meaning there, so that the data
//! folder `what?now` would be another folder's database. Nor does SQLite get a relative path, since
//! it takes `file:…` for a URI and `:memory:` for no file at all.

use std::{
    fmt,
    path::{Path, PathBuf, absolute},
    str::FromStr as _,
};

use merch_chassis::StartError;
use sea_orm::sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};
use zeroize::Zeroizing;

/// What is expected of a URL. The URL itself is repeated in no message: it may hold a password.
const EXPECTED: &str = "postgres://user:password@host:port/database or sqlite:///path/to/file";
/// Bytes of a path that SQLite takes (`MAX_PATHNAME` of its Unix files, without the NUL at the
/// end).
const LONGEST_PATH: usize = 511;
/// The longest name that SQLite adds to the path.
const LONGEST_SUFFIX: &str = "-journal";

/// Where the database is. [`Location::file`] takes a path; a text is a URL:
///
/// - `postgres://user:password@host:port/database?sslmode=…`, with the parameters of libpq.
/// - `sqlite:PATH` or `sqlite://PATH`, and perhaps `?mode=rwc`. PATH ends at the first `?`, and is
///   percent-decoded: `?` is written `%3F` and `%` is written `%25`; every other character may
///   stand for itself. A relative path begins at the working directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Location(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Url(Zeroizing<String>),
    File(PathBuf),
}

pub(super) enum Options {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions),
}

impl Location {
    /// The SQLite file at `path`, whatever characters the path has.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File(path.into()))
    }

    /// Checks that it names a database, as far as the text alone tells: nothing is connected and
    /// nothing made.
    ///
    /// # Errors
    /// One sentence, without the URL's password, on what was expected.
    pub fn check(&self) -> Result<(), StartError> {
        self.options().map(|_| ())
    }

    /// The absolute path of the SQLite file; `None` for PostgreSQL.
    ///
    /// # Errors
    /// As [`Location::check`].
    pub fn sqlite_file(&self) -> Result<Option<PathBuf>, StartError> {
        match self.options()? {
            Options::Postgres(_) => Ok(None),
            Options::Sqlite(options) => Ok(Some(options.get_filename().to_owned())),
        }
    }

    pub(super) fn options(&self) -> Result<Options, StartError> {
        match &self.0 {
            Kind::File(path) => {
                Ok(Options::Sqlite(SqliteConnectOptions::new().filename(usable(path)?)))
            }
            Kind::Url(url) => match url.split_once(':') {
                Some(("postgres" | "postgresql", _)) => match PgConnectOptions::from_str(url) {
                    Ok(options) => Ok(Options::Postgres(options)),
                    Err(_) => Err(StartError::new(format!(
                        "the database URL cannot be read as PostgreSQL's: expected {EXPECTED}"
                    ))),
                },
                Some(("sqlite", rest)) => sqlite(url, rest),
                Some(_) | None => Err(StartError::new(format!(
                    "the database URL has a scheme that the store does not know: expected {EXPECTED}"
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
            "an SQLite database in memory would not outlive the process: expected a file, sqlite:///path/to/file",
        ));
    }
    // None of the values that are known needs it, and what is decoded later could not be judged
    // here.
    if parameters.contains(['%', '+']) {
        return Err(StartError::new(format!(
            "the parameters of an SQLite URL cannot be percent-encoded: expected {EXPECTED}; in the path, write `?` as %3F"
        )));
    }
    match SqliteConnectOptions::from_str(url) {
        Ok(options) => {
            let path = usable(options.get_filename())?;
            Ok(Options::Sqlite(options.filename(path)))
        }
        Err(error) => Err(StartError::new(format!(
            "the database URL cannot be read as SQLite's ({error}): expected {EXPECTED}; in the path, write `?` as %3F and `%` as %25"
        ))),
    }
}

/// The absolute path, if SQLite can use it.
fn usable(path: &Path) -> Result<PathBuf, StartError> {
    let unusable =
        |what: &str| StartError::new(format!("the database file {} {what}", path.display()));
    let absolute =
        absolute(path).map_err(|error| unusable(&format!("has no absolute path: {error}")))?;
    if absolute.to_str().is_none() {
        return Err(unusable(
            "has a name that is not UTF-8, which SQLite cannot open; choose another folder or name",
        ));
    }
    let bytes = absolute.as_os_str().len() + LONGEST_SUFFIX.len();
    if bytes > LONGEST_PATH {
        return Err(unusable(&format!(
            "has a path that SQLite cannot open: {bytes} bytes with {LONGEST_SUFFIX} at its end; expected at most {LONGEST_PATH}"
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
        Self(Kind::Url(url))
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

/// Without the URL, which may hold a password.
impl fmt::Debug for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Url(_) => formatter.write_str("Location(redacted)"),
            Kind::File(path) => formatter.debug_tuple("Location").field(path).finish(),
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
    fn a_url_that_cannot_be_used_is_described_without_its_password() {
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
    fn both_spellings_of_postgres_are_taken() {
        for url in ["postgres://u:p@h/d", "postgresql://u:p@h/d"] {
            assert_eq!(Location::from(url).sqlite_file().unwrap(), None, "{url}");
        }
    }

    #[test]
    fn every_character_of_a_path_is_kept() {
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
    fn the_path_of_a_url_is_percent_decoded() {
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
    fn a_path_that_sqlite_cannot_open_is_refused() {
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
