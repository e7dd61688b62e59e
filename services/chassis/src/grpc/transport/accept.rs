//! Accepts connections and identifies their peers.

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
    tls,
    trust::Side,
    unix::{self, UnixSocket},
    url_of_path,
};
use crate::{
    Refusals, StartError, bind, grpc::access::Role, network::is_loopback, tcp::AFTER_ERROR,
    with_causes,
};

/// The time that a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_grpc_refused_connections_total",
        "Connections to a gRPC port that were refused: handshake (no certificate of the authority), slow (the handshake took too long), crowded (too many handshakes were under way), user (of another user)",
        &["reason"]
    )
    .expect("the name is registered here and nowhere else")
});

/// Where a gRPC server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On a TCP port.
    Tcp(SocketAddr),
    /// On a Unix socket, for processes of this user.
    Unix(PathBuf),
}

/// A bound gRPC listener, or several of one server.
#[derive(Debug)]
pub struct Listener(Vec<Kind>);

#[derive(Debug)]
enum Kind {
    Tcp { listener: TcpListener, tls: Option<Tls> },
    Unix(UnixSocket),
}

impl Listener {
    /// Binds `at` for `what`, for example `"the db service (--db-listen)"`.
    ///
    /// # Errors
    /// When it cannot be bound, or would take plaintext from other machines.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn bind(what: &str, at: &Listen, transport: &Transport) -> Result<Self, StartError> {
        match at {
            Listen::Unix(path) => Ok(Self(vec![Kind::Unix(UnixSocket::bind(what, path)?)])),
            Listen::Tcp(address) => {
                if transport.tls.is_none() {
                    transport.plaintext_listener(what, *address)?;
                }
                Ok(Self(vec![Kind::Tcp {
                    listener: bind(what, *address).await?,
                    tls: transport.tls.clone(),
                }]))
            }
        }
    }

    /// Both of them, for one server.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The URL at which the first of them is reached: `http://…` or `https://…`, with the authority
    /// that `authority` makes of the bound address, or `unix:…`.
    #[must_use]
    pub fn url(&self, authority: impl FnOnce(SocketAddr) -> String) -> String {
        match self.0.first() {
            Some(Kind::Unix(socket)) => url_of_path(&socket.path),
            Some(Kind::Tcp { listener, tls }) => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", listener.local_addr().map(authority).unwrap_or_default())
            }
            None => String::new(),
        }
    }

    /// Returns what an announcement has to say beside the URL of the first of them, if its callers
    /// prove nothing.
    #[must_use]
    pub fn caution(&self) -> Option<&'static str> {
        match self.0.first() {
            Some(Kind::Tcp { listener, tls: None }) => {
                Some(if listener.local_addr().is_ok_and(|address| is_loopback(address.ip())) {
                    "plaintext, no authentication: every program on this machine can call it"
                } else {
                    "plaintext, no authentication: every process on the network can call it"
                })
            }
            Some(Kind::Tcp { tls: Some(_), .. } | Kind::Unix(_)) | None => None,
        }
    }

    /// Returns the connections, and the future that accepts them: until `shutdown` is cancelled;
    /// then the listener is closed.
    pub(in crate::grpc) fn incoming(
        self,
        shutdown: &CancellationToken,
    ) -> (mpsc::Receiver<Incoming>, impl Future<Output = ()> + use<>) {
        let (sender, receiver) = mpsc::channel(1);
        let shutdown = shutdown.clone();
        let accepting = async move {
            let each = self.0.into_iter().map(|kind| {
                let (sender, shutdown) = (sender.clone(), shutdown.clone());
                async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = kind.accept(&sender) => {}
                    }
                }
            });
            join_all(each).await;
        };
        (receiver, accepting)
    }
}

/// Connections for the server.
type Sender = mpsc::Sender<Incoming>;

impl Kind {
    /// Accepts connections until the server is gone.
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
                tracing::warn!(%error, "failed to accept a gRPC connection; retrying");
                sleep(AFTER_ERROR).await;
            }
        }
    }
}

impl UnixSocket {
    async fn accept(&self, sender: &Sender) -> io::Result<()> {
        let (stream, _) = self.listener.accept().await?;
        if unix::is_own_user(&stream).unwrap_or(false) {
            let peer = Peer { identity: Identity::SameUser, address: None };
            hand_over(Incoming { io: Io::Unix(stream), peer, trust: None }, sender).await;
        } else {
            refuse("user", None, "a process of another user");
        }
        Ok(())
    }
}

