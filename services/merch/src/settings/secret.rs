//! Secrets: each is the setting `MERCH_X` or in the file that `MERCH_X_FILE` names.

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

/// Rejects a wrong path, such as a device.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Reads the secret of the setting `option`, such as `MERCH_DATABASE_PASSWORD`; `None` if neither
/// is set. One trailing line break of a file is removed. Fails if both are set, or the file is
/// empty or not UTF-8. Errors contain no secret.
pub(crate) fn read(
    option: &str,
    value: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, StartError> {
    let Some(mut bytes) = read_bytes(option, value, file)? else { return Ok(None) };
    match (String::from_utf8(std::mem::take(&mut *bytes)), file) {
        (Ok(text), _) => Ok(Some(text.into())),
        (Err(_), Some(file)) => Err(file_error(
            option,
            file,
            "is not text in UTF-8; expected a text file that holds the secret and nothing else",
        )),
        (Err(_), None) => unreachable!("without a file the bytes are those of a string"),
    }
}

/// The secret may be arbitrary bytes, such as a key.
pub(crate) fn read_bytes(
    option: &str,
    value: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Zeroizing<Vec<u8>>>, StartError> {
    let bytes = read_list(option, value, file)?;
    match (&bytes, file) {
        (Some(bytes), Some(file)) if bytes.is_empty() => {
            Err(file_error(option, file, "is empty; expected a file that holds the secret"))
        }
        _ => Ok(bytes),
    }
}

/// The list may be empty: a container cannot mount a missing file.
pub(crate) fn read_list(
    option: &str,
    value: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Zeroizing<Vec<u8>>>, StartError> {
    match (value, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(StartError::new(format!(
            "both {option} ({flag}) and {option}_FILE ({flag}-file) are set; expected only one of \
             them",
            flag = flag_name(option),
        ))),
        (Some(value), None) => Ok(Some(value.reveal().as_bytes().to_vec().into())),
        (None, Some(file)) => read_setting_file(option, file).map(Some),
    }
}

/// Reads a secret that a store created in `file`. Fails if the owner is neither root nor the
/// store's user, or it is a link. Errors contain no secret.
pub(crate) fn read_stored(option: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, StartError> {
    let unusable = |reason: &dyn Display| {
        StartError::new(format!(
            "the key file {} cannot be used: {reason}; expected the file that `merch` created; \
            remove it to have a new one created",
            file.display()
        ))
    };
    let open = Owners::of_store(parent_dir(file)).and_then(|owners| owners.open(file));
    match read_to_end(option, file, open) {
        Ok(bytes) if bytes.is_empty() => Err(unusable(&"it is empty")),
        Ok(bytes) => Ok(bytes),
        Err(ReadError::Failed(error)) => Err(unusable(&error)),
        Err(ReadError::TooLong) => {
            Err(unusable(&format!("it has more than {MAX_SECRET_BYTES} bytes")))
        }
    }
}

fn read_setting_file(option: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, StartError> {
    read_to_end(option, file, File::open(file)).map_err(|error| match error {
        ReadError::Failed(error) => file_error(
            option,
            file,
            &format!(
                "cannot be read: {error}; expected a file that holds the secret, and that this \
                 user may read"
            ),
        ),
        ReadError::TooLong => file_error(
            option,
            file,
            &format!(
                "has more than {MAX_SECRET_BYTES} bytes; expected a file that holds the secret and \
                 nothing else"
            ),
        ),
    })
}

enum ReadError {
    Failed(io::Error),
    TooLong,
}

fn read_to_end(
    option: &str,
    file: &Path,
    open: io::Result<File>,
) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    // With capacity for all of it: a buffer that grows leaves copies in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES as usize + 64));
    open.and_then(|open| open.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes))
        .map_err(ReadError::Failed)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(ReadError::TooLong);
    }
    warn_if_exposed(file, &format!("the secret {option}"));
    let end = bytes
        .strip_suffix(b"\n")
        .map_or(bytes.len(), |rest| rest.strip_suffix(b"\r").unwrap_or(rest).len());
    bytes.truncate(end);
    Ok(bytes)
}

fn file_error(option: &str, file: &Path, what: &str) -> StartError {
    StartError::new(format!(
        "{option}_FILE ({}-file): the file {} {what}",
        flag_name(option),
        file.display()
    ))
}

/// `--jwt-key` for `MERCH_JWT_KEY`.
fn flag_name(option: &str) -> String {
    format!("--{}", option.trim_start_matches("MERCH_").to_lowercase().replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const OPTION: &str = "MERCH_SOME_PASSWORD";

    fn read_file(content: &[u8]) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, content).unwrap();
        match read(OPTION, None, Some(&file)) {
            Ok(secret) => Ok(secret.unwrap().reveal().to_owned()),
            Err(error) => Err(error.to_string().replace(&file.display().to_string(), "FILE")),
        }
    }

    #[test]
    fn value_and_file_are_exclusive() {
        assert_eq!(read(OPTION, None, None), Ok(None));
        let value = Secret::from("hush\n");
        assert_eq!(
            read(OPTION, Some(&value), None),
            Ok(Some(value.clone())),
            "a value is not trimmed"
        );
        let error =
            read(OPTION, Some(&value), Some(Path::new("/nowhere"))).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "both MERCH_SOME_PASSWORD (--some-password) and MERCH_SOME_PASSWORD_FILE \
                 (--some-password-file) are set; expected only one"
            ),
            "{error}"
        );
    }

    #[test]
    fn one_trailing_line_break_is_removed() {
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
    fn file_errors_do_not_show_the_content() {
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
    fn oversized_stored_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwt.key");
        fs::write(&file, [b'x'; 64 * 1024 + 1]).unwrap();
        assert_eq!(
            read_stored(OPTION, &file).unwrap_err().to_string(),
            format!(
                "the key file {} cannot be used: it has more than 65536 bytes; expected the file \
                 that `merch` created; remove it to have a new one created",
                file.display()
            )
        );
    }

    #[test]
    fn keys_may_be_arbitrary_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, [0xff, 0x00, b'\n']).unwrap();
        assert_eq!(read_bytes(OPTION, None, Some(&file)), Ok(Some(vec![0xff, 0x00].into())));
    }
}
