//! Reads record batches from segment files: clients do not see the stored format.

use std::{fs, path::Path};

/// A record batch (KIP-98, magic 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Number of records.
    pub records: i32,
    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub compression: u8,
    /// Producer id; -1 if not idempotent.
    pub producer: i64,
    /// Sequence number of the first record.
    pub base_sequence: i32,
}

pub(crate) fn batches(dir: &Path) -> Vec<Batch> {
    let entries = fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", dir.display()));
    let mut segments: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
        .collect();
    segments.sort();
    segments.iter().flat_map(|segment| in_segment(&fs::read(segment).unwrap())).collect()
}

fn in_segment(mut bytes: &[u8]) -> Vec<Batch> {
    // Base offset 0..8, length of what follows 8..12, leader epoch 12..16, magic 16, checksum
    // 17..21, attributes 21..23, last offset delta 23..27, first and last timestamp 27..43,
    // producer id 43..51, producer epoch 51..53, base sequence 53..57, count 57..61.
    const HEADER: usize = 61;
    fn at<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
        bytes[from..from + N].try_into().unwrap()
    }
    let mut found = Vec::new();
    // A segment may end in preallocated zeros or a partial batch.
    while bytes.len() >= HEADER {
        let length = 12 + usize::try_from(i32::from_be_bytes(at(bytes, 8))).unwrap();
        if length < HEADER || length > bytes.len() {
            break;
        }
        assert_eq!(bytes[16], 2, "the magic of a batch");
        found.push(Batch {
            base_offset: i64::from_be_bytes(at(bytes, 0)),
            records: i32::from_be_bytes(at(bytes, 57)),
            compression: u8::try_from(i16::from_be_bytes(at(bytes, 21)) & 7).unwrap(),
            producer: i64::from_be_bytes(at(bytes, 43)),
            base_sequence: i32::from_be_bytes(at(bytes, 53)),
        });
        bytes = &bytes[length..];
    }
    found
}
