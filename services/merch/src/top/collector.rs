//! Collects metrics from all addresses of all admin ports, and the stock from the db service.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use merch_chassis::{
    StartError,
    grpc::{
        Transport,
        replicas::{CallError, Endpoints, Idempotency, Replicas},
    },
};
use merch_contract::grpc::assistant::v1::{
    ListProductsRequest, Product, assistant_service_client::AssistantServiceClient,
    assistant_service_server::SERVICE_NAME,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::metrics::Metrics;
use crate::health::reasons;

/// Time limit of a response, below the refresh interval.
const TIMEOUT: Duration = Duration::from_millis(900);
/// Far more than the tens of kilobytes of an admin port's response.
const MAX_RESPONSE_BYTES: u64 = 4 * 1024 * 1024;
const MAX_PRODUCTS: i32 = 100;

#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) replicas: Vec<Replica>,
    /// The products, or why they are unknown.
    pub(super) products: Result<Vec<Product>, String>,
}

#[derive(Clone, Debug)]
pub(super) struct Replica {
    /// The configured address: `api:9101`.
    pub(super) name: String,
    /// `None` if the name cannot be resolved.
    pub(super) address: Option<SocketAddr>,
    pub(super) state: ReplicaState,
}

#[derive(Clone, Debug)]
pub(super) enum ReplicaState {
    Up {
        metrics: Metrics,
        readiness: Readiness,
    },
    /// The reason why there is no response.
    Down(String),
}

/// The state that `/readyz` reports, with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    Degraded(String),
    NotReady(String),
}

pub(super) struct Collector {
    admin: Vec<String>,
    db: Option<Replicas>,
}

impl Collector {
    pub(super) fn new(
        admin: Vec<String>,
        db: Option<String>,
        transport: &Transport,
    ) -> Result<Self, StartError> {
        let endpoints = db.map(|db| Endpoints::parse("db", &db, transport)).transpose()?;
        Ok(Self {
            admin,
            db: endpoints.map(|endpoints| Replicas::discover(endpoints, SERVICE_NAME)),
        })
    }

    pub(super) async fn collect(&self) -> Snapshot {
        let at = Instant::now();
        let products = async {
            let Some(db) = &self.db else {
                return Err("--db-endpoint (MERCH_DB_ENDPOINT) is not set".to_owned());
            };
            let answer = db.call(Idempotency::Safe, TIMEOUT, async |connection, left| {
                let mut request = tonic::Request::new(ListProductsRequest {
                    page_size: MAX_PRODUCTS,
                    page_token: String::new(),
                    category: None,
                });
                request.set_timeout(left);
                AssistantServiceClient::new(connection).list_products(request).await
            });
            answer.await.map(|answer| answer.into_inner().products).map_err(|error| match error {
                CallError::Failed(status) => status.message().to_owned(),
                CallError::DeadlineExceeded | CallError::NoReplica => {
                    "the db service does not respond".to_owned()
                }
            })
        };
        let (replicas, products) =
            tokio::join!(join_all(self.admin.iter().map(|name| replicas(name))), products);
        Snapshot { at, replicas: replicas.into_iter().flatten().collect(), products }
    }
}

/// Sorted, so that a replica keeps its row.
async fn replicas(name: &str) -> Vec<Replica> {
    let end = Instant::now() + TIMEOUT;
    let none = |why: String| {
        vec![Replica { name: name.to_owned(), address: None, state: ReplicaState::Down(why) }]
    };
    let mut addresses: Vec<SocketAddr> = match timeout(TIMEOUT, lookup_host(name)).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return none(format!("cannot resolve the name: {error}")),
        Err(_) => return none("name resolution timed out".to_owned()),
    };
    addresses.sort_unstable();
    addresses.dedup();
    // `localhost` has two addresses, and a program usually listens on one.
    let several = addresses.len() > 1 && addresses.iter().all(|address| address.ip().is_loopback());
    let asked = addresses.into_iter().map(|address| async move {
        Replica {
            name: name.to_owned(),
            address: Some(address),
            state: query(address, end.saturating_duration_since(Instant::now())).await,
        }
    });
    let mut replicas = join_all(asked).await;
    if several && replicas.iter().any(|replica| matches!(replica.state, ReplicaState::Up { .. })) {
        replicas.retain(|replica| matches!(replica.state, ReplicaState::Up { .. }));
    }
    replicas
}

async fn query(address: SocketAddr, limit: Duration) -> ReplicaState {
    let both = async { tokio::try_join!(get(address, "/metrics"), get(address, "/readyz")) };
    match timeout(limit, both).await {
        Ok(Ok(((200, metrics), (_, ready)))) => {
            ReplicaState::Up { metrics: Metrics::parse(&metrics), readiness: readiness(&ready) }
        }
        Ok(Ok(((status, _), _))) => {
            ReplicaState::Down(format!("/metrics returned {status}; expected an admin port"))
        }
        Ok(Err(error)) => ReplicaState::Down(error.to_string()),
        Err(_) => ReplicaState::Down("no response in time".to_owned()),
    }
}

fn readiness(body: &str) -> Readiness {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let reasons = reasons(&body);
    let reasons = if reasons.is_empty() { "no reason given".to_owned() } else { reasons };
    match (&body["ready"], body["status"].as_str()) {
        (Value::Bool(true), Some("degraded")) => Readiness::Degraded(reasons),
        (Value::Bool(true), _) => Readiness::Ready,
        _ => Readiness::NotReady(reasons),
    }
}

/// HTTP/1.0: the response is not chunked and ends with the connection.
async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut connection = TcpStream::connect(address).await?;
    connection
        .write_all(format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    connection.take(MAX_RESPONSE_BYTES).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the response is not HTTP"))?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_includes_reasons() {
        assert_eq!(readiness("{\"ready\":true}\n"), Readiness::Ready);
        let body = "{\"ready\":false,\"reasons\":[{\"part\":\"db\",\"reason\":\"starting\"},{\"part\":\"kafka\",\"reason\":\"gone\"}]}";
        assert_eq!(readiness(body), Readiness::NotReady("db: starting; kafka: gone".to_owned()));
        let body = "{\"ready\":true,\"reasons\":[{\"part\":\"events\",\"reason\":\"they wait\"}],\"status\":\"degraded\"}";
        assert_eq!(readiness(body), Readiness::Degraded("events: they wait".to_owned()));
        assert_eq!(readiness(""), Readiness::NotReady("no reason given".to_owned()));
    }

    #[tokio::test]
    async fn unreachable_roles_are_shown_as_down() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let collector = Collector::new(
            vec![free.to_string(), "no-such-host.invalid:9101".to_owned()],
            None,
            &Transport::default(),
        )
        .unwrap();
        let snapshot = collector.collect().await;
        assert_eq!(snapshot.replicas.len(), 2);
        assert!(
            snapshot.replicas.iter().all(|replica| matches!(replica.state, ReplicaState::Down(_))),
            "{snapshot:?}"
        );
        assert!(snapshot.products.is_err());
    }
}
