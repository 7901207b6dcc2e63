//! A request that another HTTP server of this process has received, and its response:
//! the same routes, limits and streams as for a socket of the engine.
//!
//! The server pushes the chunks of the request body, and pulls those of the response. An
//! exchange that is closed or dropped ends like a connection that the client has closed.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::body::{BodyError, RequestBody};
use super::respond::{BrokenOff, HttpAnswer, ResponseBody};
use super::route::Route;
use super::write_timeout::WriteTimeout;
use super::{Connection, answer, find, socket};
use crate::Engine;
use crate::error::{Code, Failure};

/// Chunks of a request body that may wait for the engine.
const WAITING_CHUNKS: usize = 4;
/// Bytes of a WebSocket that may wait for their reader, in each direction.
const SOCKET_BUFFER_BYTES: usize = 64 << 10;

/// A request without its body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeHead {
    /// `POST`
    pub method: String,
    /// The path with the query string, or a whole URL.
    pub url: String,
    /// Names and values alternate. Values are Latin-1, as Node decodes them.
    pub headers: Vec<String>,
    /// The address of the peer, if the server knows it.
    pub peer: Option<String>,
    /// Whether a path that is not one of Convoy's is answered, with 404.
    pub answers_unknown_paths: bool,
}

/// The body of a request.
#[derive(Debug)]
pub enum ExchangeBody {
    /// It is known.
    Whole(Bytes),
    /// It is pushed.
    Pushed,
    /// There is none: the bytes that are pushed after the response are those of the
    /// upgraded connection.
    Upgrade,
}

/// The response without the body of a stream.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// Names and values alternate. Values are Latin-1.
    pub headers: Vec<String>,
    /// Whether the body is a stream of unknown length.
    pub streams: bool,
    /// Milliseconds for which the client may read nothing of a stream; the server then
    /// closes the connection.
    pub slow_reader_ms: u64,
}

/// Whether a chunk was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was.
    Accepted,
    /// Too many are waiting: wait until there is [room](Exchange::room), then push it again.
    Full,
    /// The engine reads no more of this body.
    Closed,
}

/// A request that was not answered yet.
struct Received {
    head: Parts,
    body: RequestBody,
    peer: Option<IpAddr>,
    /// The bytes from the client, if the connection can be upgraded.
    socket: Option<mpsc::Receiver<Bytes>>,
}

/// One request and its response.
pub struct Exchange {
    engine: Arc<Engine>,
    received: Mutex<Option<Received>>,
    upload: Mutex<Option<mpsc::Sender<Bytes>>>,
    /// Why the pushed body is not whole. Set before `upload` ends.
    loss: Arc<Mutex<Option<BodyError>>>,
    download: tokio::sync::Mutex<Option<Download>>,
    closed: CancellationToken,
}

enum Download {
    Body(ResponseBody),
    Socket(ReadHalf<DuplexStream>),
}

impl Exchange {
    /// Begins the exchange; `None` if the path is not one of Convoy's.
    pub fn begin(engine: &Arc<Engine>, head: ExchangeHead, body: ExchangeBody) -> Option<Exchange> {
        // Node adds a prefix to IPv4 addresses on sockets of both families.
        let peer = head.peer.as_deref().and_then(|peer| peer.parse::<IpAddr>().ok()).map(|peer| peer.to_canonical());
        let answers_all = head.answers_unknown_paths;
        let head = parse(&head)?;
        // Routes of a program take no upgrades, which may be for another server at the same path.
        let is_upgrade = matches!(body, ExchangeBody::Upgrade);
        let of_program = || !is_upgrade && find(engine, &head).is_some();
        let is_own = || Route::is_route(&head.method, &head.uri, engine.config()) || of_program();
        if !answers_all && !is_own() {
            return None;
        }
        let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
        let declared = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let loss = Arc::default();
        let (body, sender, socket) = match body {
            ExchangeBody::Whole(bytes) => (whole(bytes), None, None),
            ExchangeBody::Pushed => {
                let loss = Arc::clone(&loss);
                let body = PushedBody { chunks: receiver, loss, declared: declared.unwrap_or(0), is_over: false };
                (body.boxed_unsync(), Some(sender), None)
            }
            ExchangeBody::Upgrade => (whole(Bytes::new()), Some(sender), Some(receiver)),
        };
        Some(Exchange {
            engine: engine.clone(),
            received: Mutex::new(Some(Received { head, body, peer, socket })),
            upload: Mutex::new(sender),
            loss,
            download: tokio::sync::Mutex::default(),
            closed: CancellationToken::new(),
        })
    }

