//! `GET /api/subscribe`: one query as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame as BodyFrame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use super::respond::HttpAnswer;
use crate::Engine;
use crate::error::{Code, Failure};
use crate::live::{Frame, Subscription};

/// How long an `EventSource` waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 1_000;

/// Opens the stream once the first answer is there. What can never become
/// right by waiting (an unknown name, arguments that do not fit, a caller who may
/// not ask) is refused with its status; `UNAVAILABLE` is a frame of an open
/// stream instead, because an `EventSource` never tries again after a 503.
pub async fn open(
    engine: &Arc<Engine>,
    name: &str,
    subscribed: Result<Subscription, Failure>,
    last_seen: Option<String>,
    stop: CancellationToken,
) -> Result<HttpAnswer, Failure> {
    let (subscription, first) = match subscribed {
        Ok(mut subscription) => {
            let first = subscription.next().await;
            (Some(subscription), first)
        }
        Err(failure) if failure.code == Code::Unavailable => {
            (None, Some(Arc::new(Frame::new(name, Err(failure), crate::live::now()))))
        }
        Err(failure) => return Err(failure),
    };
    let Some(first) = first else {
        return Err(Failure::new(Code::Unavailable, "the server is shutting down; try again shortly"));
    };
    if let Some(failure) = first.failure()
        && matches!(failure.code, Code::InvalidArgs | Code::Unauthorized | Code::Forbidden)
    {
        return Err(failure.clone());
    }
    let held = last_seen.is_some_and(|id| id == format!("{:032x}", first.hash()));
    let opening = if held {
        Bytes::from(format!(": current\nretry: {RETRY_MS}\n\n"))
    } else {
        let head = format!(": convoy\nretry: {RETRY_MS}\n\n");
        [head.as_bytes(), first.event()].concat().into()
    };
    let heartbeat = Duration::from_millis(engine.config().limits.heartbeat_ms);
    let events = Events { opening: Some(opening), subscription, heartbeat, stop };
    let body = stream::unfold(events, |mut events| async move {
        let bytes = events.next().await?;
        Some((Ok(BodyFrame::data(bytes)), events))
    });
    let mut answer = Response::new(BodyExt::boxed_unsync(StreamBody::new(body)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    // Asks nginx and its like not to hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(answer)
}

/// What one stream still has to say.
struct Events {
    opening: Option<Bytes>,
    /// None where the stream only carries a refusal; it ends after that.
    subscription: Option<Subscription>,
    heartbeat: Duration,
    stop: CancellationToken,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        let subscription = self.subscription.as_mut()?;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            frame = subscription.next() => Some(frame?.event().clone()),
            () = tokio::time::sleep(self.heartbeat) => Some(Bytes::from_static(b":\n\n")),
        }
    }
}
