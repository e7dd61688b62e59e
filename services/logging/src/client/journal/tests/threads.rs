//! Models of threads that share a journal.

use simulator::threads::{Fault, assert_found, block_on, check, spawn};
use tokio::sync::mpsc;

use super::{mutants::plant, *};

const DIR: &str = "/data/journal";
const EVENTS: usize = 4;

/// A journal with one group in each segment.
fn open(disk: &SimDisk) -> Arc<Shared> {
    let options = JournalOptions { segment_bytes: 1, ..JournalOptions::default() };
    disk.create_dir(Path::new(DIR)).unwrap();
    Arc::new(Shared::open(Arc::new(disk.clone()), DIR.into(), options).unwrap())
}

fn append(writer: &mut Writer, events: &[&str]) {
    let mut group: Vec<Append> = events
        .iter()
        .map(|message| Append {
            record: record::encode(&event(message)),
            done: oneshot::channel().0,
        })
        .collect();
    writer.commit(group.remove(0), || group.pop());
}

/// One thread appends, one reads, one acknowledges, and one watches the oldest event.
fn shipping() {
    let shared = open(&SimDisk::new(false));
    let appending = {
        let mut writer = Writer::new(Arc::clone(&shared));
        spawn(move || {
            append(&mut writer, &["1"]);
            append(&mut writer, &["2", "3"]);
            append(&mut writer, &["4"]);
        })
    };
    let watching = {
        let shared = Arc::clone(&shared);
        spawn(move || {
            for _ in 0..2 {
                shared.read(None, 1).expect("the disk has no errors");
            }
        })
    };
    let (read, mut acknowledgements) = mpsc::unbounded_channel();
    let acknowledging = {
        let shared = Arc::clone(&shared);
        spawn(move || {
            while let Some(position) = block_on(acknowledgements.recv()) {
                shared.acknowledge(position).unwrap();
            }
        })
    };
    let (mut after, mut messages) = (None, Vec::new());
    while messages.len() < EVENTS {
        let events = shared.read(after.clone(), EVENTS).unwrap();
        let Some((last, _)) = events.last() else {
            block_on(shared.changed.notified());
            continue;
        };
        after = Some(last.clone());
        read.send(last.clone()).unwrap();
        messages.extend(events.into_iter().map(|(_, event)| event.message));
    }
    drop(read);
    for thread in [appending, watching, acknowledging] {
        thread.join().unwrap();
    }
    assert_eq!(messages, ["1", "2", "3", "4"], "events, in order");
    assert_eq!(shared.segments().backlog(), 0, "backlog");
    assert_eq!(checkpoint::read(&*shared.disk, &shared.dir).unwrap(), 4, "checkpoint");
    assert_eq!(segments::list(&*shared.disk, &shared.dir).unwrap(), [4], "segments");
}

/// An acknowledgement and a dead letter of dropped futures still run while the journal closes.
fn closing() {
    let disk = SimDisk::new(false);
    let shared = open(&disk);
    let mut writer = Writer::new(Arc::clone(&shared));
    append(&mut writer, &["1"]);
    append(&mut writer, &["2"]);
    let (first, _) = shared.read(None, 1).unwrap().remove(0);
    let threads = [
        {
            let shared = Arc::clone(&shared);
            spawn(move || shared.acknowledge(first).unwrap())
        },
        {
            let shared = Arc::clone(&shared);
            spawn(move || drop(shared.dead_letter("{}")))
        },
    ];
    *shared.closed() = true;
    let operations = disk.operations().len();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(disk.operations().len(), operations, "operations after the end");
}

#[test]
fn events_are_read_once_and_in_order() {
    check(shipping);
}

#[test]
fn closed_journal_writes_nothing() {
    check(closing);
}

#[test]
fn lost_notification_is_found() {
    assert_found(Some(Fault::LostPermits), "deadlock", shipping);
}

#[test]
fn acknowledgement_after_the_end_is_found() {
    plant(Some(Mutant::AcknowledgedAfterClose));
    assert_found(None, "operations after the end", closing);
    plant(None);
}
