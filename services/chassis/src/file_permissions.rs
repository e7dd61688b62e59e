//! Who owns a file or folder, and files that are written durably and so that no other user can
//! redirect them.
//!
//! A user who owns a folder, or may write to it, can replace every file in it. So what this process
//! relies on (keys, addresses, locks) has to be its own user's or root's.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// The rights to write that users other than the owner have.
const OTHERS_WRITE: u32 = 0o022;
/// All rights that users other than the owner have.
const OTHERS: u32 = 0o077;
/// The user id of root.
const ROOT: u32 = 0;

/// Returns the user whose rights this process has.
#[must_use]
pub fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The users that may own what this process relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owners {
    own: u32,
    /// A further user, of whose store this process is a client.
    store: Option<u32>,
}

impl Owners {
    /// Returns this process's user and root.
    #[must_use]
    pub fn own() -> Self {
        Self { own: effective_user(), store: None }
    }

    /// Returns the owners for a client of the store in `folder`: its own user and root. Root also
    /// accepts the owner of the folder, if no other user may write to it.
    ///
    /// # Errors
    /// When the folder cannot be examined.
    pub fn of_store(folder: &Path) -> io::Result<Self> {
        Ok(Self::own().and_owner_of(&fs::metadata(folder)?))
    }

    fn and_owner_of(self, folder: &Metadata) -> Self {
        let owner = folder.uid();
        let is_closed = folder.mode() & OTHERS_WRITE == 0;
        let store = (self.own == ROOT && owner != ROOT && is_closed).then_some(owner);
        Self { store, ..self }
    }

    /// Returns whether `user` is one of them.
    #[must_use]
    pub fn include(&self, user: u32) -> bool {
        user == self.own || user == ROOT || self.store == Some(user)
    }

    /// Checks the owner of a file or folder.
    ///
    /// # Errors
    /// `PermissionDenied`, with who owns it and who may.
    pub fn check(&self, found: &Metadata) -> io::Result<()> {
        let owner = found.uid();
        if !self.include(owner) {
            let expected = match self.own {
                ROOT => "root".to_owned(),
                own => format!("root or the user {own}, who runs this process"),
            };
            return Err(denied(format!(
                "it belongs to the user {owner}, who can change it; expected {expected}"
            )));
        }
        // The owner of a folder can link another user's file into it, and have its content sent on.
        if self.store.is_some_and(|store| store != owner) && found.is_file() && found.nlink() > 1 {
            return Err(denied(format!("it is a hard link to a file of the user {owner}")));
        }
        Ok(())
    }

    /// Checks the owner of what is at `path`, if there is something. A symbolic link has an owner
    /// of its own, and both have to be right.
    ///
    /// # Errors
    /// As [`Owners::check`], or when it cannot be examined.
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

    /// Opens a file to read it. It has to be a regular file of one of these owners.
    ///
    /// # Errors
    /// When it is a symbolic link or no regular file, another user owns it, or it cannot be opened.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.open_with(OpenOptions::new().read(true), path)
    }

    fn open_with(&self, options: &mut OpenOptions, path: &Path) -> io::Result<File> {
        // Without NONBLOCK a pipe at this path would wait for its other end.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file =
            options.custom_flags(flags.bits().cast_signed()).open(path).map_err(|error| {
                let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
                if is_link { denied("it is a symbolic link".to_owned()) } else { error }
            })?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(denied("it is no regular file".to_owned()));
        }
        self.check(&found)?;
        Ok(file)
    }
}

/// Opens a lock file, which is made with mode 0600 if it is missing. Its content stays: only the
/// holder of the lock may change it.
///
/// # Errors
/// When it is a link or no regular file, another user owns it, or it cannot be opened.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = Owners::own().open_with(&mut options, path)?;
    if file.metadata()?.nlink() > 1 {
        return Err(denied("it is a hard link to another file".to_owned()));
    }
    Ok(file)
}

/// Returns options for a file that is made with mode 0600. A symbolic link is not followed.
#[must_use]
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Makes a new file, in the place of any that an earlier process left there.
///
/// # Errors
/// When it cannot be made.
pub fn create_fresh(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().create_new(true).write(true).mode(mode).open(path)
}

/// Writes a file whole and durably: a reader sees the old file, none, or all of the new one. Until
/// then its name ends in `.new`.
///
/// # Errors
/// When the folder cannot be written to or opened, or the disk fails.
pub fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let mut file = create_fresh(&fresh, mode)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder(folder_of(path))
}

/// Makes durable which files a folder holds: a file's own fsync says nothing of its name.
///
/// # Errors
/// When the folder cannot be opened, or the disk fails.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Returns the folder that `file` is in.
#[must_use]
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks that only this process's user and root can change what is at `path`.
///
/// # Errors
/// `PermissionDenied`, with what was found and what was expected.
pub fn check_private(path: &Path) -> io::Result<()> {
    Owners::own().check_path(path)?;
    let mode = fs::metadata(path)?.mode() & 0o7777;
    if mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(denied(format!(
        "other users of this machine may write to it (mode {mode:o}); check what is in it and `chmod go-w` it"
    )))
}

/// What other users may do with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nothing.
    Nothing,
    /// Read it, at most.
    Read,
    /// Write to it.
    Write,
}

