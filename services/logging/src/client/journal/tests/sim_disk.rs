//! A disk in memory. It records operations, injects errors, and simulates crashes.
//!
//! After a kill, the page cache survives. After a power cut, each operation that was not synced may
//! be lost or kept, independently of the others, and a write also in part.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use simulator::threads::point;

use super::{Disk, mutants, parent_dir};
use crate::client::journal::disk::DiskFile;

#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk {
    state: Arc<Mutex<State>>,
    interruption: Arc<Mutex<Option<Interruption>>>,
}

/// Work of another thread, done before an operation.
struct Interruption {
    operation: usize,
    work: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Interruption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operation.fmt(formatter)
    }
}

/// What a test may interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Write(usize),
    Sync,
    /// Of a name or a size.
    Change,
}

/// An injected error.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// ENOSPC after at most this many bytes.
    Full(usize),
    /// EIO. Unsynced changes stay in the page cache.
    Failed,
    /// EIO. Unsynced changes of a file are marked as clean, so that no later sync writes them.
    /// Those of a directory are kept: file systems go read-only when they cannot write names.
    Dropped,
}

#[derive(Clone, Debug)]
enum Entry {
    Directory,
    File(usize),
}

type Names = BTreeMap<PathBuf, Entry>;

#[derive(Clone, Debug)]
enum NameChange {
    Add(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Entry),
}

#[derive(Clone, Debug)]
enum DataChange {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<DataChange>,
}

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<File>,
    cached: Names,
    durable: Names,
    unsynced: Vec<NameChange>,
    operations: Vec<Operation>,
    last_path: PathBuf,
    /// The operation that a crash interrupts, and the bytes that it still writes.
    stop_at: Option<(usize, usize)>,
    stopped: bool,
    faults: BTreeMap<usize, Fault>,
    faults_hit: usize,
    drops_changes: bool,
    trace: Option<Vec<String>>,
}

struct Failure {
    error: io::Error,
    written: usize,
    dropped: bool,
}

impl SimDisk {
    pub(super) fn new(traced: bool) -> Self {
        let disk = Self::default();
        disk.state().trace = traced.then(Vec::new);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets the other thread run, and returns the state for an operation.
    fn operate(&self) -> MutexGuard<'_, State> {
        point();
        let now = self.state().operations.len();
        let due = self.interruption.lock().unwrap().take_if(|due| due.operation <= now);
        if let Some(due) = due {
            self.note(|| "  on another thread:".to_owned());
            (due.work)();
            self.note(|| "  on the first thread:".to_owned());
        }
        self.state()
    }

    /// Returns an independent disk with the same state. `clone` returns the same disk.
    pub(super) fn fork(&self) -> Self {
        let state = Arc::new(Mutex::new(self.state().clone()));
        Self { state, interruption: Arc::default() }
    }

    /// Does work of another thread after this many more operations.
    pub(super) fn interrupt(&self, after: usize, work: Box<dyn FnOnce() + Send>) {
        let operation = self.operations().len() + after;
        *self.interruption.lock().unwrap() = Some(Interruption { operation, work });
    }

    pub(super) fn cancel_interruption(&self) {
        *self.interruption.lock().unwrap() = None;
    }

    /// Returns the operations so far.
    pub(super) fn operations(&self) -> Vec<Operation> {
        self.state().operations.clone()
    }

    /// Interrupts operation number `operation`: a write of it stops after `written` bytes.
    pub(super) fn stop_at(&self, operation: usize, written: usize) {
        self.state().stop_at = Some((operation, written));
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    pub(super) fn inject(&self, faults: BTreeMap<usize, Fault>) {
        self.state().faults = faults;
    }

    /// Returns how many faults were injected so far.
    pub(super) fn faults_hit(&self) -> usize {
        self.state().faults_hit
    }

    /// Whether a failed sync dropped changes from the page cache.
    pub(super) fn drops_changes(&self) -> bool {
        self.state().drops_changes
    }

    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.state().trace {
            trace.push(text());
        }
    }

    pub(super) fn trace(&self) -> String {
        self.state().trace.as_ref().map(|lines| lines.join("\n")).unwrap_or_default()
    }

