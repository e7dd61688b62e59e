//! Failing disks need internals; the other tests are in `tests/logging/journal.rs`.

use std::sync::atomic::{AtomicBool, Ordering};

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

fn segment_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".journal"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn failed_fsync_fails_the_append_and_starts_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let failing = Arc::new(AtomicBool::new(false));
    let sync = {
        let failing = Arc::clone(&failing);
        Box::new(move |file: &File| {
            if failing.load(Ordering::SeqCst) {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            } else {
                file.sync_data()
            }
        })
    };
    let journal =
        Journal::open_with(dir.path().to_owned(), JournalOptions::default(), sync).unwrap();
    journal.append(event("one")).await.unwrap();

    failing.store(true, Ordering::SeqCst);
    for lost in ["lost", "lost again"] {
        let error = journal.append(event(lost)).await.unwrap_err();
        assert!(matches!(error, AppendError::Disk(_)), "{error}");
    }
    failing.store(false, Ordering::SeqCst);
    journal.append(event("two")).await.unwrap();

    assert_eq!(
        segment_names(dir.path()),
        ["00000000000000000001.journal", "00000000000000000002.journal"]
    );
    assert_eq!(messages(&journal).await, ["one", "two"]);
    drop(journal);
    let journal = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    assert_eq!(messages(&journal).await, ["one", "two"]);
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
