use std::{
    fmt::Write as _,
    fs::{self, File},
    io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use crate::{
    StartError,
    file_permissions::{Owners, parent_dir},
};

/// In bytes: `sun_path` has 104 on BSD and macOS, 108 on Linux, with the final zero.
const MAX_PATH_BYTES: usize = 103;

/// Returns the URL of a socket, `unix:/path` as in gRPC's naming, percent-encoded.
#[must_use]
pub fn url_of_path(path: &Path) -> String {
    let mut url = "unix:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(*byte))
            }
            _ => write!(url, "%{byte:02X}").expect("a String takes whatever is written"),
        }
    }
    url
}

/// Returns the path of a `unix:` URL; `None` if it is invalid.
#[must_use]
pub fn path_of_url(url: &str) -> Option<PathBuf> {
    let mut rest = url.strip_prefix("unix:").filter(|path| !path.is_empty())?.bytes();
    let mut path = Vec::new();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        path.push(match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            b'?' | b'#' | 0 => return None,
            other => other,
        });
    }
    // A zero would end the path in the system call.
    (!path.contains(&0)).then(|| PathBuf::from(std::ffi::OsString::from_vec(path)))
}

#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    inode: u64,
}

impl UnixSocket {
    /// Binds `path` with mode 0600. Replaces the socket file of an exited process, but no other
    /// file.
    pub(super) fn bind(what: &str, path: &Path) -> Result<Self, StartError> {
        let failed = |error: io::Error| {
            StartError::new(format!(
                "{what} cannot listen on the socket {}: {error}; expected a directory that this \
                user may write to, on a file system with Unix sockets",
                path.display()
            ))
        };
        let (short, _dir) = short_path(path).map_err(failed)?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(StartError::new(format!(
                    "{what} cannot listen on the socket {}: a file that is not a socket is there; \
                    remove it, or choose another path",
                    path.display()
                )));
            }
            Ok(_) => match std::os::unix::net::UnixStream::connect(&short) {
                Ok(_) => {
                    return Err(StartError::new(format!(
                        "{what} cannot listen on the socket {}: another program is listening \
                        there; stop it, or choose another path",
                        path.display()
                    )));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(failed)?
                }
                Err(error) => return Err(failed(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(&short).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
        Ok(Self { listener, path: path.to_owned(), inode })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(
            socket = %self.path.display(),
            %error,
            "failed to remove socket; the next start replaces it"
            );
        }
    }
}

/// Connects if the server runs as this user or root. Root also accepts the owner of the socket's
/// directory, unless other users may write to it.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (short, _dir) = short_path(path)?;
    let stream = UnixStream::connect(short).await?;
    let peer = stream.peer_cred()?.uid();
    if Owners::of_store(parent_dir(path))?.include(peer) {
        return Ok(stream);
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "the socket {} belongs to another user ({peer}); expected this user or root",
            path.display()
        ),
    ))
}

pub(super) fn is_own_user(stream: &UnixStream) -> io::Result<bool> {
    Ok(Owners::own().include(stream.peer_cred()?.uid()))
}

/// Returns a path of at most [`MAX_PATH_BYTES`], and a file that must stay open while it is used.
fn short_path(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        return Ok((path.to_owned(), None));
    }
    let too_long = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "the path has {} bytes; expected at most {MAX_PATH_BYTES}; choose a shorter one",
                path.as_os_str().len()
            ),
        )
    };
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(too_long());
    };
    if !cfg!(target_os = "linux") {
        return Err(too_long());
    }
    let dir = File::open(dir)?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&dir);
    Ok((Path::new("/proc/self/fd").join(descriptor.to_string()).join(name), Some(dir)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn paths_survive_url_encoding() {
        for path in ["/a/db.sock", "/what?now/shop%41/a#b/c d,e/ü/db.sock", "relative/db.sock"] {
            let url = url_of_path(Path::new(path));
            assert!(
                url.starts_with("unix:") && url.is_ascii() && !url.contains(['?', '#', ' ', ',']),
                "{url}"
            );
            assert_eq!(path_of_url(&url).as_deref(), Some(Path::new(path)));
        }
        let no_text = Path::new(OsStr::from_bytes(b"/\xff/db.sock"));
        assert_eq!(path_of_url(&url_of_path(no_text)).as_deref(), Some(no_text));
        for wrong in
            ["", "unix:", "unix:/a%4", "unix:/a%zz", "unix:/a%00", "unix:/a?b", "http://a:1", "/a"]
        {
            assert_eq!(path_of_url(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn socket_is_private_and_removed_on_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.sock");
        let socket = UnixSocket::bind("the test", &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (client, server) = tokio::join!(connect(&path), socket.listener.accept());
        client.unwrap();
        assert!(is_own_user(&server.unwrap().0).unwrap());
        let taken = UnixSocket::bind("the test", &path).unwrap_err().to_string();
        assert!(taken.contains("another program is listening there"), "{taken}");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_socket_is_replaced_but_not_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as after kill -9");
        drop(UnixSocket::bind("the test", &path).unwrap());
        fs::write(&path, "mine").unwrap();
        let refused = UnixSocket::bind("the test", &path).unwrap_err().to_string();
        assert!(refused.contains("a file that is not a socket is there"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn long_path_is_shortened() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(200));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("db.sock");
        let socket = UnixSocket::bind("the test", &path).unwrap();
        let (client, _) = tokio::join!(connect(&path), socket.listener.accept());
        client.unwrap();
        drop(socket);
        assert!(!path.exists());
    }
}
