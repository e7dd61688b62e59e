//! The limits of a request while it arrives: its size, and the memory of all requests.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sync::{AtomicUsize, Mutex};

/// Uncounted bytes of each request; nearly all requests fit.
const FREE_BYTES: usize = 4096;
/// hyper's buffer grows after reads of 8 KiB and never shrinks. It may hold this much of the next
/// request, uncounted.
const READ_CHUNK: usize = 4096;
/// Above it, hyper's buffer exceeds 16 KiB.
const LARGE_HEAD: usize = 2 * READ_CHUNK;
/// Longer heads are read up to this multiple of the limit, so that the response can name the limit.
const HEAD_FACTOR: usize = 2;
/// The same multiple for a body with its framing. A chunk of one byte takes six bytes.
const BODY_FACTOR: usize = 8;
/// Counted in addition to head and body, for partly filled buffers.
const BUFFER_ALLOWANCE: usize = 64 * 1024;

/// A limit of the memory that unanswered requests hold.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    used: AtomicUsize,
    max: usize,
}

impl MemoryBudget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    fn try_reserve(&self, bytes: usize) -> bool {
        let try_reserve = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, try_reserve).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The budgets of a connection.
#[derive(Debug)]
pub(crate) struct MemoryQuota {
    total: Arc<MemoryBudget>,
    address: Option<Arc<MemoryBudget>>,
}

impl MemoryQuota {
    pub(crate) fn new(total: &Arc<MemoryBudget>, address: Option<Arc<MemoryBudget>>) -> Self {
        Self { total: Arc::clone(total), address }
    }

    fn try_reserve(&self, bytes: usize) -> bool {
        let Some(address) = &self.address else { return self.total.try_reserve(bytes) };
        if !address.try_reserve(bytes) {
            return false;
        }
        let reserved = self.total.try_reserve(bytes);
        if !reserved {
            address.release(bytes);
        }
        reserved
    }