    /// Adds a chunk to the request body, or to the upgraded connection.
    pub fn push(&self, chunk: Bytes) -> Pushed {
        let upload = self.upload.lock();
        match upload.as_ref().map(|upload| upload.try_send(chunk)) {
            Some(Ok(())) => Pushed::Accepted,
            Some(Err(mpsc::error::TrySendError::Full(_))) => Pushed::Full,
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => Pushed::Closed,
        }
    }

    /// Waits until another chunk can be pushed, or none can any more.
    pub async fn room(&self) {
        let upload = self.upload.lock().clone();
        if let Some(upload) = upload {
            // The error is reported by the next push.
            let _closed = upload.reserve().await;
        }
    }

    /// Ends the request body, or this direction of the upgraded connection.
    pub fn end(&self) {
        self.upload.lock().take();
    }

    /// Ends the request body with the reason that its rest is not available.
    pub fn fail(&self, reason: String) {
        self.end_early(BodyError::Unavailable(reason));
    }

    /// Ends the body with an error, unless it has ended.
    fn end_early(&self, loss: BodyError) {
        if let Some(upload) = self.upload.lock().take() {
            *self.loss.lock() = Some(loss);
            drop(upload);
        }
    }

    /// Answers the request. The body comes with the head unless it is a stream. `None` if
    /// the exchange was closed.
    pub async fn respond(&self) -> Option<(ResponseHead, Bytes)> {
        let Received { head, body, peer, socket } = self.received.lock().take()?;
        let is_head = head.method == Method::HEAD;
        let (near, far) = tokio::io::duplex(SOCKET_BUFFER_BYTES);
        let upgrading = socket.is_some().then(|| self.upgraded(near));
        // The other server has its own way to serve files.
        let connection = Connection { peer, upgrading, tasks: self.engine.tasks(), files: None };
        let answering = answer(&self.engine, head, body, connection);
        let mut answer = tokio::select! {
            biased;
            () = self.closed.cancelled() => return None,
            answer = self.engine.tasks().track_future(answering) => answer,
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(upload) = socket
        {
            let (reader, writer) = tokio::io::split(far);
            self.engine.tasks().spawn(forward(upload, writer, self.closed.clone()));
            let head = self.head_of(&answer, true);
            self.start(Download::Socket(reader)).await;
            return Some((head, Bytes::new()));
        }
        // The connection is the other server's.
        answer.headers_mut().remove(CONNECTION);
        let streams = !is_head && answer.body().size_hint().exact().is_none();
        let head = self.head_of(&answer, streams);
        if streams {
            self.start(Download::Body(answer.into_body())).await;
            return Some((head, Bytes::new()));
        }
        // Already in memory; a HEAD request gets none.
        let body = if is_head { Bytes::new() } else { in_memory(answer.into_body()).await? };
        Some((head, body))
    }

    async fn start(&self, download: Download) {
        *self.download.lock().await = Some(download);
        if self.closed.is_cancelled() {
            self.close();
        }
    }

    /// Waits for the next chunk of a stream, or of the upgraded connection. `None` at its end.
    /// After an error, the connection must be broken off.
    pub async fn pull(&self) -> Result<Option<Bytes>, Failure> {
        let mut download = self.download.lock().await;
        let Some(open) = download.as_mut() else { return Ok(None) };
        let pulled = tokio::select! {
            biased;
            () = self.closed.cancelled() => Ok(None),
            pulled = next(open) => pulled,
        };
        if !matches!(pulled, Ok(Some(_))) {
            *download = None;
        }
        pulled.map_err(|broken| Failure::new(Code::Internal, broken.to_string()))
    }

    /// Ends the exchange: a live session ends, a mutation runs to its end.
    pub fn close(&self) {
        self.closed.cancel();
        self.end_early(BodyError::Closed);
        // If a pull holds it, that pull ends now.
        if let Ok(mut download) = self.download.try_lock() {
            *download = None;
        }
    }

    /// The engine's end of a connection in memory, closed as if its client had stopped reading
    /// if the server stops to pull.
    fn upgraded(&self, near: DuplexStream) -> socket::Upgrading {
        let limit = Duration::from_millis(self.engine.config().limits.slow_reader_ms);
        let near: Box<dyn socket::Connection> = Box::new(WriteTimeout::new(near, limit));
        Box::pin(std::future::ready(Ok(near)))
    }

    fn head_of(&self, answer: &HttpAnswer, streams: bool) -> ResponseHead {
        let latin1 = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        let headers = answer.headers().iter().flat_map(|(name, value)| [name.to_string(), latin1(value)]);
        ResponseHead {
            status: answer.status().as_u16(),
            headers: headers.collect(),
            streams,
            slow_reader_ms: self.engine.config().limits.slow_reader_ms,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// `None` if no HTTP server accepts this request.
fn parse(head: &ExchangeHead) -> Option<Parts> {
    let mut request = hyper::Request::builder().method(head.method.as_str()).uri(head.url.as_str());
    for pair in head.headers.chunks_exact(2) {
        let [name, value] = pair else { continue };
        // Pseudo-headers of HTTP/2.
        if name.starts_with(':') {
            continue;
        }
        let value: Option<Vec<u8>> = value.chars().map(|each| u8::try_from(u32::from(each)).ok()).collect();
        request = request.header(name.as_str(), HeaderValue::from_bytes(&value?).ok()?);
    }
    Some(request.body(()).ok()?.into_parts().0)
}

fn whole(bytes: Bytes) -> RequestBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// `None` if it fails, which only the body of a stream does.
async fn in_memory(body: ResponseBody) -> Option<Bytes> {
    Some(body.collect().await.ok()?.to_bytes())
}

async fn next(download: &mut Download) -> Result<Option<Bytes>, BrokenOff> {
    match download {
        Download::Body(body) => loop {
            let Some(frame) = body.frame().await.transpose()? else { return Ok(None) };
            // There are no trailers.
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        },
        Download::Socket(socket) => {
            let mut bytes = BytesMut::new();
            // The other end, which closes without an error, is in this process.
            let read = socket.read_buf(&mut bytes).await.unwrap_or(0);
            Ok((read > 0).then(|| bytes.freeze()))
        }
    }
}

/// Passes the bytes from a client to the engine, until the client or the engine closes.
async fn forward(mut upload: mpsc::Receiver<Bytes>, mut socket: WriteHalf<DuplexStream>, closed: CancellationToken) {
    let forwarding = async {
        while let Some(chunk) = upload.recv().await {
            socket.write_all(&chunk).await?;
        }
        socket.shutdown().await
    };
    let ended = tokio::select! {
        ended = forwarding => ended,
        () = closed.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(cause = %error, "a WebSocket ended with an error");
    }
}

/// A request body of pushed chunks.
struct PushedBody {
    chunks: mpsc::Receiver<Bytes>,
    loss: Arc<Mutex<Option<BodyError>>>,
    /// The length that the request declares; 0 if it declares none.
    declared: u64,
    is_over: bool,
}

impl Body for PushedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let chunk = ready!(self.chunks.poll_recv(context));
        self.is_over = chunk.is_none();
        // Without this, a body that ends early could be taken for one that is whole.
        let loss = || self.loss.lock().take().map(Err);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))).or_else(loss))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.declared);
        hint
    }
}