    pub(super) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.file(path).map(|file| state.files[file].cached.clone())
    }

    /// Restarts the process. Everything in the page cache survives.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.stopped = false;
        state.stop_at = None;
    }

    /// An upper bound of the outcomes of [`Self::power_cut`].
    pub(super) fn outcomes(&self) -> usize {
        let state = self.state();
        let changes = state.files.iter().flat_map(|file| &file.unsynced).map(DataChange::outcomes);
        changes.fold(1 << state.unsynced.len().min(40), usize::saturating_mul)
    }

    /// Loses the page cache. `choose` returns a number below its argument, once for each unsynced
    /// change; 0 loses the change, 1 keeps it.
    pub(super) fn power_cut(&self, choose: &mut dyn FnMut(usize) -> usize) {
        self.kill();
        let mut guard = self.state();
        let state = &mut *guard;
        let mut kept = state.trace.is_some().then(Vec::new);
        for change in std::mem::take(&mut state.unsynced) {
            if choose(2) == 1 {
                change.apply(&mut state.durable);
                kept.iter_mut().for_each(|kept| kept.push(format!("{change:?}")));
            }
        }
        // A lost directory loses its files.
        let names = state.durable.clone();
        let is_reachable =
            |path: &PathBuf| path.ancestors().skip(1).all(|parent| is_directory(&names, parent));
        state.durable.retain(|path, _| is_reachable(path));
        state.cached = state.durable.clone();
        let named: Vec<usize> = state.cached.values().filter_map(Entry::file).collect();
        for (number, file) in state.files.iter_mut().enumerate() {
            for change in std::mem::take(&mut file.unsynced) {
                if named.contains(&number) {
                    let outcome = choose(change.outcomes());
                    change.apply_partly(&mut file.durable, outcome);
                    if let Some(kept) = &mut kept
                        && outcome > 0
                    {
                        kept.push(format!("outcome {outcome} of {change:?}"));
                    }
                }
            }
            file.cached.clone_from(&file.durable);
        }
        if let (Some(trace), Some(kept)) = (&mut state.trace, kept) {
            trace.push(format!("power cut; kept of the unsynced changes: {kept:?}"));
        }
    }

    /// Returns the names and contents, to recognise equal outcomes.
    pub(super) fn image(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let state = self.state();
        let content = |entry: &Entry| entry.file().map(|file| state.files[file].cached.clone());
        state.cached.iter().map(|(path, entry)| (path.clone(), content(entry))).collect()
    }
}

impl State {
    fn file(&self, path: &Path) -> Option<usize> {
        self.cached.get(path).and_then(Entry::file)
    }

    fn begin(&mut self, operation: Operation, what: &str, path: &Path) -> Result<(), Failure> {
        let number = self.operations.len();
        let failed = |error, written, dropped| Err(Failure { error, written, dropped });
        if self.stopped {
            return failed(io::Error::other("stopped"), 0, false);
        }
        self.operations.push(operation);
        self.last_path = path.to_owned();
        let fault = self.faults.get(&number).copied();
        let stop = self.stop_at.filter(|(at, _)| *at == number).map(|(_, written)| written);
        if let Some(trace) = &mut self.trace {
            let outcome = match (stop, fault) {
                (Some(written), _) => format!(": CRASH, {written} bytes written"),
                (None, Some(fault)) => format!(": {fault:?}"),
                (None, None) => String::new(),
            };
            trace.push(format!("  {number}: {what} {}{outcome}", path.display()));
        }
        if let Some(written) = stop {
            self.stopped = true;
            return failed(io::Error::other("stopped"), written, false);
        }
        let Some(fault) = fault else { return Ok(()) };
        self.faults_hit += 1;
        match fault {
            Fault::Full(written) => failed(io::ErrorKind::StorageFull.into(), written, false),
            Fault::Failed => failed(io::Error::other("EIO"), 0, false),
            Fault::Dropped => {
                self.drops_changes = true;
                failed(io::Error::other("EIO"), 0, true)
            }
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.cached);
        self.unsynced.push(change);
    }
}

impl Entry {
    fn file(&self) -> Option<usize> {
        match self {
            Self::Directory => None,
            Self::File(number) => Some(*number),
        }
    }
}

fn is_directory(names: &Names, path: &Path) -> bool {
    path == Path::new("/") || matches!(names.get(path), Some(Entry::Directory))
}

impl NameChange {
    fn directory(&self) -> &Path {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(path, ..) => parent_dir(path),
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(path, entry) => drop(names.insert(path.clone(), entry.clone())),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), entry.clone());
            }
        }
    }
}

impl DataChange {
    /// Lost, kept, and for a write of n bytes: n - 1 prefixes, n prefixes followed by zeros, and
    /// n - 1 suffixes behind zeros, because pages are written in any order.
    fn outcomes(&self) -> usize {
        match self {
            Self::Write(_, bytes) => 3 * bytes.len(),
            Self::Truncate(_) => 2,
        }
    }

