use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use merch_api::SigningKey;
use merch_chassis::{StartError, file_permissions::replace_file};
use rand::TryRng as _;
use zeroize::Zeroizing;

use crate::{
    hex::hex,
    settings::{api::TokenKeys, secret},
};

/// The size of HS256's output (RFC 7518 §3.2); in hexadecimal in the file.
const KEY_BYTES: usize = 32;

const SIGNING_KEY: &str = "MERCH_JWT_KEY";
const VERIFY_KEY: &str = "MERCH_JWT_VERIFY_KEY";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConfiguredKeys {
    pub(crate) signing: Option<SigningKey>,
    pub(crate) verifying: Vec<SigningKey>,
}

pub(crate) fn from_settings(settings: &TokenKeys) -> Result<ConfiguredKeys, StartError> {
    let signing = secret::read_bytes(
        SIGNING_KEY,
        settings.jwt_key.as_ref(),
        settings.jwt_key_file.as_deref(),
    )?;
    let verifying = secret::read_list(
        VERIFY_KEY,
        settings.jwt_verify_key.as_ref(),
        settings.jwt_verify_key_file.as_deref(),
    )?;
    Ok(ConfiguredKeys {
        // Trimmed like the keys that verify, so that a key is the same in both places.
        signing: signing
            .map(|key| {
                parse_key(key.trim_ascii(), "the key in MERCH_JWT_KEY (--jwt-key) or its file")
            })
            .transpose()?,
        verifying: verifying.map_or_else(|| Ok(Vec::new()), |keys| parse_list(&keys))?,
    })
}

/// Splits at commas and line breaks; ignores white space and empty entries.
fn parse_list(text: &[u8]) -> Result<Vec<SigningKey>, StartError> {
    let keys = text
        .split(|byte| matches!(byte, b',' | b'\n'))
        .map(<[u8]>::trim_ascii)
        .filter(|key| !key.is_empty());
    let keys: Vec<_> = keys
        .map(|key| parse_key(key, "a key in MERCH_JWT_VERIFY_KEY (--jwt-verify-key) or its file"))
        .collect::<Result<_, _>>()?;
    Ok(keys)
}

/// Returns the key in `file`, which is created with mode 0600 if it is missing. Fails if the file
/// has another owner or the key is too short.
pub(crate) fn load_or_create(file: &Path) -> Result<SigningKey, StartError> {
    if create_if_missing(file)? {
        tracing::info!(file = %file.display(), "created a new signing key for tokens");
    }
    let key = secret::read_stored(SIGNING_KEY, file)?;
    parse_key(key.trim_ascii(), &format!("the key in {}", file.display()))
}

/// Creates a file of random bytes with mode 0600. Returns whether it was created.
pub(crate) fn create_if_missing(file: &Path) -> Result<bool, StartError> {
    match create(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StartError::new(format!(
            "the key file {} cannot be written: {error}; expected a directory that this user may \
             write to",
            file.display()
        ))),
    }
}

/// Links a temporary file to `file`: a crash leaves no partial key, and a key is never replaced.
fn create(file: &Path) -> io::Result<()> {
    if file.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    rand::rngs::SysRng.try_fill_bytes(&mut *bytes).map_err(io::Error::other)?;
    let text = Zeroizing::new(hex(&*bytes));
    let fresh = file.with_extension(format!("key.{}", std::process::id()));
    let written = replace_file(&fresh, 0o600).and_then(|mut fresh| {
        writeln!(fresh, "{}", text.as_str())?;
        fresh.sync_all()
    });
    let created = written.and_then(|()| fs::hard_link(&fresh, file));
    fs::remove_file(&fresh)?;
    created
}

fn parse_key(key: &[u8], what: &str) -> Result<SigningKey, StartError> {
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
    fn signing_key_is_created_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwt.key");
        let key = load_or_create(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap().trim_end().len(), 2 * KEY_BYTES);
        assert_eq!(load_or_create(&file).unwrap(), key);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions())
                & 0o777,
            0o600
        );
    }

    #[test]
    fn key_of_another_user_is_refused() {
        use std::os::unix::fs::{chown, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (file, elsewhere) = (dir.path().join("jwt.key"), dir.path().join("elsewhere"));
        let refused = |reason: &str| {
            let error = load_or_create(&file).unwrap_err().to_string();
            assert!(error.starts_with("the key file ") && error.contains(reason), "{error}");
        };
        // Every user can read it.
        fs::write(&elsewhere, KEYS[0]).unwrap();
        symlink(&elsewhere, &file).unwrap();
        refused("it is a symbolic link");
        fs::remove_file(&file).unwrap();
        fs::write(&file, KEYS[0]).unwrap();
        load_or_create(&file).unwrap();
        if chown(&file, Some(65_534), None).is_ok() {
            refused("it belongs to the user 65534");
        }
    }

    #[test]
    fn new_key_is_not_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, victim) = (dir.path().join("jwt.key"), dir.path().join("victim"));
        fs::write(&victim, "mine").unwrap();
        let fresh = file.with_extension(format!("key.{}", std::process::id()));
        std::os::unix::fs::symlink(&victim, &fresh).unwrap();
        load_or_create(&file).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        assert!(!fresh.exists());
    }

    #[test]
    fn each_directory_gets_its_own_key() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(
            load_or_create(&one.path().join("jwt.key")).unwrap(),
            load_or_create(&two.path().join("jwt.key")).unwrap()
        );
    }

    #[test]
    fn short_key_is_refused_and_not_shown() {
        let short = || Some(Secret::from("hush-hush"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
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
    fn key_and_key_file_are_exclusive() {
        assert_eq!(
            from_settings(&nothing()),
            Ok(ConfiguredKeys { signing: None, verifying: vec![] })
        );
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
