//! A client that sends whatever bytes a test wants to, from whatever address of loopback.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpSocket,
};

/// The longest that NGINX may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header; `None` if it is not there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut all =
            self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let first = all.next();
        assert_eq!(all.next(), None, "{name} comes twice: {self:?}");
        first
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// One request on a connection of its own; `Connection: close` is among its headers.
pub(crate) async fn send(
    port: u16,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Answer {
    send_from(Ipv4Addr::LOCALHOST, port, method, target, headers, body).await
}

pub(crate) async fn send_from(
    from: Ipv4Addr,
    port: u16,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{length}{headers}\r\n{body}"
    );
    raw(from, port, request.as_bytes()).await
}

/// These bytes, and what comes back until the other side closes.
pub(crate) async fn raw(from: Ipv4Addr, port: u16, bytes: &[u8]) -> Answer {
    let answer = tokio::time::timeout(PATIENCE, exchange(from, port, bytes))
        .await
        .expect("an answer in time");
    answer.expect("an answer before the end of the connection")
}

/// The status of a path; `None` while nobody answers there.
pub(crate) async fn probe(port: u16, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    Some(exchange(Ipv4Addr::LOCALHOST, port, request.as_bytes()).await?.status)
}

/// `None`: the connection was refused, or ended before an answer came.
async fn exchange(from: Ipv4Addr, port: u16, bytes: &[u8]) -> Option<Answer> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.ok()?;
    let (reading, mut writing) = stream.into_split();
    let sending = async {
        // Whoever is refused early may not get rid of all of it.
        let _ = writing.write_all(bytes).await;
        std::future::pending::<()>().await
    };
    let receiving = async {
        let mut reading = BufReader::new(reading);
        let (line, headers) = read_head(&mut reading).await?;
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = Vec::new();
        let chunked =
            headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        if chunked {
            while let Some(size) = read_line(&mut reading).await {
                let from = body.len();
                body.resize(from + usize::from_str_radix(size.trim(), 16).unwrap(), 0);
                reading.read_exact(&mut body[from..]).await.unwrap();
                read_line(&mut reading).await;
            }
        } else {
            let length = headers
                .iter()
                .find(|(name, _)| name == "content-length")
                .map(|(_, length)| length.parse::<u64>().unwrap());
            // A reset after the whole answer is no fault of it.
            let read = (&mut reading).take(length.unwrap_or(u64::MAX)).read_to_end(&mut body).await;
            assert!(read.is_ok() || length == Some(body.len() as u64), "{read:?}");
        }
        Some(Answer { status, headers, body })
    };
    tokio::select! {
        answer = receiving => answer,
        () = sending => unreachable!("it never ends"),
    }
}

/// The first line and the headers; `None` at the end of the connection.
pub(crate) async fn read_head(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> Option<(String, Vec<(String, String)>)> {
    let first = read_line(stream).await?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream).await?;
        if line.is_empty() {
            return Some((first, headers));
        }
        let (name, value) = line.split_once(':').unwrap();
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// One line without its end, each byte a character; `None` at the end of the connection.
pub(crate) async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await.ok()?;
    let line = line.strip_suffix(b"\n")?;
    Some(line.strip_suffix(b"\r").unwrap_or(line).iter().copied().map(char::from).collect())
}
