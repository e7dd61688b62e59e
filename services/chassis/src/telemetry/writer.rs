//! Non-blocking writer for standard error: with a slow reader it drops log lines.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    time::Duration,
};

use prometheus::{IntCounter, register_int_counter};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder};
use tracing_subscriber::fmt::MakeWriter;

const MAX_LINES: usize = 8192;
/// Limit in bytes, because a line can be as long as a request path.
const MAX_BYTES: usize = 4 * 1024 * 1024;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static DROPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_log_lines_dropped_total",
        "Log lines that were dropped because standard error is closed, full or too slow"
    )
    .expect("the name is registered here and nowhere else")
});

static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

#[derive(Debug, Default)]
struct Queue {
    pending: Mutex<Pending>,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    lines: usize,
    bytes: usize,
    dropped: u64,
}

impl Queue {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, bytes: usize) -> bool {
        let mut pending = self.pending();
        let fits = pending.lines < MAX_LINES && bytes <= MAX_BYTES - pending.bytes;
        if fits {
            pending.lines += 1;
            pending.bytes += bytes;
        } else {
            pending.dropped += 1;
            DROPPED.inc();
        }
        fits
    }

    fn release(&self, bytes: usize, lost: bool) -> u64 {
        let mut pending = self.pending();
        pending.lines -= 1;
        pending.bytes -= bytes;
        if lost {
            pending.dropped += 1;
            DROPPED.inc();
        }
        if pending.lines > 0 {
            return 0;
        }
        self.written.notify_all();
        // While lines are lost, a report would be lost too.
        if lost { 0 } else { std::mem::take(&mut pending.dropped) }
    }
}

#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    queue: Arc<Queue>,
    thread: NonBlocking,
}

impl LogWriter {
    pub(super) fn start(target: impl Write + Send + 'static) -> Self {
        let queue = Arc::new(Queue::default());
        LazyLock::force(&DROPPED);
        let target = Target { queue: Arc::clone(&queue), target };
        let thread =
            NonBlockingBuilder::default().buffered_lines_limit(MAX_LINES).thread_name("log");
        let (thread, guard) = thread.lossy(true).finish(target);
        // The guard would print to standard output if the reader stalls; `flush` waits instead.
        std::mem::forget(guard);
        let _ = QUEUE.set(Arc::clone(&queue));
        Self { queue, thread }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.reserve(line.len()) {
            self.thread.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

struct Target<W> {
    queue: Arc<Queue>,
    target: W,
}

impl<W: Write> Write for Target<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lost = self.target.write_all(line).is_err();
        let dropped = self.queue.release(line.len(), lost);
        if dropped > 0 {
            tracing::warn!(dropped, "log lines were dropped: standard error is full or too slow");
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

/// Waits until all log lines are written, at most one second.
pub fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let pending = queue.pending();
    let _ = queue.written.wait_timeout_while(pending, FLUSH_TIMEOUT, |pending| pending.lines > 0);
}

/// Runs `write`, which may block on standard error. Returns `None` after a second.
pub fn run_with_timeout<T: Send + 'static>(
    write: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (written, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = written.send(write());
    });
    wait.recv_timeout(FLUSH_TIMEOUT).ok()
}

/// Flushes the log on drop.
#[derive(Debug)]
#[must_use = "drop this at the end of the process, or log lines are lost"]
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
    fn stalled_reader_loses_lines_without_blocking() {
        let (take, taken) = mpsc::channel();
        let text = Arc::new(Mutex::new(Vec::new()));
        let mut lines = LogWriter::start(Stalled(taken, Arc::clone(&text)));
        let before = DROPPED.get();
        for _ in 0..MAX_LINES + 100 {
            lines.write_all(b"a short line\n").unwrap();
        }
        assert_eq!(DROPPED.get() - before, 100);
        flush(); // returns although nothing is written
        assert_eq!(lines.queue.pending().lines, MAX_LINES);
        (0..MAX_LINES).for_each(|_| take.send(()).unwrap());
        flush();
        assert_eq!(text.lock().unwrap().len(), MAX_LINES * b"a short line\n".len());
        let long = vec![b'x'; MAX_BYTES / 4];
        for _ in 0..10 {
            lines.write_all(&long).unwrap();
        }
        assert_eq!(DROPPED.get() - before, 106);
        drop(take);
        flush();
        assert_eq!((lines.queue.pending().bytes, DROPPED.get() - before), (0, 110));
    }
}
