//! A server that says who called, certificates for it, and calls.

use std::{
    convert::Infallible,
    fs,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use merch_chassis::{
    Readiness,
    grpc::{
        self, Files, Listen, Listener, Peer, Role, Tls, Transport,
        replicas::{CallError, Endpoints, Kind, Replicas},
    },
    pki::{ROLE_LIFETIME, Renew, make},
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::http::{self, uri::PathAndQuery},
    server::{NamedService, UnaryService},
    service::Routes,
};
use tonic_prost::ProstCodec;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const SERVICE: &str = "test.Who";
pub(crate) const ACCESS: grpc::Access =
    &[("/test.Who/Gateway", &[Role::Api]), ("/test.Who/Both", &[Role::Api, Role::Operator])];

/// Answers with who called, as the server sees it.
#[derive(Clone)]
pub(crate) struct Who;

impl NamedService for Who {
    const NAME: &'static str = SERVICE;
}

impl UnaryService<String> for Who {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().unwrap().to_string();
        Box::pin(async move { Ok(Response::new(peer.split(" at ").next().unwrap().to_owned())) })
    }
}

impl tower::Service<http::Request<Body>> for Who {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            Ok(tonic::server::Grpc::new(ProstCodec::<String, String>::default())
                .unary(Self, request)
                .await)
        })
    }
}

/// A server; it ends with this.
pub(crate) struct Server {
    pub(crate) url: String,
    _stop: DropGuard,
}

impl Server {
    pub(crate) async fn start(at: &Listen, transport: &Transport) -> Self {
        let drain = Duration::from_secs(1);
        let limits = grpc::Limits { drain, ..grpc::Limits::default() };
        let listener = Listener::bind("the test", at, transport).await.unwrap();
        let url = listener.url(|address| address.to_string());
        let shutdown = CancellationToken::new();
        let contract = grpc::Contract {
            services: &[SERVICE],
            file_descriptor_set: tonic_health::pb::FILE_DESCRIPTOR_SET,
            access: ACCESS,
        };
        let (routes, readiness) = (Routes::new(Who), Readiness::default());
        tokio::spawn(grpc::serve(listener, routes, contract, limits, readiness, shutdown.clone()));
        Self { url, _stop: shutdown.drop_guard() }
    }

    pub(crate) async fn with_tls(files: Files) -> Self {
        Self::start(&any_port(), &tls(files)).await
    }
}

pub(crate) fn any_port() -> Listen {
    Listen::Tcp(([127, 0, 0, 1], 0).into())
}

pub(crate) fn tls(files: Files) -> Transport {
    Transport::new(Some(Tls::load(files).unwrap()), false)
}

/// An authority and the roles' certificates.
pub(crate) struct Pki(pub(crate) TempDir);

impl Pki {
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), Renew::Due, ROLE_LIFETIME).unwrap();
        Self(folder)
    }

    pub(crate) fn files(&self, role: &str) -> Files {
        let folder = self.0.path().join(role);
        Files {
            cert: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            ca: folder.join("ca.crt"),
        }
    }

    /// A copy of it, whose files can be changed apart from these.
    pub(crate) fn copy(&self) -> Self {
        let copied = tempfile::tempdir().unwrap();
        for role in ["db", "api"] {
            fs::create_dir(copied.path().join(role)).unwrap();
            for file in fs::read_dir(self.0.path().join(role)).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), copied.path().join(role).join(file.file_name())).unwrap();
            }
        }
        Self(copied)
    }
}

/// The service `of` at `url`, as `transport` reaches it.
pub(crate) fn find(of: &'static str, url: &str, transport: &Transport) -> Replicas {
    Replicas::find(Endpoints::parse(of, url, transport).unwrap(), SERVICE)
}

pub(crate) async fn call(replicas: &Replicas, method: &'static str) -> Result<String, CallError> {
    call_of(Kind::Safe, replicas, method).await
}

pub(crate) async fn call_of(
    kind: Kind,
    replicas: &Replicas,
    method: &'static str,
) -> Result<String, CallError> {
    replicas
        .call(kind, Duration::from_secs(5), |connection, left| async move {
            let mut request = Request::new(String::new());
            request.set_timeout(left);
            let mut client = tonic::client::Grpc::new(connection);
            client
                .unary(
                    request,
                    PathAndQuery::from_static(method),
                    ProstCodec::<String, String>::default(),
                )
                .await
                .map(Response::into_inner)
        })
        .await
}

pub(crate) fn code(outcome: Result<String, CallError>) -> Result<String, Code> {
    outcome.map_err(|error| match error {
        CallError::Failed(status) => status.code(),
        error @ (CallError::NoReplica | CallError::TooLate) => panic!("{error}"),
    })
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn metric(name: &str, label: &str) -> f64 {
    let families = prometheus::gather();
    let metrics = families
        .iter()
        .filter(|family| family.name() == name)
        .flat_map(|family| family.get_metric());
    let labelled =
        metrics.filter(|metric| metric.get_label().iter().all(|pair| pair.value() == label));
    labelled.map(|metric| metric.get_counter().get_value()).sum()
}