    fn apply(&self, content: &mut Vec<u8>) {
        self.apply_partly(content, 1);
    }

    fn apply_partly(&self, content: &mut Vec<u8>, outcome: usize) {
        if outcome == 0 {
            return;
        }
        match self {
            Self::Truncate(length) => content.resize(*length, 0),
            Self::Write(offset, bytes) => {
                let length = bytes.len();
                let mut written = bytes.clone();
                match outcome - 1 {
                    0 => {}
                    prefix if prefix < length => written.truncate(prefix),
                    zeros if zeros < 2 * length => written[zeros - length..].fill(0),
                    hole => written[..hole + 1 - 2 * length].fill(0),
                }
                let end = offset + written.len();
                content.resize(content.len().max(end), 0);
                content[*offset..end].copy_from_slice(&written);
            }
        }
    }
}

impl SimDisk {
    /// Creates a directory and its missing parents.
    pub(super) fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.operate();
        let missing = dir.ancestors().take_while(|dir| !is_directory(&state.cached, dir)).collect();
        for dir in Vec::into_iter(missing).rev() {
            state
                .begin(Operation::Change, "create directory", dir)
                .map_err(|failure| failure.error)?;
            state.change(NameChange::Add(dir.to_owned(), Entry::Directory));
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.operate();
        if mutants::omits_sync(dir, &state.last_path) {
            return Ok(());
        }
        state.begin(Operation::Sync, "sync directory", dir).map_err(|failure| failure.error)?;
        let (own, others) = std::mem::take(&mut state.unsynced)
            .into_iter()
            .partition::<Vec<_>, _>(|change| change.directory() == dir);
        state.unsynced = others;
        own.iter().for_each(|change| change.apply(&mut state.durable));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state();
        let children = state.cached.keys().filter(|path| parent_dir(path) == dir);
        Ok(children.filter_map(|path| Some(path.file_name()?.to_owned())).collect())
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<(Box<dyn Read>, u64)> {
        point();
        let content = self.content(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = content.len() as u64;
        let mut reader = Cursor::new(content);
        reader.set_position(offset);
        Ok((Box::new(reader), bytes))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.operate();
        let number = match state.file(path) {
            Some(number) => number,
            None if !is_directory(&state.cached, parent_dir(path)) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            None => {
                state.begin(Operation::Change, "create", path).map_err(|failure| failure.error)?;
                let number = state.files.len();
                state.files.push(File::default());
                state.change(NameChange::Add(path.to_owned(), Entry::File(number)));
                number
            }
        };
        Ok(Box::new(SimFile { disk: self.clone(), number, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operate();
        let entry = state.cached.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        state.begin(Operation::Change, "rename", from).map_err(|failure| failure.error)?;
        state.change(NameChange::Rename(from.to_owned(), to.to_owned(), entry));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.operate();
        if state.file(path).is_some() {
            state.begin(Operation::Change, "remove", path).map_err(|failure| failure.error)?;
            state.change(NameChange::Remove(path.to_owned()));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    number: usize,
    path: PathBuf,
}

impl SimFile {
    fn change(&self, state: &mut State, change: DataChange) {
        let file = &mut state.files[self.number];
        change.apply(&mut file.cached);
        file.unsynced.push(change);
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.operate();
        let outcome = state.begin(Operation::Write(bytes.len()), "write", &self.path);
        let written = outcome.as_ref().map_or_else(|failure| failure.written, |()| bytes.len());
        if written > 0 {
            let at = state.files[self.number].cached.len();
            let bytes = bytes[..written.min(bytes.len())].to_vec();
            self.change(&mut state, DataChange::Write(at, bytes));
        }
        outcome.map_err(|failure| failure.error)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.operate();
        state.begin(Operation::Change, "truncate", &self.path).map_err(|failure| failure.error)?;
        self.change(&mut state, DataChange::Truncate(usize::try_from(bytes).unwrap()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.operate();
        if mutants::omits_sync(&self.path, &state.last_path) {
            return Ok(());
        }
        let synced = state.begin(Operation::Sync, "sync", &self.path);
        if synced.as_ref().is_err_and(|failure| !failure.dropped) {
            return synced.map_err(|failure| failure.error);
        }
        let file = &mut state.files[self.number];
        let changes = std::mem::take(&mut file.unsynced);
        if let Err(failure) = synced {
            return if planted!(FailedSyncIgnored) { Ok(()) } else { Err(failure.error) };
        }
        changes.iter().for_each(|change| change.apply(&mut file.durable));
        Ok(())
    }
}
