//! Answers to requests that were not read, and to connections that are not served.

use std::{sync::Arc, time::Duration};

use merch_chassis::tcp;
use poem::{Response, http::header};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::Semaphore, time::timeout};

use super::arrival::Fault;
use crate::{
    edge,
    problem::{Code, Problem},
};

/// Refused connections that are answered at the same time; others are closed without an answer.
const ANSWERED: usize = 64;
/// How long an answer to a refused connection may take, and how long its client to close it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Refuses connections: a few with an answer, the rest by closing them.
pub(super) struct Refusals(Arc<Semaphore>);

impl Refusals {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ANSWERED)))
    }

    /// What is left to do for a refused connection; `None` if it is closed already.
    pub(super) fn refuse(&self, stream: TcpStream) -> Option<impl Future<Output = ()> + use<>> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(async move {
            answer(stream).await;
            drop(permit);
        })
    }
}

async fn answer(mut stream: TcpStream) {
    let bytes = unavailable().await;
    if timeout(PATIENCE, stream.write_all(&bytes)).await.is_ok_and(|written| written.is_ok()) {
        tcp::close(stream, PATIENCE).await;
    }
}

/// 503, whole.
async fn unavailable() -> Vec<u8> {
    on_the_wire(edge::unread(Code::Unavailable.into()).await).await
}

/// The answer to a head that was not read to its end.
pub(super) async fn to_head(fault: Fault, header_limit: usize) -> Vec<u8> {
    let problem = match fault {
        Fault::TooLarge => Problem::headers_too_large(header_limit),
        Fault::NoMemory => return unavailable().await,
    };
    on_the_wire(edge::unread(problem).await).await
}

/// A response as HTTP/1.1 has it, the last one of its connection.
async fn on_the_wire(response: Response) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let body = body.into_vec().await.unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let (length, connection) = (header::CONTENT_LENGTH, header::CONNECTION);
    let end = format!("{length}: {}\r\n{connection}: close\r\n\r\n", body.len());
    bytes.extend_from_slice(end.as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}
