use std::time::{Duration, Instant};

use merch_chassis::grpc::replicas::{Idempotency, Replicas};
use tonic::{
    Request,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::support::{DEADLINE, Server, echo, replicas};

const CALLERS: usize = 16;
const ROUND_DURATION: Duration = Duration::from_secs(1);

async fn rate<C: Clone + Send + 'static, A: Future<Output = ()> + Send + 'static>(
    client: &C,
    call: fn(C) -> A,
) -> u32 {
    let until = Instant::now() + ROUND_DURATION;
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut calls = 0;
                while Instant::now() < until {
                    call(client.clone()).await;
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let mut all = 0;
    for caller in callers {
        all += caller.await.unwrap();
    }
    all
}

async fn by_channel(channel: Channel) {
    let mut request = Request::new(String::new());
    request.set_timeout(DEADLINE);
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Echo/Call");
    tokio::time::timeout(
        DEADLINE,
        client.unary(request, path, ProstCodec::<String, String>::default()),
    )
    .await
    .unwrap()
    .unwrap();
}

async fn by_replicas(replicas: Replicas) {
    replicas
        .call(Idempotency::Safe, DEADLINE, |connection, left| echo(connection, left, ""))
        .await
        .unwrap();
}

/// Alternates between both clients, so that load on the machine affects both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measurement: run with --ignored --nocapture"]
async fn single_address_overhead() {
    let server = Server::start().await;
    let replicas = replicas([server.address]).await;
    let channel = Endpoint::from_shared(format!("http://{}", server.address))
        .unwrap()
        .tcp_nodelay(true)
        .connect_lazy();
    let (mut before, mut after) = (0, 0);
    for _ in 0..5 {
        before += rate(&channel, by_channel).await;
        after += rate(&replicas, by_replicas).await;
    }
    println!(
        "calls in five seconds: tonic's channel {before}, replicas {after}: {:.2}",
        f64::from(after) / f64::from(before)
    );
}
