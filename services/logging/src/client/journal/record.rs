//! Record format: length and checksum, 32 bits each, little-endian, then the event as protobuf.
//!
//! The checksum (CRC-32, IEEE) covers the length too, so that neither zeros nor a wrong length
//! pass.

use std::io::{self, Read};

use prost::Message as _;

use crate::{proto::LogMessage, rules::MAX_REQUEST_BYTES};

pub(super) const HEADER: usize = 8;
/// An event is never empty.
pub(super) const MIN_RECORD: usize = HEADER + 1;

pub(super) fn encode(event: &LogMessage) -> Vec<u8> {
    let length = event.encoded_len();
    let mut record = Vec::with_capacity(HEADER + length);
    // `append` limits events far below 4 GiB.
    record.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&event.encode_to_vec());
    let checksum = checksum(&record[..4], &record[HEADER..]);
    record[4..HEADER].copy_from_slice(&checksum.to_le_bytes());
    record
}

#[derive(Debug, PartialEq)]
pub(super) enum RecordRead {
    /// An event, and the bytes of its record.
    Record(Box<LogMessage>, u64),
    End,
    Corrupt(&'static str),
}

/// Reads a record. `left` is the number of bytes left in the segment.
pub(super) fn read(reader: &mut impl Read, left: u64) -> io::Result<RecordRead> {
    if left == 0 {
        return Ok(RecordRead::End);
    }
    if left < MIN_RECORD as u64 {
        return Ok(RecordRead::Corrupt("incomplete record"));
    }
    let mut header = [0; HEADER];
    reader.read_exact(&mut header)?;
    let Some((length, expected)) = parse_header(&header) else {
        return Ok(RecordRead::Corrupt("record length out of range"));
    };
    if left < (HEADER + length) as u64 {
        return Ok(RecordRead::Corrupt("incomplete record"));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload)?;
    if checksum(&header[..4], &payload) != expected && !planted!(ChecksumIgnored) {
        return Ok(RecordRead::Corrupt("checksum mismatch"));
    }
    match LogMessage::decode(payload.as_slice()) {
        Ok(event) => Ok(RecordRead::Record(Box::new(event), (HEADER + length) as u64)),
        Err(_) => Ok(RecordRead::Corrupt("not a log event")),
    }
}

/// Returns whether a valid record starts at any offset. Takes linear time, also if most offsets look
/// like the header of a long record.
pub(super) fn contains_record(bytes: &[u8]) -> bool {
    let checksums = Prefixes::new(bytes);
    (0..bytes.len()).any(|at| {
        let Some((header, rest)) = bytes[at..].split_first_chunk::<HEADER>() else { return false };
        parse_header(header).is_some_and(|(length, expected)| {
            let start = at + HEADER;
            length <= rest.len() && checksums.of(&header[..4], start, start + length) == expected
        })
    })
}

/// The checksums of the starts of some bytes, from which that of any part follows.
struct Prefixes<'a> {
    bytes: &'a [u8],
    /// Of the bytes before each multiple of [`Self::STEP`].
    checksums: Vec<u32>,
}

impl<'a> Prefixes<'a> {
    const STEP: usize = 64;

    fn new(bytes: &'a [u8]) -> Self {
        let mut checksums = vec![0];
        for step in bytes.chunks(Self::STEP) {
            checksums.push(extend(checksums[checksums.len() - 1], step));
        }
        Self { bytes, checksums }
    }

    fn before(&self, end: usize) -> u32 {
        let step = end / Self::STEP;
        extend(self.checksums[step], &self.bytes[step * Self::STEP..end])
    }

    /// Returns the checksum of the length and a part. CRC-32 is linear: that of two parts together is
    /// the first one, shifted by the length of the second part, XOR the second one.
    fn of(&self, length: &[u8], start: usize, end: usize) -> u32 {
        let first = extend(0, length) ^ self.before(start);
        let mut both = crc32fast::Hasher::new_with_initial(first);
        let second = (self.before(end), (end - start) as u64);
        both.combine(&crc32fast::Hasher::new_with_initial_len(second.0, second.1));
        both.finalize()
    }
}

/// Returns the length, if valid, and the checksum.
fn parse_header(header: &[u8; HEADER]) -> Option<(usize, u32)> {
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    (1..=MAX_REQUEST_BYTES)
        .contains(&length)
        .then_some((length, u32::from_le_bytes([c0, c1, c2, c3])))
}

fn checksum(length: &[u8], payload: &[u8]) -> u32 {
    extend(extend(0, length), payload)
}

/// Returns the checksum of the bytes with this checksum and of those that follow.
fn extend(checksum: u32, bytes: &[u8]) -> u32 {
    #[cfg(test)]
    tests::HASHED.with(|hashed| hashed.set(hashed.get() + bytes.len()));
    let mut hasher = crc32fast::Hasher::new_with_initial(checksum);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Bytes that checksums have read.
        pub(super) static HASHED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn incomplete_and_corrupt_records_are_detected() {
        let event =
            LogMessage { message: "something happened".to_owned(), ..LogMessage::default() };
        let record = encode(&event);
        let read_all = |bytes: &[u8]| read(&mut &*bytes, bytes.len() as u64).unwrap();
        assert_eq!(read_all(&record), RecordRead::Record(Box::new(event), record.len() as u64));
        assert_eq!(read_all(&[]), RecordRead::End);
        assert!(matches!(read_all(&[0; 64]), RecordRead::Corrupt(_)));
        for length in 1..record.len() {
            assert!(matches!(read_all(&record[..length]), RecordRead::Corrupt(_)), "{length}");
            assert!(!contains_record(&record[..length]));
        }
        for bit in 0..record.len() * 8 {
            let mut corrupt = record.clone();
            corrupt[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read_all(&corrupt), RecordRead::Corrupt(_)), "{bit}");
        }
        assert!(contains_record(&[&[1, 2, 3], record.as_slice(), &[4]].concat()));
    }

    #[test]
    fn search_reads_each_byte_a_bounded_number_of_times() {
        // Three of four offsets are a valid length; one is half of the bytes.
        let bytes = [0, 0, 8, 0].repeat(1024 * 1024 / 4);
        HASHED.set(0);
        assert!(!contains_record(&bytes));
        let hashed = HASHED.get();
        assert!(hashed <= 128 * bytes.len(), "{hashed} bytes for {}", bytes.len());
    }
}
