use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
};

use merch_logging::{
    client::{
        EventSource as _,
        journal::{AppendError, Journal, JournalOptions, JournalPosition},
    },
    proto::LogMessage,
};
use tempfile::tempdir;

use crate::support::{event, events, journal, numbers};

async fn read(journal: &Journal) -> Vec<(JournalPosition, LogMessage)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let events = journal.read(after.as_ref(), 7).await.unwrap();
        let Some((last, _)) = events.last() else { return all };
        after = Some(last.clone());
        all.extend(events);
    }
}

async fn read_numbers(journal: &Journal) -> Vec<usize> {
    numbers(&read(journal).await.into_iter().map(|(_, event)| event).collect::<Vec<_>>())
}

async fn append(journal: &Journal, numbers: std::ops::Range<usize>) {
    for event in events(numbers) {
        journal.append(event).await.unwrap();
    }
}

async fn acknowledge(journal: &Journal, count: usize) {
    let positions: Vec<JournalPosition> =
        read(journal).await.into_iter().take(count).map(|(position, _)| position).collect();
    assert_eq!(positions.len(), count);
    journal.acknowledge(&positions).await.unwrap();
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .collect();
    paths.sort();
    paths
}

/// One segment per written group.
fn small(dir: &Path, retained_events: u64, replay_retained: bool) -> Journal {
    Journal::open(
        dir,
        JournalOptions {
            segment_bytes: 1,
            retained_events,
            replay_retained,
            ..JournalOptions::default()
        },
    )
    .unwrap()
}

#[tokio::test]
async fn appended_events_survive_a_restart() {
    let dir = tempdir().unwrap();
    for start in [0, 10, 20] {
        let journal = journal(dir.path());
        append(&journal, start..start + 10).await;
    }
    let journal = journal(dir.path());
    assert_eq!(read_numbers(&journal).await, (0..30).collect::<Vec<_>>());
    assert_eq!(journal.backlog(), 30);
    assert_eq!(segments(dir.path()).len(), 3, "each process starts a segment");
}

