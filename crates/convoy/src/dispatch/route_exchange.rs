//! The request body and the response of a running HTTP route. The host pulls the chunks of
//! the one and pushes those of the other, each at the pace of the client.
//!
//! Invariant: a response is complete for the client only if the run of its route has
//! succeeded. So the client waits for the end of the run, and not only for the last chunk.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::route_slots::RouteSlot;
use crate::error::{Code, Failure};

/// The chunks of a request body. Dropping them discards the rest.
pub(crate) type RequestChunks = Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>;

/// The start of a response.
#[derive(Debug, Deserialize)]
pub struct RouteHead {
    /// The status code.
    pub status: u16,
    /// Names and values, which are Latin-1.
    pub headers: Vec<(String, String)>,
}

/// The body of a response.
#[derive(Debug)]
pub(crate) enum RouteBody {
    /// It is known.
    Whole(Bytes),
    /// It follows.
    Chunks(mpsc::Receiver<Bytes>),
}

/// A route's request and response, as its host uses them.
pub struct RouteExchange {
    request: tokio::sync::Mutex<Option<RequestChunks>>,
    response: Mutex<Response>,
    /// The client does not wait for the response any more.
    client_gone: CancellationToken,
    /// The run has ended.
    ended: CancellationToken,
}

enum Response {
    Expected(oneshot::Sender<(RouteHead, RouteBody)>),
    /// Its chunks go here.
    Begun(mpsc::Sender<Bytes>),
    /// No more of it is sent.
    Over,
}

impl RouteExchange {
    /// An exchange, and the client's side of it.
    pub(crate) fn open(request: RequestChunks) -> (Arc<RouteExchange>, RouteClient) {
        let (head, started) = oneshot::channel();
        let exchange = Arc::new(RouteExchange {
            request: tokio::sync::Mutex::new(Some(request)),
            response: Mutex::new(Response::Expected(head)),
            client_gone: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        let guard = exchange.client_gone.clone().drop_guard();
        (exchange, RouteClient { started, guard })
    }

    /// The next chunk of the request body; `None` at its end.
    pub async fn read(&self) -> Result<Option<Bytes>, Failure> {
        let mut request = self.request.lock().await;
        let Some(chunks) = request.as_mut().filter(|_| !self.ended.is_cancelled()) else {
            return Err(RouteExchange::over());
        };
        let read = tokio::select! {
            biased;
            () = self.ended.cancelled() => Some(Err(RouteExchange::over())),
            read = chunks.next() => read,
        };
        if matches!(read, Some(Err(_))) {
            *request = None;
        }
        read.transpose()
    }

    /// The failure for reading after the run has ended: the rest must not be taken for the end.
    pub fn over() -> Failure {
        Failure::new(Code::Internal, "The body of a request was read after its route had ended.")
    }

    /// Starts the response, with its whole body if that is known. Ignored after the run has
    /// ended, and for the second time.
    pub fn begin(&self, head: RouteHead, whole: Option<Bytes>) {
        let mut response = self.response.lock();
        let (following, body) = match whole {
            Some(bytes) => (Response::Over, RouteBody::Whole(bytes)),
            None => {
                // One chunk waits until the socket has room for it.
                let (sender, chunks) = mpsc::channel(1);
                (Response::Begun(sender), RouteBody::Chunks(chunks))
            }
        };
        match std::mem::replace(&mut *response, following) {
            Response::Expected(started) => {
                // The client may have left.
                drop(started.send((head, body)));
            }
            before @ (Response::Begun(_) | Response::Over) => *response = before,
        }
    }

    /// Sends a chunk of the response, and waits until it was taken. False if the client
    /// takes no more.
    pub async fn write(&self, chunk: Bytes) -> bool {
        let sender = match &*self.response.lock() {
            Response::Begun(sender) => sender.clone(),
            Response::Expected(_) | Response::Over => return false,
        };
        tokio::select! {
            biased;
            () = self.ended.cancelled() => false,
            sent = sender.send(chunk) => sent.is_ok(),
        }
    }

    /// Waits until the client has left (true) or the run has ended (false).
    pub async fn client_gone(&self) -> bool {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => false,
            () = self.client_gone.cancelled() => true,
        }
    }

    /// Whether the response has begun.
    fn has_begun(&self) -> bool {
        !matches!(*self.response.lock(), Response::Expected(_))
    }

    /// Ends both directions: the run has ended, or its host has exited.
    fn end(&self) {
        self.ended.cancel();
        *self.response.lock() = Response::Over;
        // If it is being read, the reader drops it.
        if let Ok(mut request) = self.request.try_lock() {
            *request = None;
        }
    }
}

/// The client's side of an exchange. Dropping it tells the route that the client has left.
pub(crate) struct RouteClient {
    started: oneshot::Receiver<(RouteHead, RouteBody)>,
    guard: DropGuard,
}

impl RouteClient {
    /// Waits for the start of the response; `None` if the run ends without one. Dropping the
    /// guard tells the route that the client has left.
    pub(crate) async fn response(self) -> Option<(RouteHead, RouteBody, DropGuard)> {
        let (head, body) = self.started.await.ok()?;
        Some((head, body, self.guard))
    }
}

/// A call of a route.
#[derive(Clone)]
pub(crate) struct RouteCall {
    /// Its request and response.
    pub exchange: Arc<RouteExchange>,
    /// How long the route may take until its response begins.
    pub time: Duration,
    /// Its place among the running routes, which is free again with the last clone.
    _slot: Arc<RouteSlot>,
}

impl RouteCall {
    pub(super) fn new(exchange: Arc<RouteExchange>, time: Duration, slot: RouteSlot) -> RouteCall {
        RouteCall { exchange, time, _slot: Arc::new(slot) }
    }

