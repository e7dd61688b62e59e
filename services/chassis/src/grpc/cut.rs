//! An answer that ends when the drain does, whatever of it is still to come.

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

/// What a call that is cut off is answered.
pub(super) fn cut_off() -> Status {
    Status::unavailable(
        "the server closes the connection, and this call has taken longer than its drain",
    )
}

/// A body that ends with [`cut_off`] once the token is cancelled. What was making it, a stream most
/// often, is dropped then.
pub(super) struct Cut {
    inner: Body,
    token: CancellationToken,
    /// Once there was something to wait for: most bodies are whole at once.
    waiting: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Cut {
    pub(super) fn at_end_of(token: CancellationToken, inner: Body) -> Body {
        Body::new(Self { inner, token, waiting: None })
    }
}

impl http_body::Body for Cut {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let Self { token, waiting, .. } = &mut *self;
        let waiting = waiting.get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        ready!(waiting.as_mut().poll(context));
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(cut_off().add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
