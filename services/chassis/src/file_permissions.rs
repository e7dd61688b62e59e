//! File ownership checks, and durable, atomic writes.
//!
//! A user who can write to a directory can replace its files, so keys, addresses and locks must
//! belong to this process's user or root.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

const OTHERS_WRITE: u32 = 0o022;
const OTHERS_ALL: u32 = 0o077;
const ROOT: u32 = 0;

/// Returns the effective user id of this process.
#[must_use]
pub fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Users that may own this process's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owners {
    own: u32,
    /// The store's owner, if root is its client.
    store: Option<u32>,
}

impl Owners {
    /// Returns this process's user and root.
    #[must_use]
    pub fn own() -> Self {
        Self { own: effective_user(), store: None }
    }

    /// Returns the owners for a client of the store in `dir`. Root also accepts the directory's
    /// owner, unless other users may write to it.
    ///
    /// # Errors
    /// If the directory's metadata cannot be read.
    pub fn of_store(dir: &Path) -> io::Result<Self> {
        Ok(Self::own().and_owner_of(&fs::metadata(dir)?))
    }

    fn and_owner_of(self, dir: &Metadata) -> Self {
        let owner = dir.uid();
        let is_closed = dir.mode() & OTHERS_WRITE == 0;
        let store = (self.own == ROOT && owner != ROOT && is_closed).then_some(owner);
        Self { store, ..self }
    }

    /// Returns whether `user` is one of the owners.
    #[must_use]
    pub fn include(&self, user: u32) -> bool {
        user == self.own || user == ROOT || self.store == Some(user)
    }

    /// Checks the owner of a file or directory.
    ///
    /// # Errors
    /// `PermissionDenied`, with the expected owners.
    pub fn check(&self, found: &Metadata) -> io::Result<()> {
        let owner = found.uid();
        if !self.include(owner) {
            let expected = match self.own {
                ROOT => "root".to_owned(),
                own => format!("root or the user {own}, which runs this process"),
            };
            return Err(denied(format!(
                "it belongs to the user {owner}, which can change it; expected {expected}"
            )));
        }
        // The owner of a directory could link another user's file into it to have it shipped.
        if self.store.is_some_and(|store| store != owner) && found.is_file() && found.nlink() > 1 {
            return Err(denied(format!("it is a hard link to a file of the user {owner}")));
        }
        Ok(())
    }

    /// Checks the owner of `path` and of a link's target. A missing file passes.
    ///
    /// # Errors
    /// As [`Owners::check`], or if the metadata cannot be read.
    pub fn check_path(&self, path: &Path) -> io::Result<()> {
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        self.check(&found)?;
        if !found.is_symlink() {
            return Ok(());
        }
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            target => self.check(&target?),
        }
    }

    /// Opens a regular file of one of these owners.
    ///
    /// # Errors
    /// If it is not a regular file, has another owner, or cannot be opened.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.open_with(OpenOptions::new().read(true), path)
    }

    fn open_with(&self, options: &mut OpenOptions, path: &Path) -> io::Result<File> {
        // Without NONBLOCK, opening a FIFO would block.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file =
            options.custom_flags(flags.bits().cast_signed()).open(path).map_err(|error| {
                let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
                if is_link { denied("it is a symbolic link".to_owned()) } else { error }
            })?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(denied("it is not a regular file".to_owned()));
        }
        self.check(&found)?;
        Ok(file)
    }
}

/// Opens a lock file, and creates it with mode 0600 if needed. Keeps its content: only the lock's
/// holder may change it.
///
/// # Errors
/// See [`Owners::open`].
pub fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = Owners::own().open_with(&mut options, path)?;
    if file.metadata()?.nlink() > 1 {
        return Err(denied("it is a hard link to another file".to_owned()));
    }
    Ok(file)
}

/// Returns options for files with mode 0600 that do not follow symbolic links.
#[must_use]
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Replaces a file by a new one.
///
/// # Errors
/// If it cannot be created.
pub fn replace_file(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().create_new(true).write(true).mode(mode).open(path)
}

/// Writes a file atomically and durably, through `path` with the suffix `.new`.
///
/// # Errors
/// If the directory is not writable, or the disk fails.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let mut file = replace_file(&fresh, mode)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_dir(parent_dir(path))
}

/// Syncs a directory: fsync of a file does not make its directory entry durable.
///
/// # Errors
/// If it cannot be opened, or the disk fails.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Returns the directory of `file`.
#[must_use]
pub fn parent_dir(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks that only this process's user and root can change `path`.
///
/// # Errors
/// `PermissionDenied`, with the expected state.
pub fn check_private(path: &Path) -> io::Result<()> {
    Owners::own().check_path(path)?;
    let mode = fs::metadata(path)?.mode() & 0o7777;
    if mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(denied(format!(
        "other users of this machine may write to it (mode {mode:o}); check its content and \
        run `chmod go-w` on it"
    )))
}

/// Access of other users to a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OthersAccess {
    /// No access.
    None,
    /// Access, but not write access.
    Read,
    /// Also write access.
    Write,
}

impl OthersAccess {
    /// Returns the access that the mode in `found` grants.
    #[must_use]
    pub fn of(found: &Metadata) -> Self {
        match found.mode() {
            mode if mode & OTHERS_WRITE != 0 => Self::Write,
            mode if mode & OTHERS_ALL != 0 => Self::Read,
            _ => Self::None,
        }
    }
}

