//! The start of a role: its error, and the port that it binds.

use std::{fmt, io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Maximum of connections that wait to be accepted. Beyond it, the kernel drops SYNs, and clients
/// retry after a second.
const BACKLOG: u32 = 4096;

/// An error that prevents a start, or ends a running process.
///
/// The message states what was expected, what was found and what to do. It never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(String);

impl StartError {
    /// Creates an error from a complete message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Binds `address` for `what`: `"the api (--listen)"`. The listen backlog is 4096 or the kernel's
/// limit, whichever is lower.
///
/// # Errors
/// If the address is in use, not local, or not permitted.
///
/// # Panics
/// If called outside of a tokio runtime.
#[allow(clippy::unused_async, reason = "a listener needs a runtime, which `async` ensures")]
pub async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let limit = system_limit();
    let backlog = backlog(limit);
    let listener = listen(address, backlog).map_err(|error| {
        StartError::new(format!("{what} cannot listen on {address}: {}", advice(&error, address)))
    })?;
    if backlog < BACKLOG {
        tracing::warn!(
            what,
            backlog,
            wanted = BACKLOG,
            "the system limits the listen backlog; raise net.core.somaxconn"
        );
    } else {
        tracing::info!(what, backlog, "listen backlog set");
    }
    Ok(listener)
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Allows a restart while old connections are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

fn system_limit() -> Option<u32> {
    // Linux truncates longer backlogs silently. The limit is per network namespace.
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

fn backlog(system_limit: Option<u32>) -> u32 {
    system_limit.map_or(BACKLOG, |limit| limit.clamp(1, BACKLOG))
}

fn advice(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program is listening there; stop it, or choose another address (port 0 \
            takes any free port)"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {}; choose one of its own, 127.0.0.1 for this machine \
            alone, or 0.0.0.0 for all",
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            "this user may not use that port; choose one above 1023".to_owned()
        }
        _ => format!("{error}; choose another address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn address_in_use_error_names_the_remedy() {
        let first = bind("the api (--listen)", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind("the api (--listen)", address).await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the api (--listen) cannot listen on {address}: another program is listening \
                there; stop it, or choose another address (port 0 takes any free port)"
            )
        );
    }

    #[test]
    fn backlog_is_clamped_to_the_system_limit() {
        let clamped = [None, Some(65_535), Some(4096), Some(128), Some(0)].map(backlog);
        assert_eq!(clamped, [4096, 4096, 4096, 128, 1]);
    }

    #[tokio::test]
    async fn backlog_holds_a_burst_of_connections() {
        // More than the standard library's 128, fewer than a test's file descriptors.
        let burst = 600.min(backlog(system_limit()));
        let listener = bind("a test", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connects = (0..burst).map(|_| tokio::spawn(tokio::net::TcpStream::connect(address)));
        let connects: Vec<_> = connects.collect();
        let mut open = Vec::new();
        for connect in connects {
            // A SYN that finds the queue full is retransmitted after a second.
            let connected = tokio::time::timeout(std::time::Duration::from_millis(900), connect);
            open.push(connected.await.expect("the queue is full").unwrap().unwrap());
        }
        assert_eq!(open.len(), burst as usize);
    }

    #[tokio::test]
    async fn foreign_address_error_names_the_address() {
        // TEST-NET-1 (RFC 5737).
        let error = bind("the admin server (--admin-listen)", ([192, 0, 2, 1], 0).into())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(
                "the admin server (--admin-listen) cannot listen on 192.0.2.1:0: this machine \
            has no address 192.0.2.1"
            ),
            "{error}"
        );
    }

    #[test]
    fn privileged_port_error_names_the_remedy() {
        let text =
            advice(&io::Error::from(io::ErrorKind::PermissionDenied), ([127, 0, 0, 1], 80).into());
        assert!(text.contains("above 1023"), "{text}");
    }
}
