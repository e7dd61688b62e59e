//! The gRPC server over TCP: health, reflection, deadlines, drain.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use merch_chassis::{Readiness, bind, grpc};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    body::Body,
    codegen::http,
    server::NamedService,
    service::Routes,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

const TEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Slow {
    called: mpsc::UnboundedSender<()>,
    finish: CancellationToken,
    dropped: CancellationToken,
}

impl NamedService for Slow {
    const NAME: &'static str = "test.Slow";
}

impl tower::Service<http::Request<Body>> for Slow {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let slow = self.clone();
        Box::pin(async move {
            let _dropped = slow.dropped.clone().drop_guard();
            slow.called.send(()).unwrap();
            slow.finish.cancelled().await;
            Ok(Status::already_exists("finished").into_http())
        })
    }
}

struct Server {
    channel: Channel,
    readiness: Readiness,
    shutdown: CancellationToken,
    called: mpsc::UnboundedReceiver<()>,
    finish: CancellationToken,
    dropped: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(limits: grpc::Limits) -> Server {
    let listener = bind("the test service", ([127, 0, 0, 1], 0).into()).await.unwrap();
    let channel =
        Endpoint::new(format!("http://{}", listener.local_addr().unwrap())).unwrap().connect_lazy();
    let (readiness, shutdown, finish) =
        (Readiness::default(), CancellationToken::new(), CancellationToken::new());
    let dropped = CancellationToken::new();
    let (sender, called) = mpsc::unbounded_channel();
    let routes =
        Routes::new(Slow { called: sender, finish: finish.clone(), dropped: dropped.clone() });
    let contract = grpc::Contract {
        services: &["test.Slow"],
        file_descriptor_set: tonic_health::pb::FILE_DESCRIPTOR_SET,
        access: &[],
    };
    let task = tokio::spawn({
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        async move {
            grpc::serve(listener, routes, contract, limits, readiness, shutdown).await.unwrap()
        }
    });
    Server { channel, readiness, shutdown, called, finish, dropped, task }
}

impl Server {
    async fn health(&self, service: &str) -> ServingStatus {
        HealthClient::new(self.channel.clone())
            .check(HealthCheckRequest { service: service.to_owned() })
            .await
            .unwrap()
            .into_inner()
            .status()
    }

    fn call(&self) -> tokio::task::JoinHandle<Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        tokio::spawn(async move {
            client.ready().await.unwrap();
            let path = http::uri::PathAndQuery::from_static("/test.Slow/Wait");
            client
                .unary::<(), (), _>(Request::new(()), path, tonic_prost::ProstCodec::default())
                .await
                .unwrap_err()
        })
    }
}

#[tokio::test]
async fn health_follows_readiness_for_the_server_and_each_service() {
    let server = start(grpc::Limits::default()).await;
    assert_eq!(server.health("").await, ServingStatus::Serving);
    let part = server.readiness.part("database");
    let mut watched = HealthClient::new(server.channel.clone())
        .watch(HealthCheckRequest { service: "test.Slow".to_owned() })
        .await
        .unwrap()
        .into_inner();
    let mut wait_for = async |wanted: ServingStatus| {
        let wait = async { while watched.next().await.unwrap().unwrap().status() != wanted {} };
        timeout(TEST_TIMEOUT, wait).await.unwrap_or_else(|_| panic!("no {wanted:?} observed"));
    };
    wait_for(ServingStatus::NotServing).await;
    part.ready();
    wait_for(ServingStatus::Serving).await;
    assert_eq!(server.health("").await, ServingStatus::Serving);
    server.readiness.stop();
    wait_for(ServingStatus::NotServing).await;
    server.finish.cancel();
    assert_eq!(server.call().await.unwrap().code(), Code::AlreadyExists);
    server.shutdown.cancel();
}

macro_rules! listed {
    ($version:ident, $server:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let answers = ServerReflectionClient::new($server.channel.clone())
            .server_reflection_info(tokio_stream::iter([request]))
            .await;
        match answers {
            Err(status) => Err(status.code()),
            Ok(answers) => {
                match answers.into_inner().next().await.unwrap().unwrap().message_response {
                    Some(MessageResponse::ListServicesResponse(list)) => {
                        Ok(list.service.into_iter().map(|service| service.name).collect::<Vec<_>>())
                    }
                    answer => panic!("{answer:?}"),
                }
            }
        }
    }};
}

