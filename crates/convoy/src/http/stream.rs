//! Streams of server-sent events: of one query (`GET /api/subscribe`), and of a live
//! session (`POST /api/live`).

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::{Instant, Sleep};

use super::event_stream::EventStream;
use super::respond::HttpAnswer;
use crate::Engine;
use crate::error::{Code, Failure};
use crate::failpoints::{Failpoint, Point};
use crate::live::{OpenSession, Payer, QueryRequest, SessionMessage, Stream, StreamFormat, hash_from_hex};
use crate::trusted_proxies::ClientNetwork;

/// The comment sent when the answer of `Last-Event-ID` is still current.
const CURRENT: &str = ": current\n";
/// A comment, so that proxies do not close a quiet stream.
const HEARTBEAT: &[u8] = b":\n\n";

/// The parameters of `GET /api/subscribe`.
pub(super) struct SubscribeParams<'a> {
    /// The function's name.
    pub name: String,
    /// Its input, JSON text.
    pub input: String,
    /// The value of `Last-Event-ID`.
    pub last_seen: Option<&'a str>,
    /// The client's consistency token.
    pub position: Option<&'a str>,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
    /// The client by which the stream is counted.
    pub counted: Option<ClientNetwork>,
}

/// Opens one query's stream once its first answer is available. Permanent failures (an
/// unknown name, invalid arguments, a caller without permission) are answered with their
/// status; `UNAVAILABLE` is an event of an open stream instead, because an `EventSource`
/// does not reconnect after a 503.
pub(super) async fn subscribe(
    engine: &Arc<Engine>,
    params: SubscribeParams<'_>,
    caller: impl FnOnce() -> Arc<str>,
) -> Result<HttpAnswer, Failure> {
    let SubscribeParams { name, input, last_seen, position, address, counted } = params;
    let queries =
        vec![QueryRequest { id: 0, name: name.clone(), input, client_hash: last_seen.and_then(hash_from_hex) }];
    let request =
        OpenSession { format: StreamFormat::Plain, queries, position, payer: Payer::Client(address), counted };
    let mut stream = match engine.live().open(request, caller).await {
        Ok(stream) => stream,
        Err(failure) if failure.code == Code::Unavailable => return Ok(unavailable(engine, &name, failure)),
        Err(failure) => return Err(failure),
    };
    let gone = || Failure::new(Code::Unavailable, "The server is shutting down; try again shortly.");
    let Some(first) = stream.next().await else { return Ok(unavailable(engine, &name, gone())) };
    let mut events = Events::new(engine, stream, Encoding::Plain { name: name.clone() });
    let preamble = match first.as_slice() {
        [SessionMessage::Answer { answer, .. }, ..] => match answer.failure() {
            Some(failure) if matches!(failure.code, Code::InvalidArgs | Code::Unauthorized | Code::Forbidden) => {
                return Err(failure.clone());
            }
            _ => {
                let event = events.encode(engine, &first);
                engine.record_frame(events.stream.id(), &first, event.len());
                preamble(engine, &event)
            }
        },
        [SessionMessage::Rejected(failure), ..] => return Err(failure.clone()),
        // The session ended before it had an answer.
        _ => return Ok(unavailable(engine, &name, gone())),
    };
    Ok(open_stream(events.run(engine.clone(), preamble)))
}

/// A stream of one error event.
fn unavailable(engine: &Engine, name: &str, failure: Failure) -> HttpAnswer {
    let event = engine.live().error_answer(name, failure).event();
    event_stream(stream::iter([Ok(Frame::data(preamble(engine, &event)))]))
}

/// Opens the stream of a session.
pub(super) fn session(engine: &Arc<Engine>, stream: Stream) -> HttpAnswer {
    let events = Events::new(engine, stream, Encoding::Protocol { next: 0 });
    let frames = events.run(engine.clone(), Bytes::new());
    match engine.config().failpoints.has(Failpoint::QueuePerStream) {
        false => open_stream(frames),
        true => open_stream(queued(frames)),
    }
}

/// [`Failpoint::QueuePerStream`]: queues frames for the client without a bound.
fn queued<T: Send + 'static>(frames: impl stream::Stream<Item = T> + Send + 'static) -> impl stream::Stream<Item = T> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut frames = std::pin::pin!(frames);
        while let Some(frame) = frames.next().await {
            if sender.send(frame).is_err() {
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|frame| (frame, receiver)) })
}

/// The comment and `retry:` at the start of one query's stream, and its first event.
fn preamble(engine: &Engine, event: &[u8]) -> Bytes {
    let start = format!(": convoy\nretry: {}\n", engine.live().retry_ms());
    [start.as_bytes(), event].concat().into()
}

/// An event stream that stays open, so it is not hyper that sends it.
fn open_stream(
    body: impl stream::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + 'static,
) -> HttpAnswer {
    let mut answer = event_stream(body);
    answer.extensions_mut().insert(EventStream);
    answer
}

