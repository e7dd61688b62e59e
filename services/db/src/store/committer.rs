//! The queue of orders and the one task that commits them: natural group commit.
//!
//! Three hot rows make every order wait for the one before it until that is on disk. So while one
//! transaction is in flight, orders queue, and the next takes all that are waiting. No timer: an
//! order that finds nobody before it goes at once.

use std::sync::Arc;

use merch_chassis::{ConcurrencyLimit, ConcurrencyPermit, WriteClass};
use merch_contract::grpc::assistant::v1::ErrorReason;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    ATTEMPTS, Caller, Store,
    place::{NewOrder, Verdict},
};
use crate::{failure::Failure, metrics};

/// One call's orders: judged in one transaction, answered together.
struct Ticket {
    orders: Vec<NewOrder>,
    /// When the caller no longer waits, if that is known.
    until: Option<Instant>,
    answer: oneshot::Sender<Result<Vec<Verdict>, Failure>>,
    /// Its room in the queue, given back with the answer.
    room: OwnedSemaphorePermit,
    /// The places of the orders' users, given back with the answer: also when the caller has gone
    /// away before.
    places: Vec<ConcurrencyPermit<(Caller, WriteClass)>>,
}

/// Where orders are handed in.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    tickets: mpsc::Sender<Ticket>,
    /// Counts orders, as a ticket may hold one or hundreds.
    room: Arc<Semaphore>,
    /// The changes that each user has under way, so that no user fills the queue.
    writes: ConcurrencyLimit<(Caller, WriteClass)>,
}

/// Commits what is handed in.
pub(crate) struct Committer {
    store: Store,
    tickets: mpsc::Receiver<Ticket>,
    /// Orders of one transaction, at most.
    batch: usize,
}

/// A queue of at most `queue` orders, those in flight among them, and the committer that takes at
/// most `batch` of them at once.
pub(crate) fn new(store: Store, queue: usize, batch: usize) -> (Queue, Committer) {
    let queue = queue.max(batch).min(Semaphore::MAX_PERMITS);
    let (sender, receiver) = mpsc::channel(queue);
    let writes = store.writes.clone();
    (
        Queue { tickets: sender, room: Arc::new(Semaphore::new(queue)), writes },
        Committer { store, tickets: receiver, batch },
    )
}

impl Queue {
    /// One verdict for each order, at the same place, once they are committed.
    ///
    /// Whoever stops waiting before the orders are judged, and so at the latest at `until`, has not
    /// ordered.
    ///
    /// An order whose user has too many changes under way is refused on its own, with
    /// `TOO_MANY_WRITES`.
    pub(crate) async fn place(
        &self,
        orders: Vec<NewOrder>,
        until: Option<Instant>,
    ) -> Result<Vec<Verdict>, Failure> {
        let (mut admitted, mut places, mut is_admitted) =
            (Vec::with_capacity(orders.len()), Vec::new(), Vec::new());
        for order in orders {
            let place = self.writes.try_acquire((order.caller, WriteClass::Data));
            is_admitted.push(place.is_some());
            if let Some(place) = place {
                places.push(place);
                admitted.push(order);
            } else {
                metrics::WRITES_REFUSED.inc();
            }
        }
        let verdicts = self.hand_in(admitted, places, until).await?;
        Ok(at_their_places(&is_admitted, verdicts))
    }

    /// Hands in what has been admitted, and waits for the verdicts.
    async fn hand_in(
        &self,
        orders: Vec<NewOrder>,
        places: Vec<ConcurrencyPermit<(Caller, WriteClass)>>,
        until: Option<Instant>,
    ) -> Result<Vec<Verdict>, Failure> {
        if orders.is_empty() {
            return Ok(Vec::new());
        }
        let overloaded = || Failure::Refused(ErrorReason::Overloaded);
        let wanted = u32::try_from(orders.len()).map_err(|_| overloaded())?;
        let room = self.room.clone().try_acquire_many_owned(wanted).map_err(|_| overloaded())?;
        let (answer, verdicts) = oneshot::channel();
        metrics::QUEUE_DEPTH.add(i64::from(wanted));
        if self.tickets.try_send(Ticket { orders, until, answer, room, places }).is_err() {
            metrics::QUEUE_DEPTH.sub(i64::from(wanted));
            return Err(overloaded());
        }
        // The committer answers every ticket; it drops one only when the process ends.
        verdicts.await.unwrap_or_else(|_| Err(overloaded()))
    }
}

impl Committer {
    /// Commits until `closing` is cancelled and the queue is empty.
    pub(crate) async fn run(mut self, closing: CancellationToken) {
        let mut held = None;
        while let Some(first) = self.next(&mut held, &closing).await {
            let batch = self.gather(first, &mut held);
            if !batch.is_empty() {
                self.commit(batch).await;
            }
        }
    }

    async fn next(
        &mut self,
        held: &mut Option<Ticket>,
        closing: &CancellationToken,
    ) -> Option<Ticket> {
        if let Some(ticket) = held.take() {
            return Some(ticket);
        }
        tokio::select! {
            biased;
            ticket = self.tickets.recv() => ticket,
            () = closing.cancelled() => {
                self.tickets.close();
                self.tickets.recv().await
            }
        }
    }

