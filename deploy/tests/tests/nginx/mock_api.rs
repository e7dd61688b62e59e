//! Mock api replicas: HTTP/1.1 servers that record requests and respond by a rule.

use std::{
    collections::HashSet,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use merch_deploy_tests::settings::free_port;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{client::read_head, dns::NameServer};

/// A request as a replica received it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The replica's index.
    pub(crate) replica: usize,
    /// The connection's number, over all replicas.
    pub(crate) connection: u64,
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of a header that occurs once.
    pub(crate) fn header(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} of {self:?}");
        all[0]
    }

    pub(crate) fn id(&self) -> &str {
        self.header("x-request-id")
    }
}

/// How a replica responds to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// 200 with these headers and this body.
    Respond(&'static str, Vec<u8>),
    /// Closes the connection, like a crashed process.
    CloseConnection,
    /// Keeps the connection open without a response, like a paused process.
    Hang,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::Respond("Content-Type: application/json\r\n", b"{}".to_vec())
    }
}

pub(crate) type Rule = dyn Fn(&Request) -> Reply + Send + Sync;

/// Replicas on loopback addresses with one port, and the DNS server that lists them.
pub(crate) struct MockReplicas {
    pub(crate) names: NameServer,
    pub(crate) port: u16,
    network: u16,
    shared: Arc<Shared>,
    running: Vec<Option<JoinHandle<()>>>,
}

struct Shared {
    rule: Box<Rule>,
    seen: Mutex<Vec<Request>>,
    connections: AtomicU64,
}

impl MockReplicas {
    /// Starts and lists `count` replicas.
    pub(crate) async fn start(
        count: usize,
        rule: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            rule: Box::new(rule),
            seen: Mutex::default(),
            connections: AtomicU64::default(),
        });
        // A random part of 127.0.0.0/8, so that concurrent tests do not collide.
        let network = rand::random_range(256..u16::MAX);
        let mut replicas = Self {
            names: NameServer::start().await,
            port: free_port().unwrap(),
            network,
            shared,
            running: Vec::new(),
        };
        for _ in 0..count {
            replicas.add().await;
        }
        replicas.list_all();
        replicas
    }

    fn address(&self, replica: usize) -> Ipv4Addr {
        let [high, low] = self.network.to_be_bytes();
        Ipv4Addr::new(127, high, low, u8::try_from(replica + 1).unwrap())
    }

    /// Starts another replica without listing it.
    pub(crate) async fn add(&mut self) -> usize {
        let replica = self.running.len();
        let listener = TcpListener::bind((self.address(replica), self.port)).await.unwrap();
        self.running.push(Some(tokio::spawn(serve(listener, replica, Arc::clone(&self.shared)))));
        replica
    }

    /// Stops a replica and closes its connections. It stays listed.
    pub(crate) async fn kill(&mut self, replica: usize) {
        let running = self.running[replica].take().unwrap();
        running.abort();
        let _ = running.await;
    }

    /// Lists all running replicas.
    pub(crate) fn list_all(&self) {
        let running = self.running.iter().enumerate().filter(|(_, running)| running.is_some());
        self.names.list(running.map(|(replica, _)| self.address(replica)).collect());
    }

    pub(crate) fn are_listed(&self) -> bool {
        self.running.iter().any(Option::is_some)
    }

    /// The requests since the last call, without health checks.
    pub(crate) fn take(&self) -> Vec<Request> {
        let mut seen = std::mem::take(&mut *self.shared.seen.lock().unwrap());
        seen.retain(|request| request.header("host") != "api");
        seen
    }

    /// The only request since the last call.
    pub(crate) fn take_one(&self) -> Request {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

impl Drop for MockReplicas {
    fn drop(&mut self) {
        self.running.iter().flatten().for_each(JoinHandle::abort);
    }
}

/// A rule: the first replica that receives a request closes the connection, the second one
/// responds.
pub(crate) fn close_on_first_attempt() -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let known = Mutex::new(HashSet::new());
    move |request| {
        let first = request.header("host") != "api"
            && known.lock().unwrap().insert(request.id().to_owned());
        if first { Reply::CloseConnection } else { Reply::ok() }
    }
}

async fn serve(listener: TcpListener, replica: usize, shared: Arc<Shared>) {
    // Dropped with this task, which closes the connections.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(connection(stream, replica, number, Arc::clone(&shared)));
    }
}

async fn connection(stream: TcpStream, replica: usize, number: u64, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some((line, headers)) = read_head(&mut stream).await {
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let mut request =
            Request { replica, connection: number, method, target, headers, body: Vec::new() };
        let Some(body) = body(&mut stream, &request).await else { return };
        request.body = body;
        shared.seen.lock().unwrap().push(request.clone());
        match (shared.rule)(&request) {
            Reply::Respond(headers, body) => {
                let head =
                    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
                let body = if request.method == "HEAD" { &[][..] } else { &body };
                if stream.get_mut().write_all(&[head.as_bytes(), body].concat()).await.is_err() {
                    return;
                }
            }
            Reply::CloseConnection => return,
            Reply::Hang => std::future::pending().await,
        }
    }
}

/// `None` if the connection ended early.
async fn body(stream: &mut BufReader<TcpStream>, request: &Request) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if let [length] = request.all("content-length")[..] {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).await.ok()?;
    } else if request.all("transfer-encoding") == ["chunked"] {
        loop {
            let size =
                usize::from_str_radix(crate::client::read_line(stream).await?.trim(), 16).unwrap();
            let from = body.len();
            body.resize(from + size, 0);
            stream.read_exact(&mut body[from..]).await.ok()?;
            crate::client::read_line(stream).await?;
            if size == 0 {
                break;
            }
        }
    }
    Some(body)
}
