//! Request coalescing: concurrent reads of one key share one call.
//!
//! A request starts a call if none for its key is in flight. Requests that arrive meanwhile wait
//! together for the next call, which departs when that one has returned, or after [`MAX_DELAY`]. So
//! a call departs after the arrival of all its requests, and they never see an older state.

use std::{
    collections::HashMap,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{sync::watch, time::timeout};

use crate::sync::Mutex;

/// A call in flight for longer no longer delays the next one.
const MAX_DELAY: Duration = Duration::from_millis(100);

/// Shares calls. Clones share one state.
#[derive(Clone)]
pub(crate) struct Coalescer<K, V>(Arc<Departures<K, Call<V>>>);

/// A call that has not departed.
struct Call<V> {
    future: BoxFuture<'static, V>,
    /// `None` until the call returns.
    response: watch::Sender<Option<V>>,
}

impl<K, V> Coalescer<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self(Arc::new(Departures::new()))
    }

    /// Joins the next call for `key`, which `call` creates if this is its first request. Returns
    /// `None` if the call panics. It continues if its requests are cancelled.
    pub(crate) async fn join<F>(&self, key: K, call: impl FnOnce(K) -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let create = |key| Call { future: Box::pin(call(key)), response: watch::Sender::new(None) };
        let (mut response, departing) = self.0.join(&key, create, |call| call.response.subscribe());
        if let Some(call) = departing {
            self.depart(key, call);
        }
        response.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn depart(&self, key: K, Call { future, response }: Call<V>) {
        let this = self.clone();
        tokio::spawn(async move {
            let mut future = AssertUnwindSafe(future).catch_unwind();
            // After a panic, which its hook has logged, the requests see a closed channel.
            let respond = |value: thread::Result<V>| {
                if let Ok(value) = value {
                    response.send_replace(Some(value));
                }
            };
            match timeout(MAX_DELAY, &mut future).await {
                Ok(value) => {
                    respond(value);
                    this.depart_next(key);
                }
                Err(_) => {
                    this.depart_next(key);
                    respond(future.await);
                }
            }
        });
    }

    fn depart_next(&self, key: K) {
        if let Some(call) = self.0.next(&key, |call| !call.response.is_closed()) {
            self.depart(key, call);
        }
    }
}

/// The keys with a call in flight, and the call of each that departs next.
struct Departures<K, C>(Mutex<HashMap<K, Option<C>>>);

impl<K: Clone + Eq + Hash, C> Departures<K, C> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<K, Option<C>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the next call, and returns it if it departs now.
    fn join<T>(
        &self,
        key: &K,
        create: impl FnOnce(K) -> C,
        join: impl FnOnce(&C) -> T,
    ) -> (T, Option<C>) {
        let mut keys = self.keys();
        if let Some(next) = keys.get_mut(key) {
            return (join(next.get_or_insert_with(|| create(key.clone()))), None);
        }
        let call = create(key.clone());
        keys.insert(key.clone(), None);
        (join(&call), Some(call))
    }

    /// Returns the next call, which departs now, if it is live. Otherwise forgets the key.
    fn next(&self, key: &K, is_live: impl FnOnce(&C) -> bool) -> Option<C> {
        let mut keys = self.keys();
        let next = keys.get_mut(key).and_then(Option::take).filter(is_live);
        if next.is_none() {
            keys.remove(key);
        }
        next
    }
}