    /// `first` and all that wait behind it, up to the bound, but for those whose callers have gone
    /// away. What does not fit is held for the next.
    fn gather(&mut self, first: Ticket, held: &mut Option<Ticket>) -> Vec<Ticket> {
        let (mut batch, mut orders) = (Vec::new(), 0);
        let mut waiting = Some(first);
        while let Some(ticket) = waiting {
            if !ticket.waits() {
                forget(&ticket);
                ticket.reply(Err(Failure::TimedOut));
            } else if orders + ticket.orders.len() > self.batch && !batch.is_empty() {
                *held = Some(ticket);
                break;
            } else {
                orders += ticket.orders.len();
                forget(&ticket);
                batch.push(ticket);
            }
            waiting = self.tickets.try_recv().ok();
        }
        batch
    }

    /// Commits the orders of a batch and answers every ticket.
    async fn commit(&self, batch: Vec<Ticket>) {
        let Some((batch, failure)) = self.try_together(batch).await else { return };
        match failure {
            // One of them is more than the database bears, and nothing was committed: alone, it
            // fails alone.
            Failure::Fault(error) if batch.len() > 1 => {
                tracing::warn!(%error, calls = batch.len(), "a batch of orders failed; each call's orders are tried alone");
                for ticket in batch {
                    if let Some((batch, failure)) = self.try_together(vec![ticket]).await {
                        refuse(batch, &failure);
                    }
                }
            }
            failure => refuse(batch, &failure),
        }
    }

    /// Commits the orders of a batch in one transaction and answers, or yields the tickets that are
    /// without an answer, and why.
    async fn try_together(&self, batch: Vec<Ticket>) -> Option<(Vec<Ticket>, Failure)> {
        let (mut batch, mut attempt) = (batch, 1);
        loop {
            // Each time anew: whoever left before this transaction has not ordered.
            let late: Vec<Ticket>;
            (batch, late) = batch.into_iter().partition(Ticket::waits);
            refuse(late, &Failure::TimedOut);
            if batch.is_empty() {
                return None;
            }
            let orders: Vec<&NewOrder> = batch.iter().flat_map(|ticket| &ticket.orders).collect();
            // Asked once more when the rows are locked: that may have taken long, and a process
            // that was frozen meanwhile must not sell to those who were told long ago that it is
            // not known whether they have bought.
            let waits = || {
                batch
                    .iter()
                    .flat_map(|ticket| std::iter::repeat_n(ticket.waits(), ticket.orders.len()))
                    .collect()
            };
            metrics::BATCH_SIZE.observe(orders.len() as f64);
            match self.store.place(&orders, &waits).await {
                Ok(verdicts) => {
                    let mut verdicts = verdicts.into_iter();
                    for ticket in batch {
                        let count = ticket.orders.len();
                        // All of them are taken, also where the first is none already: the next
                        // ticket's come after.
                        let own: Vec<Option<Verdict>> = verdicts.by_ref().take(count).collect();
                        ticket.reply(
                            own.into_iter().collect::<Option<Vec<_>>>().ok_or(Failure::TimedOut),
                        );
                    }
                    return None;
                }
                Err(Failure::Undone(error)) if attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "a batch of orders is run again");
                    attempt += 1;
                }
                Err(failure) => return Some((batch, failure)),
            }
        }
    }
}

/// Puts a refusal at the place of each order that was not admitted, and the verdicts at the others.
fn at_their_places(is_admitted: &[bool], verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let mut verdicts = verdicts.into_iter();
    let refused = || Verdict::Refused(ErrorReason::TooManyWrites);
    is_admitted
        .iter()
        .filter_map(|admitted| if *admitted { verdicts.next() } else { Some(refused()) })
        .collect()
}

fn refuse(batch: Vec<Ticket>, failure: &Failure) {
    batch.into_iter().for_each(|ticket| ticket.reply(Err(failure.clone())));
}

/// It no longer waits.
fn forget(ticket: &Ticket) {
    metrics::QUEUE_DEPTH.sub(i64::try_from(ticket.orders.len()).unwrap_or(i64::MAX));
}

impl Ticket {
    fn waits(&self) -> bool {
        !self.answer.is_closed() && self.until.is_none_or(|until| Instant::now() < until)
    }

    fn reply(self, outcome: Result<Vec<Verdict>, Failure>) {
        if let Ok(verdicts) = &outcome {
            for verdict in verdicts {
                let outcome = match verdict {
                    Verdict::Placed(_) => "placed",
                    Verdict::Replayed(_) => "replayed",
                    Verdict::Refused(reason) => reason.as_str_name(),
                };
                metrics::ORDERS.with_label_values(&[outcome]).inc();
            }
        }
        drop((self.room, self.places));
        // A caller who went away meanwhile finds the order in the list of orders, or by the
        // idempotency key.
        if self.answer.send(outcome).is_err() {
            tracing::debug!("a caller did not wait for the verdict on its orders");
        }
    }
}

#[cfg(test)]
mod tests;
