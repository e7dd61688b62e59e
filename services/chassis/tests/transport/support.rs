use std::{fs, pin::Pin, time::Duration};

use merch_chassis::{
    Readiness,
    grpc::{
        self, ListenAddress, Listener, Peer, Role, Tls, TlsFiles, Transport,
        replicas::{CallError, Endpoints, Idempotency, Replicas},
    },
    pki::{ROLE_LIFETIME, Renew, make},
};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Code, Request, Response, Status,
    server::{NamedService, UnaryService},
    service::Routes,
};

pub(crate) use crate::unary::{TEST_TIMEOUT, until};
use crate::unary::{Unary, call_once, contract};

pub(crate) const SERVICE: &str = "test.Who";
pub(crate) const ACCESS: grpc::Access =
    &[("/test.Who/Gateway", &[Role::Api]), ("/test.Who/Both", &[Role::Api, Role::Operator])];

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

pub(crate) struct Server {
    pub(crate) url: String,
    _stop: DropGuard,
}

impl Server {
    pub(crate) async fn start(at: &ListenAddress, transport: &Transport) -> Self {
        let drain = Duration::from_secs(1);
        let limits = grpc::Limits { drain, ..grpc::Limits::default() };
        let listener = Listener::bind("the test", at, transport).await.unwrap();
        let url = listener.url(|address| address.to_string());
        let shutdown = CancellationToken::new();
        let (routes, readiness) = (Routes::new(Unary(Who)), Readiness::default());
        tokio::spawn(grpc::serve(
            listener,
            routes,
            contract(&[SERVICE], ACCESS),
            limits,
            readiness,
            shutdown.clone(),
        ));
        Self { url, _stop: shutdown.drop_guard() }
    }

    pub(crate) async fn with_tls(files: TlsFiles) -> Self {
        Self::start(&any_port(), &tls(files)).await
    }
}

pub(crate) fn any_port() -> ListenAddress {
    ListenAddress::Tcp(([127, 0, 0, 1], 0).into())
}

pub(crate) fn tls(files: TlsFiles) -> Transport {
    Transport::new(Some(Tls::load(files).unwrap()), false)
}

pub(crate) struct Pki(pub(crate) TempDir);

impl Pki {
    pub(crate) fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), Renew::Due, ROLE_LIFETIME).unwrap();
        Self(dir)
    }

    pub(crate) fn files(&self, role: &str) -> TlsFiles {
        let dir = self.0.path().join(role);
        TlsFiles { cert: dir.join("tls.crt"), key: dir.join("tls.key"), ca: dir.join("ca.crt") }
    }

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

pub(crate) fn connect(service: &'static str, url: &str, transport: &Transport) -> Replicas {
    Replicas::discover(Endpoints::parse(service, url, transport).unwrap(), SERVICE)
}

pub(crate) async fn call(replicas: &Replicas, method: &'static str) -> Result<String, CallError> {
    call_with(Idempotency::Safe, replicas, method).await
}

pub(crate) async fn call_with(
    idempotency: Idempotency,
    replicas: &Replicas,
    method: &'static str,
) -> Result<String, CallError> {
    replicas
        .call(idempotency, Duration::from_secs(5), |connection, left| async move {
            call_once(connection, left, method, "").await
        })
        .await
}

pub(crate) fn code(outcome: Result<String, CallError>) -> Result<String, Code> {
    outcome.map_err(|error| match error {
        CallError::Failed(status) => status.code(),
        error @ (CallError::NoReplica | CallError::DeadlineExceeded) => panic!("{error}"),
    })
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
