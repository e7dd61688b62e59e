use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::LazyLock, time::Duration};

use futures_util::future::join_all;
use prometheus::{IntCounterVec, register_int_counter_vec};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Io, Tls, Transport, Trust,
    handshakes::Handshakes,
    tls::{self, Side},
    unix::{self, UnixSocket},
    url_of_path,
};
use crate::{
    LogThrottle, StartError, bind, error_chain, grpc::role::Role, network::is_loopback,
    tcp::ACCEPT_RETRY_DELAY,
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_grpc_refused_connections_total",
        "Refused connections to a gRPC port: handshake (no certificate of the authority), slow \
        (handshake timed out), crowded (too many concurrent handshakes), user (another user)",
        &["reason"]
    )
    .expect("the name is registered here and nowhere else")
});

/// The address that a gRPC server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket, for processes of this user.
    Unix(PathBuf),
}

/// One or more bound sockets of a gRPC server.
#[derive(Debug)]
pub struct Listener(Vec<BoundSocket>);

#[derive(Debug)]
enum BoundSocket {
    Tcp { listener: TcpListener, tls: Option<Tls> },
    Unix(UnixSocket),
}

impl Listener {
    /// Binds `at`. `what` names the listener in errors: `"the db service (--db-listen)"`.
    ///
    /// # Errors
    /// If the address cannot be bound, or the listener would accept plaintext from other machines.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub async fn bind(
        what: &str,
        at: &ListenAddress,
        transport: &Transport,
    ) -> Result<Self, StartError> {
        match at {
            ListenAddress::Unix(path) => {
                Ok(Self(vec![BoundSocket::Unix(UnixSocket::bind(what, path)?)]))
            }
            ListenAddress::Tcp(address) => {
                if transport.tls.is_none() {
                    transport.plaintext_listener(what, *address)?;
                }
                Ok(Self(vec![BoundSocket::Tcp {
                    listener: bind(what, *address).await?,
                    tls: transport.tls.clone(),
                }]))
            }
        }
    }

    /// Combines two listeners for one server.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Returns the URL of the first socket: `unix:…`, or `http(s)://…` with the host and port that
    /// `authority` returns for its address.
    #[must_use]
    pub fn url(&self, authority: impl FnOnce(SocketAddr) -> String) -> String {
        match self.0.first() {
            Some(BoundSocket::Unix(socket)) => url_of_path(&socket.path),
            Some(BoundSocket::Tcp { listener, tls }) => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", listener.local_addr().map(authority).unwrap_or_default())
            }
            None => String::new(),
        }
    }

    /// Returns a warning if the first socket has no authentication.
    #[must_use]
    pub fn security_warning(&self) -> Option<&'static str> {
        match self.0.first() {
            Some(BoundSocket::Tcp { listener, tls: None }) => {
                Some(if listener.local_addr().is_ok_and(|address| is_loopback(address.ip())) {
                    "plaintext, no authentication: every program on this machine can call it"
                } else {
                    "plaintext, no authentication: every process on the network can call it"
                })
            }
            Some(BoundSocket::Tcp { tls: Some(_), .. } | BoundSocket::Unix(_)) | None => None,
        }
    }

    pub(in crate::grpc) fn incoming(
        self,
        shutdown: &CancellationToken,
    ) -> (mpsc::Receiver<Incoming>, impl Future<Output = ()> + use<>) {
        let (sender, receiver) = mpsc::channel(1);
        let shutdown = shutdown.clone();
        let accepting = async move {
            let each = self.0.into_iter().map(|socket| {
                let (sender, shutdown) = (sender.clone(), shutdown.clone());
                async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = socket.accept(&sender) => {}
                    }
                }
            });
            join_all(each).await;
        };
        (receiver, accepting)
    }
}

type Sender = mpsc::Sender<Incoming>;

