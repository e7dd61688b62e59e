//! A client for HTTP/1.1 with one connection, which costs little beside the store.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

const MAX_HEADERS: usize = 64;

/// A kept connection, with the bytes that it has carried.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// A response in the buffer of its connection.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Response<'_> {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.body).into_owned()
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connection to {address} failed"))?;
        Self::on(stream)
    }

    /// Connects from a loopback address of this number's own: the store limits log-ins of one
    /// network.
    pub(crate) async fn open_from(number: usize, address: SocketAddr) -> Result<Self> {
        let octet = |value: usize| u8::try_from(value % 250 + 1).unwrap_or(1);
        let own = [127, octet(number / 250), octet(number), 1];
        let socket = TcpSocket::new_v4()?;
        socket.bind((own, 0).into()).context("an address of 127.0.0.0/8")?;
        Self::on(socket.connect(address).await?)
    }

    fn on(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 * 1024), sent: 0, received: 0 })
    }

    /// Sends a whole request and reads its response.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<Response<'_>> {
        self.buffer.clear();
        self.stream.write_all(request).await.context("a request was not sent")?;
        self.sent += request.len() as u64;
        let head = loop {
            let read = self.stream.read_buf(&mut self.buffer).await.context("no response")?;
            ensure!(read > 0, "the store closed the connection instead of a response");
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
        };
        let length = head.length + head.body;
        while self.buffer.len() < length {
            let read = self.stream.read_buf(&mut self.buffer).await.context("half a response")?;
            ensure!(read > 0, "the store closed the connection inside a response");
        }
        self.received += self.buffer.len() as u64;
        let (headers, body) = self.buffer.split_at(head.length);
        Ok(Response { status: head.status, headers, body })
    }
}

#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    /// The length of status line and headers, and of the body.
    length: usize,
    body: usize,
}

impl Head {
    /// Returns `None` if the head is not complete.
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
        let status = response.code.context("a response without a status")?;
        let header = |name: &str| {
            let mut headers = response.headers.iter();
            headers.find(|header| header.name.eq_ignore_ascii_case(name)).map(|it| it.value)
        };
        if header("transfer-encoding").is_some() {
            bail!("expected a response with Content-Length, got Transfer-Encoding");
        }
        let body = match header("content-length") {
            Some(value) => std::str::from_utf8(value)?.trim().parse()?,
            None if status == 204 || status == 304 => 0,
            None => bail!("expected a response with Content-Length, status {status} has none"),
        };
        Ok(Some(Self { status, length, body }))
    }
}

/// Returns a request. `headers` are whole lines, each with its line break.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length =
        if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    format!("{method} {path} HTTP/1.1\r\nHost: store\r\n{headers}{kind}{length}\r\n{body}")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_parsed_when_it_is_complete() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(Head::parse(&whole[..30]).unwrap(), None);
        assert_eq!(
            Head::parse(whole).unwrap(),
            Some(Head { status: 201, length: whole.len() - 2, body: 2 })
        );
        let empty = b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n";
        assert_eq!(Head::parse(empty).unwrap().unwrap().body, 0);
    }

    #[test]
    fn response_without_a_length_is_an_error() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(Head::parse(chunked).is_err());
    }

    #[test]
    fn request_has_the_length_of_its_body() {
        let text = String::from_utf8(request("POST", "/orders", "A: b\r\n", "{}")).unwrap();
        assert_eq!(
            text,
            "POST /orders HTTP/1.1\r\nHost: store\r\nA: b\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\n\r\n{}"
        );
        let text = String::from_utf8(request("GET", "/", "", "")).unwrap();
        assert_eq!(text, "GET / HTTP/1.1\r\nHost: store\r\n\r\n");
    }
}