    fn release(&self, bytes: usize) {
        self.total.release(bytes);
        if let Some(address) = &self.address {
            address.release(bytes);
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLimits {
    header_limit: usize,
    body_limit: usize,
}

impl RequestLimits {
    pub(crate) const fn new(header_limit: usize, body_limit: usize) -> Self {
        Self { header_limit, body_limit }
    }

    /// Bytes after which an unfinished head fails.
    const fn head(self) -> usize {
        self.header_limit.saturating_mul(HEAD_FACTOR)
    }

    /// Bytes after which an unfinished request fails.
    const fn request(self) -> usize {
        self.head().saturating_add(self.body_limit.saturating_mul(BODY_FACTOR))
    }

    /// Returns the maximum bytes of a request that are ever buffered.
    pub(crate) const fn max_counted(self) -> usize {
        self.head().saturating_add(self.body_limit).saturating_add(BUFFER_ALLOWANCE)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadLimitError {
    /// The head or the body is far above its limit.
    TooLarge,
    /// The memory budget is used up.
    OutOfMemory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    /// A handler runs; the body may arrive.
    Body,
    Closing,
}

/// Limits the request that a connection currently reads.
#[derive(Debug)]
pub(crate) struct ReadLimit {
    memory: MemoryQuota,
    limits: RequestLimits,
    state: Mutex<ReadState>,
}

#[derive(Debug)]
struct ReadState {
    phase: Phase,
    /// Bytes of this request.
    read: usize,
    /// Bytes reserved in the budgets.
    reserved: usize,
    error: Option<(ReadLimitError, Phase)>,
}

impl ReadLimit {
    pub(crate) fn new(memory: MemoryQuota, limits: RequestLimits) -> Self {
        let state = ReadState { phase: Phase::Head, read: 0, reserved: 0, error: None };
        Self { memory, limits, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, ReadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether hyper's buffer has grown for the head; then the connection must close.
    pub(crate) fn start_request(&self) -> bool {
        let mut state = self.state();
        state.phase = Phase::Body;
        state.read > LARGE_HEAD
    }

    /// Releases the request's memory. `last`: the connection reads no more requests.
    pub(crate) fn finish_request(&self, last: bool) {
        let mut state = self.state();
        state.phase = if last { Phase::Closing } else { Phase::Head };
        state.read = 0;
        self.memory.release(std::mem::take(&mut state.reserved));
    }

    /// No response was sent yet.
    pub(crate) fn head_error(&self) -> Option<ReadLimitError> {
        self.state().error.filter(|(_, phase)| *phase == Phase::Head).map(|(error, _)| error)
    }

    pub(crate) fn body_error(&self) -> Option<ReadLimitError> {
        self.state().error.filter(|(_, phase)| *phase == Phase::Body).map(|(error, _)| error)
    }

    pub(crate) const fn body_limit(&self) -> usize {
        self.limits.body_limit
    }

    /// hyper reads only while the head or the body is unfinished.
    fn check(&self) -> Result<(), ReadLimitError> {
        let mut state = self.state();
        let max = match state.phase {
            Phase::Head => self.limits.head(),
            Phase::Body => self.limits.request(),
            Phase::Closing => usize::MAX,
        };
        if state.read < max { Ok(()) } else { Err(state.fail(ReadLimitError::TooLarge)) }
    }

    fn record_read(&self, bytes: usize) -> Result<(), ReadLimitError> {
        let mut state = self.state();
        if state.phase == Phase::Closing {
            return Ok(());
        }
        state.read = state.read.saturating_add(bytes);
        let counted = state.read.min(self.limits.max_counted()).saturating_sub(FREE_BYTES);
        let needed = counted.next_multiple_of(READ_CHUNK);
        if needed > state.reserved {
            if !self.memory.try_reserve(needed - state.reserved) {
                return Err(state.fail(ReadLimitError::OutOfMemory));
            }
            state.reserved = needed;
        }
        Ok(())
    }
}

impl ReadState {
    fn fail(&mut self, error: ReadLimitError) -> ReadLimitError {
        self.error = Some((error, self.phase));
        error
    }
}

impl Drop for ReadLimit {
    fn drop(&mut self) {
        let reserved = self.state().reserved;
        self.memory.release(reserved);
    }
}

#[derive(Debug)]
pub(crate) struct LimitedStream<S> {
    stream: S,
    limit: Arc<ReadLimit>,
    flushed: bool,
}

impl<S> LimitedStream<S> {
    pub(crate) fn new(stream: S, limit: Arc<ReadLimit>) -> Self {
        Self { stream, limit, flushed: true }
    }

    /// Returns the stream, and whether all responses so far were flushed.
    pub(crate) fn into_parts(self) -> (S, bool) {
        (self.stream, self.flushed)
    }
}

fn to_io_error(error: ReadLimitError) -> io::Error {
    let kind = match error {
        ReadLimitError::TooLarge => io::ErrorKind::InvalidData,
        ReadLimitError::OutOfMemory => io::ErrorKind::OutOfMemory,
    };
    io::Error::new(kind, format!("stopped reading the request: {error:?}"))
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.limit.check().map_err(to_io_error)?;
        let step = buffer.remaining().min(READ_CHUNK);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(step));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        Poll::Ready(self.limit.record_read(read).map_err(to_io_error))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedStream<S> {
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
mod threads;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn reads_fail_past_the_head_and_body_limits() {
        let (mut client, server) = duplex(1 << 20);
        client.write_all(&[b'x'; 1 << 20]).await.unwrap();
        let memory = MemoryBudget::new(1 << 20);
        let limits = RequestLimits::new(5000, 10_000);
        let limit = Arc::new(ReadLimit::new(MemoryQuota::new(&memory, None), limits));
        let mut server = LimitedStream::new(server, Arc::clone(&limit));
        let mut bytes = [0; 50_000];
        for _ in 0..3 {
            assert_eq!(server.read(&mut bytes).await.unwrap(), READ_CHUNK);
        }
        assert!(server.read(&mut bytes).await.is_err());
        assert_eq!(
            (limit.head_error(), limit.body_error()),
            (Some(ReadLimitError::TooLarge), None)
        );
        assert!(limit.start_request(), "the head was large");
        for _ in 3..22 {
            assert_eq!(server.read(&mut bytes).await.unwrap(), READ_CHUNK);
        }
        assert!(server.read(&mut bytes).await.is_err());
        assert_eq!(
            (limit.head_error(), limit.body_error()),
            (None, Some(ReadLimitError::TooLarge))
        );
        // Only the bytes that can be buffered count.
        let max_counted = (limits.max_counted() - FREE_BYTES).next_multiple_of(READ_CHUNK);
        assert_eq!(memory.used.load(Ordering::Relaxed), max_counted);
    }

    #[tokio::test]
    async fn address_has_its_own_memory_budget() {
        let (total, own) = (MemoryBudget::new(3 * READ_CHUNK), MemoryBudget::new(2 * READ_CHUNK));
        let share = MemoryQuota::new(&total, Some(Arc::clone(&own)));
        assert!(share.try_reserve(2 * READ_CHUNK) && !share.try_reserve(READ_CHUNK));
        let other = MemoryQuota::new(&total, Some(MemoryBudget::new(2 * READ_CHUNK)));
        assert!(
            !other.try_reserve(2 * READ_CHUNK) && other.try_reserve(READ_CHUNK),
            "the rest is for other addresses"
        );
        share.release(2 * READ_CHUNK);
        assert_eq!(
            (total.used.load(Ordering::Relaxed), own.used.load(Ordering::Relaxed)),
            (READ_CHUNK, 0)
        );
        assert!(other.try_reserve(READ_CHUNK), "a failed reservation changes neither budget");
    }

    #[tokio::test]
    async fn all_requests_share_one_memory_budget() {
        let memory = MemoryBudget::new(3 * READ_CHUNK);
        let send = async |bytes: usize| {
            let (mut client, server) = duplex(1 << 20);
            client.write_all(&vec![b'x'; bytes]).await.unwrap();
            let share = MemoryQuota::new(&memory, None);
            let limit = Arc::new(ReadLimit::new(share, RequestLimits::new(100_000, 100_000)));
            let mut server = LimitedStream::new(server, Arc::clone(&limit));
            let mut rest = vec![0; bytes];
            (server.read_exact(&mut rest).await.is_ok(), limit, server)
        };
        for _ in 0..10 {
            assert!(send(FREE_BYTES).await.0);
        }
        let (read, first, _first) = send(FREE_BYTES + 2 * READ_CHUNK).await;
        assert!(read);
        let (read, second, _second) = send(FREE_BYTES + 2 * READ_CHUNK).await;
        assert_eq!((read, second.head_error()), (false, Some(ReadLimitError::OutOfMemory)));
        assert!(send(FREE_BYTES).await.0);
        first.start_request();
        first.finish_request(false);
        drop((second, _second));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        assert!(send(FREE_BYTES + 2 * READ_CHUNK).await.0);
    }
}
