use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use merch_chassis::grpc::replicas::Replicas;
use merch_logging::{client::ShipOptions, server::embedded::EmbeddedBroker};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::{
    shipping::{FakeService, FakeState},
    support::{
        DEADLINE, MemorySource, Service, Shipping, TOPIC, config, event, events, fast_options,
        numbers, records, replicas, until,
    },
};

/// Can close its connections, or stop forwarding like a paused process.
struct TcpProxy {
    address: SocketAddr,
    silent: CancellationToken,
    closed: CancellationToken,
}

impl TcpProxy {
    async fn to(service: SocketAddr) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), service).await
    }

    async fn at(address: SocketAddr, service: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, silent, closed) =
            (listener.local_addr().unwrap(), CancellationToken::new(), CancellationToken::new());
        tokio::spawn({
            let (silent, closed) = (silent.clone(), closed.clone());
            async move {
                while let Some(accepted) = closed.run_until_cancelled(listener.accept()).await {
                    let (sender, receiver) =
                        (accepted.unwrap().0, TcpStream::connect(service).await.unwrap());
                    let ((from_sender, to_sender), (from_receiver, to_receiver)) =
                        (sender.into_split(), receiver.into_split());
                    let both = [(from_sender, to_receiver), (from_receiver, to_sender)];
                    for (from, to) in both {
                        tokio::spawn(closed.clone().run_until_cancelled_owned(forward(
                            from,
                            to,
                            silent.clone(),
                        )));
                    }
                }
            }
        });
        Self { address, silent, closed }
    }
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    silent: CancellationToken,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if silent.is_cancelled() {
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

async fn serving_replicas(addresses: &[SocketAddr]) -> Replicas {
    let replicas = replicas(addresses);
    until("all serve", || replicas.serving() == addresses.len()).await;
    replicas
}

/// Two replicas, each behind a proxy, and a sender with a stream to one of them.
struct TwoReplicas {
    proxies: [TcpProxy; 2],
    state: [Arc<Mutex<FakeState>>; 2],
    source: MemorySource,
    shipping: Shipping,
}

impl TwoReplicas {
    async fn start() -> Self {
        let (one, state_one) = FakeService::start(|_, request| Ok(Some(request.sequence))).await;
        let (other, state_other) =
            FakeService::start(|_, request| Ok(Some(request.sequence))).await;
        let proxies = [TcpProxy::to(one).await, TcpProxy::to(other).await];
        let source = MemorySource::default();
        // The store's timeout, with short retry delays.
        let options =
            ShipOptions { acknowledge_timeout: Duration::from_secs(30), ..fast_options() };
        let both = serving_replicas(&proxies.each_ref().map(|proxy| proxy.address)).await;
        let shipping = Shipping::start_to(source.clone(), both, options);
        source.push(events(0..100));
        source.all_acknowledged().await;
        Self { proxies, state: [state_one, state_other], source, shipping }
    }

    fn active(&self) -> usize {
        let streams: Vec<usize> =
            self.state.iter().map(|state| state.lock().unwrap().streams).collect();
        assert_eq!(streams.iter().sum::<usize>(), 1, "expected one stream: {streams:?}");
        streams.iter().position(|streams| *streams == 1).unwrap()
    }

    /// Sends events while `end` fails the active replica. Returns the time until the other one
    /// received events.
    async fn fail_over(self, end: impl FnOnce(&TcpProxy)) -> Duration {
        let active = self.active();
        end(&self.proxies[active]);
        let started = Instant::now();
        let mut number = 100;
        while self.state[1 - active].lock().unwrap().acknowledged.is_empty() {
            assert!(started.elapsed() < DEADLINE, "the other replica received no events");
            self.source.push([event(number)]);
            number += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let elapsed = started.elapsed();
        self.source.all_acknowledged().await;
        let acknowledged: HashSet<usize> = self
            .state
            .iter()
            .flat_map(|state| numbers(&state.lock().unwrap().acknowledged))
            .collect();
        assert_eq!(acknowledged.len(), number, "no event is lost");
        self.shipping.drain().await;
        elapsed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connection_fails_over_within_a_second() {
    let elapsed = TwoReplicas::start().await.fail_over(|proxy| proxy.closed.cancel()).await;
    println!("closed: failed over after {elapsed:?}");
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_replica_fails_over_within_two_seconds() {
    let elapsed = TwoReplicas::start().await.fail_over(|proxy| proxy.silent.cancel()).await;
    println!("silent: failed over after {elapsed:?}");
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_replica_causes_no_duplicates() {
    let broker = EmbeddedBroker::start(TOPIC, 2).unwrap();
    let mut services = vec![
        Service::start(config(broker.bootstrap_servers())).await,
        Service::start(config(broker.bootstrap_servers())).await,
    ];
    for service in &services {
        service.readiness.ready().await;
    }
    let source = MemorySource::default();
    let addresses: Vec<SocketAddr> = services.iter().map(|service| service.address).collect();
    let replicas = serving_replicas(&addresses).await;
    let shipping = Shipping::start_to(source.clone(), replicas.clone(), fast_options());
    let mut next = 0;
    let mut push = |count: usize| {
        source.push(events(next..next + count));
        next += count;
    };
    push(1000);
    for _ in 0..2 {
        let service = services.remove(0);
        let address = service.address;
        service.readiness.stop();
        while replicas.serving() == 2 {
            push(50);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        push(1000);
        source.all_acknowledged().await;
        service.stop().await;
        let service = Service::start_at(address, config(broker.bootstrap_servers())).await;
        service.readiness.ready().await;
        until("both serve", || replicas.serving() == 2).await;
        services.push(service);
    }
    shipping.drain().await;
    let events: Vec<_> = records(broker.bootstrap_servers())
        .await
        .into_iter()
        .map(|record| *record.event.unwrap())
        .collect();
    assert_eq!(events.len(), next, "each event is on the topic once");
    for service in services {
        service.stop().await;
    }
}

/// Returns the senders whose event reached the first replica.
async fn senders_on_first(
    senders: &[(MemorySource, Shipping)],
    first: &Mutex<FakeState>,
    round: usize,
) -> HashSet<usize> {
    for (index, (source, _)) in senders.iter().enumerate() {
        source.push([event(round * 1000 + index)]);
    }
    for (source, _) in senders {
        source.all_acknowledged().await;
    }
    let acknowledged = numbers(&first.lock().unwrap().acknowledged);
    acknowledged
        .into_iter()
        .filter(|number| number / 1000 == round)
        .map(|number| number % 1000)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_are_balanced_and_return_to_their_preferred_replica() {
    let (one, state_one) = FakeService::start(|_, request| Ok(Some(request.sequence))).await;
    let (other, _state_other) = FakeService::start(|_, request| Ok(Some(request.sequence))).await;
    let proxy = TcpProxy::to(one).await;
    let both = serving_replicas(&[proxy.address, other]).await;
    let senders: Vec<(MemorySource, Shipping)> = (0..40)
        .map(|_| {
            let source = MemorySource::default();
            (source.clone(), Shipping::start_to(source, both.clone(), fast_options()))
        })
        .collect();
    // On a busy machine a replica may seem silent for a moment; wait until the distribution is
    // stable.
    let mut round = 0;
    let mut before = senders_on_first(&senders, &state_one, round).await;
    let mut unchanged_rounds = 0;
    while unchanged_rounds < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        round += 1;
        let now = senders_on_first(&senders, &state_one, round).await;
        unchanged_rounds = if now == before { unchanged_rounds + 1 } else { 0 };
        before = now;
    }
    assert!(
        (8..=32).contains(&before.len()),
        "{} of 40 senders use the first replica",
        before.len()
    );

    let address = proxy.address;
    proxy.closed.cancel();
    until("the first replica is not serving", || both.serving() == 1).await;
    round += 1;
    assert_eq!(senders_on_first(&senders, &state_one, round).await.len(), 0);
    let _proxy = TcpProxy::at(address, one).await;
    round += 1;
    let started = Instant::now();
    while senders_on_first(&senders, &state_one, round).await != before {
        assert!(
            started.elapsed() < DEADLINE,
            "some senders did not return to their preferred \
             replica"
        );
        round += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (_, shipping) in senders {
        shipping.drain().await;
    }
}