#[tokio::test]
async fn acknowledged_events_are_not_read_again() {
    let dir = tempdir().unwrap();
    {
        let journal = journal(dir.path());
        append(&journal, 0..10).await;
        acknowledge(&journal, 4).await;
        assert_eq!(read_numbers(&journal).await, (4..10).collect::<Vec<_>>());
    }
    let journal = journal(dir.path());
    assert_eq!(read_numbers(&journal).await, (4..10).collect::<Vec<_>>());
    acknowledge(&journal, 6).await;
    assert_eq!((read_numbers(&journal).await, journal.backlog()), (vec![], 0));
    append(&journal, 10..12).await;
    assert_eq!(read_numbers(&journal).await, [10, 11]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_are_durable_and_ordered_by_task() {
    const TASKS: usize = 64;
    const EACH: usize = 20;
    let dir = tempdir().unwrap();
    let journal = Journal::open(
        dir.path(),
        JournalOptions { segment_bytes: 16 * 1024, ..JournalOptions::default() },
    )
    .unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move { append(&journal, task * EACH..(task + 1) * EACH).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let before = read_numbers(&journal).await;
    drop(journal);
    let journal = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    let after = read_numbers(&journal).await;
    assert_eq!(before, after, "in the order of the file");
    assert!(segments(dir.path()).len() > 1);
    for task in 0..TASKS {
        let own: Vec<usize> =
            after.iter().copied().filter(|number| number / EACH == task).collect();
        assert_eq!(own, (task * EACH..(task + 1) * EACH).collect::<Vec<_>>());
    }
    assert_eq!(after.len(), TASKS * EACH);
}

#[tokio::test]
async fn torn_tail_loses_only_the_torn_record() {
    let whole = tempdir().unwrap();
    {
        let journal = journal(whole.path());
        append(&journal, 0..2).await;
    }
    let bytes = fs::read(&segments(whole.path())[0]).unwrap();
    let two = bytes.len();
    {
        let journal = journal(whole.path());
        append(&journal, 2..3).await;
    }
    let bytes = fs::read(&segments(whole.path())[0]).unwrap();
    for length in two..bytes.len() {
        // Torn writes with and without trailing zeros, as file systems leave them. Few lengths get
        // zeros: each case takes several fsyncs.
        let paddings: &[usize] = if length % 32 == 0 { &[0, 1, 8, 4096] } else { &[0] };
        for &padding in paddings {
            let dir = tempdir().unwrap();
            fs::write(
                dir.path().join("00000000000000000001.journal"),
                [&bytes[..length], &vec![0; padding]].concat(),
            )
            .unwrap();
            let journal = journal(dir.path());
            // The padding may complete a record that ends in zeros.
            let read = read_numbers(&journal).await;
            assert!(
                read == [0, 1] || (padding > 0 && read == [0, 1, 2]),
                "{length}+{padding}: {read:?}"
            );
            append(&journal, 7..8).await;
            drop(journal);
            let journal = self::journal(dir.path());
            assert_eq!(read_numbers(&journal).await, [read.as_slice(), &[7]].concat());
            assert_eq!(segments(dir.path()).len(), 2);
        }
    }
}

#[tokio::test]
async fn corruption_loses_only_the_rest_of_its_segment() {
    let dir = tempdir().unwrap();
    {
        let journal = journal(dir.path());
        append(&journal, 0..5).await;
    }
    let segment = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x40;
    fs::write(&segment, &bytes).unwrap();
    {
        let journal = journal(dir.path());
        append(&journal, 5..8).await;
        assert_eq!(read_numbers(&journal).await, [0, 1, 5, 6, 7]);
        assert_eq!(fs::read(&segment).unwrap(), bytes, "the segment is unchanged");
    }
    let journal = journal(dir.path());
    append(&journal, 8..9).await;
    assert_eq!(read_numbers(&journal).await, [0, 1, 5, 6, 7, 8]);
    acknowledge(&journal, 6).await;
    assert_eq!(read_numbers(&journal).await, [0; 0]);
    assert!(!segment.exists());
}

#[tokio::test]
async fn without_checkpoint_all_events_are_read_again() {
    let dir = tempdir().unwrap();
    {
        let journal = journal(dir.path());
        append(&journal, 0..5).await;
        acknowledge(&journal, 3).await;
    }
    let file = dir.path().join("acknowledged");
    fs::write(&file, "3 nonsense\n").unwrap();
    assert_eq!(read_numbers(&journal(dir.path())).await, [0, 1, 2, 3, 4]);
    fs::remove_file(&file).unwrap();
    let journal = journal(dir.path());
    assert_eq!(read_numbers(&journal).await, [0, 1, 2, 3, 4]);
    acknowledge(&journal, 5).await;
    assert!(file.exists());
}

#[tokio::test]
async fn record_numbers_continue_after_the_checkpoint() {
    let dir = tempdir().unwrap();
    {
        let journal = journal(dir.path());
        append(&journal, 0..5).await;
        acknowledge(&journal, 5).await;
    }
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    let journal = journal(dir.path());
    append(&journal, 5..6).await;
    assert_eq!(read_numbers(&journal).await, [5]);
    assert!(segments(dir.path())[0].ends_with("00000000000000000006.journal"));
}

#[tokio::test]
async fn acknowledged_segments_are_deleted() {
    let dir = tempdir().unwrap();
    let journal = small(dir.path(), 0, false);
    append(&journal, 0..10).await;
    assert_eq!(segments(dir.path()).len(), 10);
    acknowledge(&journal, 4).await;
    assert_eq!(segments(dir.path()).len(), 6);
    acknowledge(&journal, 6).await;
    assert_eq!(segments(dir.path()).len(), 1, "the last segment is kept");
    append(&journal, 10..11).await;
    assert_eq!(read_numbers(&journal).await, [10]);
}

#[tokio::test]
async fn exactly_the_retained_events_are_replayed() {
    let dir = tempdir().unwrap();
    {
        let journal = small(dir.path(), 5, true);
        append(&journal, 0..20).await;
        acknowledge(&journal, 18).await;
        assert_eq!(segments(dir.path()).len(), 7);
    }
    {
        let journal = small(dir.path(), 5, true);
        assert_eq!(read_numbers(&journal).await, (13..20).collect::<Vec<_>>());
        // The next start replays from the same record.
        acknowledge(&journal, 3).await;
    }
    {
        let journal = small(dir.path(), 5, false);
        assert_eq!(read_numbers(&journal).await, [18, 19]);
    }
    let journal = small(dir.path(), 5, true);
    assert_eq!(read_numbers(&journal).await, (13..20).collect::<Vec<_>>());
    acknowledge(&journal, 7).await;
    assert_eq!((read_numbers(&journal).await, segments(dir.path()).len()), (vec![], 5));
}

#[tokio::test]
async fn directory_is_locked_for_one_process() {
    let dir = tempdir().unwrap();
    let first = journal(dir.path());
    let error = Journal::open(dir.path(), JournalOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains("in use by another process")
            && error.contains(&dir.path().display().to_string()),
        "{error}"
    );
    drop(first.clone());
    assert!(Journal::open(dir.path(), JournalOptions::default()).is_err());
    drop(first);
    journal(dir.path());
}

#[tokio::test]
async fn unusable_directory_is_a_one_line_error() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error =
        Journal::open(file.join("journal"), JournalOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("the journal's directory") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn symbolic_links_are_not_followed() {
    let outer = tempdir().unwrap();
    let (dir, victim) = (outer.path().join("journal"), outer.path().join("victim"));
    fs::create_dir(&dir).unwrap();
    fs::write(&victim, "mine").unwrap();
    let link = |name: &str| symlink(&victim, dir.join(name)).unwrap();
    for name in ["lock", "00000000000000000001.journal"] {
        link(name);
        Journal::open(&dir, JournalOptions::default()).map(|_| ()).unwrap_err();
        fs::remove_file(dir.join(name)).unwrap();
    }
    link("acknowledged.new");
    let journal = journal(&dir);
    // The next segment and the checkpoint.
    link("00000000000000000001.journal");
    append(&journal, 0..2).await;
    acknowledge(&journal, 1).await;
    assert_eq!(read_numbers(&journal).await, [1]);
    assert_eq!(fs::read(&victim).unwrap(), b"mine");
}

#[tokio::test]
async fn directory_of_another_user_is_refused() {
    let dir = tempdir().unwrap();
    // Only root may change the owner.
    if chown(dir.path(), Some(65_534), None).is_ok() {
        let error = Journal::open(dir.path(), JournalOptions::default()).unwrap_err().to_string();
        assert!(error.contains("cannot be used: it belongs to the user 65534"), "{error}");
    }
}

#[tokio::test]
async fn files_are_readable_only_by_the_owner() {
    let outer = tempdir().unwrap();
    let dir = outer.path().join("data").join("journal");
    let journal = journal(&dir);
    append(&journal, 0..1).await;
    acknowledge(&journal, 1).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<PathBuf> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600));
}

#[tokio::test]
async fn event_larger_than_a_request_is_refused() {
    let dir = tempdir().unwrap();
    let journal = journal(dir.path());
    let mut large = event(0);
    large.message = "x".repeat(1024 * 1024);
    assert!(matches!(journal.append(large).await.unwrap_err(), AppendError::TooLarge { .. }));
    append(&journal, 1..2).await;
    assert_eq!(read_numbers(&journal).await, [1]);
}

#[tokio::test]
async fn full_journal_refuses_events_until_acknowledgement() {
    let dir = tempdir().unwrap();
    let open = |max_backlog_bytes| {
        let options = JournalOptions {
            segment_bytes: 1000,
            retained_events: 3,
            max_backlog_bytes,
            ..JournalOptions::default()
        };
        Journal::open(dir.path(), options).unwrap()
    };
    // Same size.
    let template = event(10);
    let event =
        |number: usize| LogMessage { request_id: format!("request-{number}"), ..template.clone() };
    let append = async |journal: &Journal, numbers: std::ops::Range<usize>| {
        for number in numbers {
            journal.append(event(number)).await.unwrap();
        }
    };
    let one = {
        let journal = open(u64::MAX);
        append(&journal, 10..11).await;
        journal.backlog_bytes()
    };
    let journal = open(20 * one);
    append(&journal, 11..30).await;
    assert_eq!((journal.backlog(), journal.backlog_bytes()), (20, 20 * one));
    for refused in [98, 99] {
        let error = journal.append(event(refused)).await.unwrap_err();
        assert!(
            matches!(
                error,
                AppendError::Full { backlog_bytes, max }
                    if backlog_bytes == 20 * one && max == backlog_bytes
            ),
            "{error}"
        );
    }
    drop(journal);
    let journal = open(20 * one);
    assert!(
        matches!(journal.append(event(99)).await.unwrap_err(), AppendError::Full { .. }),
        "also after a restart"
    );
    for (acknowledged, left) in [(1, 19), (7, 12), (12, 0)] {
        acknowledge(&journal, acknowledged).await;
        assert_eq!(journal.backlog_bytes(), left * one);
    }
    append(&journal, 30..50).await;
    assert!(matches!(journal.append(event(99)).await.unwrap_err(), AppendError::Full { .. }));
    assert_eq!(read_numbers(&journal).await, (30..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn change_before_the_wait_is_not_missed() {
    let dir = tempdir().unwrap();
    let journal = journal(dir.path());
    append(&journal, 0..1).await;
    tokio::time::timeout(crate::support::DEADLINE, journal.changed())
        .await
        .expect("the notification is stored");
}
