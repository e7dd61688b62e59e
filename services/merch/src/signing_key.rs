//! The key that signs tokens: given as a setting, read from a file, or made once and kept in the data folder.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use merch_api::SigningKey;
use merch_chassis::StartError;
use rand::TryRng as _;

use crate::{privacy, settings::values::Secret};

/// Random bytes of a key that is made here: as many as HS256's output has (RFC 7518 §3.2). In the file they stand as hexadecimal digits.
const FRESH: usize = 32;

/// The key from the settings, of which at most one may be given; `None` when neither is.
///
/// # Errors
/// When both are given, the file cannot be read, or the key is too short.
pub(crate) fn from_settings(key: Option<&Secret>, file: Option<&Path>) -> Result<Option<SigningKey>, StartError> {
    match (key, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(StartError::new(
            "both MERCH_JWT_KEY (--jwt-key) and MERCH_JWT_KEY_FILE (--jwt-key-file) are set; expected one of them, as it would not be clear which key signs",
        )),
        (Some(key), None) => strong_enough(key.reveal().as_bytes(), "the key in MERCH_JWT_KEY (--jwt-key)").map(Some),
        (None, Some(file)) => read(file).map(Some),
    }
}

/// The key kept in `file`, made there with mode 0600 if there is none.
///
/// # Errors
/// When the file can neither be read nor made, or holds too short a key.
pub(crate) fn kept_in(file: &Path) -> Result<SigningKey, StartError> {
    match make(file) {
        Ok(()) => tracing::info!(file = %file.display(), "a new key for signing tokens was made"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(StartError::new(format!(
                "the key file {} cannot be written: {error}; expected a folder that this user may write to",
                file.display()
            )));
        }
    }
    read(file)
}

/// Writes a fresh key beside `file` first, so that a crash leaves no half of a key under its name; then links it there, which never replaces another.
fn make(file: &Path) -> io::Result<()> {
    if file.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut bytes = [0; FRESH];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let fresh = file.with_extension(format!("key.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&fresh).and_then(|mut fresh| {
        writeln!(fresh, "{text}")?;
        fresh.sync_all()
    });
    let made = written.and_then(|()| fs::hard_link(&fresh, file));
    fs::remove_file(&fresh)?;
    made
}

fn read(file: &Path) -> Result<SigningKey, StartError> {
    let key = fs::read(file).map_err(|error| {
        StartError::new(format!(
            "the key file {} (MERCH_JWT_KEY_FILE) cannot be read: {error}; expected a file that holds the key that signs tokens",
            file.display()
        ))
    })?;
    // A warning and no refusal: mounted secrets of containers are often readable by all in there.
    privacy::warn_if_others_may_use(file, "read or change the key that signs tokens", "600");
    // Editors and `openssl rand -hex 32 > file` end it with a line break, which nobody means.
    strong_enough(key.trim_ascii_end(), &format!("the key in {}", file.display()))
}

fn strong_enough(key: &[u8], what: &str) -> Result<SigningKey, StartError> {
    SigningKey::new(key).map_err(|error| StartError::new(format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_kept_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwt.key");
        let key = kept_in(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap().trim_end().len(), 2 * FRESH);
        assert_eq!(kept_in(&file).unwrap(), key);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions()) & 0o777, 0o600);
    }

    #[test]
    fn two_folders_have_two_keys() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(kept_in(&one.path().join("jwt.key")).unwrap(), kept_in(&two.path().join("jwt.key")).unwrap());
    }

    #[test]
    fn a_short_key_is_refused_and_not_shown() {
        let error = from_settings(Some(&Secret::from("hush-hush")), None).unwrap_err().to_string();
        assert!(
            error.starts_with("the key in MERCH_JWT_KEY (--jwt-key): expected")
                && error.contains("at least 32 random bytes, got 9;")
                && !error.contains("hush"),
            "{error}"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "hush-hush\n").unwrap();
        let error = from_settings(None, Some(&file)).unwrap_err().to_string();
        assert!(error.contains("at least 32 random bytes, got 9;") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn one_setting_at_most_is_taken() {
        assert_eq!(from_settings(None, None), Ok(None));
        let key = Secret::from("0123456789abcdef0123456789abcdef");
        assert_eq!(from_settings(Some(&key), None), Ok(Some(SigningKey::new(key.reveal()).unwrap())));
        let error = from_settings(Some(&key), Some(Path::new("/nowhere"))).unwrap_err().to_string();
        assert!(error.starts_with("both MERCH_JWT_KEY"), "{error}");
        let error = from_settings(None, Some(Path::new("/nowhere/key"))).unwrap_err().to_string();
        assert!(error.starts_with("the key file /nowhere/key (MERCH_JWT_KEY_FILE) cannot be read: "), "{error}");
    }
}