    /// Whether the response has begun. The route may then go on for as long as it has a client.
    pub(super) fn has_begun(&self) -> bool {
        self.exchange.has_begun()
    }

    /// Ends the exchange when it is dropped.
    pub(super) fn end_on_drop(&self) -> impl Drop + Send + use<> {
        EndOnDrop(self.exchange.clone())
    }
}

struct EndOnDrop(Arc<RouteExchange>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(chunks: &[&'static str]) -> (Arc<RouteExchange>, RouteClient) {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        RouteExchange::open(Box::pin(futures_util::stream::iter(chunks)))
    }

    fn head() -> RouteHead {
        RouteHead { status: 200, headers: Vec::new() }
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_and_not_after_the_run() {
        let (exchange, _client) = open(&["a", "b"]);
        assert_eq!(exchange.read().await.expect("a chunk").as_deref(), Some(&b"a"[..]));
        assert_eq!(exchange.read().await.expect("a chunk").as_deref(), Some(&b"b"[..]));
        assert_eq!(exchange.read().await.expect("the end"), None);
        exchange.end();
        assert!(exchange.read().await.is_err());
    }

    #[tokio::test]
    async fn a_pending_read_ends_with_the_run_and_drops_the_body() {
        let (sender, receiver) = oneshot::channel::<()>();
        let never = futures_util::stream::once(async move {
            drop(receiver.await);
            Ok(Bytes::new())
        });
        let (exchange, _client) = RouteExchange::open(Box::pin(never));
        let reading = tokio::spawn({
            let exchange = exchange.clone();
            async move { exchange.read().await }
        });
        tokio::task::yield_now().await;
        exchange.end();
        assert!(reading.await.expect("it ends").is_err());
        assert!(sender.is_closed());
    }

    #[tokio::test]
    async fn a_write_waits_until_the_chunk_before_was_taken() {
        let (exchange, client) = open(&[]);
        exchange.begin(head(), None);
        let Some((_, RouteBody::Chunks(mut chunks), guard)) = client.response().await else { panic!("a stream") };
        assert!(exchange.write(Bytes::from_static(b"1")).await);
        let mut second = std::pin::pin!(exchange.write(Bytes::from_static(b"2")));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert_eq!(chunks.recv().await.as_deref(), Some(&b"1"[..]));
        assert!(second.await);
        drop((chunks, guard));
        assert!(!exchange.write(Bytes::from_static(b"3")).await);
        assert!(exchange.client_gone().await);
    }

    #[tokio::test]
    async fn only_the_first_start_counts() {
        let (exchange, client) = open(&[]);
        assert!(!exchange.write(Bytes::new()).await, "nothing has begun");
        exchange.begin(RouteHead { status: 201, ..head() }, Some(Bytes::from_static(b"first")));
        exchange.begin(head(), None);
        assert!(!exchange.write(Bytes::new()).await);
        let (head, body, _guard) = client.response().await.expect("a response");
        assert_eq!(head.status, 201);
        assert!(matches!(body, RouteBody::Whole(bytes) if bytes == "first"));
    }

    #[tokio::test]
    async fn a_run_that_ends_without_a_response_tells_its_client() {
        let (exchange, client) = open(&[]);
        exchange.end();
        exchange.begin(head(), None);
        assert!(client.response().await.is_none());
        assert!(!exchange.client_gone().await);
    }
}
