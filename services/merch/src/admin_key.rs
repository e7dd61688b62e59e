//! The operator's credential: a setting, or a file in the data directory that `merch admin` reads.

use std::path::Path;

use merch_chassis::StartError;
use merch_db::AdminToken;

use crate::{
    settings::{secret, values::Secret},
    signing_key,
};

/// Returns the credential in `file`, which is created with mode 0600 if it is missing.
pub(crate) fn load_or_create(file: &Path) -> Result<Secret, StartError> {
    if signing_key::create_if_missing(file)? {
        tracing::info!(file = %file.display(), "created a new operator credential");
    }
    read(file)
}

/// Reads the credential that a store keeps in `file`. Fails if the file has another owner than the
/// store.
pub(crate) fn read(file: &Path) -> Result<Secret, StartError> {
    let bytes = secret::read_stored("MERCH_ADMIN_TOKEN", file)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        StartError::new(format!(
            "the key file {} is not UTF-8; remove it to have a new one created",
            file.display()
        ))
    })?;
    Ok(text.into())
}

/// The error does not contain the credential.
pub(crate) fn validate(token: &Secret) -> Result<AdminToken, StartError> {
    AdminToken::new(token.reveal()).map_err(|error| {
        StartError::new(format!(
            "the credential in MERCH_ADMIN_TOKEN (--admin-token) or its file: {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_key_is_created_once_strong_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("admin.key");
        let token = load_or_create(&file).unwrap();
        validate(&token).unwrap();
        assert_eq!(load_or_create(&file).unwrap(), token);
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&file).unwrap().permissions()
            ) & 0o777,
            0o600
        );
        let error = validate(&"hush-hush".into()).unwrap_err().to_string();
        assert!(
            error.contains("at least 32 random bytes, got 9") && !error.contains("hush"),
            "{error}"
        );
    }
}
