//! The journal of log events.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use merch_logging::{
    client::journal::{
        JournalOptions,
        fuzzing::{Files, encode},
    },
    proto::LogMessage,
    rules::MAX_REQUEST_BYTES,
};
use prost::Message as _;

const HEADER: usize = 8;
/// Bytes that one call may read, and the largest event after them.
const MAX_READ_BYTES: usize = 4 * 1024 * 1024 + MAX_REQUEST_BYTES;

/// Opens a journal whose files have any content, reads it, writes it, and opens it again. The input
/// is a series of steps that write the files; see [`files`].
///
/// # Panics
/// If the journal returns an event that is not in its files with the right checksum and number; if
/// it loses or repeats an event that it appended; or if a read has no bound.
pub fn journal(data: &[u8]) {
    let Ok((segments, checkpoint)) = files(&mut Unstructured::new(data)) else { return };
    let files = Files::default();
    for (first, content) in &segments {
        files.set_segment(*first, content.clone());
    }
    if let Some(checkpoint) = checkpoint {
        files.set_checkpoint(checkpoint);
    }
    let options = JournalOptions { segment_bytes: 512, ..JournalOptions::default() };
    let mut journal = files.open(options.clone()).expect("the disk has no faults");
    let found = journal.read(usize::MAX).expect("the disk has no faults");
    for (number, event) in &found {
        let of_segments = segments.iter().filter(|(first, _)| *first <= number);
        let is_stored = of_segments.into_iter().any(|(first, content)| {
            let index = usize::try_from(number - first).unwrap_or(usize::MAX);
            valid_records(content).nth(index).as_ref() == Some(event)
        });
        assert!(is_stored, "the event {number} is in no segment: {event:?}");
    }
    assert!(found.is_sorted_by(|one, next| one.0 < next.0), "the numbers ascend");
    let bytes: usize = found.iter().map(|(_, event)| HEADER + event.encoded_len()).sum();
    assert!(bytes <= MAX_READ_BYTES.max(data.len() * 2), "a read of {bytes} bytes");
    assert_eq!(journal.read(1).expect("the disk has no faults"), found, "one event at a time");

    let new: Vec<LogMessage> = ["one", "two", "three"].map(event).into();
    for event in &new {
        assert!(journal.append(event), "the disk has no faults");
    }
    let read = journal.read(2).expect("the disk has no faults");
    assert_eq!(read[..found.len()], found, "events from before the appends");
    assert_eq!(events(&read[found.len()..]), new, "appended events");
    let last = found.last().map_or(0, |(number, _)| *number);
    assert!(read[found.len()].0 > last, "the numbers go on");
    drop(journal);

    let journal = files.open(options.clone()).expect("the disk has no faults");
    assert_eq!(journal.read(3).expect("the disk has no faults"), read, "after a restart");
    let acknowledged = read.len() / 2;
    journal.acknowledge(acknowledged).expect("the disk has no faults");
    let left = &read[acknowledged..];
    assert_eq!(journal.read(usize::MAX).expect("the disk has no faults"), left, "the rest");
    drop(journal);

    let mut journal = files.open(options).expect("the disk has no faults");
    assert_eq!(journal.read(usize::MAX).expect("the disk has no faults"), left, "a restart");
    assert!(journal.backlog() >= left.len() as u64);
    assert!(journal.append(&event("four")), "the disk has no faults");
    let read = journal.read(usize::MAX).expect("the disk has no faults");
    assert_eq!(events(&read[left.len()..]), [event("four")], "an append after a restart");
}

fn event(message: &str) -> LogMessage {
    LogMessage { message: message.to_owned(), ..LogMessage::default() }
}

fn events(read: &[(u64, LogMessage)]) -> Vec<LogMessage> {
    read.iter().map(|(_, event)| event.clone()).collect()
}

type Segments = BTreeMap<u64, Vec<u8>>;

/// Returns the segments by their first record, and the checkpoint.
fn files(input: &mut Unstructured<'_>) -> arbitrary::Result<(Segments, Option<Vec<u8>>)> {
    let (mut segments, mut first, mut checkpoint) = (Segments::new(), 1_u64, None);
    while !input.is_empty() {
        match input.arbitrary::<u8>()? % 8 {
            // The next segment, with a gap or an overlap.
            0 => {
                let next = first.saturating_add(input.arbitrary::<u8>()?.into()).saturating_sub(4);
                first = (next & !END).max(1);
            }
            1 => first = far(input)?.max(1),
            2 => checkpoint = Some(checkpoint_of(u64::from(input.arbitrary::<u8>()?))),
            3 => checkpoint = Some(checkpoint_of(far(input)?)),
            4 => checkpoint = Some(chunk(input)?.to_vec()),
            5 => segments.entry(first).or_default().extend(chunk(input)?),
            // A record with any content and a right checksum.
            6 => segments.entry(first).or_default().extend(record(chunk(input)?)),
            _ => {
                let message = String::from_utf8_lossy(chunk(input)?).into_owned();
                segments.entry(first).or_default().extend(encode(&event(&message)));
            }
        }
    }
    Ok((segments, checkpoint))
}

/// The last valid numbers have this bit: after them, the journal ends.
const END: u64 = 1 << 62;

fn far(input: &mut Unstructured<'_>) -> arbitrary::Result<u64> {
    Ok(input.arbitrary::<u64>()? & !END)
}

fn chunk<'a>(input: &mut Unstructured<'a>) -> arbitrary::Result<&'a [u8]> {
    let length = usize::from(input.arbitrary::<u8>()?).min(input.len());
    input.bytes(length)
}

fn checkpoint_of(number: u64) -> Vec<u8> {
    let digits = number.to_string();
    format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes())).into_bytes()
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32fast::hash(&[&length, payload].concat()).to_le_bytes();
    [&length, &checksum, payload].concat()
}

/// Returns the events until the first record that is not valid.
fn valid_records(mut bytes: &[u8]) -> impl Iterator<Item = LogMessage> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let (length, checksum) = header.split_first_chunk::<4>()?;
        let payload = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let is_valid = *checksum == crc32fast::hash(&[length, payload].concat()).to_le_bytes();
        bytes = &rest[payload.len()..];
        (is_valid && !payload.is_empty()).then(|| LogMessage::decode(payload).ok()).flatten()
    })
}