async fn accept_plaintext(listener: &TcpListener, sender: &Sender) -> io::Result<()> {
    let (stream, address) = accept_tcp(listener).await?;
    let peer = Peer { identity: Identity::Anyone, address: Some(address) };
    hand_over(Incoming { io: Io::Tcp(stream), peer, trust: None }, sender).await;
    Ok(())
}

/// Handshakes run concurrently, so that a slow one does not delay others, and in a bounded number,
/// so that connections which begin none do not take the place of others.
async fn accept_tls(
    listener: &TcpListener,
    tls: &Tls,
    handshakes: &Handshakes,
    sender: &Sender,
) -> io::Result<()> {
    let (stream, address) = accept_tcp(listener).await?;
    let (tls, sender) = (tls.clone(), sender.clone());
    let closed = handshakes.start(address, |slot| async move {
        let accepted = timeout(HANDSHAKE, tls.acceptor().accept(stream)).await;
        drop(slot);
        match accepted {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let role = chain.first().and_then(tls::role);
                let trust = Some(Trust::new(tls, Side::Client, chain));
                let peer = Peer { identity: Identity::Certificate(role), address: Some(address) };
                let io = Io::Tls(Box::new(stream.into()));
                hand_over(Incoming { io, peer, trust }, &sender).await;
            }
            Ok(Err(error)) => {
                refuse("handshake", Some(address), &with_causes(error.to_string(), &error));
            }
            Err(_) => refuse("slow", Some(address), "the handshake took too long"),
        }
    });
    if let Some(closed) = closed {
        refuse("crowded", Some(closed), "too many handshakes were under way");
    }
    Ok(())
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    // Without it an answer may wait for the acknowledgement of the one before. A socket that
    // refuses the option still works.
    let _ = stream.set_nodelay(true);
    Ok((stream, address))
}

/// The server may be gone by now, and the connection goes with it.
async fn hand_over(incoming: Incoming, sender: &Sender) {
    let _ = sender.send(incoming).await;
}

/// A plaintext listener that is bound already: for tests, on loopback.
impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(vec![Kind::Tcp { listener, tls: None }])
    }
}

/// Counts a connection that is closed without an answer, and logs it at a bounded rate.
fn refuse(reason: &str, address: Option<SocketAddr>, error: &str) {
    static REFUSALS: Refusals = Refusals::new();
    REFUSED.with_label_values(&[reason]).inc();
    if let Some(connections) = REFUSALS.one_more() {
        tracing::warn!(
            connections,
            peer = address.map(tracing::field::display),
            reason,
            error,
            "refused gRPC connections"
        );
    }
}

/// An accepted connection and its peer.
#[derive(Debug)]
pub(in crate::grpc) struct Incoming {
    pub(in crate::grpc) io: Io,
    pub(in crate::grpc) peer: Peer,
    /// Whether the peer is still trusted, if it presented a certificate.
    pub(in crate::grpc) trust: Option<Trust>,
}

/// What a caller has proved to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grpc) enum Identity {
    /// Plaintext: any process that reaches the port.
    Anyone,
    /// A process of the same user, or of root, over a Unix socket.
    SameUser,
    /// A certificate of the authority; `None` if it names no role.
    Certificate(Option<Role>),
}

/// The other end of a connection: among the extensions of each request that comes over it.
#[derive(Clone, Debug)]
pub struct Peer {
    identity: Identity,
    address: Option<SocketAddr>,
}

impl Peer {
    /// Its address; none over a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The role that its certificate names; none over plaintext and Unix sockets.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match self.identity {
            Identity::Certificate(role) => role,
            Identity::Anyone | Identity::SameUser => None,
        }
    }

    pub(in crate::grpc) fn identity(&self) -> Identity {
        self.identity
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.identity {
            Identity::Anyone => formatter.write_str("an unauthenticated process")?,
            Identity::SameUser => formatter.write_str("a process of the same user")?,
            Identity::Certificate(Some(role)) => write!(formatter, "the role {role}")?,
            Identity::Certificate(None) => formatter.write_str("a certificate without a role")?,
        }
        self.address.map_or(Ok(()), |address| write!(formatter, " at {address}"))
    }
}
