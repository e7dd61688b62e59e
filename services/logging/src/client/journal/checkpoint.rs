//! The number of the last acknowledged record; replaced atomically.

use std::{
    io::{self, Read as _},
    path::Path,
};

use super::{disk::Disk, segments::MAX_NUMBER};

const NAME: &str = "acknowledged";
const NEW_NAME: &str = "acknowledged.new";

/// A missing or corrupt file counts as 0: all remaining events are sent again.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<u64> {
    let mut bytes = Vec::new();
    match disk.read(&dir.join(NAME), 0) {
        Ok((mut file, _)) => file.read_to_end(&mut bytes)?,
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

pub(super) fn write(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    let number = number + u64::from(planted!(CheckpointTooHigh));
    let new = dir.join(if planted!(CheckpointInPlace) { NAME } else { NEW_NAME });
    disk.remove(&new)?;
    let mut file = disk.open(&new)?;
    file.append(format(number).as_bytes())?;
    file.sync()?;
    disk.rename(&new, &dir.join(NAME))?;
    disk.sync_dir(dir)
}

fn format(number: u64) -> String {
    let digits = number.to_string();
    format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes()))
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(bytes).ok()?.split_once(' ')?.0.parse().ok()?;
    (number <= MAX_NUMBER && format(number).as_bytes() == bytes).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrupt_checkpoint_is_none() {
        assert_eq!(parse(format(0).as_bytes()), Some(0));
        assert_eq!(parse(format(MAX_NUMBER).as_bytes()), Some(MAX_NUMBER));
        for number in [MAX_NUMBER + 1, u64::MAX] {
            assert_eq!(parse(format(number).as_bytes()), None, "{number}");
        }
        for damaged in ["", "12", "12 00000000\n", " ", "x 0\n"] {
            assert_eq!(parse(damaged.as_bytes()), None, "{damaged:?}");
        }
        let whole = format(1234);
        assert_eq!(parse(&whole.as_bytes()[..whole.len() - 1]), None);
    }
}
