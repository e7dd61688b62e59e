//! Where the numbers come from: the admin port of every address of every name, and the catalogue.
//! Whatever does not answer in time is told as such.

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

use super::metrics::Numbers;
use crate::health::reasons;

/// For everything together: one that is stuck must not stop the clock.
const PATIENCE: Duration = Duration::from_millis(900);
/// An answer of an admin port is some ten kilobytes.
const LONGEST: u64 = 4 * 1024 * 1024;
/// Products that are shown, at most.
const PRODUCTS: i32 = 100;

/// All that was seen at one time.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) replicas: Vec<Replica>,
    /// Or why it is not known.
    pub(super) products: Result<Vec<Product>, String>,
}

/// One address of one name.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    /// As it was given: `api:9101`.
    pub(super) name: String,
    /// `None` if the name has no address now.
    pub(super) address: Option<SocketAddr>,
    pub(super) state: State,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    Up {
        numbers: Numbers,
        readiness: Readiness,
    },
    /// It does not answer, and why.
    Down(String),
}

/// What `/readyz` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    /// It works, and something behind it does not: why.
    Degraded(String),
    /// Why.
    NotReady(String),
}

pub(super) struct Sources {
    admin: Vec<String>,
    db: Option<Replicas>,
}

impl Sources {
    /// # Errors
    /// When the db service's address cannot be used.
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

    /// Asks everybody, side by side.
    pub(super) async fn look(&self) -> Seen {
        let at = Instant::now();
        let products = async {
            let Some(db) = &self.db else {
                return Err("--db-endpoint (MERCH_DB_ENDPOINT) is not set".to_owned());
            };
            let answer = db.call(Idempotency::Safe, PATIENCE, async |connection, left| {
                let mut request = tonic::Request::new(ListProductsRequest {
                    page_size: PRODUCTS,
                    page_token: String::new(),
                    category: None,
                });
                request.set_timeout(left);
                AssistantServiceClient::new(connection).list_products(request).await
            });
            answer.await.map(|answer| answer.into_inner().products).map_err(|error| match error {
                CallError::Failed(status) => status.message().to_owned(),
                CallError::DeadlineExceeded | CallError::NoReplica => {
                    "the db service does not answer".to_owned()
                }
            })
        };
        let (replicas, products) =
            tokio::join!(join_all(self.admin.iter().map(|name| replicas(name))), products);
        Seen { at, replicas: replicas.into_iter().flatten().collect(), products }
    }
}

/// Every address of a name, in order, so that a replica keeps its line.
async fn replicas(name: &str) -> Vec<Replica> {
    let end = Instant::now() + PATIENCE;
    let none = |why: String| {
        vec![Replica { name: name.to_owned(), address: None, state: State::Down(why) }]
    };
    let mut addresses: Vec<SocketAddr> = match timeout(PATIENCE, lookup_host(name)).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return none(format!("the name has no address: {error}")),
        Err(_) => return none("the name's addresses are not told in time".to_owned()),
    };
    addresses.sort_unstable();
    addresses.dedup();
    // `localhost` has two, and a program usually listens on one of them.
    let several = addresses.len() > 1 && addresses.iter().all(|address| address.ip().is_loopback());
    let asked = addresses.into_iter().map(|address| async move {
        Replica {
            name: name.to_owned(),
            address: Some(address),
            state: ask(address, end.saturating_duration_since(Instant::now())).await,
        }
    });
    let mut replicas = join_all(asked).await;
    if several && replicas.iter().any(|replica| matches!(replica.state, State::Up { .. })) {
        replicas.retain(|replica| matches!(replica.state, State::Up { .. }));
    }
    replicas
}

async fn ask(address: SocketAddr, patience: Duration) -> State {
    let both = async { tokio::try_join!(get(address, "/metrics"), get(address, "/readyz")) };
    match timeout(patience, both).await {
        Ok(Ok(((200, metrics), (_, ready)))) => {
            State::Up { numbers: Numbers::parse(&metrics), readiness: readiness(&ready) }
        }
        Ok(Ok(((status, _), _))) => {
            State::Down(format!("/metrics is answered with {status}: is it an admin port?"))
        }
        Ok(Err(error)) => State::Down(error.to_string()),
        Err(_) => State::Down("no answer in time".to_owned()),
    }
}

fn readiness(body: &str) -> Readiness {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let reasons = reasons(&body);
    let reasons = if reasons.is_empty() { "it does not say why".to_owned() } else { reasons };
    match (&body["ready"], body["status"].as_str()) {
        (Value::Bool(true), Some("degraded")) => Readiness::Degraded(reasons),
        (Value::Bool(true), _) => Readiness::Ready,
        _ => Readiness::NotReady(reasons),
    }
}

/// HTTP/1.0, so that the answer comes in one piece and ends with the connection.
async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut connection = TcpStream::connect(address).await?;
    connection
        .write_all(format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    connection.take(LONGEST).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "what answers there does not speak HTTP")
    })?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told() {
        assert_eq!(readiness("{\"ready\":true}\n"), Readiness::Ready);
        let body = "{\"ready\":false,\"reasons\":[{\"part\":\"db\",\"reason\":\"starting\"},{\"part\":\"kafka\",\"reason\":\"gone\"}]}";
        assert_eq!(readiness(body), Readiness::NotReady("db: starting; kafka: gone".to_owned()));
        let body = "{\"ready\":true,\"reasons\":[{\"part\":\"events\",\"reason\":\"they wait\"}],\"status\":\"degraded\"}";
        assert_eq!(readiness(body), Readiness::Degraded("events: they wait".to_owned()));
        assert_eq!(readiness(""), Readiness::NotReady("it does not say why".to_owned()));
    }

    #[tokio::test]
    async fn nobody_there_is_told_and_no_error() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let sources = Sources::new(
            vec![free.to_string(), "no-such-host.invalid:9101".to_owned()],
            None,
            &Transport::default(),
        )
        .unwrap();
        let seen = sources.look().await;
        assert_eq!(seen.replicas.len(), 2);
        assert!(
            seen.replicas.iter().all(|replica| matches!(replica.state, State::Down(_))),
            "{seen:?}"
        );
        assert!(seen.products.is_err());
    }
}
