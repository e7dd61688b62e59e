//! What no HTTP client shows: bytes behind an answer that has no body, and answers to a request
//! without any `X-Request-Id`.
//!
//! Read from the connection itself, and therefore of plain `http` alone.

use std::time::Duration;

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::suite::{Answer, Case, Context, Failure, Need};

/// How long the connection may be silent before what has come is taken for everything: the server
/// was asked to close it.
const SILENCE: Duration = Duration::from_secs(3);
/// Bytes of an answer, at most.
const LONGEST: usize = 1024 * 1024;
/// How often a product is read again that was sold in between.
const ATTEMPTS: usize = 5;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "greet",
            200,
            "without a request id each answer has one of its own, on the wire",
            request_ids,
        )
        .needs(Need::PlainHttp),
        Case::new("get_product", 200, "HEAD sends no body, on the wire", head)
            .needs(Need::PlainHttp),
        Case::new("get_product", 304, "304 sends no body, on the wire", not_modified)
            .needs(Need::PlainHttp)
            .alone(),
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
            return Err(wire.fail(&format!(
                "expected a request id of its own for each request without one, got {id:?} twice"
            )));
        }
        ids.push(id);
    }
    Ok(())
}

async fn head(context: Context) -> Result<(), Failure> {
    let product = context.product().await?;
    let read = context.call("get_product").path("product_id", product.id).expect(200).await?;
    // Also of a server that knows no HEAD: no answer to it has a body.
    exchange(&read, "HEAD", "").await?.expect_no_body("HEAD")
}

async fn not_modified(context: Context) -> Result<(), Failure> {
    let product = context.product().await?;
    for _ in 0..ATTEMPTS {
        let read = context.call("get_product").path("product_id", product.id).expect(200).await?;
        let tag = format!("If-None-Match: {}\r\n", read.header("etag")?);
        let wire = exchange(&read, "GET", &tag).await?;
        // Else somebody has bought it in between.
        if wire.status() == Some("304") {
            return wire.expect_no_body("304");
        }
    }
    Err(Failure::new(format!(
        "expected 304 for the `ETag` just read, which did not come in {ATTEMPTS} attempts"
    )))
}

/// What came over a connection.
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
            "expected nothing behind the headers, as {what} has no body (RFC 9110 §6.4.1), got {} bytes, which a client takes for its next answer",
            self.body.len()
        )))
    }

    fn fail(&self, message: &str) -> Failure {
        let came = format!(
            "{}\r\n\r\n{}",
            self.head,
            String::from_utf8_lossy(&self.body[..self.body.len().min(500)])
        );
        Failure::of(
            self.read,
            format!("{message}; sent on the wire:\n{}\ncame:\n{came}", self.sent),
        )
    }
}

/// Sends a request to where an answer was read, without a body or an `X-Request-Id`, and reads
/// until the connection is closed. `headers` are whole lines.
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
        read.fail(format!(
            "expected an answer to a request on a connection of its own, got none: {error}"
        ))
    };
    // An address of IPv6 stands in brackets in a URL, and without them here.
    let mut stream =
        TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(failed)?;
    stream.write_all(sent.as_bytes()).await.map_err(failed)?;
    let (mut came, mut some) = (Vec::new(), [0; 4096]);
    while came.len() < LONGEST {
        match timeout(SILENCE, stream.read(&mut some)).await {
            Ok(Ok(0)) | Err(_) => break,
            Ok(Ok(count)) => came.extend_from_slice(&some[..count]),
            // A reset after the answer is rude, and the answer has come.
            Ok(Err(error)) if came.is_empty() => return Err(failed(error)),
            Ok(Err(_)) => break,
        }
    }
    let Some(end) = came.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Err(read.fail(format!(
            "expected an answer with headers on a connection of its own, got {} bytes",
            came.len()
        )));
    };
    let head = String::from_utf8_lossy(&came[..end]).into_owned();
    Ok(Wire { read, sent, head, body: came.split_off(end + 4) })
}
