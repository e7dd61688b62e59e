//! Checks on raw connections: bytes after a response without a body, and requests without
//! `X-Request-Id`.
//!
//! Plain `http` only.

use std::time::Duration;

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::suite::{Answer, Case, Context, Failure, Requirement};

/// Silence after which the response is complete.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_RESPONSE: usize = 1024 * 1024;
/// Attempts if the product changes between two reads.
const ATTEMPTS: usize = 5;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("greet", 200, "each response has a new request id, on the wire", request_ids)
            .requires(Requirement::PlainHttp),
        Case::new("get_product", 200, "HEAD sends no body, on the wire", head)
            .requires(Requirement::PlainHttp),
        Case::new("get_product", 304, "304 sends no body, on the wire", not_modified)
            .requires(Requirement::PlainHttp)
            .serial(),
    ]
}

async fn request_ids(context: Context) -> Result<(), Failure> {
    let greeting = context.call("greet").expect(200).await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let wire = exchange(&greeting, "GET", "").await?;
        let id = wire
            .header("x-request-id")
            .ok_or_else(|| wire.fail("expected an `X-Request-Id`, as none was sent"))?
            .to_owned();
        if ids.contains(&id) {
            return Err(
                wire.fail(&format!("expected a new request id for each request, got {id:?} twice"))
            );
        }
        ids.push(id);
    }
    Ok(())
}

async fn head(context: Context) -> Result<(), Failure> {
    let product = context.product().await?;
    let read = context.call("get_product").path("product_id", product.id).expect(200).await?;
    // A response to HEAD never has a body, even 501.
    exchange(&read, "HEAD", "").await?.expect_no_body("HEAD")
}

async fn not_modified(context: Context) -> Result<(), Failure> {
    let product = context.product().await?;
    for _ in 0..ATTEMPTS {
        let read = context.call("get_product").path("product_id", product.id).expect(200).await?;
        let tag = format!("If-None-Match: {}\r\n", read.header("etag")?);
        let wire = exchange(&read, "GET", &tag).await?;
        // The product was sold in between.
        if wire.status() == Some("304") {
            return wire.expect_no_body("304");
        }
    }
    Err(Failure::new(format!(
        "expected 304 for the current `ETag`, got none in {ATTEMPTS} attempts"
    )))
}

struct Wire<'a> {
    read: &'a Answer,
    sent: String,
    head: String,
    body: Vec<u8>,
}

impl Wire<'_> {
    fn status(&self) -> Option<&str> {
        self.head.split(' ').nth(1)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
    }

    fn expect_no_body(&self, what: &str) -> Result<(), Failure> {
        if self.body.is_empty() {
            return Ok(());
        }
        Err(self.fail(&format!(
            "expected nothing after the headers, as {what} has no body (RFC 9110 §6.4.1), got {} \
             bytes, which a client reads as the next response",
            self.body.len()
        )))
    }

    fn fail(&self, message: &str) -> Failure {
        let came = format!(
            "{}\r\n\r\n{}",
            self.head,
            String::from_utf8_lossy(&self.body[..self.body.len().min(500)])
        );
        self.read.fail(format!("{message}; sent:\n{}\nreceived:\n{came}", self.sent))
    }
}

/// Sends a request without a body or `X-Request-Id`, and reads until the connection closes.
/// `headers` are complete lines.
async fn exchange<'a>(read: &'a Answer, method: &str, headers: &str) -> Result<Wire<'a>, Failure> {
    let url = Url::parse(&read.request().url).map_err(|error| Failure::new(error.to_string()))?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(Failure::new(format!("expected a URL with a host, got {url}")));
    };
    let sent = format!(
        "{method} {} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n{headers}\r\n",
        url.path()
    );
    let failed = |error: std::io::Error| {
        read.fail(format!("expected a response on a new connection, got none: {error}"))
    };
    // URLs write IPv6 addresses in brackets.
    let mut stream =
        TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(failed)?;
    stream.write_all(sent.as_bytes()).await.map_err(failed)?;
    let (mut came, mut some) = (Vec::new(), [0; 4096]);
    while came.len() < MAX_RESPONSE {
        match timeout(IDLE_TIMEOUT, stream.read(&mut some)).await {
            Ok(Ok(0)) | Err(_) => break,
            Ok(Ok(count)) => came.extend_from_slice(&some[..count]),
            // A reset after the response is tolerated.
            Ok(Err(error)) if came.is_empty() => return Err(failed(error)),
            Ok(Err(_)) => break,
        }
    }
    let Some(end) = came.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Err(read.fail(format!(
            "expected a response with headers on a new connection, got {} bytes",
            came.len()
        )));
    };
    let head = String::from_utf8_lossy(&came[..end]).into_owned();
    Ok(Wire { read, sent, head, body: came.split_off(end + 4) })
}
