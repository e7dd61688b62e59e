//! `run.json` in the data folder: where a running store is, for programs that talk to it.

use std::{
    fs,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use merch_chassis::{
    StartError,
    file_permissions::{Owners, write_atomically},
};
use serde::{Deserialize, Serialize};

/// The addresses of a store that runs in one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// The REST API: `http://127.0.0.1:8080`
    pub(crate) api: String,
    /// `/livez`, `/readyz`, `/metrics`: `http://127.0.0.1:40001`
    pub(crate) admin: String,
    /// gRPC `AssistantService`, fit for `MERCH_DB_ENDPOINT`: `unix:/data/db.sock`
    pub(crate) db: String,
    /// gRPC `LoggingService`, fit for `MERCH_LOGGING_ENDPOINT`: `unix:/data/logging.sock`
    pub(crate) logging: String,
    /// Kafka's bootstrap servers, fit for `kcat -b` and `MERCH_KAFKA_BROKERS`: `127.0.0.1:40004`
    pub(crate) kafka: String,
    /// Where the db service listens besides, with `--db-listen`: `http://127.0.0.1:50051`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) db_listen: Option<String>,
    /// Where the logging service listens besides, with `--logging-listen`: `http://127.0.0.1:50052`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logging_listen: Option<String>,
}

/// The URL at which a server that is bound to `address` is reached from this machine.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

/// `0.0.0.0` and `[::]` mean every address of this machine when bound to, and none when connected
/// to.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A written `run.json`.
#[derive(Debug)]
pub(crate) struct RunFile(PathBuf);

impl RunFile {
    /// Writes it whole: a reader sees the old file, none, or all of the new one.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub(crate) fn write(data_dir: &Path, addresses: &Addresses) -> Result<Self, StartError> {
        let path = path(data_dir);
        let written = serde_json::to_string_pretty(addresses)
            .map_err(io::Error::other)
            .and_then(|text| write_atomically(&path, format!("{text}\n").as_bytes(), 0o644));
        written.map_err(|error| {
            StartError::new(format!(
                "{} cannot be written: {error}; expected a folder that this user may write to",
                path.display()
            ))
        })?;
        Ok(Self(path))
    }

    /// Takes it away: the store is closed.
    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "run.json cannot be removed and names addresses where nobody listens any more");
        }
    }
}

/// The addresses of the store that uses `data_dir`.
///
/// # Errors
/// When there is no such file, as no store runs there, another user can have written it, or it
/// cannot be read.
pub(crate) fn read(data_dir: &Path) -> Result<Addresses, StartError> {
    let path = path(data_dir);
    let read = || {
        let owners = Owners::of_store(data_dir)?;
        owners.check(&fs::metadata(data_dir)?)?;
        let mut text = String::new();
        owners.open(&path)?.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => StartError::new(format!(
            "no store runs with the data folder {}: there is no {}; start `merch`, or choose its folder with --data-dir",
            data_dir.display(),
            path.display()
        )),
        _ => StartError::new(format!("{} cannot be read: {error}; choose the folder of your own store with --data-dir", path.display())),
    })?;
    serde_json::from_str(&text).map_err(|error| {
        StartError::new(format!(
            "{} is not what merch writes there ({error}); start `merch` again",
            path.display()
        ))
    })
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read(folder.path()).unwrap_err().to_string();
        assert!(missing.starts_with("no store runs with the data folder"), "{missing}");
        let addresses = Addresses {
            api: url(([0, 0, 0, 0], 8080).into()),
            admin: url("[::]:1".parse().unwrap()),
            db: "unix:/data/db.sock".to_owned(),
            logging: "unix:/data/logging.sock".to_owned(),
            kafka: "127.0.0.1:4".to_owned(),
            db_listen: Some("https://127.0.0.1:5".to_owned()),
            logging_listen: None,
        };
        assert_eq!(addresses.api, "http://127.0.0.1:8080");
        assert_eq!(addresses.admin, "http://[::1]:1");
        let file = RunFile::write(folder.path(), &addresses).unwrap();
        assert_eq!(read(folder.path()), Ok(addresses));
        file.remove();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn addresses_that_another_user_has_written_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path());
        let refused = |reason: &str| {
            let error = read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{reason} is not in: {error}");
        };
        fs::write(folder.path().join("elsewhere"), "{}").unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &file).unwrap();
        refused("it is a symbolic link");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "{}").unwrap();
        // Only root can give a file away.
        if std::os::unix::fs::chown(&file, Some(65_534), None).is_ok() {
            refused("it belongs to the user 65534");
        }
    }

    #[test]
    fn root_reads_the_addresses_of_a_services_user() {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path()), "{}").unwrap();
        // Only root can give a folder away.
        if chown(folder.path(), Some(65_534), None).is_err() {
            return;
        }
        chown(path(folder.path()), Some(65_534), None).unwrap();
        let sentence = || read(folder.path()).unwrap_err().to_string();
        assert!(sentence().contains("is not what merch writes there"), "{}", sentence());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(sentence().contains("it belongs to the user 65534"), "{}", sentence());
    }
}
