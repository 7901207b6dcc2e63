//! `GET /metrics` for Prometheus, on a port of its own: the port of the application is usually
//! public, and names of functions and their load are not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::Prometheus;

/// Connections at once. Prometheus needs one.
const MAX_CONNECTIONS: usize = 16;
/// How long a client may take to send its headers, and to read the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

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

    /// Accepts connections until `stop` is cancelled.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((socket, place)) => {
                    let (metrics, stop) = (self.metrics.clone(), stop.clone());
                    self.tasks.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = serve(socket, &metrics) => {}
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

    async fn accept(&self) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let place = self.places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
        let (socket, _peer) = self.listener.accept().await?;
        Ok((socket, place))
    }
}

async fn serve(socket: tokio::net::TcpStream, metrics: &Prometheus) {
    let service = service_fn(|request: Request<Incoming>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(answer(&request, metrics)))
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .serve_connection(TokioIo::new(super::WriteTimeout::new(socket, TIMEOUT)), service);
    if let Err(error) = serving.await {
        tracing::debug!(cause = %error, "a connection for metrics ended with an error");
    }
}

fn answer(request: &Request<Incoming>, metrics: &Prometheus) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "Metrics are at /metrics.\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "This path takes GET.\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match metrics.text() {
        Ok(text) => {
            let mut answer = Response::new(Full::new(text.into()));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Prometheus::CONTENT_TYPE));
            answer
        }
        Err(error) => {
            tracing::error!(cause = %error, "the metrics could not be encoded");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be encoded; see the log.\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
