//! Writes event streams to their sockets, in place of hyper.
//!
//! hyper parses the request. Its connection is then dropped and gives its socket back, because it
//! would hold two buffers of 8 KiB for as long as the stream is open, and would copy each frame.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::header::{CONNECTION, DATE, HeaderValue, TRANSFER_ENCODING};
use hyper::http::response::Parts;
use hyper::{Method, Version};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;

use super::respond::{HttpAnswer, ResponseBody};

/// Marks an answer whose body is an event stream that stays open, as an extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventStream;

/// What the tasks of one connection share to take its socket from hyper.
pub(super) struct Handover<S> {
    /// hyper may hold bytes of earlier answers.
    unflushed: AtomicBool,
    answer: Mutex<Option<HttpAnswer>>,
    offered: Notify,
    returned: Mutex<Option<S>>,
}

impl<S> Handover<S> {
    /// A socket for hyper, and the handover that gets it back when hyper drops it.
    pub(super) fn lend(socket: S) -> (Lent<S>, Arc<Handover<S>>) {
        let handover = Arc::new(Handover {
            unflushed: AtomicBool::new(false),
            answer: Mutex::new(None),
            offered: Notify::new(),
            returned: Mutex::new(None),
        });
        (Lent { socket: Some(socket), handover: handover.clone() }, handover)
    }

    /// Takes the answer if this module can send it; then hyper must get none. Requests that the
    /// client has sent after this one are not answered, as the answer says (`Connection: close`).
    pub(super) fn offer(&self, (method, version): (&Method, Version), mut answer: HttpAnswer) -> Option<HttpAnswer> {
        let is_stream = answer.extensions_mut().remove::<EventStream>().is_some();
        let is_chunked = version == Version::HTTP_11 && *method != Method::HEAD;
        if !is_stream || !is_chunked || self.unflushed.load(Ordering::Relaxed) {
            return Some(answer);
        }
        *self.answer.lock() = Some(answer);
        self.offered.notify_one();
        None
    }

    /// Waits until an answer was taken. Cancel-safe.
    pub(super) async fn offered(&self) {
        self.offered.notified().await;
    }

    /// The socket and the answer to send, once hyper's connection was dropped.
    pub(super) fn take(&self) -> Option<(S, HttpAnswer)> {
        let answer = self.answer.lock().take()?;
        Some((self.returned.lock().take()?, answer))
    }
}

/// The socket that hyper has. Dropping it returns the socket to the handover.
pub(super) struct Lent<S> {
    socket: Option<S>,
    handover: Arc<Handover<S>>,
}

impl<S: Unpin> Lent<S> {
    /// The socket, which is there until it is dropped.
    fn socket(&mut self) -> io::Result<Pin<&mut S>> {
        self.socket.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        *self.handover.returned.lock() = self.socket.take();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.handover.unflushed.store(true, Ordering::Relaxed);
        self.socket()?.poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.handover.unflushed.store(true, Ordering::Relaxed);
        self.socket()?.poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(S::is_write_vectored)
    }

    /// hyper flushes the socket after it has written its whole buffer.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.socket()?.poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.handover.unflushed.store(false, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_shutdown(context)
    }
}

/// Sends the answer, until its body or the connection ends.
pub(super) async fn send<S: AsyncRead + AsyncWrite + Unpin>(socket: S, answer: HttpAnswer) {
    let (head, body) = answer.into_parts();
    if let Err(error) = (Sending { socket, body, watches: true }).run(encode(head)).await {
        tracing::debug!(cause = %error, "an event stream ended with an error");
    }
}