fn event_stream(
    body: impl stream::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + 'static,
) -> HttpAnswer {
    let mut answer = Response::new(StreamBody::new(body).map_err(|never| match never {}).boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    // Tells nginx and similar proxies not to buffer events.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}

/// Encodes the frames of a session as events.
struct Events {
    stream: Stream,
    heartbeat: Heartbeat,
    encoding: Encoding,
    ended: bool,
}

/// When the next heartbeat of a stream is due. A frame postpones it without touching the timer.
struct Heartbeat {
    interval: Duration,
    sent_at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Heartbeat {
    fn new(interval: Duration) -> Heartbeat {
        Heartbeat { interval, sent_at: Instant::now(), timer: Box::pin(tokio::time::sleep(interval)) }
    }

    /// Waits until nothing was sent for the interval. Cancel-safe.
    async fn due(&mut self) {
        loop {
            self.timer.as_mut().await;
            let due = self.sent_at + self.interval;
            if due <= Instant::now() {
                return self.sent();
            }
            self.timer.as_mut().reset(due);
        }
    }

    /// Something was sent.
    fn sent(&mut self) {
        self.sent_at = Instant::now();
    }
}

/// The encoding of messages as events.
enum Encoding {
    /// Each answer is an event with the result's hash as its id.
    Plain { name: String },
    /// Each frame is an event; each message is a line of its data.
    Protocol { next: u64 },
}

impl Events {
    fn new(engine: &Engine, stream: Stream, encoding: Encoding) -> Events {
        let interval = Duration::from_millis(engine.config().limits.heartbeat_ms);
        Events { stream, heartbeat: Heartbeat::new(interval), encoding, ended: false }
    }

    fn run(
        self,
        engine: Arc<Engine>,
        preamble: Bytes,
    ) -> impl stream::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + 'static {
        stream::unfold((self, engine, preamble), |(mut events, engine, preamble)| async move {
            let bytes = if preamble.is_empty() { events.next(&engine).await? } else { preamble };
            Some((Ok(Frame::data(bytes)), (events, engine, Bytes::new())))
        })
    }

    async fn next(&mut self, engine: &Engine) -> Option<Bytes> {
        while !self.ended {
            let messages = tokio::select! {
                biased;
                messages = self.stream.next() => messages?,
                () = self.heartbeat.due() => return Some(Bytes::from_static(HEARTBEAT)),
            };
            let event = self.encode(engine, &messages);
            if !event.is_empty() {
                engine.config().failpoints.pass(Point::StreamWrite).await;
                engine.record_frame(self.stream.id(), &messages, event.len());
                self.heartbeat.sent();
                return Some(event);
            }
        }
        None
    }

    fn encode(&mut self, engine: &Engine, messages: &[SessionMessage]) -> Bytes {
        let mut event = Vec::new();
        match &mut self.encoding {
            Encoding::Plain { name } => {
                for message in messages {
                    match message {
                        SessionMessage::Answer { answer, client_hash, .. } if *client_hash == Some(answer.hash()) => {
                            event.extend_from_slice(CURRENT.as_bytes());
                            event.push(b'\n');
                        }
                        // Usually the only message: then all receivers share the same bytes.
                        SessionMessage::Answer { answer, .. } if messages.len() == 1 => return answer.event(),
                        SessionMessage::Answer { answer, .. } => event.extend_from_slice(&answer.event()),
                        SessionMessage::Rejected(failure) => {
                            event.extend_from_slice(&engine.live().error_answer(name, failure.clone()).event());
                            self.ended = true;
                        }
                        SessionMessage::End { .. } => self.ended = true,
                        // Only for clients of the live protocol.
                        SessionMessage::Session(_)
                        | SessionMessage::Refused { .. }
                        | SessionMessage::Settled { .. }
                        | SessionMessage::Included { .. } => {}
                    }
                }
            }
            Encoding::Protocol { next } => {
                for message in messages {
                    event.extend_from_slice(b"data: ");
                    message.write(*next, &mut event);
                    event.push(b'\n');
                    *next += 1;
                }
                event.push(b'\n');
            }
        }
        event.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_is_due_when_nothing_was_sent_for_the_interval() {
        let interval = Duration::from_secs(15);
        let mut heartbeat = Heartbeat::new(interval);
        let began = Instant::now();
        heartbeat.due().await;
        assert_eq!(began.elapsed(), interval);
        tokio::time::advance(interval / 3).await;
        heartbeat.sent();
        let sent = Instant::now();
        heartbeat.due().await;
        assert_eq!(sent.elapsed(), interval, "a frame postpones it");
        heartbeat.due().await;
        assert_eq!(sent.elapsed(), interval * 2, "a heartbeat is like a frame");
    }
}
