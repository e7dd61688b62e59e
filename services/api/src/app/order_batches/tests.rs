use merch_contract::grpc::assistant::v1::ErrorReason;
use rand::RngExt as _;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, sleep_until},
};
use uuid::Uuid;

use super::*;

const DEADLINE: Duration = Duration::from_secs(5);
/// Timers fire up to a millisecond late.
const LATE: Duration = Duration::from_millis(2);

/// A db service whose calls the test answers.
struct FakeDb(mpsc::UnboundedSender<Call>);

struct Call {
    orders: Vec<NewOrder>,
    at: Instant,
    answer: oneshot::Sender<Result<proto::PlaceOrdersResponse, DbError>>,
}

impl PlaceOrders for FakeDb {
    async fn place_orders(
        &self,
        orders: &[NewOrder],
    ) -> Result<proto::PlaceOrdersResponse, DbError> {
        let (answer, response) = oneshot::channel();
        let call = Call { orders: orders.to_vec(), at: Instant::now(), answer };
        assert!(self.0.send(call).is_ok(), "the test continues");
        match response.await {
            Ok(response) => response,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Call {
    /// Their products, which are different in most tests.
    fn products(&self) -> Vec<i32> {
        self.orders.iter().map(|order| order.purchase.product_id).collect()
    }

    /// Places all orders.
    fn land(self) {
        let results = self.products().into_iter().map(placed).collect();
        self.answer(Ok(proto::PlaceOrdersResponse { results }));
    }

    fn answer(self, response: Result<proto::PlaceOrdersResponse, DbError>) {
        assert!(self.answer.send(response).is_ok(), "the call is in flight");
    }
}

fn placed(product_id: i32) -> proto::PlaceOrderResult {
    let order = proto::Order { product_id, ..proto::Order::default() };
    proto::PlaceOrderResult { outcome: Some(Outcome::Order(order)) }
}

fn refused(reason: ErrorReason) -> proto::PlaceOrderResult {
    let refusal = proto::OrderRefusal { reason: reason.into(), message: String::new() };
    proto::PlaceOrderResult { outcome: Some(Outcome::Refusal(refusal)) }
}

type Answer = JoinHandle<Result<proto::Order, DbError>>;

struct Orders {
    batches: Arc<Batches<FakeDb>>,
    calls: mpsc::UnboundedReceiver<Call>,
}

impl Orders {
    fn new() -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        Self { batches: Batches::new(FakeDb(sender)), calls }
    }

    /// With [`MAX_IN_FLIGHT`] calls in flight, whose products are negative.
    async fn busy() -> (Self, Vec<Call>) {
        let mut orders = Self::new();
        let mut calls = Vec::new();
        for product in (-2..0).take(MAX_IN_FLIGHT) {
            drop(orders.place(product).await);
            calls.push(orders.next_call().await);
        }
        (orders, calls)
    }

    async fn place(&self, product_id: i32) -> Answer {
        self.place_within(product_id, DEADLINE).await
    }

    async fn place_within(&self, product_id: i32, time: Duration) -> Answer {
        let order = NewOrder {
            context: RequestContext::default(),
            caller: Caller { user_id: Uuid::nil(), token_version: 1 },
            purchase: rest::Purchase { product_id, quantity: 1 },
            idempotency_key: None,
            deadline: Instant::now() + time,
        };
        let batches = Arc::clone(&self.batches);
        let answer = tokio::spawn(async move { batches.place(order).await });
        tokio::task::yield_now().await;
        answer
    }

    async fn next_call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    /// Asserts that no order departs.
    async fn assert_waiting(&mut self) {
        sleep(Duration::from_millis(1)).await;
        assert!(self.calls.try_recv().is_err(), "no order departs");
    }
}

async fn product(answer: Answer) -> i32 {
    answer.await.unwrap().unwrap().product_id
}

async fn error(answer: Answer) -> DbError {
    answer.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn lone_order_departs_immediately() {
    let mut orders = Orders::new();
    for number in 0..3 {
        let placed_at = Instant::now();
        let answer = orders.place(number).await;
        let call = orders.next_call().await;
        assert_eq!((call.at, call.products()), (placed_at, vec![number]));
        call.land();
        assert_eq!(product(answer).await, number);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_orders_depart_together_in_order_of_arrival() {
    let (mut orders, mut calls) = Orders::busy().await;
    let mut answers = Vec::new();
    for number in 0..5 {
        answers.push(orders.place(number).await);
    }
    orders.assert_waiting().await;
    let landed_at = Instant::now();
    calls.remove(0).land();
    let call = orders.next_call().await;
    assert_eq!((call.at, call.products()), (landed_at, vec![0, 1, 2, 3, 4]));
    answers.push(orders.place(5).await);
    orders.assert_waiting().await;
    call.land();
    orders.next_call().await.land();
    for (number, answer) in (0..).zip(answers) {
        assert_eq!(product(answer).await, number);
    }
}

#[tokio::test(start_paused = true)]
async fn call_has_at_most_256_orders() {
    let (mut orders, calls) = Orders::busy().await;
    let mut answers = Vec::new();
    for number in 0..300 {
        answers.push(orders.place(number).await);
    }
    calls.into_iter().for_each(Call::land);
    let (first, second) = (orders.next_call().await, orders.next_call().await);
    assert_eq!(first.products(), (0..256).collect::<Vec<_>>());
    assert_eq!(second.products(), (256..300).collect::<Vec<_>>());
    second.land();
    first.land();
    for (number, answer) in (0..).zip(answers) {
        assert_eq!(product(answer).await, number);
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_concerns_one_order() {
    let (mut orders, calls) = Orders::busy().await;
    let answers = [orders.place(1).await, orders.place(2).await, orders.place(3).await];
    calls.into_iter().for_each(Call::land);
    let results = vec![placed(1), refused(ErrorReason::OutOfStock), placed(3)];
    orders.next_call().await.answer(Ok(proto::PlaceOrdersResponse { results }));
    let [first, second, third] = answers;
    assert_eq!((product(first).await, product(third).await), (1, 3));
    assert_eq!(error(second).await.reason(), Some(ErrorReason::OutOfStock));
}

#[tokio::test(start_paused = true)]
async fn failed_call_fails_each_of_its_orders() {
    let (mut orders, mut calls) = Orders::busy().await;
    let answers = [orders.place(1).await, orders.place(2).await];
    calls.remove(0).land();
    let call = orders.next_call().await;
    let later = orders.place(3).await;
    call.answer(Err(DbError::Unreachable("the connection is lost".to_owned())));
    for answer in answers {
        assert!(matches!(error(answer).await, DbError::Unreachable(_)));
    }
    orders.next_call().await.land();
    assert_eq!(product(later).await, 3);
}

#[tokio::test(start_paused = true)]
async fn invalid_response_fails_each_order() {
    let without_outcome = proto::PlaceOrderResult { outcome: None };
    for results in
        [vec![], vec![placed(1)], vec![placed(1); 3], vec![placed(1), without_outcome.clone()]]
    {
        let (mut orders, calls) = Orders::busy().await;
        let answers = [orders.place(1).await, orders.place(2).await];
        calls.into_iter().for_each(Call::land);
        orders.next_call().await.answer(Ok(proto::PlaceOrdersResponse { results }));
        for answer in answers {
            assert!(matches!(error(answer).await, DbError::InvalidResponse(_)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn expired_order_does_not_depart() {
    let (mut orders, calls) = Orders::busy().await;
    let placed_at = Instant::now();
    let expired = orders.place_within(1, MAX_DELAY / 2).await;
    let live = orders.place_within(2, MAX_DELAY).await;
    assert!(matches!(error(expired).await, DbError::DeadlineExceeded));
    assert_eq!(placed_at.elapsed(), MAX_DELAY / 2);
    calls.into_iter().for_each(Call::land);
    let call = orders.next_call().await;
    assert_eq!(call.products(), [2]);
    let left = call.orders[0].to_proto().time_left_ms;
    assert_eq!(left, i32::try_from((MAX_DELAY / 2).as_millis()).ok());
    call.land();
    assert_eq!(product(live).await, 2);
}

#[tokio::test(start_paused = true)]
async fn order_in_flight_is_answered_at_its_deadline() {
    let mut orders = Orders::new();
    let placed_at = Instant::now();
    let expired = orders.place_within(1, Duration::from_secs(1)).await;
    let call = orders.next_call().await;
    assert!(matches!(error(expired).await, DbError::DeadlineExceeded));
    assert_eq!(placed_at.elapsed(), Duration::from_secs(1));
    call.land();
}

#[tokio::test(start_paused = true)]
async fn order_of_a_disconnected_client_does_not_depart() {
    let (mut orders, mut calls) = Orders::busy().await;
    let (gone, live) = (orders.place(1).await, orders.place(2).await);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    calls.remove(0).land();
    let call = orders.next_call().await;
    assert_eq!(call.products(), [2]);
    call.land();
    assert_eq!(product(live).await, 2);
    assert!(orders.batches.state().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn disconnected_client_cancels_no_call() {
    let (mut orders, calls) = Orders::busy().await;
    let (gone, live) = (orders.place(1).await, orders.place(2).await);
    calls.into_iter().for_each(Call::land);
    let call = orders.next_call().await;
    assert_eq!(call.products(), [1, 2]);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    call.land();
    assert_eq!(product(live).await, 2);
}

#[tokio::test(start_paused = true)]
async fn frozen_replica_delays_other_orders_briefly() {
    let (mut orders, frozen) = Orders::busy().await;
    let frozen_at = Instant::now();
    let answers = [orders.place(1).await, orders.place(2).await];
    let call = orders.next_call().await;
    assert_eq!((call.at - frozen_at, call.products()), (MAX_DELAY, vec![1, 2]));
    call.land();
    for (number, answer) in (1..).zip(answers) {
        assert_eq!(product(answer).await, number);
    }
    // They have left their places, and free none when they return.
    let mut busy = Vec::new();
    for number in 0..2 {
        drop(orders.place(number).await);
        busy.push(orders.next_call().await);
    }
    let waiting = orders.place(3).await;
    frozen.into_iter().for_each(Call::land);
    orders.assert_waiting().await;
    busy.remove(0).land();
    orders.next_call().await.land();
    assert_eq!(product(waiting).await, 3);
}

/// Answers calls after random delays, or never. Records the departure of each order.
async fn serve(
    mut calls: mpsc::UnboundedReceiver<Call>,
    departures: Arc<Mutex<Vec<(i32, Instant)>>>,
    seed: u64,
) {
    let mut random = simulator::random(seed, "db");
    let mut in_flight: Vec<(Instant, Option<Instant>)> = Vec::new();
    while let Some(call) = calls.recv().await {
        let (now, at) = (Instant::now(), call.at);
        let departed = call.products().into_iter().map(|product| (product, at));
        departures.lock().unwrap().extend(departed);
        let delay = match random.random_range(0..10) {
            0 => None,
            1 => Some(Duration::from_millis(random.random_range(50..2_000))),
            _ => Some(Duration::from_millis(random.random_range(1..20))),
        };
        let lands = delay.map(|delay| now + delay);
        in_flight.retain(|(at, lands)| *at + MAX_DELAY > now && lands.is_none_or(|at| at > now));
        in_flight.push((at, lands));
        assert!(in_flight.len() <= MAX_IN_FLIGHT, "seed {seed}: {in_flight:?}");
        let fails = random.random_bool(0.1);
        tokio::spawn(async move {
            match lands {
                Some(lands) => sleep_until(lands).await,
                None => std::future::pending().await,
            }
            if fails { call.answer(Err(DbError::DeadlineExceeded)) } else { call.land() }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn random_orders_depart_once_in_order_and_in_time() {
    for seed in 0..300 {
        let mut random = simulator::random(seed, "clients");
        let Orders { batches, calls } = Orders::new();
        let departures = Arc::default();
        let db = tokio::spawn(serve(calls, Arc::clone(&departures), seed));
        let orders = Orders { batches, calls: mpsc::unbounded_channel().1 };
        let (mut arrivals, mut answers) = (Vec::new(), Vec::new());
        for product in 0..random.random_range(1..100) {
            if random.random_bool(0.5) {
                sleep(Duration::from_millis(random.random_range(1..20))).await;
            }
            let time = Duration::from_millis(random.random_range(1..1_000));
            arrivals.push(Instant::now());
            let answer = orders.place_within(product, time).await;
            if random.random_bool(0.1) {
                let aborted = answer.abort_handle();
                let patience = Duration::from_millis(random.random_range(1..100));
                tokio::spawn(async move {
                    sleep(patience).await;
                    aborted.abort();
                });
            }
            let until = Instant::now() + time + LATE;
            answers.push(tokio::spawn(async move { (answer.await, Instant::now() <= until) }));
        }
        for (product, answer) in (0..).zip(answers) {
            let (answer, in_time) = answer.await.unwrap();
            assert!(in_time, "seed {seed}: order {product} is answered late");
            if let Ok(Ok(order)) = answer {
                assert_eq!(order.product_id, product, "seed {seed}");
            }
        }
        db.abort();
        assert!(db.await.unwrap_err().is_cancelled(), "seed {seed}: too many calls in flight");
        let departures = std::mem::take(&mut *departures.lock().unwrap());
        assert!(departures.is_sorted_by(|a, b| a.0 < b.0), "seed {seed}: {departures:?}");
        for (product, at) in departures {
            let waited = at - arrivals[usize::try_from(product).unwrap()];
            assert!(waited <= MAX_DELAY + LATE, "seed {seed}: order {product} waits {waited:?}");
        }
    }
}
