//! The number of the last acknowledged record, in a file of its own that is replaced whole.

use std::{fs, io, path::Path};

use merch_chassis::file_permissions::write_whole;

const NAME: &str = "acknowledged";

/// The number of the last acknowledged record, 0 if there is none; 0, too, with a warning, if the
/// file cannot be understood: then everything is sent once more, which costs repetitions and loses
/// nothing.
pub(super) fn read(folder: &Path) -> io::Result<u64> {
    let bytes = match fs::read(folder.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let number = parse(&bytes);
    if number.is_none() {
        tracing::warn!(folder = %folder.display(), "the journal's record of what is acknowledged cannot be understood; what is left in the journal is sent again");
    }
    Ok(number.unwrap_or(0))
}

/// Replaces the file: readers find the old number or the new one, whole.
pub(super) fn write(folder: &Path, number: u64) -> io::Result<()> {
    write_whole(&folder.join(NAME), text(number).as_bytes(), 0o600)
}

fn text(number: u64) -> String {
    let digits = number.to_string();
    format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes()))
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(bytes).ok()?.split_once(' ')?.0.parse().ok()?;
    (text(number).as_bytes() == bytes).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_number_is_none() {
        assert_eq!(parse(text(0).as_bytes()), Some(0));
        assert_eq!(parse(text(u64::MAX).as_bytes()), Some(u64::MAX));
        for damaged in ["", "12", "12 00000000\n", " ", "x 0\n"] {
            assert_eq!(parse(damaged.as_bytes()), None, "{damaged:?}");
        }
        let whole = text(1234);
        assert_eq!(parse(&whole.as_bytes()[..whole.len() - 1]), None);
    }
}
