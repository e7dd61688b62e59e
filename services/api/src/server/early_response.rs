//! Responses to requests without a parsed head, and to refused connections.

use std::{sync::Arc, time::Duration};

use merch_chassis::tcp;
use poem::{Response, http::header};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::Semaphore, time::timeout};

use crate::{
    middleware,
    problem::{Code, Problem},
    read_limit::ReadLimitError,
};

/// Responses at the same time; other refused connections are only closed.
const MAX_RESPONSES: usize = 64;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Responds 503 to refused connections, up to a limit.
pub(super) struct EarlyResponses(Arc<Semaphore>);

impl EarlyResponses {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_RESPONSES)))
    }

    /// `None` if the limit is reached.
    pub(super) fn try_respond(
        &self,
        stream: TcpStream,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(async move {
            respond(stream).await;
            drop(permit);
        })
    }
}

async fn respond(mut stream: TcpStream) {
    let bytes = unavailable().await;
    if timeout(RESPONSE_TIMEOUT, stream.write_all(&bytes))
        .await
        .is_ok_and(|written| written.is_ok())
    {
        tcp::close(stream, RESPONSE_TIMEOUT).await;
    }
}

async fn unavailable() -> Vec<u8> {
    encode(middleware::respond_unread(Code::Unavailable.into()).await).await
}

pub(super) async fn to_unread_head(error: ReadLimitError, header_limit: usize) -> Vec<u8> {
    let problem = match error {
        ReadLimitError::TooLarge => Problem::headers_too_large(header_limit),
        ReadLimitError::OutOfMemory => return unavailable().await,
    };
    encode(middleware::respond_unread(problem).await).await
}

/// With `Connection: close`.
async fn encode(response: Response) -> Vec<u8> {
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
