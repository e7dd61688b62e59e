//! The backup: a tar archive that starts with a manifest of its members and their checksums.
//!
//! Members: `manifest.json`, `merch.db` and `journal/…` (the api's log events).

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use merch_chassis::{
    StartError,
    file_permissions::{parent_dir, sync_dir},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::hex::hex;

pub(crate) const DATABASE: &str = "merch.db";
/// The database and its write-ahead log, where SQLite keeps the newest commits.
pub(crate) const DATABASE_FILES: [&str; 3] = [DATABASE, "merch.db-wal", "merch.db-shm"];
pub(crate) const JOURNAL: &str = "journal";
const MANIFEST: &str = "manifest.json";
/// The archive format of this program; other formats are rejected.
const FORMAT: u32 = 1;
/// A generous limit: a manifest has a few kilobytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// Version of the program that wrote the archive.
    program: String,
    /// Time of the backup: RFC 3339, UTC. The archive contains everything committed before it.
    pub(crate) taken_at: String,
    files: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Writes `file` from the directory `staged`, which contains [`DATABASE`] and optionally
/// [`JOURNAL`]. The write is atomic and durable, and the file has mode 0600. Returns its size in
/// bytes.
pub(crate) fn write(file: &Path, staged: &Path, taken_at: String) -> Result<u64, StartError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => already_exists(file),
        _ => StartError::new(format!(
            "the backup {} cannot be written: {error}; check that the disk is not full",
            file.display()
        )),
    };
    let members = member_names(staged)
        .and_then(|names| names.into_iter().map(|name| describe_member(staged, name)).collect())
        .map_err(failed)?;
    let manifest = Manifest {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at,
        files: members,
    };
    write_archive(file, staged, &manifest).map_err(failed)
}

pub(crate) fn already_exists(file: &Path) -> StartError {
    StartError::new(format!(
        "the file {} exists and backups are not overwritten; choose another name",
        file.display()
    ))
}

fn write_archive(file: &Path, staged: &Path, manifest: &Manifest) -> io::Result<u64> {
    let parent = parent_dir(file);
    let fresh = tempfile::Builder::new().prefix(".merch-backup-").tempfile_in(parent)?; // mode 0600
    let mut archive = tar::Builder::new(io::BufWriter::new(fresh));
    let text = serde_json::to_vec_pretty(manifest)?;
    archive.append_data(&mut header(text.len() as u64), MANIFEST, text.as_slice())?;
    for member in &manifest.files {
        let source = File::open(staged.join(&member.name))?;
        archive.append_data(&mut header(member.bytes), &member.name, source.take(member.bytes))?;
    }
    let fresh = archive.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    fresh.as_file().sync_all()?;
    let bytes = fresh.as_file().metadata()?.len();
    fresh.persist_noclobber(file).map_err(|error| error.error)?;
    sync_dir(parent)?;
    Ok(bytes)
}

fn header(bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    );
    header
}

/// Unpacks `file` and verifies every member against the manifest.
pub(crate) fn read(file: &Path, dir: &Path) -> Result<Manifest, StartError> {
    let damaged = |what: String| {
        StartError::new(format!(
            "{} cannot be restored: {what}; nothing was changed",
            file.display()
        ))
    };
    let broken = |error: io::Error| damaged(format!("it is not a complete backup ({error})"));
    let open = File::open(file).map_err(|error| {
        StartError::new(format!("the backup {} cannot be read: {error}", file.display()))
    })?;
    let mut archive = tar::Archive::new(io::BufReader::new(open));
    let mut entries = archive.entries().map_err(broken)?;
    let manifest = match entries.next() {
        Some(Ok(first)) if first.path_bytes().as_ref() == MANIFEST.as_bytes() => {
            let mut text = Vec::new();
            first.take(MAX_MANIFEST_BYTES).read_to_end(&mut text).map_err(broken)?;
            serde_json::from_slice::<Manifest>(&text).map_err(|error| broken(error.into()))?
        }
        Some(Err(error)) => return Err(broken(error)),
        Some(Ok(_)) | None => {
            return Err(damaged(format!(
                "it does not start with {MANIFEST}; expected a file that `merch backup` has written"
            )));
        }
    };
    if manifest.format != FORMAT {
        let Manifest { format, program, .. } = &manifest;
        return Err(damaged(format!(
            "its format is {format} and this `merch` reads {FORMAT}; use `merch` {program} or newer"
        )));
    }
    let mut missing = manifest.files.iter();
    for entry in entries {
        let mut entry = entry.map_err(broken)?;
        let Some(member) =
            missing.next().filter(|member| member.name.as_bytes() == entry.path_bytes().as_ref())
        else {
            return Err(damaged("its members do not match its manifest".to_owned()));
        };
        // Member names are untrusted.
        let place = member_path(dir, &member.name)
            .ok_or_else(|| damaged(format!("it contains the unknown member {:?}", member.name)))?;
        let sha256 = unpack_member(&mut entry, &place).map_err(broken)?;
        if sha256 != member.sha256 {
            return Err(damaged(format!("{} is corrupt (its SHA-256 differs)", member.name)));
        }
    }
    match missing.next() {
        Some(member) => Err(damaged(format!("{} is missing", member.name))),
        None if manifest.files.iter().any(|member| member.name == DATABASE) => Ok(manifest),
        None => Err(damaged(format!("it contains no {DATABASE}"))),
    }
}

