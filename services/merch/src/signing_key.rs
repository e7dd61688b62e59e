//! The keys of tokens: the one that signs, given as a setting, read from a file, or made once and
//! kept in the data folder; and those that verify only.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use merch_api::SigningKey;
use merch_chassis::{StartError, file_permissions::replace_file};
use rand::TryRng as _;
use zeroize::Zeroizing;

use crate::settings::{api::TokenKeys, secret};

/// Random bytes of a key that is made here: as many as HS256's output has (RFC 7518 §3.2). In the
/// file they stand as hexadecimal digits.
const FRESH: usize = 32;

const SIGNS: &str = "MERCH_JWT_KEY";
const VERIFIES: &str = "MERCH_JWT_VERIFY_KEY";

/// What the settings say of keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GivenKeys {
    /// The one that signs, if it is given.
    pub(crate) signing: Option<SigningKey>,
    /// Those that verify and never sign.
    pub(crate) verifying: Vec<SigningKey>,
}

/// The keys from the settings.
///
/// # Errors
/// When a key is given twice, as itself and as a file, a file cannot be read, or a key is too
/// short.
pub(crate) fn from_settings(settings: &TokenKeys) -> Result<GivenKeys, StartError> {
    let signing =
        secret::read_bytes(SIGNS, settings.jwt_key.as_ref(), settings.jwt_key_file.as_deref())?;
    let verifying = secret::read_list(
        VERIFIES,
        settings.jwt_verify_key.as_ref(),
        settings.jwt_verify_key_file.as_deref(),
    )?;
    Ok(GivenKeys {
        // As those that verify are read, so that one key is the same in both places.
        signing: signing
            .map(|key| {
                strong_enough(key.trim_ascii(), "the key in MERCH_JWT_KEY (--jwt-key) or its file")
            })
            .transpose()?,
        verifying: verifying.map_or_else(|| Ok(Vec::new()), |keys| several(&keys))?,
    })
}

/// Keys with commas or line breaks between them. Spaces around them are nobody's key.
fn several(text: &[u8]) -> Result<Vec<SigningKey>, StartError> {
    let keys = text
        .split(|byte| matches!(byte, b',' | b'\n'))
        .map(<[u8]>::trim_ascii)
        .filter(|key| !key.is_empty());
    let keys: Vec<_> = keys
        .map(|key| {
            strong_enough(key, "a key in MERCH_JWT_VERIFY_KEY (--jwt-verify-key) or its file")
        })
        .collect::<Result<_, _>>()?;
    // An empty setting is an empty slot of a configuration: no further key.
    Ok(keys)
}

/// The key kept in `file`, made there with mode 0600 if there is none.
///
/// # Errors
/// When the file can neither be read nor made, another user owns it, or it holds too short a key.
pub(crate) fn kept_in(file: &Path) -> Result<SigningKey, StartError> {
    if make_if_missing(file)? {
        tracing::info!(file = %file.display(), "a new key for signing tokens was made");
    }
    let key = secret::read_kept(SIGNS, file)?;
    strong_enough(key.trim_ascii(), &format!("the key in {}", file.display()))
}

/// Makes random bytes in `file`, mode 0600, if there is no such file. Says whether it did.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn make_if_missing(file: &Path) -> Result<bool, StartError> {
    match make(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StartError::new(format!(
            "the key file {} cannot be written: {error}; expected a folder that this user may write to",
            file.display()
        ))),
    }
}

/// Writes a fresh key beside `file` first, so that a crash leaves no half of a key under its name;
/// then links it there, which never replaces another.
fn make(file: &Path) -> io::Result<()> {
    if file.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut bytes = Zeroizing::new([0; FRESH]);
    rand::rngs::SysRng.try_fill_bytes(&mut *bytes).map_err(io::Error::other)?;
    let text: Zeroizing<String> =
        Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    let fresh = file.with_extension(format!("key.{}", std::process::id()));
    let written = replace_file(&fresh, 0o600).and_then(|mut fresh| {
        writeln!(fresh, "{}", text.as_str())?;
        fresh.sync_all()
    });
    let made = written.and_then(|()| fs::hard_link(&fresh, file));
    fs::remove_file(&fresh)?;
    made
}

