//! `run.json` in the data directory: the addresses of a running store.

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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// `http://127.0.0.1:8080`
    pub(crate) api: String,
    /// `/livez`, `/readyz`, `/metrics`: `http://127.0.0.1:40001`
    pub(crate) admin: String,
    /// A value for `MERCH_DB_ENDPOINT`: `unix:/data/db.sock`
    pub(crate) db: String,
    /// A value for `MERCH_LOGGING_ENDPOINT`: `unix:/data/logging.sock`
    pub(crate) logging: String,
    /// A value for `MERCH_KAFKA_BROKERS`: `127.0.0.1:40004`
    pub(crate) kafka: String,
    /// `http://127.0.0.1:50051`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) db_listen: Option<String>,
    /// `http://127.0.0.1:50052`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logging_listen: Option<String>,
}

pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

/// Replaces `0.0.0.0` and `[::]`, to which clients cannot connect.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[derive(Debug)]
pub(crate) struct RunFile(PathBuf);

impl RunFile {
    pub(crate) fn write(data_dir: &Path, addresses: &Addresses) -> Result<Self, StartError> {
        let path = path(data_dir);
        let written = serde_json::to_string_pretty(addresses)
            .map_err(io::Error::other)
            .and_then(|text| write_atomically(&path, format!("{text}\n").as_bytes(), 0o644));
        written.map_err(|error| {
            StartError::new(format!(
                "{} cannot be written: {error}; expected a directory that this user may write to",
                path.display()
            ))
        })?;
        Ok(Self(path))
    }

    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "failed to remove run.json; its addresses are stale");
        }
    }
}

/// Reads the addresses. Fails if no store runs there, or if the file may belong to another user.
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
            "no store runs with the data directory {}: there is no {}; start `merch`, or choose \
             its directory with --data-dir",
            data_dir.display(),
            path.display()
        )),
        _ => StartError::new(format!(
            "{} cannot be read: {error}; choose the directory of your own store with --data-dir",
            path.display()
        )),
    })?;
    serde_json::from_str(&text).map_err(|error| {
        StartError::new(format!("{} is invalid ({error}); restart `merch`", path.display()))
    })
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_file_round_trips_until_removed() {
        let dir = tempfile::tempdir().unwrap();
        let missing = read(dir.path()).unwrap_err().to_string();
        assert!(missing.starts_with("no store runs with the data directory"), "{missing}");
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
        let file = RunFile::write(dir.path(), &addresses).unwrap();
        assert_eq!(read(dir.path()), Ok(addresses));
        file.remove();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn run_file_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = path(dir.path());
        let refused = |reason: &str| {
            let error = read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{reason} is not in: {error}");
        };
        fs::write(dir.path().join("elsewhere"), "{}").unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &file).unwrap();
        refused("it is a symbolic link");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "{}").unwrap();
        if std::os::unix::fs::chown(&file, Some(65_534), None).is_ok() {
            refused("it belongs to the user 65534");
        }
    }

    #[test]
    fn root_reads_run_file_of_the_service_user() {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        let dir = tempfile::tempdir().unwrap();
        fs::write(path(dir.path()), "{}").unwrap();
        if chown(dir.path(), Some(65_534), None).is_err() {
            return;
        }
        chown(path(dir.path()), Some(65_534), None).unwrap();
        let sentence = || read(dir.path()).unwrap_err().to_string();
        assert!(sentence().contains("is invalid"), "{}", sentence());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(sentence().contains("it belongs to the user 65534"), "{}", sentence());
    }
}