fn unpack_member(source: &mut impl Read, place: &Path) -> io::Result<String> {
    if let Some(parent) = place.parent() {
        create_private_dir(parent)?;
    }
    let mut file = create_private_file(place)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
    }
    file.sync_all()?;
    Ok(hex(&hash.finalize()))
}

/// Returns the path to unpack a member to; `None` if no backup has a member of this name.
fn member_path(dir: &Path, name: &str) -> Option<PathBuf> {
    let simple = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    };
    match name.split_once('/') {
        None if name == DATABASE => Some(dir.join(DATABASE)),
        Some((JOURNAL, file)) if simple(file) => Some(dir.join(JOURNAL).join(file)),
        Some(_) | None => None,
    }
}

/// Returns the names of the members, the database first.
fn member_names(staged: &Path) -> io::Result<Vec<String>> {
    let mut names = vec![DATABASE.to_owned()];
    let journal = staged.join(JOURNAL);
    if journal.is_dir() {
        for entry in fs::read_dir(journal)? {
            names.push(format!("{JOURNAL}/{}", entry?.file_name().to_string_lossy()));
        }
    }
    names.sort_unstable_by_key(|name| (name != DATABASE, name.clone()));
    Ok(names)
}

fn describe_member(staged: &Path, name: String) -> io::Result<Member> {
    let mut file = File::open(staged.join(&name))?;
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut file, &mut HashWriter(&mut hash))?;
    Ok(Member { name, bytes, sha256: hex(&hash.finalize()) })
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Creates a file with mode 0600. Fails if the file exists.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Creates a directory and its missing parents with mode 0700.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(dir: &Path) -> PathBuf {
        let staged = dir.join("staged");
        create_private_dir(&staged.join(JOURNAL)).unwrap();
        fs::write(staged.join(DATABASE), vec![7; 100_000]).unwrap();
        fs::write(staged.join("journal/00000000000000000001.journal"), b"events").unwrap();
        fs::write(staged.join("journal/acknowledged"), b"0").unwrap();
        let file = dir.join("backup.tar");
        write(&file, &staged, "2026-11-22T23:00:00Z".to_owned()).unwrap();
        file
    }

    #[test]
    fn archive_round_trips() {
        let dir = tempfile::tempdir().unwrap();
        let file = backup(dir.path());
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions())
                & 0o777,
            0o600
        );
        let out = dir.path().join("out");
        let manifest = read(&file, &out).unwrap();
        assert_eq!(manifest.taken_at, "2026-11-22T23:00:00Z");
        for name in ["merch.db", "journal/00000000000000000001.journal", "journal/acknowledged"] {
            assert_eq!(
                fs::read(out.join(name)).unwrap(),
                fs::read(dir.path().join("staged").join(name)).unwrap(),
                "{name}"
            );
        }
        let again =
            write(&file, &dir.path().join("staged"), String::new()).unwrap_err().to_string();
        assert!(again.contains("backups are not overwritten"), "{again}");
        assert!(
            fs::read_dir(dir.path()).unwrap().all(|entry| !entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with('.'))
        );
    }

    #[test]
    fn corruption_is_detected_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = backup(dir.path());
        let whole = fs::read(&file).unwrap();
        let size = whole.len();
        // Corrupts the manifest, a header, the database and the journal; then truncates the file.
        let journal = whole.windows(6).position(|window| window == b"events").unwrap();
        let first = whole.windows(100).position(|window| window == [7; 100]).unwrap();
        let damaged = [600, first - 400, first + 50_000, journal].map(|place| {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            bytes
        });
        let cut = [0, 100, 700, first + 50_000, journal].map(|end| whole[..end].to_vec());
        for (index, bytes) in damaged.into_iter().chain(cut).enumerate() {
            fs::write(&file, bytes).unwrap();
            let error =
                read(&file, &dir.path().join(format!("out{index}"))).unwrap_err().to_string();
            assert!(
                error.contains("cannot be restored") && error.contains("nothing was changed"),
                "{index} of {size}: {error}"
            );
        }
    }

    #[test]
    fn unexpected_member_names_are_rejected() {
        let dir = Path::new("/data");
        assert_eq!(
            member_path(dir, "journal/00000000000000000001.journal"),
            Some(dir.join("journal/00000000000000000001.journal"))
        );
        for name in [
            "",
            "../merch.db",
            "/etc/passwd",
            "jwt.key",
            "journal",
            "journal/",
            "journal/..",
            "journal/a/b",
            "journal/.x",
        ] {
            assert_eq!(member_path(dir, name), None, "{name}");
        }
    }
}
