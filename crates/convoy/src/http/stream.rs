//! Streams of server-sent events: of one query (`GET /api/subscribe`), and of all
//! that a client watches (`POST /api/live`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};

use super::respond::HttpAnswer;
use crate::Engine;
use crate::error::{Code, Failure};
use crate::failpoints::Failpoint;
use crate::live::{Asked, Message, OpenSession, Stream, Style, hash_in};

/// The comment that says that what `Last-Event-ID` names is still the answer.
const CURRENT: &str = ": current\n";
/// A comment, so that everyone on the way sees the stream live.
const HEARTBEAT: &[u8] = b":\n\n";

/// One query's stream, as it is asked for.
pub(super) struct Subscribing<'a> {
    /// The function's name.
    pub name: String,
    /// Its input, JSON text.
    pub input: String,
    /// What `Last-Event-ID` names.
    pub last_seen: Option<&'a str>,
    /// The position the client has seen.
    pub position: Option<&'a str>,
    /// The address it is counted for.
    pub address: Option<IpAddr>,
}

/// Opens one query's stream once its first answer is there. What can never become
/// right by waiting (an unknown name, arguments that do not fit, a caller who may
/// not ask) is refused with its status; `UNAVAILABLE` is an event of an open
/// stream instead, because an `EventSource` never tries again after a 503.
pub(super) async fn subscribe(
    engine: &Arc<Engine>,
    subscribing: Subscribing<'_>,
    caller: impl FnOnce() -> Arc<str>,
) -> Result<HttpAnswer, Failure> {
    let Subscribing { name, input, last_seen, position, address } = subscribing;
    let queries = vec![Asked { id: 0, name: name.clone(), input, held: last_seen.and_then(hash_in) }];
    let asks = OpenSession { style: Style::Plain, queries, position, address };
    let mut stream = match engine.live().open(asks, caller).await {
        Ok(stream) => stream,
        Err(failure) if failure.code == Code::Unavailable => return Ok(not_now(engine, &name, failure)),
        Err(failure) => return Err(failure),
    };
    let gone = || Failure::new(Code::Unavailable, "the server is shutting down; try again shortly");
    let Some(first) = stream.next().await else { return Ok(not_now(engine, &name, gone())) };
    let mut events =
        Events { stream, heartbeat: heartbeat(engine), spelling: Spelling::Plain { name: name.clone() }, over: false };
    let opening = match first.as_slice() {
        [Message::Answer { answer, .. }, ..] => match answer.failure() {
            Some(failure) if matches!(failure.code, Code::InvalidArgs | Code::Unauthorized | Code::Forbidden) => {
                return Err(failure.clone());
            }
            _ => opening(engine, &events.spell(engine, &first)),
        },
        [Message::Rejected(failure), ..] => return Err(failure.clone()),
        // It was ended before it had an answer.
        _ => return Ok(not_now(engine, &name, gone())),
    };
    Ok(event_stream(events.run(engine.clone(), opening)))
}

/// A stream of one event that says why there are none for now.
fn not_now(engine: &Engine, name: &str, failure: Failure) -> HttpAnswer {
    let event = engine.live().failed(name, failure).event(name);
    event_stream(stream::iter([Ok(Frame::data(opening(engine, &event)))]))
}

/// Opens the stream of a session.
pub(super) fn session(engine: &Arc<Engine>, stream: Stream) -> HttpAnswer {
    let spelling = Spelling::Protocol { next: 0 };
    let events = Events { stream, heartbeat: heartbeat(engine), spelling, over: false };
    let frames = events.run(engine.clone(), Bytes::new());
    match engine.config().failpoints.has(Failpoint::QueuePerStream) {
        false => event_stream(frames),
        true => event_stream(queued(frames)),
    }
}

/// [`Failpoint::QueuePerStream`]: takes frames before the client does, without a bound.
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

/// The greeting of one query's stream, and its first event.
fn opening(engine: &Engine, event: &[u8]) -> Bytes {
    let greeting = format!(": convoy\nretry: {}\n", engine.live().retry_ms());
    [greeting.as_bytes(), event].concat().into()
}

fn heartbeat(engine: &Engine) -> Duration {
    Duration::from_millis(engine.config().limits.heartbeat_ms)
}

fn event_stream(
    body: impl stream::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + 'static,
) -> HttpAnswer {
    let mut answer = Response::new(BodyExt::boxed_unsync(StreamBody::new(body)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    // OpenSession nginx and its like not to hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}

/// A session, on its way to becoming events.
struct Events {
    stream: Stream,
    heartbeat: Duration,
    spelling: Spelling,
    over: bool,
}

/// How messages become events.
enum Spelling {
    /// Each answer is an event with the result's hash for its id.
    Plain { name: String },
    /// Each frame is an event, each message a line of its data.
    Protocol { next: u64 },
}

impl Events {
    fn run(
        self,
        engine: Arc<Engine>,
        opening: Bytes,
    ) -> impl stream::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + 'static {
        stream::unfold((self, engine, opening), |(mut events, engine, opening)| async move {
            let bytes = if opening.is_empty() { events.next(&engine).await? } else { opening };
            Some((Ok(Frame::data(bytes)), (events, engine, Bytes::new())))
        })
    }

    async fn next(&mut self, engine: &Engine) -> Option<Bytes> {
        while !self.over {
            let Ok(messages) = tokio::time::timeout(self.heartbeat, self.stream.next()).await else {
                return Some(Bytes::from_static(HEARTBEAT));
            };
            let event = self.spell(engine, &messages?);
            if !event.is_empty() {
                return Some(event);
            }
        }
        None
    }

    fn spell(&mut self, engine: &Engine, messages: &[Message]) -> Bytes {
        let mut event = Vec::new();
        match &mut self.spelling {
            Spelling::Plain { name } => {
                for message in messages {
                    match message {
                        Message::Answer { answer, held, .. } if *held == Some(answer.hash()) => {
                            event.extend_from_slice(CURRENT.as_bytes());
                            event.push(b'\n');
                        }
                        // The only one, mostly: then it is shared with all who are sent it.
                        Message::Answer { answer, .. } if messages.len() == 1 => return answer.event(name),
                        Message::Answer { answer, .. } => event.extend_from_slice(&answer.event(name)),
                        Message::Rejected(failure) => {
                            event.extend_from_slice(&engine.live().failed(name, failure.clone()).event(name));
                            self.over = true;
                        }
                        Message::End { .. } => self.over = true,
                        // Said only to those who speak the protocol.
                        Message::Session(_) | Message::Refused { .. } | Message::Settled { .. } => {}
                    }
                }
            }
            Spelling::Protocol { next } => {
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
