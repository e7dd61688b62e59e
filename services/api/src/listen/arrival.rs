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
/// Bytes that are read at once, at most: hyper's buffer grows after reads of 8 KiB, and keeps its
/// size while the connection is open. It may hold that much of the next request, uncounted.
const STEP: usize = 4096;
/// hyper's buffer has at most 16 KiB after a head of this size, and keeps more after a larger one.
const LARGE_HEAD: usize = 2 * STEP;
/// A head that is larger than allowed, but not by this factor, is read, and its sender is told what
/// is allowed. A larger one is answered without being read to its end.
const HEAD_FACTOR: usize = 2;
/// Likewise for a body with its framing. A chunk of one byte takes six.
const BODY_FACTOR: usize = 8;
/// Bytes of a request that are counted beyond its head and its body: parts of buffers.
const COUNTED_BEYOND: usize = 64 * 1024;

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

/// What the requests on one connection may take of the memory: of all, and of its address.
#[derive(Debug)]
pub(super) struct Share {
    all: Arc<Memory>,
    of_address: Option<Arc<Memory>>,
}

impl Share {
    /// `of_address` is `None` for an address without a limit.
    pub(super) fn new(all: &Arc<Memory>, of_address: Option<Arc<Memory>>) -> Self {
        Self { all: Arc::clone(all), of_address }
    }

    fn take(&self, bytes: usize) -> bool {
        let Some(of_address) = &self.of_address else { return self.all.take(bytes) };
        if !of_address.take(bytes) {
            return false;
        }
        let taken = self.all.take(bytes);
        if !taken {
            of_address.give_back(bytes);
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.all.give_back(bytes);
        if let Some(of_address) = &self.of_address {
            of_address.give_back(bytes);
        }
    }
}

/// Bounds on the bytes of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    header_limit: usize,
    body_limit: usize,
}

impl Limits {
    /// For an endpoint that takes so much of a head, and of a body.
    pub(super) const fn new(header_limit: usize, body_limit: usize) -> Self {
        Self { header_limit, body_limit }
    }

    /// Bytes of a head that has not ended.
    const fn head(self) -> usize {
        self.header_limit.saturating_mul(HEAD_FACTOR)
    }

    /// Bytes of a request that has not ended.
    const fn request(self) -> usize {
        self.head().saturating_add(self.body_limit.saturating_mul(BODY_FACTOR))
    }

    /// Bytes that one request counts, at most: no more of it is kept, however it is framed.
    pub(super) const fn counted(self) -> usize {
        self.head().saturating_add(self.body_limit).saturating_add(COUNTED_BEYOND)
    }
}

/// Why no more of a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its head, or its body, is far larger than any that is answered.
    TooLarge,
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
pub(crate) struct Arrival {
    memory: Share,
    limits: Limits,
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
    pub(super) fn new(memory: Share, limits: Limits) -> Self {
        let state = State { phase: Phase::Head, read: 0, taken: 0, fault: None };
        Self { memory, limits, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head has arrived. Returns whether hyper's buffer has grown for it: such a connection is
    /// closed after the answer.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state();
        state.phase = Phase::Request;
        state.read > LARGE_HEAD
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
    pub(crate) fn body_fault(&self) -> Option<Fault> {
        self.state().fault.filter(|(_, phase)| *phase == Phase::Request).map(|(fault, _)| fault)
    }

    /// Returns the bytes of a body that the endpoint takes.
    pub(crate) const fn body_limit(&self) -> usize {
        self.limits.body_limit
    }

    /// Whether more may be read: hyper asks, so the head or the body has not ended.
    fn check(&self) -> Result<(), Fault> {
        let mut state = self.state();
        let most = match state.phase {
            Phase::Head => self.limits.head(),
            Phase::Request => self.limits.request(),
            Phase::Last => usize::MAX,
        };
        if state.read < most { Ok(()) } else { Err(state.fail(Fault::TooLarge)) }
    }

    fn has_read(&self, bytes: usize) -> Result<(), Fault> {
        let mut state = self.state();
        if state.phase == Phase::Last {
            return Ok(());
        }
        state.read = state.read.saturating_add(bytes);
        let counted = state.read.min(self.limits.counted()).saturating_sub(FREE);
        let wanted = counted.next_multiple_of(STEP);
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
        Fault::TooLarge => io::ErrorKind::InvalidData,
        Fault::NoMemory => io::ErrorKind::OutOfMemory,
    };
    io::Error::new(kind, format!("the request is not read any further: {fault:?}"))
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.arrival.check().map_err(failed)?;
        let step = buffer.remaining().min(STEP);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(step));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        Poll::Ready(self.arrival.has_read(read).map_err(failed))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.flushed = false;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
    async fn a_head_and_a_body_end_at_their_limits() {
        let (mut client, server) = duplex(1 << 20);
        client.write_all(&[b'x'; 1 << 20]).await.unwrap();
        let memory = Memory::new(1 << 20);
        let limits = Limits::new(5000, 10_000);
        let arrival = Arc::new(Arrival::new(Share::new(&memory, None), limits));
        let mut server = Bounded::new(server, Arc::clone(&arrival));
        let mut bytes = [0; 50_000];
        // In small steps, whatever room the reader offers, up to the first step past the limit.
        for _ in 0..3 {
            assert_eq!(server.read(&mut bytes).await.unwrap(), STEP);
        }
        assert!(server.read(&mut bytes).await.is_err());
        assert_eq!((arrival.head_fault(), arrival.body_fault()), (Some(Fault::TooLarge), None));
        assert!(arrival.begin(), "this head was large");
        for _ in 3..22 {
            assert_eq!(server.read(&mut bytes).await.unwrap(), STEP);
        }
        assert!(server.read(&mut bytes).await.is_err());
        assert_eq!((arrival.head_fault(), arrival.body_fault()), (None, Some(Fault::TooLarge)));
        // Only what can be kept of it is counted.
        let counted = (limits.counted() - FREE).next_multiple_of(STEP);
        assert_eq!(memory.used.load(Ordering::Relaxed), counted);
    }

    #[tokio::test]
    async fn an_address_has_a_share_of_the_memory() {
        let (all, own) = (Memory::new(3 * STEP), Memory::new(2 * STEP));
        let share = Share::new(&all, Some(Arc::clone(&own)));
        assert!(share.take(2 * STEP) && !share.take(STEP));
        let other = Share::new(&all, Some(Memory::new(2 * STEP)));
        assert!(!other.take(2 * STEP) && other.take(STEP), "the rest is for others");
        share.give_back(2 * STEP);
        assert_eq!((all.used.load(Ordering::Relaxed), own.used.load(Ordering::Relaxed)), (STEP, 0));
        assert!(other.take(STEP), "what was not taken of all was not taken of its own");
    }

    #[tokio::test]
    async fn all_requests_share_one_memory() {
        let memory = Memory::new(3 * STEP);
        let send = async |bytes: usize| {
            let (mut client, server) = duplex(1 << 20);
            client.write_all(&vec![b'x'; bytes]).await.unwrap();
            let share = Share::new(&memory, None);
            let arrival = Arc::new(Arrival::new(share, Limits::new(100_000, 100_000)));
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
