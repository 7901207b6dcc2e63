//! A collector of OTLP, over HTTP and gRPC.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use convoy_testkit::within;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What a collector has received.
pub(crate) struct Collector {
    pub address: SocketAddr,
    spans: mpsc::UnboundedReceiver<Vec<Span>>,
    received: Vec<Span>,
    requests: Arc<Mutex<Requests>>,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

#[derive(Default)]
struct Requests {
    headers: Vec<(Signal, HeaderMap)>,
    /// Of bodies, over HTTP.
    bytes: Vec<u8>,
    /// Those of the last request.
    metrics: Vec<Metric>,
    logs: Vec<LogRecord>,
}

impl Collector {
    /// A collector of OTLP over HTTP.
    pub(crate) async fn http() -> Collector {
        let (listener, sink, collector) = Collector::bind().await;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let sink = sink.clone();
                let service = service_fn(move |request| receive(request, sink.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        collector
    }

    /// A collector of OTLP over gRPC.
    pub(crate) async fn grpc() -> Collector {
        let (listener, sink, collector) = Collector::bind().await;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let sink = sink.clone();
                let service = service_fn(move |request| receive_grpc(request, sink.clone()));
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(serving.serve_connection(TokioIo::new(socket), service));
            }
        });
        collector
    }

    async fn bind() -> (TcpListener, Sink, Collector) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("an address");
        let (sender, spans) = mpsc::unbounded_channel();
        let requests: Arc<Mutex<Requests>> = Arc::default();
        let sink = Sink { spans: sender, requests: requests.clone() };
        (listener, sink, Collector { address, spans, received: Vec::new(), requests })
    }

    /// Waits until these spans have arrived, by a condition on all of them.
    pub(crate) async fn until(&mut self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        while !enough(&self.received) {
            let more = within(self.spans.recv()).await.expect("the collector runs");
            self.received.extend(more);
        }
        self.received.clone()
    }

    /// All bytes that were received.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.requests.lock().bytes.clone()
    }

    /// The headers of the first request of a signal.
    pub(crate) fn headers(&self, signal: Signal) -> HeaderMap {
        let requests = self.requests.lock();
        let first = requests.headers.iter().find(|(of, _)| *of == signal);
        first.map(|(_, headers)| headers.clone()).unwrap_or_else(|| panic!("no request of {signal:?}"))
    }

    /// The lines of the log that were received.
    pub(crate) fn logs(&self) -> Vec<LogRecord> {
        self.requests.lock().logs.clone()
    }

    /// The metrics that were received last.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        self.requests.lock().metrics.clone()
    }
}

/// Keeps what arrives.
#[derive(Clone)]
struct Sink {
    spans: mpsc::UnboundedSender<Vec<Span>>,
    requests: Arc<Mutex<Requests>>,
}

impl Sink {
    fn traces(&self, headers: HeaderMap, request: ExportTraceServiceRequest) {
        self.requests.lock().headers.push((Signal::Traces, headers));
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        drop(self.spans.send(scopes.flat_map(|scope| scope.spans).collect()));
    }

    fn metrics(&self, headers: HeaderMap, request: ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        let mut requests = self.requests.lock();
        requests.headers.push((Signal::Metrics, headers));
        requests.metrics = scopes.flat_map(|scope| scope.metrics).collect();
    }

    fn logs(&self, headers: HeaderMap, request: ExportLogsServiceRequest) {
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let mut requests = self.requests.lock();
        requests.headers.push((Signal::Logs, headers));
        requests.logs.extend(scopes.flat_map(|scope| scope.log_records));
    }
}

async fn receive(request: Request<Incoming>, sink: Sink) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    sink.requests.lock().bytes.extend_from_slice(&body);
    match head.uri.path() {
        "/v1/traces" => sink.traces(head.headers, Message::decode(body).expect("traces")),
        "/v1/metrics" => sink.metrics(head.headers, Message::decode(body).expect("metrics")),
        "/v1/logs" => sink.logs(head.headers, Message::decode(body).expect("logs")),
        other => panic!("{other} is no path of OTLP"),
    }
    Ok(Response::new(Full::default()))
}

async fn receive_grpc(request: Request<Incoming>, sink: Sink) -> Result<Response<tonic::body::Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let service = path.trim_start_matches("/opentelemetry.proto.collector.");
    match service {
        "trace.v1.TraceService/Export" => TowerToHyperService::new(TraceServiceServer::new(sink)).call(request).await,
        "metrics.v1.MetricsService/Export" => {
            TowerToHyperService::new(MetricsServiceServer::new(sink)).call(request).await
        }
        "logs.v1.LogsService/Export" => TowerToHyperService::new(LogsServiceServer::new(sink)).call(request).await,
        other => panic!("{other} is no method of OTLP"),
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        self.traces(metadata.into_headers(), request);
        Ok(tonic::Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        self.metrics(metadata.into_headers(), request);
        Ok(tonic::Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Sink {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        self.logs(metadata.into_headers(), request);
        Ok(tonic::Response::new(Default::default()))
    }
}