/// An answer that is being sent.
struct Sending<S> {
    socket: S,
    body: ResponseBody,
    /// Whether the socket is read, which shows that the client closes the connection.
    watches: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sending<S> {
    async fn run(mut self, mut head: Vec<u8>) -> io::Result<()> {
        // Usually the first results are there; then they leave together with the head.
        let mut next = match self.body.frame().now_or_never() {
            Some(frame) => data_of(frame)?,
            None => {
                self.socket.write_all(&std::mem::take(&mut head)).await?;
                self.next().await?
            }
        };
        while let Some(chunk) = next {
            // An empty chunk would end the body.
            if !chunk.is_empty() {
                let size = format!("{:x}\r\n", chunk.len());
                let head = Bytes::from(std::mem::take(&mut head));
                let mut event = head.chain(size.as_bytes()).chain(chunk).chain(&b"\r\n"[..]);
                self.socket.write_all_buf(&mut event).await?;
            }
            next = self.next().await?;
        }
        head.extend_from_slice(b"0\r\n\r\n");
        self.socket.write_all(&head).await?;
        self.socket.shutdown().await
    }

    /// The next chunk of the body; `None` at its end. Fails when the client closes the connection.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut byte = [0];
        let read = tokio::select! {
            biased;
            frame = self.body.frame() => return data_of(frame),
            read = self.socket.read(&mut byte), if self.watches => read?,
        };
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client has closed the connection"));
        }
        // A client that sends more gets no answer to it, and cannot send without end. That it has
        // gone shows when heartbeats cannot be sent.
        self.watches = false;
        data_of(self.body.frame().await)
    }
}

