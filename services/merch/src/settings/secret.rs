//! Secrets: each is a setting `MERCH_X`, or stands in the file that `MERCH_X_FILE` names.

use std::{
    fmt::Display,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use merch_chassis::{
    StartError,
    file_permissions::{Owners, parent_dir, warn_if_exposed},
};
use zeroize::Zeroizing;

use super::values::Secret;

/// Bytes of a secret's file, at most: a path to something else, such as a device or a database, is
/// told at once.
const LONGEST: u64 = 64 * 1024;

/// The secret of the setting `option` (its variable: `MERCH_DATABASE_PASSWORD`), from `value` or
/// from the file that `option` with `_FILE` names; `None` when neither is set. One line break at
/// the end of a file is not part of the secret: editors and `openssl rand -hex 32 > file` write one
/// that nobody means.
///
/// # Errors
/// When both are set, or the file cannot be read, is empty or is not text. The content is never
/// shown.
pub(crate) fn read(
    option: &str,
    value: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, StartError> {
    let Some(mut bytes) = read_bytes(option, value, file)? else { return Ok(None) };
    match (String::from_utf8(std::mem::take(&mut *bytes)), file) {
        (Ok(text), _) => Ok(Some(text.into())),
        (Err(_), Some(file)) => Err(wrong(
            option,
            file,
            "is not text in UTF-8; expected a text file that holds the secret and nothing else",
        )),
        (Err(_), None) => unreachable!("without a file the bytes are those of a string"),
    }
}

/// The same for a secret that may be any bytes, such as a key.
///
/// # Errors
/// When both are set, or the file cannot be read or is empty.
pub(crate) fn read_bytes(
    option: &str,
    value: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Zeroizing<Vec<u8>>>, StartError> {
    let bytes = read_list(option, value, file)?;
    match (&bytes, file) {
        (Some(bytes), Some(file)) if bytes.is_empty() => {
            Err(wrong(option, file, "is empty; expected a file that holds the secret"))
        }
        _ => Ok(bytes),
    }
}

/// The same for secrets of which there may be none: a file that is mounted into a container has to
/// be there, so an empty one says so.
///
/// # Errors
/// When both are set, or the file cannot be read.
pub(crate) fn read_list(
    option: &str,
    value: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Zeroizing<Vec<u8>>>, StartError> {
    match (value, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(StartError::new(format!(
            "both {option} ({flag}) and {option}_FILE ({flag}-file) are set; expected one of them, as it would not be clear which one counts",
            flag = flag(option),
        ))),
        (Some(value), None) => Ok(Some(value.reveal().as_bytes().to_vec().into())),
        (None, Some(file)) => in_file(option, file).map(Some),
    }
}

/// Reads the secret of the setting `option` that a store made and keeps in `file`. Only the user of
/// the store and root may own it.
///
/// # Errors
/// When it is another user's, a link, or cannot be read. The content is never shown.
pub(crate) fn read_kept(option: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, StartError> {
    let unusable = |reason: &dyn Display| {
        StartError::new(format!(
            "the key file {} cannot be used: {reason}; expected the file that `merch` made there; \
            remove it to have a new one made",
            file.display()
        ))
    };
    let open = Owners::of_store(parent_dir(file)).and_then(|owners| owners.open(file));
    match read_to_end(option, file, open) {
        Ok(bytes) if bytes.is_empty() => Err(unusable(&"it is empty")),
        Ok(bytes) => Ok(bytes),
        Err(Unread::Failed(error)) => Err(unusable(&error)),
        Err(Unread::TooLong) => Err(unusable(&format!("it has more than {LONGEST} bytes"))),
    }
}

fn in_file(option: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, StartError> {
    read_to_end(option, file, File::open(file)).map_err(|error| match error {
        Unread::Failed(error) => {
            wrong(option, file, &format!("cannot be read: {error}; expected a file that holds the secret, and that this user may read"))
        }
        Unread::TooLong => {
            wrong(option, file, &format!("has more than {LONGEST} bytes; expected a file that holds the secret and nothing else"))
        }
    })
}

/// Why a secret was not read.
enum Unread {
    Failed(io::Error),
    /// The file has more than [`LONGEST`] bytes.
    TooLong,
}

fn read_to_end(
    option: &str,
    file: &Path,
    open: io::Result<File>,
) -> Result<Zeroizing<Vec<u8>>, Unread> {
    // With room for all of it: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 64));
    open.and_then(|open| open.take(LONGEST + 1).read_to_end(&mut bytes)).map_err(Unread::Failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Unread::TooLong);
    }
    warn_if_exposed(file, &format!("the secret {option}"));
    let end = bytes
        .strip_suffix(b"\n")
        .map_or(bytes.len(), |rest| rest.strip_suffix(b"\r").unwrap_or(rest).len());
    bytes.truncate(end);
    Ok(bytes)
}

fn wrong(option: &str, file: &Path, what: &str) -> StartError {
    StartError::new(format!(
        "{option}_FILE ({}-file): the file {} {what}",
        flag(option),
        file.display()
    ))
}

/// `MERCH_JWT_KEY` is `--jwt-key`.
fn flag(option: &str) -> String {
    format!("--{}", option.trim_start_matches("MERCH_").to_lowercase().replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const OPTION: &str = "MERCH_SOME_PASSWORD";

    /// What `read` makes of a file with this content.
    fn read_file(content: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, content).unwrap();
        match read(OPTION, None, Some(&file)) {
            Ok(secret) => Ok(secret.unwrap().reveal().to_owned()),
            Err(error) => Err(error.to_string().replace(&file.display().to_string(), "FILE")),
        }
    }

    #[test]
    fn the_value_or_the_file_or_neither() {
        assert_eq!(read(OPTION, None, None), Ok(None));
        let value = Secret::from("hush\n");
        assert_eq!(
            read(OPTION, Some(&value), None),
            Ok(Some(value.clone())),
            "a value is taken as it is"
        );
        let error =
            read(OPTION, Some(&value), Some(Path::new("/nowhere"))).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "both MERCH_SOME_PASSWORD (--some-password) and MERCH_SOME_PASSWORD_FILE (--some-password-file) are set; expected one"
            ),
            "{error}"
        );
    }

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_it() {
        for (content, secret) in [
            ("hush", "hush"),
            ("hush\n", "hush"),
            ("hush\r\n", "hush"),
            ("hush\n\n", "hush\n"),
            (" hush \n", " hush "),
            ("hush\r", "hush\r"),
        ] {
            assert_eq!(read_file(content.as_bytes()).as_deref(), Ok(secret), "{content:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_content() {
        let large = [b"hush".as_slice(), &[b'x'; 64 * 1024]].concat();
        for (content, expected) in [
            (b"".as_slice(), "is empty; expected"),
            (b"\n", "is empty; expected"),
            (b"hush \xff", "is not text in UTF-8; expected"),
            (&large, "has more than 65536 bytes; expected"),
        ] {
            let error = read_file(content).unwrap_err();
            assert!(
                error.starts_with(&format!(
                    "MERCH_SOME_PASSWORD_FILE (--some-password-file): the file FILE {expected}"
                )),
                "{error}"
            );
            assert!(!error.contains("hush"), "{error}");
        }
        for file in ["/nowhere/secret", "/"] {
            let error = read(OPTION, None, Some(Path::new(file))).unwrap_err().to_string();
            assert!(
                error.contains(&format!("the file {file} cannot be read: "))
                    && error.contains("expected"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_kept_file_that_is_too_long_is_named_and_no_setting_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwt.key");
        fs::write(&file, [b'x'; 64 * 1024 + 1]).unwrap();
        assert_eq!(
            read_kept(OPTION, &file).unwrap_err().to_string(),
            format!(
                "the key file {} cannot be used: it has more than 65536 bytes; expected the file that `merch` made there; \
                remove it to have a new one made",
                file.display()
            )
        );
    }

    #[test]
    fn a_key_may_be_any_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, [0xff, 0x00, b'\n']).unwrap();
        assert_eq!(read_bytes(OPTION, None, Some(&file)), Ok(Some(vec![0xff, 0x00].into())));
    }
}
