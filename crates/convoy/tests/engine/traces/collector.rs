//! A collector of OTLP, over HTTP and gRPC.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use convoy_testkit::within;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
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

#[derive(Default)]
struct Requests {
    headers: Vec<HeaderMap>,
    bytes: Vec<u8>,
    metrics: Vec<String>,
    logs: Vec<LogRecord>,
}

impl Collector {
    /// A collector of OTLP over HTTP.
    pub(crate) async fn http() -> Collector {
        let (listener, spans, collector) = Collector::bind().await;
        let requests = collector.requests.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (spans, requests) = (spans.clone(), requests.clone());
                let service = service_fn(move |request| receive(request, spans.clone(), requests.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        collector
    }

    /// A collector of traces over gRPC.
    pub(crate) async fn grpc() -> Collector {
        let (listener, spans, collector) = Collector::bind().await;
        let requests = collector.requests.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = TraceServiceServer::new(GrpcTraces { spans: spans.clone(), requests: requests.clone() });
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(serving.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service)));
            }
        });
        collector
    }

    async fn bind() -> (TcpListener, mpsc::UnboundedSender<Vec<Span>>, Collector) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("an address");
        let (sender, spans) = mpsc::unbounded_channel();
        (listener, sender, Collector { address, spans, received: Vec::new(), requests: Arc::default() })
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

    /// The headers of the first request.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.requests.lock().headers.first().cloned().expect("a request")
    }

    /// The lines of the log that were received.
    pub(crate) fn logs(&self) -> Vec<LogRecord> {
        self.requests.lock().logs.clone()
    }

    /// The names of the metrics that were received.
    pub(crate) fn metrics(&self) -> Vec<String> {
        self.requests.lock().metrics.clone()
    }
}

async fn receive(
    request: Request<Incoming>,
    spans: mpsc::UnboundedSender<Vec<Span>>,
    requests: Arc<Mutex<Requests>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    {
        let mut requests = requests.lock();
        requests.headers.push(head.headers);
        requests.bytes.extend_from_slice(&body);
    }
    match head.uri.path() {
        "/v1/traces" => {
            let request = ExportTraceServiceRequest::decode(body).expect("traces");
            drop(spans.send(spans_of(request)));
        }
        "/v1/metrics" => {
            let request = ExportMetricsServiceRequest::decode(body).expect("metrics");
            let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            requests.lock().metrics.extend(scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name));
        }
        "/v1/logs" => {
            let request = ExportLogsServiceRequest::decode(body).expect("logs");
            let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
            requests.lock().logs.extend(scopes.flat_map(|scope| scope.log_records));
        }
        other => panic!("{other} is no path of OTLP"),
    }
    Ok(Response::new(Full::default()))
}

struct GrpcTraces {
    spans: mpsc::UnboundedSender<Vec<Span>>,
    requests: Arc<Mutex<Requests>>,
}

#[tonic::async_trait]
impl TraceService for GrpcTraces {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        self.requests.lock().headers.push(metadata.into_headers());
        drop(self.spans.send(spans_of(request)));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans_of(request: ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// An attribute of a span, as text.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key == key).map(text)
}

fn text(attribute: &KeyValue) -> String {
    match attribute.value.as_ref() {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text.clone(),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        Some(AnyValue { value: Some(Value::BoolValue(is)) }) => is.to_string(),
        other => format!("{other:?}"),
    }
}
