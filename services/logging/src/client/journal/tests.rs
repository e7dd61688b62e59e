//! Crashes and failing disks need internals; the other tests are in `tests/logging/journal.rs`.

mod crash_points;
mod model;
mod mutants;
mod seeds;
mod sim_disk;
mod simulation;
mod threads;

use merch_chassis::file_permissions::parent_dir;

pub(super) use self::mutants::{Mutant, is_planted};
use self::sim_disk::{Fault, Operation, SimDisk};
use super::*;

fn event(message: &str) -> LogMessage {
    LogMessage { message: message.to_owned(), ..LogMessage::default() }
}

async fn messages(journal: &Journal) -> Vec<String> {
    journal
        .read(None, usize::MAX)
        .await
        .unwrap()
        .into_iter()
        .map(|(_, event)| event.message)
        .collect()
}

fn open_on(disk: &SimDisk, dir: &Path) -> Journal {
    let lock = lock(dir).unwrap().expect("no other journal has the lock");
    let options = JournalOptions::default();
    Journal::open_locked(Arc::new(disk.clone()), dir.to_owned(), lock, options).unwrap()
}

#[tokio::test]
async fn failed_fsync_fails_the_append_and_starts_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(false);
    disk.create_dir(dir.path()).unwrap();
    let open = || open_on(&disk, dir.path());
    let journal = open();
    journal.append(event("one")).await.unwrap();

    // The sync of the segment, and of the directory with the next one.
    for fault in [Fault::Dropped, Fault::Failed] {
        disk.inject([(disk.operations().len() + 1, fault)].into());
        let error = journal.append(event("lost")).await.unwrap_err();
        assert!(matches!(error, AppendError::Disk(_)), "{error}");
    }
    journal.append(event("two")).await.unwrap();

    let segments = || segments::list(&disk, dir.path()).unwrap();
    assert_eq!(segments(), [1, 2]);
    assert_eq!(messages(&journal).await, ["one", "two"]);
    drop(journal);
    assert_eq!(messages(&open()).await, ["one", "two"]);
}

/// A full disk only deletes.
#[tokio::test]
async fn acknowledged_journal_is_cleared_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(false);
    disk.create_dir(dir.path()).unwrap();
    let open = || open_on(&disk, dir.path());
    let journal = open();
    journal.append(event("one")).await.unwrap();
    let events = journal.read(None, 10).await.unwrap();
    let positions: Vec<JournalPosition> =
        events.into_iter().map(|(position, _)| position).collect();
    journal.acknowledge(&positions).await.unwrap();

    let before = disk.operations().len();
    assert!(journal.clear().unwrap());
    let operations = disk.operations().split_off(before);
    let is_write = |operation: &Operation| matches!(operation, Operation::Write(_));
    assert!(!operations.iter().any(is_write), "{operations:?}");

    // Record numbers continue.
    let journal = open();
    journal.append(event("two")).await.unwrap();
    assert_eq!(segments::list(&disk, dir.path()).unwrap(), [2]);
    assert_eq!(messages(&journal).await, ["two"]);
}

#[tokio::test]
async fn bytes_of_a_failed_write_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal =
        Journal::open(dir.path(), JournalOptions { segment_bytes: 1, ..JournalOptions::default() })
            .unwrap();
    for message in ["one", "two"] {
        journal.append(event(message)).await.unwrap();
    }
    // A failed write that was not cut off.
    let first = segments::path(dir.path(), 1);
    let mut bytes = fs::read(&first).unwrap();
    bytes.extend(record::encode(&event("refused")));
    fs::write(&first, bytes).unwrap();
    assert_eq!(messages(&journal).await, ["one", "two"]);
    drop(journal);
    assert_eq!(
        messages(&Journal::open(dir.path(), JournalOptions::default()).unwrap()).await,
        ["one", "two"]
    );
}

#[tokio::test]
async fn append_works_after_its_directory_is_restored() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("journal");
    let journal =
        Journal::open(&dir, JournalOptions { segment_bytes: 1, ..JournalOptions::default() })
            .unwrap();
    journal.append(event("one")).await.unwrap();
    let renamed = outer.path().join("renamed");
    fs::rename(&dir, &renamed).unwrap();
    assert!(matches!(journal.append(event("lost")).await.unwrap_err(), AppendError::Disk(_)));
    fs::rename(&renamed, &dir).unwrap();
    journal.append(event("two")).await.unwrap();
    assert_eq!(messages(&journal).await, ["one", "two"]);
}

#[tokio::test]
async fn failed_checkpoint_is_written_by_the_retry() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("journal");
    let journal = Journal::open(&dir, JournalOptions::default()).unwrap();
    journal.append(event("one")).await.unwrap();
    let positions: Vec<JournalPosition> =
        journal.read(None, 10).await.unwrap().into_iter().map(|(position, _)| position).collect();
    let renamed = outer.path().join("renamed");
    fs::rename(&dir, &renamed).unwrap();
    assert!(journal.acknowledge(&positions).await.is_err());
    fs::rename(&renamed, &dir).unwrap();
    journal.acknowledge(&positions).await.unwrap();
    drop(journal);
    assert_eq!(messages(&Journal::open(&dir, JournalOptions::default()).unwrap()).await, [""; 0]);
}
