//! The number of the last acknowledged record; replaced atomically.

use std::{fs, io, path::Path};

use merch_chassis::file_permissions::write_atomically;

const NAME: &str = "acknowledged";

/// A missing or corrupt file counts as 0: all remaining events are sent again.
pub(super) fn read(dir: &Path) -> io::Result<u64> {
    let bytes = match fs::read(dir.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let number = parse(&bytes);
    if number.is_none() {
        tracing::warn!(
            dir = %dir.display(),
            "the journal's checkpoint is corrupt; sending all remaining log events again"
        );
    }
    Ok(number.unwrap_or(0))
}

pub(super) fn write(dir: &Path, number: u64) -> io::Result<()> {
    write_atomically(&dir.join(NAME), format(number).as_bytes(), 0o600)
}

fn format(number: u64) -> String {
    let digits = number.to_string();
    format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes()))
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(bytes).ok()?.split_once(' ')?.0.parse().ok()?;
    (format(number).as_bytes() == bytes).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrupt_checkpoint_is_none() {
        assert_eq!(parse(format(0).as_bytes()), Some(0));
        assert_eq!(parse(format(u64::MAX).as_bytes()), Some(u64::MAX));
        for damaged in ["", "12", "12 00000000\n", " ", "x 0\n"] {
            assert_eq!(parse(damaged.as_bytes()), None, "{damaged:?}");
        }
        let whole = format(1234);
        assert_eq!(parse(&whole.as_bytes()[..whole.len() - 1]), None);
    }
}
