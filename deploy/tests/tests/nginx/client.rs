//! A client that sends arbitrary bytes from any loopback address.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpSocket,
};

/// The limit of every exchange.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// A header's value; `None` if it is missing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut all =
            self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let first = all.next();
        assert_eq!(all.next(), None, "{name} occurs twice: {self:?}");
        first
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// Sends one request with `Connection: close`.
pub(crate) async fn send(
    port: u16,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Response {
    send_from(Ipv4Addr::LOCALHOST, port, method, target, headers, body).await
}

pub(crate) async fn send_from(
    from: Ipv4Addr,
    port: u16,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Response {
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\
         {length}{headers}\r\n{body}"
    );
    send_raw(from, port, request.as_bytes()).await
}

/// Sends these bytes and reads the response until the end of the connection.
pub(crate) async fn send_raw(from: Ipv4Addr, port: u16, bytes: &[u8]) -> Response {
    let response = tokio::time::timeout(TIMEOUT, exchange(from, port, bytes))
        .await
        .expect("a response in time");
    response.expect("a response before the end of the connection")
}

/// The status of a path; `None` if there is no response.
pub(crate) async fn probe(port: u16, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    Some(exchange(Ipv4Addr::LOCALHOST, port, request.as_bytes()).await?.status)
}

/// `None` if the connection was refused or ended before a response.
async fn exchange(from: Ipv4Addr, port: u16, bytes: &[u8]) -> Option<Response> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.ok()?;
    let (reading, mut writing) = stream.into_split();
    let sending = async {
        // NGINX may close the connection before it has read everything.
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
            // A reset after the complete response is acceptable.
            let read = (&mut reading).take(length.unwrap_or(u64::MAX)).read_to_end(&mut body).await;
            assert!(read.is_ok() || length == Some(body.len() as u64), "{read:?}");
        }
        Some(Response { status, headers, body })
    };
    tokio::select! {
        response = receiving => response,
        () = sending => unreachable!("it never ends"),
    }
}

/// Reads the first line and the headers; `None` at the end of the connection.
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

/// Reads one line without its end, each byte as a character; `None` at the end of the connection.
pub(crate) async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await.ok()?;
    let line = line.strip_suffix(b"\n")?;
    Some(line.strip_suffix(b"\r").unwrap_or(line).iter().copied().map(char::from).collect())
}
