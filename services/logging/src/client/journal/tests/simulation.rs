//! A journal without a thread on a simulated disk, driven step by step and checked by a model.

use std::{collections::VecDeque, io, path::Path, sync::Arc};

use tokio::sync::oneshot;

use super::{
    Append, AppendError, JournalOptions, LogMessage, Position, Shared, Writer,
    model::Model,
    record::{self, RecordRead},
    segments::{self, ActiveSegment},
    sim_disk::SimDisk,
};

const DIR: &str = "/data/journal";

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Appends a group of events.
    Append(usize),
    /// Reads and acknowledges at most this many events.
    Acknowledge(usize),
    /// Acknowledges; after this many disk operations, the writer appends.
    AcknowledgeAndAppend(usize),
    /// Appends; after this many disk operations, another thread acknowledges.
    AppendAndAcknowledge(usize),
    /// Writes the oldest event to the dead letters, and acknowledges it.
    DeadLetter,
    /// Closes the journal; the next step opens it. Whether to read the retained events again.
    Close { replay: bool },
    /// Ends the process without warning. The page cache survives.
    Kill,
    /// Deletes the segments if all events are acknowledged.
    Clear,
}

pub(super) struct Simulation {
    pub(super) disk: SimDisk,
    pub(super) model: Model,
    options: JournalOptions,
    was_killed_after_error: bool,
    /// `None` if closed or crashed.
    open: Option<(Arc<Shared>, Writer)>,
}

impl Simulation {
    pub(super) fn new(options: JournalOptions, traced: bool) -> Self {
        Self {
            disk: SimDisk::new(traced),
            model: Model::default(),
            options,
            was_killed_after_error: false,
            open: None,
        }
    }

    /// Returns a copy of the disk and the model, without the process.
    pub(super) fn fork(&self) -> Self {
        Self {
            disk: self.disk.fork(),
            model: self.model.clone(),
            options: self.options.clone(),
            was_killed_after_error: self.was_killed_after_error,
            open: None,
        }
    }

    /// Runs a step. Fails if a promise is broken, not if the disk fails or stops.
    pub(super) fn step(&mut self, step: Step) -> Result<(), String> {
        self.disk.note(|| format!("{step:?}"));
        match step {
            Step::Append(events) => self.append(events),
            Step::Acknowledge(events) => self.acknowledge(events, false),
            Step::AcknowledgeAndAppend(after) => self.acknowledge_and_append(after),
            Step::AppendAndAcknowledge(after) => self.append_and_acknowledge(after),
            Step::DeadLetter => self.acknowledge(1, true),
            Step::Close { replay } => {
                self.open = None;
                self.options.replay_retained = replay;
                Ok(())
            }
            Step::Kill => {
                self.kill();
                Ok(())
            }
            Step::Clear => self.clear(),
        }?;
        if self.disk.is_stopped() { Ok(()) } else { self.check() }
    }

    pub(super) fn kill(&mut self) {
        self.open = None;
        self.was_killed_after_error |= self.disk.drops_changes();
        self.disk.kill();
    }

    pub(super) fn power_cut(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        self.open = None;
        self.disk.power_cut(choose);
        if self.disk.drops_changes() {
            self.model.forget_volatile_reads();
        }
    }

    /// Checks that the journal keeps its promises and works after a crash, and after another one.
    pub(super) fn recover(&mut self) -> Result<(), String> {
        for step in [Step::Acknowledge(1), Step::Append(2), Step::DeadLetter] {
            self.check()?;
            self.step(step)?;
        }
        self.power_cut(&mut |_| 0);
        self.check()
    }

    /// Like [`Self::recover`], after another crash at each operation of the recovery.
    pub(super) fn recover_from_crashes(&mut self) -> Result<(), String> {
        for at in self.disk.operations().len().. {
            let mut crashed = self.fork();
            crashed.disk.stop_at(at, 0);
            let mut outcome = [Step::Acknowledge(1), Step::Append(1)]
                .into_iter()
                .try_for_each(|step| crashed.check().and_then(|()| crashed.step(step)));
            let is_last = !crashed.disk.is_stopped();
            if outcome.is_ok() {
                crashed.power_cut(&mut |_| 0);
                outcome = crashed.recover();
            }
            if outcome.is_err() {
                *self = crashed;
                return outcome;
            }
            if is_last {
                break;
            }
        }
        self.recover()
    }

