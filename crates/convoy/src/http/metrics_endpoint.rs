//! `GET /metrics` for Prometheus, on a port of its own: the port of the application is usually
//! public, and names of functions and their load are not. `GET /_live`, the list of live
//! queries, has inputs of callers, so it is answered to this machine only.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::respond::{self, HttpAnswer};
use super::{route, this_machine};
use crate::error::{Code, Failure};
use crate::live::Live;
use crate::telemetry::Prometheus;

/// Connections at once. Prometheus needs one.
const MAX_CONNECTIONS: usize = 16;
/// How long a client may take to send its headers, and to read the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What it answers with.
struct Shown {
    metrics: Arc<Prometheus>,
    live: Arc<Live>,
}

/// A listener that serves the metrics.
pub(crate) struct MetricsEndpoint {
    listener: TcpListener,
    metrics: Arc<Prometheus>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl MetricsEndpoint {
    /// Listens; port 0 selects a free one.
    pub(crate) async fn bind(
        (host, port): (&str, u16),
        metrics: Arc<Prometheus>,
        tasks: TaskTracker,
    ) -> std::io::Result<MetricsEndpoint> {
        let listener = TcpListener::bind((host, port)).await?;
        Ok(MetricsEndpoint { listener, metrics, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), tasks })
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts connections until `stop` is cancelled, and lists the live queries of `live`.
    pub(crate) async fn run(&self, live: &Arc<Live>, stop: &CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer, place)) => {
                    let (shown, stop) = (Shown { metrics: self.metrics.clone(), live: live.clone() }, stop.clone());
                    self.tasks.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = serve(socket, peer, &shown) => {}
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(cause = %error, "a connection for metrics could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn accept(&self) -> std::io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
        let place = self.places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
        let (socket, peer) = self.listener.accept().await?;
        Ok((socket, peer.ip(), place))
    }
}

async fn serve(socket: TcpStream, peer: IpAddr, shown: &Shown) {
    let service = service_fn(|request: Request<Incoming>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(answer(&request, peer, shown)))
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .serve_connection(TokioIo::new(super::WriteTimeout::new(socket, TIMEOUT)), service);
    if let Err(error) = serving.await {
        tracing::debug!(cause = %error, "a connection for metrics ended with an error");
    }
}

fn answer(request: &Request<Incoming>, peer: IpAddr, shown: &Shown) -> HttpAnswer {
    let is_live = match request.uri().path() {
        "/metrics" => false,
        "/_live" => true,
        _ => return plain(StatusCode::NOT_FOUND, "Metrics are at /metrics, and live queries at /_live.\n"),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "This path takes GET.\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    if is_live {
        return live_queries(request, peer, &shown.live).unwrap_or_else(|failure| respond::failure(&failure));
    }
    match shown.metrics.text() {
        Ok(text) => {
            let mut answer = respond::with_body(text.into());
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Prometheus::CONTENT_TYPE));
            answer
        }
        Err(error) => {
            tracing::error!(cause = %error, "the metrics could not be encoded");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be encoded; see the log.\n")
        }
    }
}

fn live_queries(request: &Request<Incoming>, peer: IpAddr, live: &Live) -> Result<HttpAnswer, Failure> {
    this_machine::check(request.headers(), peer).map_err(|_foreign| Failure::new(Code::Forbidden, NOT_HERE))?;
    let function = route::parameter(request.uri().query().unwrap_or_default(), "name")?;
    Ok(respond::success(live.overview_json(function.as_deref())?.into()))
}

const NOT_HERE: &str = "The list of live queries has inputs of callers, so it is shown to the machine of the server \
    only, at localhost or 127.0.0.1, and not through a proxy.";

fn plain(status: StatusCode, text: &'static str) -> HttpAnswer {
    let mut answer = respond::with_body(Bytes::from_static(text.as_bytes()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