fn strong_enough(key: &[u8], what: &str) -> Result<SigningKey, StartError> {
    SigningKey::new(key).map_err(|error| StartError::new(format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::values::Secret;

    const KEYS: [&str; 2] =
        ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];

    fn nothing() -> TokenKeys {
        TokenKeys {
            jwt_key: None,
            jwt_key_file: None,
            jwt_verify_key: None,
            jwt_verify_key_file: None,
        }
    }

    fn key(text: &str) -> SigningKey {
        SigningKey::new(text).unwrap()
    }

    #[test]
    fn it_is_made_once_and_kept_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwt.key");
        let key = kept_in(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap().trim_end().len(), 2 * FRESH);
        assert_eq!(kept_in(&file).unwrap(), key);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions())
                & 0o777,
            0o600
        );
    }

    #[test]
    fn a_key_of_another_user_is_not_used() {
        use std::os::unix::fs::{chown, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, elsewhere) = (folder.path().join("jwt.key"), folder.path().join("elsewhere"));
        let refused = |reason: &str| {
            let error = kept_in(&file).unwrap_err().to_string();
            assert!(error.starts_with("the key file ") && error.contains(reason), "{error}");
        };
        // A file that everybody can read, by a link.
        fs::write(&elsewhere, KEYS[0]).unwrap();
        symlink(&elsewhere, &file).unwrap();
        refused("it is a symbolic link");
        fs::remove_file(&file).unwrap();
        fs::write(&file, KEYS[0]).unwrap();
        kept_in(&file).unwrap();
        // Only root can give a file away.
        if chown(&file, Some(65_534), None).is_ok() {
            refused("it belongs to the user 65534");
        }
    }

    #[test]
    fn a_new_key_is_not_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, victim) = (folder.path().join("jwt.key"), folder.path().join("victim"));
        fs::write(&victim, "mine").unwrap();
        let fresh = file.with_extension(format!("key.{}", std::process::id()));
        std::os::unix::fs::symlink(&victim, &fresh).unwrap();
        kept_in(&file).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        assert!(!fresh.exists());
    }

    #[test]
    fn two_folders_have_two_keys() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(
            kept_in(&one.path().join("jwt.key")).unwrap(),
            kept_in(&two.path().join("jwt.key")).unwrap()
        );
    }

    #[test]
    fn a_short_key_is_refused_and_not_shown() {
        let short = || Some(Secret::from("hush-hush"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "hush-hush\n").unwrap();
        let file = || Some(file.clone());
        for (settings, what) in [
            (TokenKeys { jwt_key: short(), ..nothing() }, "the key in MERCH_JWT_KEY (--jwt-key)"),
            (
                TokenKeys { jwt_key_file: file(), ..nothing() },
                "the key in MERCH_JWT_KEY (--jwt-key)",
            ),
            (
                TokenKeys { jwt_verify_key: short(), ..nothing() },
                "a key in MERCH_JWT_VERIFY_KEY (--jwt-verify-key)",
            ),
            (
                TokenKeys { jwt_verify_key_file: file(), ..nothing() },
                "a key in MERCH_JWT_VERIFY_KEY (--jwt-verify-key)",
            ),
        ] {
            let error = from_settings(&settings).unwrap_err().to_string();
            assert!(
                error.starts_with(what)
                    && error.contains("at least 32 random bytes, got 9;")
                    && !error.contains("hush"),
                "{error}"
            );
        }
    }

    #[test]
    fn one_setting_at_most_is_taken() {
        assert_eq!(from_settings(&nothing()), Ok(GivenKeys { signing: None, verifying: vec![] }));
        let settings = TokenKeys { jwt_key: Some(KEYS[0].into()), ..nothing() };
        assert_eq!(from_settings(&settings).unwrap().signing, Some(key(KEYS[0])));
        let both = TokenKeys { jwt_key_file: Some("/nowhere".into()), ..settings };
        assert!(
            from_settings(&both)
                .unwrap_err()
                .to_string()
                .starts_with("both MERCH_JWT_KEY (--jwt-key)")
        );
        let both = TokenKeys {
            jwt_verify_key: Some(KEYS[0].into()),
            jwt_verify_key_file: Some("/nowhere".into()),
            ..nothing()
        };
        assert!(
            from_settings(&both)
                .unwrap_err()
                .to_string()
                .starts_with("both MERCH_JWT_VERIFY_KEY (--jwt-verify-key)")
        );
    }

    #[test]
    fn several_keys_may_verify() {
        let [one, two] = KEYS;
        for text in
            [format!("{one},{two}"), format!("{one}\r\n{two}"), format!(" {one} ,\n, {two}\n")]
        {
            let settings = TokenKeys { jwt_verify_key: Some(text.as_str().into()), ..nothing() };
            assert_eq!(
                from_settings(&settings).unwrap().verifying,
                [key(one), key(two)],
                "{text:?}"
            );
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let in_file = Some(file.path().to_owned());
        for none in [
            TokenKeys { jwt_verify_key: Some("".into()), ..nothing() },
            TokenKeys { jwt_verify_key_file: in_file, ..nothing() },
        ] {
            assert_eq!(from_settings(&none).unwrap().verifying, []);
        }
    }
}