#[tokio::test]
async fn reflection_is_optional_and_lists_services_in_both_versions() {
    let server = start(grpc::Limits::default()).await;
    assert_eq!(listed!(v1, server), Err(Code::Unimplemented));
    assert_eq!(listed!(v1alpha, server), Err(Code::Unimplemented));
    let server = start(grpc::Limits { reflection: true, ..grpc::Limits::default() }).await;
    for names in [listed!(v1, server).unwrap(), listed!(v1alpha, server).unwrap()] {
        assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
    }
}

#[tokio::test]
async fn server_deadline_applies_without_grpc_timeout() {
    let server =
        start(grpc::Limits { deadline: Duration::from_millis(50), ..grpc::Limits::default() })
            .await;
    let status = timeout(TEST_TIMEOUT, server.call()).await.unwrap().unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}

#[tokio::test]
async fn shutdown_waits_for_calls_in_flight() {
    let mut server = start(grpc::Limits::default()).await;
    let call = server.call();
    timeout(TEST_TIMEOUT, server.called.recv()).await.unwrap().unwrap();
    server.shutdown.cancel();
    tokio::task::yield_now().await;
    assert!(!server.task.is_finished());
    server.finish.cancel();
    assert_eq!(call.await.unwrap().code(), Code::AlreadyExists);
    timeout(TEST_TIMEOUT, server.task).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn call_finishes_on_a_connection_past_its_age() {
    let age = Duration::from_millis(50);
    let limits = grpc::Limits { connection_age: age, ..grpc::Limits::default() };
    let mut server = start(limits).await;
    let call = server.call();
    timeout(TEST_TIMEOUT, server.called.recv()).await.unwrap().unwrap();
    sleep(4 * age).await;
    assert!(!call.is_finished());
    server.finish.cancel();
    assert_eq!(timeout(TEST_TIMEOUT, call).await.unwrap().unwrap().code(), Code::AlreadyExists);
}

#[tokio::test]
async fn calls_that_outlast_the_drain_get_unavailable() {
    let short = Duration::from_millis(100);
    let server =
        start(grpc::Limits { connection_age: short, drain: short, ..grpc::Limits::default() })
            .await;
    let request = HealthCheckRequest { service: "test.Slow".to_owned() };
    let mut client = HealthClient::new(server.channel.clone());
    let mut stream = client.watch(request).await.unwrap().into_inner();
    let call = server.call();
    let last = async {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                ended => break ended,
            }
        }
    };
    let status = timeout(TEST_TIMEOUT, last).await.unwrap().expect("a status").unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(timeout(TEST_TIMEOUT, call).await.unwrap().unwrap().code(), Code::Unavailable);
    timeout(TEST_TIMEOUT, server.dropped.cancelled()).await.expect("the call is dropped");
    assert_eq!(server.health("").await, ServingStatus::Serving);
}

#[tokio::test]
async fn drain_is_bounded() {
    let drain = Duration::from_millis(100);
    let mut server = start(grpc::Limits { drain, ..grpc::Limits::default() }).await;
    let call = server.call();
    let request = HealthCheckRequest { service: "test.Slow".to_owned() };
    let mut stream =
        HealthClient::new(server.channel.clone()).watch(request).await.unwrap().into_inner();
    timeout(TEST_TIMEOUT, server.called.recv()).await.unwrap().unwrap();
    let before = Instant::now();
    server.shutdown.cancel();
    timeout(TEST_TIMEOUT, server.task).await.expect("the server ends").unwrap();
    assert!(before.elapsed() >= drain);
    assert!(server.dropped.is_cancelled());
    assert_eq!(timeout(TEST_TIMEOUT, call).await.unwrap().unwrap().code(), Code::Unavailable);
    let last = async {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                ended => break ended,
            }
        }
    };
    let status =
        timeout(TEST_TIMEOUT, last).await.unwrap().expect("a status, and no mere end").unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::Unavailable,
            "the server closes the connection, and this call has taken longer than its drain"
        )
    );
}