impl Others {
    /// Returns what the mode in `found` lets them do.
    #[must_use]
    pub fn of(found: &Metadata) -> Self {
        match found.mode() {
            mode if mode & OTHERS_WRITE != 0 => Self::Write,
            mode if mode & OTHERS != 0 => Self::Read,
            _ => Self::Nothing,
        }
    }
}

/// Takes the right to write to an own folder from other users, and returns the mode it had.
///
/// # Errors
/// When it is a folder that users share (the sticky bit is set), or its mode cannot be changed.
pub fn close_to_writers(folder: &Path, found: &Metadata) -> io::Result<u32> {
    let mode = found.mode() & 0o7777;
    if mode & 0o1000 != 0 {
        return Err(denied(format!("it is a folder that several users share (mode {mode:o})")));
    }
    let closed = std::os::unix::fs::PermissionsExt::from_mode(mode & !OTHERS_WRITE);
    fs::set_permissions(folder, closed)?;
    Ok(mode)
}

/// Warns if other users of this machine have any right to the secret in `path`. `what` names it.
///
/// Secrets that are mounted into a container have the mode that its engine gives them, and no other
/// user is in there: those in `/run/secrets` are not warned of.
pub fn warn_of_open_secret(path: &Path, what: &str) {
    let Ok(found) = path.metadata() else { return };
    if path.starts_with("/run/secrets") || Others::of(&found) == Others::Nothing {
        return;
    }
    tracing::warn!(
        path = %path.display(),
        mode = format!("{:o}", found.mode() & 0o777),
        "other users of this machine may read or change {what}; `chmod 600` it"
    );
}

fn denied(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    /// Any user but root and the one that runs the tests.
    const STRANGER: u32 = 65_534;

    /// The owners as a process of another user than that of the temporary files sees them.
    fn stranger() -> Owners {
        Owners { own: STRANGER, store: None }
    }

    /// Gives it to another user. Only root can.
    fn give_away(path: &Path) -> bool {
        chown(path, Some(STRANGER), None).is_ok()
    }

    #[test]
    fn own_files_and_those_of_root_are_accepted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Owners::own().include(ROOT) && Owners::own().include(effective_user()));
        assert!(!Owners::own().include(STRANGER));
        Owners::own().open(file.path()).unwrap();
        if give_away(file.path()) {
            let error = Owners::own().open(file.path()).unwrap_err().to_string();
            assert!(error.contains("it belongs to the user 65534"), "{error}");
            stranger().open(file.path()).unwrap();
        } else {
            stranger().open(file.path()).unwrap_err();
        }
    }

    #[test]
    fn root_accepts_the_owner_of_a_store_that_no_other_user_may_write_to() {
        let folder = tempfile::tempdir().unwrap();
        if !give_away(folder.path()) {
            assert_eq!(Owners::of_store(folder.path()).unwrap().store, None, "only root does");
            return;
        }
        let (own, foreign) = (folder.path().join("own"), folder.path().join("foreign"));
        for file in [&own, &foreign] {
            fs::write(file, "").unwrap();
        }
        give_away(&foreign);
        let owners = Owners::of_store(folder.path()).unwrap();
        owners.open(&foreign).unwrap();
        owners.open(&own).unwrap();
        fs::hard_link(&own, folder.path().join("link")).unwrap();
        let error = owners.open(&folder.path().join("link")).unwrap_err().to_string();
        assert!(error.contains("it is a hard link to a file of the user 0"), "{error}");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Owners::of_store(folder.path()).unwrap().open(&foreign).unwrap_err();
        // A process that is not root does not accept it in any mode.
        let found = fs::metadata(folder.path()).unwrap();
        assert!(!Owners { own: 1, store: None }.and_owner_of(&found).include(STRANGER));
    }

    #[test]
    fn links_and_pipes_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
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
    fn a_file_is_written_in_the_place_of_a_link_and_not_through_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("victim"), "mine").unwrap();
        symlink(at("victim"), at("run.json.new")).unwrap();
        write_whole(&at("run.json"), b"new", 0o600).unwrap();
        assert_eq!(fs::read(at("run.json")).unwrap(), b"new");
        assert_eq!(fs::read(at("victim")).unwrap(), b"mine");
        assert!(!fs::symlink_metadata(at("run.json")).unwrap().is_symlink());
    }

    #[test]
    fn both_owners_of_a_symbolic_link_count() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink(at("file"), at("link")).unwrap();
        Owners::own().check_path(&at("link")).unwrap();
        Owners::own().check_path(&at("nowhere")).unwrap();
        if std::os::unix::fs::lchown(at("link"), Some(STRANGER), None).is_ok() {
            Owners::own().check_path(&at("link")).unwrap_err();
            std::os::unix::fs::lchown(at("link"), Some(ROOT), None).unwrap();
            give_away(&at("file"));
            Owners::own().check_path(&at("link")).unwrap_err();
        }
    }

    #[test]
    fn a_folder_that_users_share_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let with = |mode: u32| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            fs::metadata(folder.path()).unwrap()
        };
        assert_eq!(Others::of(&with(0o700)), Others::Nothing);
        assert_eq!(Others::of(&with(0o750)), Others::Read);
        assert_eq!(Others::of(&with(0o770)), Others::Write);
        check_private(folder.path()).unwrap_err();
        assert_eq!(close_to_writers(folder.path(), &with(0o775)).unwrap(), 0o775);
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o7777, 0o755);
        check_private(folder.path()).unwrap();
        close_to_writers(folder.path(), &with(0o1777)).unwrap_err();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o7777, 0o1777);
    }
}
