//! The shipping client with several logging services, of which one dies, vanishes or goes down.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use merch_chassis::grpc::replicas::Replicas;
use merch_logging::{client::ShipOptions, server::embedded::Embedded};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::{
    shipping::{Fake, Seen},
    support::{
        DEADLINE, MemorySource, Service, Shipping, TOPIC, config, event, events, numbers, quick,
        records, replicas, until,
    },
};

/// What stands between a sender and a service: it can end, and it can fall silent while its
/// connections stand, as those to a paused process do.
struct Way {
    address: SocketAddr,
    silent: CancellationToken,
    ended: CancellationToken,
}

impl Way {
    async fn to(service: SocketAddr) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), service).await
    }

    async fn at(address: SocketAddr, service: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, silent, ended) =
            (listener.local_addr().unwrap(), CancellationToken::new(), CancellationToken::new());
        tokio::spawn({
            let (silent, ended) = (silent.clone(), ended.clone());
            async move {
                while let Some(accepted) = ended.run_until_cancelled(listener.accept()).await {
                    let (sender, receiver) =
                        (accepted.unwrap().0, TcpStream::connect(service).await.unwrap());
                    let ((from_sender, to_sender), (from_receiver, to_receiver)) =
                        (sender.into_split(), receiver.into_split());
                    let both = [(from_sender, to_receiver), (from_receiver, to_sender)];
                    for (from, to) in both {
                        tokio::spawn(ended.clone().run_until_cancelled_owned(carry(
                            from,
                            to,
                            silent.clone(),
                        )));
                    }
                }
            }
        });
        Self { address, silent, ended }
    }
}

async fn carry(
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

/// The replicas at these addresses, all of them serving.
async fn serving(addresses: &[SocketAddr]) -> Replicas {
    let replicas = replicas(addresses);
    until("all serve", || replicas.serving() == addresses.len()).await;
    replicas
}

/// Two services that acknowledge everything, each at the end of a way, and a sender with a stream
/// to one of them.
struct Two {
    ways: [Way; 2],
    seen: [Arc<Mutex<Seen>>; 2],
    source: MemorySource,
    shipping: Shipping,
}

impl Two {
    async fn start() -> Self {
        let (one, seen_one) = Fake::start(|_, request| Ok(Some(request.sequence))).await;
        let (other, seen_other) = Fake::start(|_, request| Ok(Some(request.sequence))).await;
        let ways = [Way::to(one).await, Way::to(other).await];
        let source = MemorySource::default();
        // The times of the store, but for those between attempts.
        let options = ShipOptions { acknowledge_timeout: Duration::from_secs(30), ..quick() };
        let both = serving(&ways.each_ref().map(|way| way.address)).await;
        let shipping = Shipping::start_to(source.clone(), both, options);
        source.push(events(0..100));
        source.all_acknowledged().await;
        Self { ways, seen: [seen_one, seen_other], source, shipping }
    }

    /// Which of the two has the stream.
    fn used(&self) -> usize {
        let streams: Vec<usize> =
            self.seen.iter().map(|seen| seen.lock().unwrap().streams).collect();
        assert_eq!(streams.iter().sum::<usize>(), 1, "one stream, and it stays: {streams:?}");
        streams.iter().position(|streams| *streams == 1).unwrap()
    }

    /// Events come all the while; `end` ends the way to the one that is used. How long it took
    /// until the other one had taken them over.
    async fn lose(self, end: impl FnOnce(&Way)) -> Duration {
        let used = self.used();
        end(&self.ways[used]);
        let begun = Instant::now();
        let mut number = 100;
        while self.seen[1 - used].lock().unwrap().taken.is_empty() {
            assert!(begun.elapsed() < DEADLINE, "nothing came to the other one");
            self.source.push([event(number)]);
            number += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = begun.elapsed();
        self.source.all_acknowledged().await;
        let taken: HashSet<usize> =
            self.seen.iter().flat_map(|seen| numbers(&seen.lock().unwrap().taken)).collect();
        assert_eq!(taken.len(), number, "nothing is lost");
        self.shipping.drain().await;
        took
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_dies_is_left_at_once() {
    let took = Two::start().await.lose(|way| way.ended.cancel()).await;
    println!("died: the other one had its events after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_silent_is_left_within_two_seconds() {
    let took = Two::start().await.lose(|way| way.silent.cancel()).await;
    println!("silent: the other one had its events after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_goes_down_finishes_what_it_has_and_nothing_is_sent_twice() {
    let broker = Embedded::start(TOPIC, 2).unwrap();
    let mut services = vec![
        Service::start(config(broker.bootstrap_servers())).await,
        Service::start(config(broker.bootstrap_servers())).await,
    ];
    for service in &services {
        service.readiness.ready().await;
    }
    let source = MemorySource::default();
    let addresses: Vec<SocketAddr> = services.iter().map(|service| service.address).collect();
    let replicas = serving(&addresses).await;
    let shipping = Shipping::start_to(source.clone(), replicas.clone(), quick());
    let mut next = 0;
    let mut push = |count: usize| {
        source.push(events(next..next + count));
        next += count;
    };
    push(1000);
    // SIGTERM to each of them in turn, whichever has the stream, while events come.
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

/// Has each sender send an event: which of them came to the first service.
async fn on_first(
    senders: &[(MemorySource, Shipping)],
    first: &Mutex<Seen>,
    round: usize,
) -> HashSet<usize> {
    for (index, (source, _)) in senders.iter().enumerate() {
        source.push([event(round * 1000 + index)]);
    }
    for (source, _) in senders {
        source.all_acknowledged().await;
    }
    let taken = numbers(&first.lock().unwrap().taken);
    taken.into_iter().filter(|number| number / 1000 == round).map(|number| number % 1000).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_are_spread_and_come_back_to_the_one_they_prefer() {
    let (one, seen_one) = Fake::start(|_, request| Ok(Some(request.sequence))).await;
    let (other, _seen_other) = Fake::start(|_, request| Ok(Some(request.sequence))).await;
    let way = Way::to(one).await;
    let both = serving(&[way.address, other]).await;
    let senders: Vec<(MemorySource, Shipping)> = (0..40)
        .map(|_| {
            let source = MemorySource::default();
            (source.clone(), Shipping::start_to(source, both.clone(), quick()))
        })
        .collect();
    // On a busy machine a replica may be taken for silent for a moment, and its senders go to the
    // other: what they prefer is where they stay.
    let mut round = 0;
    let mut before = on_first(&senders, &seen_one, round).await;
    let mut the_same = 0;
    while the_same < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        round += 1;
        let now = on_first(&senders, &seen_one, round).await;
        the_same = if now == before { the_same + 1 } else { 0 };
        before = now;
    }
    assert!((8..=32).contains(&before.len()), "of 40 senders {} chose the first", before.len());

    let address = way.address;
    way.ended.cancel();
    until("the first is out", || both.serving() == 1).await;
    round += 1;
    assert_eq!(on_first(&senders, &seen_one, round).await.len(), 0);
    let _way = Way::at(address, one).await;
    round += 1;
    let begun = Instant::now();
    while on_first(&senders, &seen_one, round).await != before {
        assert!(begun.elapsed() < DEADLINE, "not all are back where they were");
        round += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (_, shipping) in senders {
        shipping.drain().await;
    }
}