    /// Reads all events and dead letters, and compares them with the model.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let Some(shared) = self.open()? else { return Ok(()) };
        let (mut events, mut after) = (Vec::new(), None);
        // In several calls, as the shipper does.
        while let Some((last, page)) = read(&shared, after.take(), 3)? {
            events.extend(page);
            after = Some(last);
        }
        let segments = shared.segments();
        self.model.check(segments.last() - segments.backlog(), &events)?;
        drop(segments);
        let file = self.disk.content(&Path::new(DIR).join("dead-letters.jsonl"));
        let zeros = self.was_killed_after_error || self.disk.faults_hit() > 1;
        self.model.check_dead_letters(&file.unwrap_or_default(), zeros)
    }

    /// Runs `work` and fails on an error that no fault explains. Returns `None` on other errors.
    fn expect<T, E: ToString>(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Option<T>, String> {
        let faults = self.disk.faults_hit();
        match work(self) {
            Ok(value) => Ok(Some(value)),
            Err(_) if self.disk.is_stopped() || self.disk.faults_hit() > faults => Ok(None),
            Err(error) => Err(format!("{what} failed without a fault: {}", error.to_string())),
        }
    }

    fn open(&mut self) -> Result<Option<Arc<Shared>>, String> {
        if self.open.is_none() {
            self.open = self.expect("open", |this| {
                let disk = this.disk.clone();
                disk.create_dir(Path::new(DIR))?;
                let shared =
                    Shared::open(Arc::new(disk), DIR.into(), this.options.clone()).map(Arc::new)?;
                let mut writer = Writer::new(Arc::clone(&shared));
                if planted!(SegmentOfKilledProcessKept)
                    || planted!(UnsyncedSegmentOfKilledProcessKept)
                    || planted!(TornTailKept)
                {
                    writer.active = last_segment(&shared)?;
                }
                Ok::<_, io::Error>((shared, writer))
            })?;
            let replayed =
                if self.options.replay_retained { self.options.retained_events } else { 0 };
            self.model.opened(replayed);
        }
        Ok(self.open.as_ref().map(|(shared, _)| Arc::clone(shared)))
    }

    fn append(&mut self, events: usize) -> Result<(), String> {
        let group = Group::new(&mut self.model, events);
        if self.open()?.is_none() {
            return Ok(());
        }
        let faults = self.disk.faults_hit();
        let (_, writer) = self.open.as_mut().unwrap();
        let outcomes = group.commit(writer);
        self.appended(outcomes, faults)
    }

    /// `faults` were injected before.
    fn appended(&mut self, outcomes: Outcomes, faults: usize) -> Result<(), String> {
        for (id, mut outcome) in outcomes {
            match outcome.try_recv().map_err(|error| error.to_string())? {
                Ok(()) => self.model.appended(id),
                Err(_) if self.disk.is_stopped() || self.disk.faults_hit() > faults => {}
                Err(error) => return Err(format!("append failed without a fault: {error}")),
            }
        }
        Ok(())
    }

    /// Acknowledges while the writer thread appends a group after some disk operations.
    fn acknowledge_and_append(&mut self, after: usize) -> Result<(), String> {
        let group = Group::new(&mut self.model, 2);
        if self.open()?.is_none() {
            return Ok(());
        }
        let (shared, mut writer) = self.open.take().unwrap();
        let faults = self.disk.faults_hit();
        let (send, receive) = std::sync::mpsc::channel();
        let work = move || drop(send.send((group.commit(&mut writer), writer)));
        self.disk.interrupt(after, Box::new(work));
        let outcome = self.acknowledge_with(&shared, 9, false);
        self.disk.cancel_interruption();
        // Otherwise there were fewer operations, and the process ends before the append.
        if let Ok((outcomes, writer)) = receive.try_recv() {
            self.open = Some((shared, writer));
            self.appended(outcomes, faults)?;
        }
        outcome
    }

    /// Appends a group while another thread acknowledges after some disk operations.
    fn append_and_acknowledge(&mut self, after: usize) -> Result<(), String> {
        let Some(shared) = self.open()? else { return Ok(()) };
        let Some((last, events)) = read(&shared, None, 9)? else { return self.append(2) };
        self.model.read(&events)?;
        let number = last.number;
        let (send, receive) = std::sync::mpsc::channel();
        let work = move || drop(send.send(shared.acknowledge(last)));
        self.disk.interrupt(after, Box::new(work));
        let outcome = self.append(2);
        self.disk.cancel_interruption();
        if let Ok(acknowledged) = receive.try_recv() {
            self.model.acknowledge(number);
            if acknowledged.is_ok() {
                self.model.acknowledged(number);
            }
        }
        outcome
    }

    fn acknowledge(&mut self, events: usize, as_dead_letter: bool) -> Result<(), String> {
        let Some(shared) = self.open()? else { return Ok(()) };
        self.acknowledge_with(&shared, events, as_dead_letter)
    }

    fn acknowledge_with(
        &mut self,
        shared: &Shared,
        events: usize,
        as_dead_letter: bool,
    ) -> Result<(), String> {
        let Some((last, events)) = read(shared, None, events)? else { return Ok(()) };
        self.model.read(&events)?;
        if as_dead_letter {
            let id = Model::id(&events[0].1);
            let line = Model::dead_letter(id);
            if self.expect("dead letter", |_| shared.dead_letter(&line))?.is_none() {
                return Ok(());
            }
            self.model.dead_lettered(id);
        }
        let number = last.number;
        self.model.acknowledge(number);
        if self.expect("acknowledge", |_| shared.acknowledge(last))?.is_some() {
            self.model.acknowledged(number);
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), String> {
        let Some(shared) = self.open()? else { return Ok(()) };
        self.open = None;
        if self.expect("clear", |_| shared.clear())? != Some(false) {
            self.model.cleared();
        }
        Ok(())
    }
}

type NumberedEvents = Vec<(u64, LogMessage)>;

/// Returns the last position, and the events with their record numbers.
fn read(
    shared: &Shared,
    after: Option<Position>,
    limit: usize,
) -> Result<Option<(Position, NumberedEvents)>, String> {
    let events = shared.read(after, limit).map_err(|error| error.to_string())?;
    let last = events.last().map(|(position, _)| position.clone());
    let events = events.into_iter().map(|(position, event)| (position.number, event)).collect();
    Ok(last.map(|last| (last, events)))
}

type Outcomes = Vec<(u64, oneshot::Receiver<Result<(), AppendError>>)>;

struct Group {
    appends: VecDeque<Append>,
    outcomes: Outcomes,
}

impl Group {
    fn new(model: &mut Model, events: usize) -> Self {
        let (mut appends, mut outcomes) = (VecDeque::new(), Vec::new());
        for _ in 0..events {
            let id = model.append();
            let (done, outcome) = oneshot::channel();
            appends.push_back(Append { record: record::encode(&Model::event(id)), done });
            outcomes.push((id, outcome));
        }
        Self { appends, outcomes }
    }

    fn commit(mut self, writer: &mut Writer) -> Outcomes {
        let first = self.appends.pop_front().unwrap();
        writer.commit(first, || self.appends.pop_front());
        self.outcomes
    }
}

/// Continues the segment of another process, as some mutants do.
fn last_segment(shared: &Shared) -> io::Result<Option<ActiveSegment>> {
    let segments = shared.segments();
    let Some(first) = segments.first_records().pop() else { return Ok(None) };
    let path = segments::path(&shared.dir, first);
    let (mut reader, size) = shared.disk.read(&path, 0)?;
    let (mut last, mut bytes) = (first - 1, 0);
    while let RecordRead::Record(_, length) = record::read(&mut reader, size - bytes)? {
        last += 1;
        bytes += length;
    }
    let mut file = shared.disk.open(&path)?;
    if !planted!(TornTailKept) && bytes < size {
        file.truncate(bytes)?;
        file.sync()?;
    }
    Ok((last == segments.last()).then_some(ActiveSegment { first, file, bytes }))
}
