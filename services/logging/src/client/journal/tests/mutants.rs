//! Planted faults: the simulation must find each of them.

use std::{cell::Cell, path::Path};

use super::crash_points::{self, Coverage};

simulator::mutants! {
    /// A fault, planted in the journal by `planted!`, or here if it only lacks a sync.
    pub(in crate::client::journal) enum Mutant {
        AppendReturnsBeforeSync,
        FailedSyncIgnored,
        SegmentKeptAfterFailedSync,
        SegmentOfKilledProcessKept,
        /// Its name may not be durable.
        UnsyncedSegmentOfKilledProcessKept,
        TornTailKept,
        ChecksumIgnored,
        RecordNumberReused,
        TailNotSynced,
        SegmentNameNotSynced,
        DirectoryNameNotSynced,
        CheckpointTooHigh,
        CheckpointInPlace,
        CheckpointContentNotSynced,
        CheckpointNameNotSynced,
        KilledCheckpointNotSynced,
        SegmentDeletedBeforeCheckpoint,
        RetainedSegmentDeleted,
        ClearedWithoutCheckpoint,
        DeadLetterNameNotSynced,
        TornDeadLetterContinued,
    }
    not found by seeds {
        /// Of many disk errors, it needs exactly one.
        FailedDeadLetterKept,
        /// It needs threads.
        AcknowledgedAfterClose,
    }
}

use Mutant::*;

/// What finds a mutant, besides seeds.
#[derive(Clone, Copy, Debug)]
enum FoundBy {
    /// Crashes in the history of this name.
    Crash(&'static str),
    /// Disk errors in the history of this name.
    DiskError(&'static str),
}

use FoundBy::*;

const MUTANTS: &[(Mutant, FoundBy)] = &[
    (AppendReturnsBeforeSync, Crash("appends, alone and in groups")),
    (SegmentKeptAfterFailedSync, DiskError("appends, alone and in groups")),
    (SegmentOfKilledProcessKept, DiskError("appends, alone and in groups")),
    (UnsyncedSegmentOfKilledProcessKept, Crash("appends, alone and in groups")),
    (TornTailKept, Crash("appends, alone and in groups")),
    (ChecksumIgnored, Crash("appends, alone and in groups")),
    (RecordNumberReused, Crash("a cleared journal")),
    (TailNotSynced, Crash("appends, alone and in groups")),
    (SegmentNameNotSynced, Crash("appends, alone and in groups")),
    (DirectoryNameNotSynced, Crash("appends, alone and in groups")),
    (CheckpointTooHigh, Crash("a segment for each group")),
    (CheckpointContentNotSynced, Crash("a segment for each group")),
    (CheckpointNameNotSynced, Crash("a segment for each group")),
    (KilledCheckpointNotSynced, Crash("retained segments and replay")),
    (SegmentDeletedBeforeCheckpoint, Crash("a segment for each group")),
    (RetainedSegmentDeleted, Crash("retained segments and replay")),
    (ClearedWithoutCheckpoint, DiskError("a cleared journal")),
    (DeadLetterNameNotSynced, Crash("dead letters")),
    (TornDeadLetterContinued, Crash("dead letters")),
    (FailedDeadLetterKept, DiskError("dead letters")),
];

thread_local! {
    static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Plants a fault in the journals of this thread, instead of an earlier one.
pub(super) fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

pub(in crate::client::journal) fn is_planted(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

/// Whether the mutant lacks a sync of `path`, after an operation on `last`.
pub(super) fn omits_sync(path: &Path, last: &Path) -> bool {
    let ends = |path: &Path, suffix: &str| path.as_os_str().to_string_lossy().ends_with(suffix);
    match PLANTED.get() {
        Some(DirectoryNameNotSynced) => ends(path, "/data") || ends(path, "/"),
        Some(KilledCheckpointNotSynced | UnsyncedSegmentOfKilledProcessKept) => {
            ends(path, "/journal") && ends(last, "/")
        }
        Some(TailNotSynced) => ends(path, ".journal") && ends(last, "/journal"),
        Some(SegmentNameNotSynced) => ends(path, "/journal") && ends(last, ".journal"),
        Some(CheckpointContentNotSynced) => ends(path, "/acknowledged.new"),
        Some(CheckpointNameNotSynced) => ends(path, "/journal") && ends(last, "/acknowledged.new"),
        Some(DeadLetterNameNotSynced) => ends(path, "/journal") && ends(last, ".jsonl"),
        _ => false,
    }
}

impl FoundBy {
    /// Returns the report of a broken promise.
    fn search(self) -> Option<String> {
        let coverage = &mut Coverage::default();
        let outcome = match self {
            Crash(history) => crash_points::history(history).crash_everywhere(coverage),
            DiskError(history) => crash_points::history(history).fail_everywhere(coverage),
        };
        outcome.err()
    }
}

#[test]
fn each_planted_fault_is_found() {
    let mut missed = Vec::new();
    for (mutant, found_by) in MUTANTS {
        plant(Some(*mutant));
        let report = found_by.search();
        plant(None);
        if report.is_none() {
            missed.push(format!("{mutant:?} by {found_by:?}"));
        }
    }
    assert!(missed.is_empty(), "not found: {}", missed.join(", "));
}