/// The bytes of a frame; there are no trailers.
fn data_of<E: std::error::Error + Send + Sync + 'static>(
    frame: Option<Result<hyper::body::Frame<Bytes>, E>>,
) -> io::Result<Option<Bytes>> {
    let frame = frame.transpose().map_err(io::Error::other)?;
    Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// The status line and the headers of a chunked answer after which the connection is closed.
fn encode(Parts { status, mut headers, .. }: Parts) -> Vec<u8> {
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(DATE, date);
    }
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::sync::mpsc;

    use super::super::respond::{BrokenOff, full};

    type Chunk = Result<&'static str, BrokenOff>;

    /// An event stream with these chunks, which ends when the sender is dropped.
    fn stream_of(chunks: mpsc::UnboundedReceiver<Chunk>) -> HttpAnswer {
        let chunks = stream::unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|each| (each, chunks)) });
        let frames = chunks.map(|chunk| chunk.map(|text| Frame::data(Bytes::from(text))));
        let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
        answer.extensions_mut().insert(EventStream);
        answer
    }

    async fn read_until(socket: &mut (impl AsyncRead + Unpin), text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let mut read = Vec::new();
            assert_ne!(socket.read_buf(&mut read).await.expect("a read"), 0, "{all}");
            all += &String::from_utf8(read).expect("text");
        }
        all
    }

    #[tokio::test]
    async fn chunks_are_sent_as_they_come_and_the_connection_ends_with_them() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let (chunks, receiver) = mpsc::unbounded_channel();
        chunks.send(Ok("0123456789abcdef")).expect("it is open");
        let sending = tokio::spawn(send(near, stream_of(receiver)));
        let start = read_until(&mut far, "10\r\n0123456789abcdef\r\n").await;
        assert!(start.starts_with("HTTP/1.1 200 OK\r\n"), "{start}");
        for header in ["transfer-encoding: chunked\r\n", "connection: close\r\n", " GMT\r\n"] {
            assert!(start.contains(header), "{start}");
        }
        for chunk in ["", "next"] {
            chunks.send(Ok(chunk)).expect("it is open");
        }
        assert_eq!(read_until(&mut far, "next\r\n").await, "4\r\nnext\r\n", "an empty chunk would be the last");
        drop(chunks);
        let mut rest = String::new();
        far.read_to_string(&mut rest).await.expect("it ends");
        assert_eq!(rest, "0\r\n\r\n");
        sending.await.expect("it ends");
    }

    #[tokio::test]
    async fn the_head_does_not_wait_for_the_first_chunk() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let (chunks, receiver) = mpsc::unbounded_channel();
        let sending = tokio::spawn(send(near, stream_of(receiver)));
        read_until(&mut far, "\r\n\r\n").await;
        drop(chunks);
        assert_eq!(read_until(&mut far, "\r\n\r\n").await, "0\r\n\r\n");
        sending.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_not_ended() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let (chunks, receiver) = mpsc::unbounded_channel();
        for chunk in [Ok("half"), Err(BrokenOff)] {
            chunks.send(chunk).expect("it is open");
        }
        send(near, stream_of(receiver)).await;
        let mut all = String::new();
        far.read_to_string(&mut all).await.expect("it ends");
        assert!(all.ends_with("4\r\nhalf\r\n"), "{all}");
    }

    #[tokio::test]
    async fn the_stream_ends_when_the_client_closes_even_while_nothing_is_sent() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let (chunks, receiver) = mpsc::unbounded_channel::<Chunk>();
        let sending = tokio::spawn(send(near, stream_of(receiver)));
        read_until(&mut far, "\r\n\r\n").await;
        drop(far);
        sending.await.expect("it ends");
        assert!(chunks.is_closed(), "the body is dropped");
    }

    #[tokio::test]
    async fn what_the_client_sends_after_its_request_is_not_read() {
        let (near, mut far) = tokio::io::duplex(64);
        let (chunks, receiver) = mpsc::unbounded_channel();
        let sending = tokio::spawn(send(near, stream_of(receiver)));
        read_until(&mut far, "\r\n\r\n").await;
        let more = far.write_all(&[b'x'; 1 << 10]);
        let fills = tokio::time::timeout(Duration::from_millis(50), more).await;
        assert!(fills.is_err(), "the client cannot send without end");
        for chunk in ["one", "two"] {
            chunks.send(Ok(chunk)).expect("it is open");
            read_until(&mut far, &format!("3\r\n{chunk}\r\n")).await;
        }
        drop(chunks);
        read_until(&mut far, "0\r\n\r\n").await;
        sending.await.expect("it ends");
    }

    /// A socket that has taken `unflushed` bytes and was not flushed since.
    async fn lent(unflushed: bool) -> (Lent<tokio::io::DuplexStream>, Arc<Handover<tokio::io::DuplexStream>>) {
        let (near, _far) = tokio::io::duplex(64);
        let (mut socket, handover) = Handover::lend(near);
        socket.write_all(b"an earlier answer").await.expect("there is room");
        if !unflushed {
            socket.flush().await.expect("it is flushed");
        }
        (socket, handover)
    }

    #[tokio::test]
    async fn a_socket_is_taken_for_a_stream_that_nothing_precedes() {
        let stream = || stream_of(mpsc::unbounded_channel().1);
        let get = (&Method::GET, Version::HTTP_11);

        let (socket, handover) = lent(false).await;
        assert!(handover.offer(get, stream()).is_none());
        handover.offered().await;
        drop(socket);
        assert!(handover.take().is_some());

        for (unflushed, request, answer) in [
            (true, get, stream()),
            (false, (&Method::GET, Version::HTTP_10), stream()),
            (false, (&Method::HEAD, Version::HTTP_11), stream()),
            (false, get, Response::new(full(Bytes::new()))),
        ] {
            let (socket, handover) = lent(unflushed).await;
            assert!(handover.offer(request, answer).is_some());
            drop(socket);
            assert!(handover.take().is_none());
        }
    }

    /// Otherwise hyper would have to send streams after all.
    #[tokio::test]
    async fn hyper_has_flushed_before_it_passes_the_next_request() {
        let (near, mut far) = tokio::io::duplex(64);
        let (socket, handover) = Handover::lend(near);
        // The answers are longer than what the socket takes at once.
        let service = hyper::service::service_fn(move |_: Request<hyper::body::Incoming>| {
            let report = format!("{}{};", " ".repeat(1_000), handover.unflushed.load(Ordering::Relaxed));
            async move { Ok::<_, Infallible>(Response::new(full(report.into()))) }
        });
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        let serving = tokio::spawn(serving);
        for _ in 0..3 {
            far.write_all(&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2)).await.expect("it is open");
            read_until(&mut far, "false;").await;
            read_until(&mut far, "false;").await;
        }
        drop(far);
        serving.await.expect("it ends").expect("without an error");
    }
}
