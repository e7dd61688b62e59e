//! Standard error for log lines, written by a thread of its own. A reader that stalls costs log
//! lines, and never a request or the end of the process.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    time::Duration,
};

use prometheus::{IntCounter, register_int_counter};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const LINES: usize = 8192;
/// Bytes that may wait to be written: a line can be as long as a request's path.
const BYTES: usize = 4 * 1024 * 1024;
/// How long the end of the process waits for lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

static DROPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_log_lines_dropped_total",
        "Log lines that were dropped because standard error takes no more or too slowly"
    )
    .expect("the name is registered here and nowhere else")
});

/// That of [`Lines::to`], for [`flush`].
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: usize,
    bytes: usize,
    /// Dropped since the last report of them.
    dropped: u64,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a line, or drops it.
    fn enter(&self, bytes: usize) -> bool {
        let mut waiting = self.waiting();
        let fits = waiting.lines < LINES && bytes <= BYTES - waiting.bytes;
        if fits {
            waiting.lines += 1;
            waiting.bytes += bytes;
        } else {
            waiting.dropped += 1;
            DROPPED.inc();
        }
        fits
    }

    /// A line was written or lost; gives how many were dropped, once the queue is empty again.
    fn leave(&self, bytes: usize, lost: bool) -> u64 {
        let mut waiting = self.waiting();
        waiting.lines -= 1;
        waiting.bytes -= bytes;
        if lost {
            waiting.dropped += 1;
            DROPPED.inc();
        }
        if waiting.lines > 0 {
            return 0;
        }
        self.written.notify_all();
        // While lines are lost, a report would be lost as well.
        if lost { 0 } else { std::mem::take(&mut waiting.dropped) }
    }
}

/// The writing end. It never blocks.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: Arc<Queue>,
    thread: NonBlocking,
}

impl Lines {
    /// Starts the thread that writes to `target`, once in a process.
    pub(super) fn to(target: impl Write + Send + 'static) -> Self {
        let queue = Arc::new(Queue::default());
        LazyLock::force(&DROPPED);
        let target = Target { queue: Arc::clone(&queue), target };
        // `Queue` lets no more lines in than this, so that none is dropped there.
        let thread = NonBlockingBuilder::default().buffered_lines_limit(LINES).thread_name("log");
        let (thread, guard) = thread.lossy(true).finish(target);
        // The thread lives as long as the process. Dropped, the guard would print to standard
        // output when the reader stalls; `flush` waits in its place.
        std::mem::forget(guard);
        let _ = QUEUE.set(Arc::clone(&queue));
        Self { queue, thread }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.enter(line.len()) {
            self.thread.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What the thread writes to.
struct Target<W> {
    queue: Arc<Queue>,
    target: W,
}

impl<W: Write> Write for Target<W> {
    /// The thread writes each line whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lost = self.target.write_all(line).is_err();
        let dropped = self.queue.leave(line.len(), lost);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "log lines were dropped: standard error took no more, or too slowly"
            );
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

/// Waits until all log lines are written, for at most a second.
pub fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let waiting = queue.waiting();
    let _ = queue.written.wait_timeout_while(waiting, FLUSH, |waiting| waiting.lines > 0);
}

/// Runs `write`, which writes to standard error; `None` if it does not return within a second. A
/// reader that stalls does not keep a process from ending.
pub fn bounded<T: Send + 'static>(write: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (written, wait) = mpsc::channel();
    std::thread::spawn(move || {
        // After the time is over nothing waits for it.
        let _ = written.send(write());
    });
    wait.recv_timeout(FLUSH).ok()
}

/// Flushes the log when it is dropped.
#[derive(Debug)]
#[must_use = "log lines are lost unless this is dropped at the end of the process"]
pub struct FlushGuard(());

impl FlushGuard {
    pub(super) const fn new() -> Self {
        Self(())
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe whose reader takes a line only when it is told to.
    struct Stalled(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stalled {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.1.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_nothing_else() {
        let (take, taken) = mpsc::channel();
        let text = Arc::new(Mutex::new(Vec::new()));
        let mut lines = Lines::to(Stalled(taken, Arc::clone(&text)));
        let before = DROPPED.get();
        for _ in 0..LINES + 100 {
            lines.write_all(b"a short line\n").unwrap();
        }
        assert_eq!(DROPPED.get() - before, 100);
        flush(); // it comes back although nothing is written
        assert_eq!(lines.queue.waiting().lines, LINES);
        (0..LINES).for_each(|_| take.send(()).unwrap());
        flush();
        assert_eq!(text.lock().unwrap().len(), LINES * b"a short line\n".len());
        // Long lines take the memory before their number does.
        let long = vec![b'x'; BYTES / 4];
        for _ in 0..10 {
            lines.write_all(&long).unwrap();
        }
        assert_eq!(DROPPED.get() - before, 106);
        // A reader that has gone takes none of those that wait.
        drop(take);
        flush();
        assert_eq!((lines.queue.waiting().bytes, DROPPED.get() - before), (0, 110));
    }
}
