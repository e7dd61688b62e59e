//! The operator's credential: given as a setting, or made once and kept in the data folder, where
//! `merch admin` finds it.

use std::path::Path;

use merch_chassis::StartError;
use merch_db::AdminToken;

use crate::{
    settings::{secret, values::Secret},
    signing_key,
};

/// The credential kept in `file`, made there with mode 0600 if there is none.
///
/// # Errors
/// When the file can neither be read nor made.
pub(crate) fn kept_in(file: &Path) -> Result<Secret, StartError> {
    if signing_key::make_if_missing(file)? {
        tracing::info!(file = %file.display(), "a new credential for the operator was made");
    }
    read(file)
}

/// The credential that a store keeps in `file`.
///
/// # Errors
/// When the file cannot be read, or is another user's than the store's.
pub(crate) fn read(file: &Path) -> Result<Secret, StartError> {
    let bytes = secret::read_kept("MERCH_ADMIN_TOKEN", file)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        StartError::new(format!(
            "the key file {} is not text in UTF-8; remove it to have a new one made",
            file.display()
        ))
    })?;
    Ok(text.into())
}

/// As the db service takes it.
///
/// # Errors
/// When it is too weak. It is never shown.
pub(crate) fn strong_enough(token: &Secret) -> Result<AdminToken, StartError> {
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
    fn it_is_made_once_strong_and_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("admin.key");
        let token = kept_in(&file).unwrap();
        strong_enough(&token).unwrap();
        assert_eq!(kept_in(&file).unwrap(), token);
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&file).unwrap().permissions()
            ) & 0o777,
            0o600
        );
        let error = strong_enough(&"hush-hush".into()).unwrap_err().to_string();
        assert!(
            error.contains("at least 32 random bytes, got 9") && !error.contains("hush"),
            "{error}"
        );
    }
}
