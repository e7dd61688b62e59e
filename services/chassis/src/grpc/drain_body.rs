use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, http::HeaderMap},
};

pub(super) fn drain_expired() -> Status {
    Status::unavailable(
        "the server closes the connection, and this call has taken longer than its drain",
    )
}

pub(super) struct DrainBody {
    inner: Body,
    drain_end: CancellationToken,
    /// Created on the first pending poll, because most bodies are ready immediately.
    waiting: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl DrainBody {
    pub(super) fn wrap(drain_end: CancellationToken, inner: Body) -> Body {
        Body::new(Self { inner, drain_end, waiting: None })
    }
}

impl http_body::Body for DrainBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let Self { drain_end, waiting, .. } = &mut *self;
        let waiting = waiting.get_or_insert_with(|| Box::pin(drain_end.clone().cancelled_owned()));
        ready!(waiting.as_mut().poll(context));
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(
            drain_expired().add_header(&mut trailers).map(|()| Frame::trailers(trailers)),
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
