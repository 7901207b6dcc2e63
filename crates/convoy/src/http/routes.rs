//! Answers a request by an HTTP route of the program: the body streams to the function, and
//! its response streams to the client.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use super::body::{self, RequestBody};
use super::cors::Grant;
use super::guard;
use super::respond::{self, BrokenOff, HttpAnswer, failure, method_not_allowed};
use super::router::{Found, Matched};
use super::upload::{Upload, UploadLimits, too_large};
use crate::Engine;
use crate::dispatch::{Answer, IncomingRoute, RouteBody, RouteHead, StartedRoute};
use crate::error::Failure;

/// Headers that belong to the connection, which is the engine's.
const OF_THE_CONNECTION: [&str; 6] = ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// A request for a route, which has passed the checks.
pub(super) struct RouteRequest<'a> {
    pub head: &'a Parts,
    pub url: String,
    pub peer: Option<IpAddr>,
    pub body: &'a mut RequestBody,
    pub tasks: &'a TaskTracker,
}

/// Answers a request to the path of a route.
pub(super) async fn answer(
    engine: &Arc<Engine>,
    found: Found,
    request: RouteRequest<'_>,
    grant: &Grant,
) -> Result<HttpAnswer, Failure> {
    let head = request.head;
    match found {
        Found::Route(matched) => run(engine, &matched, request).await,
        Found::Options { allowed, .. } => {
            let mut answer = match grant.preflight(&head.method, &head.headers, &allowed) {
                Some(preflight) => preflight?,
                None => respond::empty(StatusCode::NO_CONTENT),
            };
            respond::allow(&mut answer, &allowed);
            Ok(answer)
        }
        Found::Method { allowed } => Ok(method_not_allowed(&head.method, &allowed)),
    }
}

async fn run(engine: &Arc<Engine>, matched: &Matched, request: RouteRequest<'_>) -> Result<HttpAnswer, Failure> {
    let RouteRequest { head, url, peer, body, tasks } = request;
    let config = engine.config();
    let limits = &config.limits;
    let max = matched.route.options.body_bytes.unwrap_or(limits.body_bytes as u64);
    if body.size_hint().lower() > max {
        return Err(too_large(max));
    }
    let has_body = !matches!(head.method, Method::GET | Method::HEAD) && !body.is_end_stream();
    let input = json!({ "params": matched.params()?, "url": url, "hasBody": has_body });
    let address = guard::address(&head.headers, peer, config);
    let caller = guard::caller(head, address, false);
    let is_read = Arc::new(AtomicBool::new(body.is_end_stream()));
    // A client that waits for 100 Continue has not sent the body.
    let discards = !head.headers.contains_key(header::EXPECT);
    let upload_limits = UploadLimits { max, idle: Duration::from_millis(limits.body_ms), discards };
    let body = std::mem::replace(body, body::empty());
    let upload = Upload::new(body, upload_limits, is_read.clone(), tasks.clone());
    let route = (&matched.program, &*matched.route);
    let admitted = engine.admit_request(route, address, &caller).await;
    let incoming = IncomingRoute {
        caller,
        input: input.to_string().into(),
        counted: guard::counted(address, peer, config),
        chunks: upload.into_chunks(),
    };
    let answered = match admitted.and_then(|()| engine.start_route(route, incoming)) {
        Ok(started) => respond(&matched.route.function.name, started).await,
        Err(refused) => Err(refused),
    };
    let mut answer = answered.unwrap_or_else(|refused| failure(&refused));
    if !is_read.load(Ordering::Relaxed) {
        respond::mark_last(&mut answer);
    }
    Ok(answer)
}

/// Waits for the start of the response.
async fn respond(route: &Arc<str>, (client, running): StartedRoute) -> Result<HttpAnswer, Failure> {
    let Some((RouteHead { status, headers }, body, guard)) = client.response().await else {
        return Err(match running.await {
            Ok(Err(failure)) => failure,
            Ok(Ok(_)) => Failure::internal(route, &"it ended without a response"),
            Err(_dropped) => Failure::internal(route, &"its task ended without an answer (it panicked)"),
        });
    };
    let status = StatusCode::from_u16(status).map_err(|error| Failure::internal(route, &error))?;
    let mut headers = header_map(route, headers)?;
    let body = match body {
        RouteBody::Whole(bytes) => {
            // It follows from the body.
            headers.remove(header::CONTENT_LENGTH);
            // The route has nothing left to write, so it does not matter whether the client stays.
            guard.disarm();
            respond::full(bytes)
        }
        RouteBody::Chunks(chunks) => {
            let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            Download { chunks, running, declared, is_broken: false, route: route.clone(), guard: Some(guard) }
                .boxed_unsync()
        }
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

/// The headers of a response, without those of the connection.
fn header_map(route: &str, pairs: Vec<(String, String)>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let value: Option<Vec<u8>> = value.chars().map(|each| u8::try_from(u32::from(each)).ok()).collect();
        let value = value.and_then(|value| HeaderValue::from_bytes(&value).ok());
        let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value) else {
            return Err(Failure::internal(route, &format!("the header {name} of its response is invalid")));
        };
        if !OF_THE_CONNECTION.contains(&name.as_str()) {
            headers.append(name, value);
        }
    }
    Ok(headers)
}

/// The end of a route's run.
type Running = oneshot::Receiver<Result<Answer, Failure>>;

/// A response body that its route writes. It ends well only if the run does; else the
/// connection is broken off, so that the client does not take a part for the whole.
struct Download {
    chunks: mpsc::Receiver<Bytes>,
    running: Running,
    /// How many bytes it must still have; `None` if its length is not declared.
    declared: Option<u64>,
    /// The rest will not come.
    is_broken: bool,
    route: Arc<str>,
    /// Tells the route that its client has left.
    guard: Option<DropGuard>,
}

impl Body for Download {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.is_broken {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        let cause = match ready!(self.chunks.poll_recv(context)) {
            Some(chunk) => match self.declared.map(|left| left.checked_sub(chunk.len() as u64)) {
                Some(None) => "it is longer than its Content-Length".to_owned(),
                left => {
                    self.declared = left.flatten();
                    if self.declared == Some(0) {
                        // The rest of the run is not awaited: the client has all bytes.
                        self.guard.take().map(DropGuard::disarm);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
            },
            None => match ready!(Pin::new(&mut self.running).poll(context)) {
                Ok(Ok(_)) if self.declared.is_some_and(|left| left > 0) => {
                    "it is shorter than its Content-Length".to_owned()
                }
                Ok(Ok(_)) => return Poll::Ready(None),
                Ok(Err(failure)) => failure.to_string(),
                Err(_dropped) => "its task panicked".to_owned(),
            },
        };
        tracing::warn!(route = &*self.route, cause, "a response was broken off");
        // What was written before is sent first: the connection is flushed while this waits.
        self.is_broken = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
