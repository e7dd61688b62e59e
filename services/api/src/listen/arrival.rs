//! The bounds on a request while it arrives: the size of its head, and the memory that all requests
//! may hold together.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of each request that are not counted: the head of nearly every request, and its body, fit.
const FREE: usize = 4096;
/// A head is read in steps of at most this many bytes, so that hyper's buffer stays small.
const STEP: usize = 4096;

/// Bytes that requests hold before they are answered, beyond the first 4 KiB of each.
#[derive(Debug)]
pub(super) struct Memory {
    used: AtomicUsize,
    most: usize,
}

impl Memory {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    fn take(&self, bytes: usize) -> bool {
        let take = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Why no more of a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its head is far larger than any that is answered.
    HeadTooLarge,
    /// Requests hold as much memory as they may.
    NoMemory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A head is awaited, or arrives.
    Head,
    /// A request is answered; its body arrives.
    Request,
    /// The last answer of the connection was given.
    Last,
}

/// The state of the request that arrives on a connection.
#[derive(Debug)]
pub(super) struct Arrival {
    memory: Arc<Memory>,
    head_limit: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Bytes of this request.
    read: usize,
    /// Of the common memory.
    taken: usize,
    /// What went wrong, and when.
    fault: Option<(Fault, Phase)>,
}

impl Arrival {
    /// `head_limit` bounds the bytes of a head that has not ended.
    pub(super) fn new(memory: Arc<Memory>, head_limit: usize) -> Self {
        let state = State { phase: Phase::Head, read: 0, taken: 0, fault: None };
        Self { memory, head_limit, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head has arrived.
    pub(super) fn begin(&self) {
        self.state().phase = Phase::Request;
    }

    /// The answer was made; `last`: no other request is read from this connection.
    pub(super) fn end(&self, last: bool) {
        let mut state = self.state();
        state.phase = if last { Phase::Last } else { Phase::Head };
        state.read = 0;
        self.memory.give_back(std::mem::take(&mut state.taken));
    }

    /// The fault that ended a head. Nothing has answered it.
    pub(super) fn head_fault(&self) -> Option<Fault> {
        self.state().fault.filter(|(_, phase)| *phase == Phase::Head).map(|(fault, _)| fault)
    }

    /// The fault that ended the body of a request which is being answered.
    pub(super) fn body_fault(&self) -> Option<Fault> {
        self.state().fault.filter(|(_, phase)| *phase == Phase::Request).map(|(fault, _)| fault)
    }

    /// How many bytes may be read next.
    fn step(&self) -> Result<usize, Fault> {
        let mut state = self.state();
        match state.phase {
            // hyper asks for more, so the head has not ended.
            Phase::Head if state.read >= self.head_limit => Err(state.fail(Fault::HeadTooLarge)),
            Phase::Head => Ok(STEP),
            Phase::Request | Phase::Last => Ok(usize::MAX),
        }
    }

    fn has_read(&self, bytes: usize) -> Result<(), Fault> {
        let mut state = self.state();
        if state.phase == Phase::Last {
            return Ok(());
        }
        state.read = state.read.saturating_add(bytes);
        let wanted = state.read.saturating_sub(FREE).next_multiple_of(STEP);
        if wanted > state.taken {
            if !self.memory.take(wanted - state.taken) {
                return Err(state.fail(Fault::NoMemory));
            }
            state.taken = wanted;
        }
        Ok(())
    }
}

impl State {
    fn fail(&mut self, fault: Fault) -> Fault {
        self.fault = Some((fault, self.phase));
        fault
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let taken = self.state().taken;
        self.memory.give_back(taken);
    }
}

/// A stream that keeps to the bounds of an [`Arrival`]; past them, reading fails.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    arrival: Arc<Arrival>,
    /// Whether everything that was written has been flushed.
    flushed: bool,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S, arrival: Arc<Arrival>) -> Self {
        Self { stream, arrival, flushed: true }
    }

    /// The stream, and whether every answer so far was written whole.
    pub(super) fn into_parts(self) -> (S, bool) {
        (self.stream, self.flushed)
    }
}

fn failed(fault: Fault) -> io::Error {
    let kind = match fault {
        Fault::HeadTooLarge => io::ErrorKind::InvalidData,
        Fault::NoMemory => io::ErrorKind::OutOfMemory,
    };
    io::Error::new(kind, format!("the request is not read any further: {fault:?}"))
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let step = self.arrival.step().map_err(failed)?;
        let before = buffer.filled().len();
        if step >= buffer.remaining() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let mut bytes = [0; STEP];
            let mut part = ReadBuf::new(&mut bytes[..step.min(STEP)]);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
            buffer.put_slice(part.filled());
        }
        let read = buffer.filled().len() - before;
        Poll::Ready(self.arrival.has_read(read).map_err(failed))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.flushed = false;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.flushed = false;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_head_ends_at_its_limit_and_a_body_does_not() {
        let (mut client, server) = duplex(1 << 20);
        client.write_all(&[b'x'; 100_000]).await.unwrap();
        let arrival = Arc::new(Arrival::new(Memory::new(1 << 20), 10_000));
        let mut server = Bounded::new(server, Arc::clone(&arrival));
        let mut bytes = [0; 50_000];
        // In small steps, whatever room the reader offers, up to the first step past the limit.
        for _ in 0..3 {
            assert_eq!(server.read(&mut bytes).await.unwrap(), STEP);
        }
        assert!(server.read(&mut bytes).await.is_err());
        assert_eq!((arrival.head_fault(), arrival.body_fault()), (Some(Fault::HeadTooLarge), None));
        arrival.begin();
        assert_eq!(server.read(&mut bytes).await.unwrap(), bytes.len());
    }

    #[tokio::test]
    async fn all_requests_share_one_memory() {
        let memory = Memory::new(3 * STEP);
        let send = async |bytes: usize| {
            let (mut client, server) = duplex(1 << 20);
            client.write_all(&vec![b'x'; bytes]).await.unwrap();
            let arrival = Arc::new(Arrival::new(Arc::clone(&memory), 100_000));
            let mut server = Bounded::new(server, Arc::clone(&arrival));
            let mut rest = vec![0; bytes];
            (server.read_exact(&mut rest).await.is_ok(), arrival, server)
        };
        // Small requests are always read.
        for _ in 0..10 {
            assert!(send(FREE).await.0);
        }
        let (read, first, _first) = send(FREE + 2 * STEP).await;
        assert!(read);
        let (read, second, _second) = send(FREE + 2 * STEP).await;
        assert_eq!((read, second.head_fault()), (false, Some(Fault::NoMemory)));
        assert!(send(FREE).await.0);
        // An answered request holds nothing, and neither does one that was given up.
        first.begin();
        first.end(false);
        drop((second, _second));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        assert!(send(FREE + 2 * STEP).await.0);
    }
}