/// Removes other users' write permission from a directory. Returns its previous mode.
///
/// # Errors
/// If the directory is sticky, or its mode cannot be changed.
pub fn revoke_others_write(dir: &Path, found: &Metadata) -> io::Result<u32> {
    let mode = found.mode() & 0o7777;
    if mode & 0o1000 != 0 {
        return Err(denied(format!("it is a directory that several users share (mode {mode:o})")));
    }
    let closed = std::os::unix::fs::PermissionsExt::from_mode(mode & !OTHERS_WRITE);
    fs::set_permissions(dir, closed)?;
    Ok(mode)
}

/// Warns if other users have access to the secret in `path`, except in `/run/secrets`: container
/// engines set the mode there.
pub fn warn_if_exposed(path: &Path, what: &str) {
    let Ok(found) = path.metadata() else { return };
    if path.starts_with("/run/secrets") || OthersAccess::of(&found) == OthersAccess::None {
        return;
    }
    tracing::warn!(
        path = %path.display(),
        mode = format!("{:o}", found.mode() & 0o777),
        "other users of this machine may read or change {what}; run `chmod 600` on it"
    );
}

fn denied(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    const OTHER_USER: u32 = 65_534;

    fn other_user_owners() -> Owners {
        Owners { own: OTHER_USER, store: None }
    }

    fn chown_to_other_user(path: &Path) -> bool {
        chown(path, Some(OTHER_USER), None).is_ok()
    }

    #[test]
    fn owners_are_own_user_and_root() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Owners::own().include(ROOT) && Owners::own().include(effective_user()));
        assert!(!Owners::own().include(OTHER_USER));
        Owners::own().open(file.path()).unwrap();
        if chown_to_other_user(file.path()) {
            let error = Owners::own().open(file.path()).unwrap_err().to_string();
            assert!(error.contains("it belongs to the user 65534"), "{error}");
            other_user_owners().open(file.path()).unwrap();
        } else {
            other_user_owners().open(file.path()).unwrap_err();
        }
    }

    #[test]
    fn root_accepts_store_owner_unless_others_may_write() {
        let dir = tempfile::tempdir().unwrap();
        if !chown_to_other_user(dir.path()) {
            assert_eq!(Owners::of_store(dir.path()).unwrap().store, None, "only root does");
            return;
        }
        let (own, foreign) = (dir.path().join("own"), dir.path().join("foreign"));
        for file in [&own, &foreign] {
            fs::write(file, "").unwrap();
        }
        chown_to_other_user(&foreign);
        let owners = Owners::of_store(dir.path()).unwrap();
        owners.open(&foreign).unwrap();
        owners.open(&own).unwrap();
        fs::hard_link(&own, dir.path().join("link")).unwrap();
        let error = owners.open(&dir.path().join("link")).unwrap_err().to_string();
        assert!(error.contains("it is a hard link to a file of the user 0"), "{error}");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Owners::of_store(dir.path()).unwrap().open(&foreign).unwrap_err();
        let found = fs::metadata(dir.path()).unwrap();
        assert!(!Owners { own: 1, store: None }.and_owner_of(&found).include(OTHER_USER));
    }

    #[test]
    fn links_and_fifos_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "mine").unwrap();
        symlink(at("victim"), at("symbolic")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::hard_link(at("victim"), at("hard")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        let links =
            [("symbolic", "symbolic link"), ("dangling", "symbolic link"), ("hard", "hard link")];
        for (name, reason) in links {
            let error = open_lock(&at(name)).unwrap_err().to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
        open_lock(&at("pipe")).unwrap_err();
        for name in ["symbolic", "pipe"] {
            Owners::own().open(&at(name)).unwrap_err();
        }
        assert!(!at("nowhere").exists());
        assert_eq!(fs::read(at("victim")).unwrap(), b"mine");
        open_lock(&at("lock")).unwrap();
        assert_eq!(fs::metadata(at("lock")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn atomic_write_replaces_symlink_without_following_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "mine").unwrap();
        symlink(at("victim"), at("run.json.new")).unwrap();
        write_atomically(&at("run.json"), b"new", 0o600).unwrap();
        assert_eq!(fs::read(at("run.json")).unwrap(), b"new");
        assert_eq!(fs::read(at("victim")).unwrap(), b"mine");
        assert!(!fs::symlink_metadata(at("run.json")).unwrap().is_symlink());
    }

    #[test]
    fn symlink_and_target_owner_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink(at("file"), at("link")).unwrap();
        Owners::own().check_path(&at("link")).unwrap();
        Owners::own().check_path(&at("nowhere")).unwrap();
        if std::os::unix::fs::lchown(at("link"), Some(OTHER_USER), None).is_ok() {
            Owners::own().check_path(&at("link")).unwrap_err();
            std::os::unix::fs::lchown(at("link"), Some(ROOT), None).unwrap();
            chown_to_other_user(&at("file"));
            Owners::own().check_path(&at("link")).unwrap_err();
        }
    }

    #[test]
    fn sticky_directory_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let with = |mode: u32| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            fs::metadata(dir.path()).unwrap()
        };
        assert_eq!(OthersAccess::of(&with(0o700)), OthersAccess::None);
        assert_eq!(OthersAccess::of(&with(0o750)), OthersAccess::Read);
        assert_eq!(OthersAccess::of(&with(0o770)), OthersAccess::Write);
        check_private(dir.path()).unwrap_err();
        assert_eq!(revoke_others_write(dir.path(), &with(0o775)).unwrap(), 0o775);
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o755);
        check_private(dir.path()).unwrap();
        revoke_others_write(dir.path(), &with(0o1777)).unwrap_err();
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o1777);
    }
}