#[cfg(test)]
mod threads;

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::time::{Instant, sleep};

    use super::*;

    const CALL: Duration = Duration::from_millis(10);

    /// A database row and its reads.
    #[derive(Clone)]
    struct Row {
        version: Arc<AtomicUsize>,
        reads: Arc<AtomicUsize>,
        coalescer: Coalescer<&'static str, usize>,
    }

    impl Row {
        fn new() -> Self {
            Self { version: Arc::default(), reads: Arc::default(), coalescer: Coalescer::new() }
        }

        /// Reads the row when the call departs, and returns its version after `duration`.
        fn call(&self, duration: Duration) -> impl Future<Output = usize> + use<> {
            let row = self.clone();
            async move {
                row.reads.fetch_add(1, Ordering::Relaxed);
                let version = row.version.load(Ordering::Relaxed);
                sleep(duration).await;
                version
            }
        }

        async fn read(&self, duration: Duration) -> Option<usize> {
            self.coalescer.join("row", |_| self.call(duration)).await
        }

        fn spawn_read(&self, duration: Duration) -> tokio::task::JoinHandle<Option<usize>> {
            let row = self.clone();
            tokio::spawn(async move { row.read(duration).await })
        }

        fn reads(&self) -> usize {
            self.reads.load(Ordering::Relaxed)
        }

        /// The coalescer holds nothing after the last call.
        async fn assert_idle(&self) {
            // The task of a call forgets its key after it has responded.
            sleep(Duration::from_millis(1)).await;
            assert!(self.coalescer.0.keys().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn request_never_gets_a_call_that_departed_before() {
        let row = Row::new();
        let mut requests = Vec::new();
        // Every half call, so that each second request arrives when a call returns.
        for _ in 0..100 {
            let version = row.version.fetch_add(1, Ordering::Relaxed) + 1;
            for _ in 0..3 {
                let request = row.spawn_read(CALL);
                requests.push(async move { (version, request.await.unwrap().unwrap()) });
            }
            sleep(CALL / 2).await;
        }
        for request in requests {
            let (arrived_at, seen) = request.await;
            assert!(seen >= arrived_at, "version {seen} for a request at version {arrived_at}");
        }
        assert!(row.reads() <= 60, "{} calls for 100 times 3 requests", row.reads());
        row.assert_idle().await;
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_share_the_next_call() {
        let row = Row::new();
        let first = row.spawn_read(CALL);
        sleep(CALL / 2).await;
        let began = Instant::now();
        let requests: Vec<_> = (0..100).map(|_| row.spawn_read(CALL)).collect();
        for request in requests {
            request.await.unwrap().unwrap();
        }
        assert!(first.is_finished());
        assert_eq!((row.reads(), began.elapsed()), (2, CALL / 2 + CALL));
        row.assert_idle().await;
    }

    #[tokio::test(start_paused = true)]
    async fn keys_have_calls_of_their_own() {
        let coalescer = Coalescer::new();
        let call = |key| async move {
            sleep(CALL).await;
            key
        };
        let began = Instant::now();
        let (one, two) = tokio::join!(coalescer.join(1, call), coalescer.join(2, call));
        assert_eq!((one, two, began.elapsed()), (Some(1), Some(2), CALL));
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_request_does_not_cancel_the_call() {
        let row = Row::new();
        let (first, second) = (row.spawn_read(CALL), row.spawn_read(CALL));
        sleep(CALL / 2).await;
        let third = row.spawn_read(CALL);
        sleep(CALL / 4).await;
        first.abort();
        second.abort();
        assert_eq!((third.await.unwrap(), row.reads()), (Some(0), 2));
        row.assert_idle().await;
    }

    #[tokio::test(start_paused = true)]
    async fn call_without_requests_does_not_depart() {
        let row = Row::new();
        let first = row.spawn_read(CALL);
        sleep(CALL / 2).await;
        let second = row.spawn_read(CALL);
        sleep(CALL / 4).await;
        second.abort();
        first.await.unwrap().unwrap();
        row.assert_idle().await;
        assert_eq!(row.reads(), 1);
        assert_eq!(row.read(CALL).await, Some(0), "the next request departs at once");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_call_delays_the_next_one_briefly() {
        let row = Row::new();
        let slow = row.spawn_read(Duration::from_secs(5));
        sleep(CALL).await;
        let began = Instant::now();
        let later: Vec<_> = (0..10).map(|_| row.spawn_read(CALL)).collect();
        for request in later {
            request.await.unwrap().unwrap();
        }
        assert_eq!((row.reads(), began.elapsed()), (2, MAX_DELAY));
        assert!(!slow.is_finished());
        assert_eq!(slow.await.unwrap(), Some(0));
        row.assert_idle().await;
    }

    #[tokio::test(start_paused = true)]
    async fn panic_ends_its_requests_and_starts_the_next_call() {
        let row = Row::new();
        let panicking = |row: Row| async move {
            let call = |_| async {
                sleep(CALL).await;
                panic!("planted")
            };
            row.coalescer.join("row", call).await
        };
        let first = tokio::spawn(panicking(row.clone()));
        sleep(CALL / 2).await;
        let second = row.spawn_read(CALL);
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (None, Some(0)));
        row.assert_idle().await;
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_calls_are_bounded_by_their_delay() {
        let coalescer = Coalescer::<_, ()>::new();
        let calls = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let (coalescer, calls) = (coalescer.clone(), Arc::clone(&calls));
            tokio::spawn(async move {
                let call = |_| async move {
                    calls.fetch_add(1, Ordering::Relaxed);
                    pending().await
                };
                coalescer.join((), call).await
            });
            sleep(MAX_DELAY / 10).await;
        }
        assert_eq!(calls.load(Ordering::Relaxed), 10);
    }
}