impl BoundSocket {
    async fn accept(&self, sender: &Sender) {
        let handshakes = Handshakes::default();
        while !sender.is_closed() {
            let accepted = match self {
                Self::Unix(socket) => socket.accept(sender).await,
                Self::Tcp { listener, tls: None } => accept_plaintext(listener, sender).await,
                Self::Tcp { listener, tls: Some(tls) } => {
                    accept_tls(listener, tls, &handshakes, sender).await
                }
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "failed to accept gRPC connection; retrying");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

impl UnixSocket {
    async fn accept(&self, sender: &Sender) -> io::Result<()> {
        let (stream, _) = self.listener.accept().await?;
        if unix::is_own_user(&stream).unwrap_or(false) {
            let peer = Peer { identity: Identity::SameUser, address: None };
            send(Incoming { io: Io::Unix(stream), peer, trust: None }, sender).await;
        } else {
            record_refused("user", None, "a process of another user");
        }
        Ok(())
    }
}

async fn accept_plaintext(listener: &TcpListener, sender: &Sender) -> io::Result<()> {
    let (stream, address) = accept_tcp(listener).await?;
    let peer = Peer { identity: Identity::Unauthenticated, address: Some(address) };
    send(Incoming { io: Io::Tcp(stream), peer, trust: None }, sender).await;
    Ok(())
}

/// Accepts a connection and starts its handshake. Handshakes run concurrently, so a slow one does
/// not delay the others.
async fn accept_tls(
    listener: &TcpListener,
    tls: &Tls,
    handshakes: &Handshakes,
    sender: &Sender,
) -> io::Result<()> {
    let (stream, address) = accept_tcp(listener).await?;
    let (tls, sender) = (tls.clone(), sender.clone());
    let evicted = handshakes.start(address, |slot| async move {
        let accepted = timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await;
        drop(slot);
        match accepted {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let role = chain.first().and_then(tls::role);
                let trust = Some(Trust::new(tls, Side::Client, chain));
                let peer = Peer { identity: Identity::Certificate(role), address: Some(address) };
                let io = Io::Tls(Box::new(stream.into()));
                send(Incoming { io, peer, trust }, &sender).await;
            }
            Ok(Err(error)) => {
                record_refused("handshake", Some(address), &error_chain(error.to_string(), &error));
            }
            Err(_) => record_refused("slow", Some(address), "TLS handshake timed out"),
        }
    });
    if let Some(evicted) = evicted {
        record_refused("crowded", Some(evicted), "too many concurrent TLS handshakes");
    }
    Ok(())
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    // Nagle's algorithm could delay responses. A socket may reject the option.
    let _ = stream.set_nodelay(true);
    Ok((stream, address))
}

async fn send(incoming: Incoming, sender: &Sender) {
    let _ = sender.send(incoming).await;
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(vec![BoundSocket::Tcp { listener, tls: None }])
    }
}

fn record_refused(reason: &str, address: Option<SocketAddr>, error: &str) {
    static LOG_THROTTLE: LogThrottle = LogThrottle::new();
    REFUSED.with_label_values(&[reason]).inc();
    if let Some(connections) = LOG_THROTTLE.record() {
        tracing::warn!(
            connections,
            peer = address.map(tracing::field::display),
            reason,
            error,
            "refused gRPC connections"
        );
    }
}

#[derive(Debug)]
pub(in crate::grpc) struct Incoming {
    pub(in crate::grpc) io: Io,
    pub(in crate::grpc) peer: Peer,
    pub(in crate::grpc) trust: Option<Trust>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grpc) enum Identity {
    /// Plaintext: any process that reaches the port.
    Unauthenticated,
    SameUser,
    /// The role that the certificate names; `None` unless it names exactly one.
    Certificate(Option<Role>),
}

/// The peer of a connection, available as an extension of each of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    identity: Identity,
    address: Option<SocketAddr>,
}

impl Peer {
    /// Returns the peer's address; `None` over a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns the role in the peer's certificate; `None` without TLS.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match self.identity {
            Identity::Certificate(role) => role,
            Identity::Unauthenticated | Identity::SameUser => None,
        }
    }

    pub(in crate::grpc) fn identity(&self) -> Identity {
        self.identity
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.identity {
            Identity::Unauthenticated => formatter.write_str("an unauthenticated process")?,
            Identity::SameUser => formatter.write_str("a process of the same user")?,
            Identity::Certificate(Some(role)) => write!(formatter, "the role {role}")?,
            Identity::Certificate(None) => formatter.write_str("a certificate without a role")?,
        }
        self.address.map_or(Ok(()), |address| write!(formatter, " at {address}"))
    }
}
