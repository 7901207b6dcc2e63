//! Request bodies: read as text within the limits, or discarded so that the client
//! can still read its answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::config::Limits;
use crate::error::{Code, Failure};

/// The body of a request, from a socket or from another HTTP server of this process.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// The reason that a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Its connection failed.
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    /// The HTTP server that received it, another one of this process, does not have it.
    #[error("{0}")]
    Unavailable(String),
    /// That server's client has closed its connection.
    #[error("The client has closed the connection.")]
    Closed,
    /// It has trailers.
    #[error("The request's body has trailers; send it without.")]
    Trailers,
}

impl BodyError {
    /// The failure for the function that reads the body.
    pub(super) fn to_failure(&self) -> Failure {
        match self {
            BodyError::Unavailable(reason) => Failure::new(Code::InvalidArgs, reason.clone()),
            BodyError::Trailers => Failure::new(Code::InvalidArgs, self.to_string()),
            BodyError::Connection(_) | BodyError::Closed => {
                Failure::new(Code::InvalidArgs, "The request's body did not arrive whole.")
            }
        }
    }
}

/// A body from a socket, which ends with an error if it has trailers.
///
/// There is no use for them, and their end is disputed: hyper takes a line that ends with LF
/// alone for the beginning of a longer one, so that it may take the next request for trailers,
/// and the body of that for a request. The connection of such a request is closed.
pub(super) struct WithoutTrailers {
    body: Incoming,
    has_trailers: bool,
}

impl WithoutTrailers {
    /// The body of a request.
    pub(super) fn wrap(body: Incoming) -> RequestBody {
        WithoutTrailers { body, has_trailers: false }.boxed_unsync()
    }
}

impl Body for WithoutTrailers {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.has_trailers {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
            self.has_trailers = true;
            return Poll::Ready(Some(Err(BodyError::Trailers)));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    /// Never after trailers, so that the connection is closed.
    fn is_end_stream(&self) -> bool {
        !self.has_trailers && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body without bytes.
pub(super) fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// How long the rest of a body is received after the answer: in total, and without data.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCARD_IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the whole body as text; an empty body is `{}`. A body with a declared length
/// above the limit is refused before it is read.
pub(super) async fn read(body: &mut RequestBody, limits: &Limits) -> Result<String, Failure> {
    let limit = limits.body_bytes;
    let too_large = || Failure::new(Code::PayloadTooLarge, format!("The request's body is larger than {limit} bytes."));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(Duration::from_millis(limits.body_ms), Limited::new(body, limit).collect())
        .await
        .map_err(|_elapsed| Failure::new(Code::Timeout, "The request's body took too long to arrive."))?
        .map_err(|error| match error.downcast_ref::<BodyError>() {
            Some(error) => error.to_failure(),
            None if error.is::<http_body_util::LengthLimitError>() => too_large(),
            None => BodyError::Closed.to_failure(),
        })?;
    let bytes = Vec::from(collected.to_bytes());
    if bytes.is_empty() {
        return Ok("{}".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| Failure::new(Code::InvalidArgs, "The request's body is not UTF-8."))
}

/// Receives and discards the rest of a body that was answered early. Closing a socket
/// with unread bytes resets the connection, and the client may lose the answer.
pub(super) async fn discard(mut body: RequestBody) {
    let receiving =
        async { while let Ok(Some(Ok(_frame))) = tokio::time::timeout(DISCARD_IDLE_TIMEOUT, body.frame()).await {} };
    // The connection is closed in either case.
    let _ended = tokio::time::timeout(DISCARD_TIMEOUT, receiving).await;
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use tokio::time::Instant;

    use super::*;

    /// How long a body is received of which a part arrives at each interval.
    async fn discarded_for(interval: Duration, parts: u32) -> Duration {
        let frames = futures_util::stream::unfold(0, move |part| async move {
            tokio::time::sleep(interval).await;
            (part < parts).then(|| (Ok(Frame::data(Bytes::from_static(b"x"))), part + 1))
        });
        let began = Instant::now();
        discard(StreamBody::new(frames).boxed_unsync()).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_body_is_received_for_a_limited_time() {
        let (shorter, longer) = (DISCARD_IDLE_TIMEOUT / 2, DISCARD_IDLE_TIMEOUT * 2);
        assert_eq!(discarded_for(shorter, 3).await, shorter * 4, "it ends with the body");
        assert_eq!(discarded_for(shorter, u32::MAX).await, DISCARD_TIMEOUT);
        assert_eq!(discarded_for(longer, u32::MAX).await, DISCARD_IDLE_TIMEOUT);
    }
}
