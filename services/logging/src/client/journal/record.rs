//! One record: its length and its checksum, both 32 bits, little-endian, then the event as
//! protobuf.
//!
//! The checksum (CRC-32, IEEE) covers the length as well, so that neither a run of zeros nor a
//! wrong length passes for a record.

use std::io::{self, Read};

use prost::Message as _;

use crate::{proto::LogMessage, rules::MAX_REQUEST_BYTES};

/// Bytes before the event.
pub(super) const HEADER: usize = 8;
/// No record is shorter: an event is never empty.
pub(super) const SHORTEST: usize = HEADER + 1;

/// A record, ready to be written.
pub(super) fn encode(event: &LogMessage) -> Vec<u8> {
    let length = event.encoded_len();
    let mut record = Vec::with_capacity(HEADER + length);
    // `append` bounds events far below 4 GiB.
    record.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&event.encode_to_vec());
    let checksum = checksum(&record[..4], &record[HEADER..]);
    record[4..HEADER].copy_from_slice(&checksum.to_le_bytes());
    record
}

/// What stands at some place of a segment.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// A whole record: its event, and its bytes in all.
    Record(Box<LogMessage>, u64),
    /// The end of the segment.
    End,
    /// No record: why.
    Damage(&'static str),
}

/// Reads the record that begins here; `left` bytes follow in the segment.
pub(super) fn read(reader: &mut impl Read, left: u64) -> io::Result<Found> {
    if left == 0 {
        return Ok(Found::End);
    }
    if left < SHORTEST as u64 {
        return Ok(Found::Damage("it ends within a record"));
    }
    let mut header = [0; HEADER];
    reader.read_exact(&mut header)?;
    let Some((length, expected)) = parse_header(&header) else {
        return Ok(Found::Damage("the length of a record is out of bounds"));
    };
    if left < (HEADER + length) as u64 {
        return Ok(Found::Damage("it ends within a record"));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload)?;
    if checksum(&header[..4], &payload) != expected {
        return Ok(Found::Damage("the checksum of a record is wrong"));
    }
    match LogMessage::decode(payload.as_slice()) {
        Ok(event) => Ok(Found::Record(Box::new(event), (HEADER + length) as u64)),
        Err(_) => Ok(Found::Damage("a record is not a log event")),
    }
}

/// Whether a whole record begins anywhere in these bytes.
pub(super) fn any_in(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| {
        let Some((header, rest)) = bytes[at..].split_first_chunk::<HEADER>() else { return false };
        parse_header(header).is_some_and(|(length, expected)| {
            rest.get(..length).is_some_and(|payload| checksum(&header[..4], payload) == expected)
        })
    })
}

/// The length, if it can be one, and the checksum.
fn parse_header(header: &[u8; HEADER]) -> Option<(usize, u32)> {
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    (1..=MAX_REQUEST_BYTES)
        .contains(&length)
        .then_some((length, u32::from_le_bytes([c0, c1, c2, c3])))
}

fn checksum(length: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_records_pass() {
        let event =
            LogMessage { message: "something happened".to_owned(), ..LogMessage::default() };
        let record = encode(&event);
        let found = |bytes: &[u8]| read(&mut &*bytes, bytes.len() as u64).unwrap();
        assert_eq!(found(&record), Found::Record(Box::new(event), record.len() as u64));
        assert_eq!(found(&[]), Found::End);
        assert!(matches!(found(&[0; 64]), Found::Damage(_)));
        for length in 1..record.len() {
            assert!(matches!(found(&record[..length]), Found::Damage(_)), "{length}");
            assert!(!any_in(&record[..length]));
        }
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(found(&damaged), Found::Damage(_)), "{bit}");
        }
        assert!(any_in(&[&[1, 2, 3], record.as_slice(), &[4]].concat()));
    }
}
