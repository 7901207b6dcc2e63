//! Exports traces, metrics and the log to a collector, by OTLP over gRPC or HTTP. A task of the engine
//! does it, with a bounded queue: a collector that is slow or away costs telemetry, and
//! nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::InstrumentationScope;
use opentelemetry_http::HttpClient;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, Temporality};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::logs::Lines;
use super::{Otlp, OtlpProtocol, SCOPE};
use crate::output::without_userinfo;

/// Traces that may wait for an export; further ones are dropped and counted.
pub(super) const MAX_WAITING_TRACES: usize = 2_048;
/// The most traces or lines of one request, and how long the first of them waits for others.
const MAX_BATCH: usize = 512;
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// How long one request may take, and all of them when the engine closes.
const TIMEOUT: Duration = Duration::from_secs(10);
const LAST_TIMEOUT: Duration = Duration::from_secs(3);

/// A reader of metrics, of which the exporter and the provider have one half each.
#[derive(Debug, Clone)]
pub(super) struct SharedReader(Arc<ManualReader>);

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: std::sync::Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// The exporters of one engine.
pub(crate) struct Exporters {
    traces: Option<Mutex<Traces>>,
    metrics: Option<Metrics>,
    logs: Option<Mutex<Logs>>,
    /// Without the user, for the log.
    endpoint: String,
}

/// Whether the last request of one signal failed: each change of that is logged once. Each has its
/// own, because many collectors take only some of them.
#[derive(Default)]
struct IsFailing(AtomicBool);

struct Traces {
    exporter: SpanExporter,
    finished: mpsc::Receiver<Vec<SpanData>>,
}

struct Logs {
    exporter: LogExporter,
    lines: Lines,
}

struct Metrics {
    exporter: MetricExporter,
    reader: SharedReader,
    interval: Duration,
}

/// Why the exporters could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The endpoint or an option is invalid.
    #[error("Telemetry cannot be exported to `{endpoint}`: {cause}; correct `telemetry.otlp`.")]
    Build {
        /// The URL of the collector.
        endpoint: String,
        /// The exporter's reason.
        #[source]
        cause: ExporterBuildError,
    },
    /// The certificates of the system cannot be read.
    #[error("The certificates of this system cannot be read: {0}; telemetry is exported over TLS only with them.")]
    Certificates(#[source] std::io::Error),
    /// A header has characters that no header may have.
    #[error("The header `{0}` of `telemetry.otlp` is not valid; names are lowercase ASCII, and values ASCII.")]
    Header(String),
}

impl Exporters {
    /// Exporters for the signals that are enabled, and the reader of the metrics.
    pub(super) fn new(
        otlp: &Otlp,
        resource: &Resource,
        finished: mpsc::Receiver<Vec<SpanData>>,
    ) -> Result<(Exporters, Option<SharedReader>), OtlpError> {
        let endpoint = without_userinfo(&otlp.endpoint);
        let failed = |cause| OtlpError::Build { endpoint: endpoint.clone(), cause };
        let traces = match otlp.traces {
            true => {
                let mut exporter = span_exporter(otlp)?.map_err(failed)?;
                exporter.set_resource(resource);
                Some(Mutex::new(Traces { exporter, finished }))
            }
            false => None,
        };
        let metrics = match otlp.metrics {
            true => {
                let exporter = metric_exporter(otlp)?.map_err(failed)?;
                let reader = ManualReader::builder().with_temporality(exporter.temporality()).build();
                let interval = Duration::from_millis(otlp.interval_ms.max(1));
                Some(Metrics { exporter, reader: SharedReader(Arc::new(reader)), interval })
            }
            false => None,
        };
        let logs = match otlp.logs {
            true => {
                let mut exporter = log_exporter(otlp)?.map_err(failed)?;
                exporter.set_resource(resource);
                Some(Mutex::new(Logs { exporter, lines: Lines::receive() }))
            }
            false => None,
        };
        let reader = metrics.as_ref().map(|metrics| metrics.reader.clone());
        let exporters = Exporters { traces, metrics, logs, endpoint };
        Ok((exporters, reader))
    }

    /// Exports until `stop` is cancelled, and then what is left.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        tokio::join!(self.export_traces(stop), self.export_metrics(stop), self.export_logs(stop));
    }

    async fn export_traces(&self, stop: &CancellationToken) {
        let Some(traces) = &self.traces else { return };
        // Held across the export: the only other holder is this task after a restart.
        let mut traces = traces.lock().await;
        let failing = IsFailing::default();
        let mut batch = Vec::new();
        loop {
            let has_more = tokio::select! {
                has_more = collect(&mut traces.finished, |spans| batch.extend(spans)) => has_more,
                () = stop.cancelled() => {
                    while let Ok(spans) = traces.finished.try_recv() {
                        batch.extend(spans);
                    }
                    false
                }
            };
            let limit = if has_more { TIMEOUT } else { LAST_TIMEOUT };
            if !batch.is_empty() {
                self.report(("traces", &failing), limit, traces.exporter.export(std::mem::take(&mut batch))).await;
            }
            if !has_more {
                return;
            }
        }
    }

    async fn export_logs(&self, stop: &CancellationToken) {
        let Some(logs) = &self.logs else { return };
        let mut logs = logs.lock().await;
        let failing = IsFailing::default();
        let scope = InstrumentationScope::builder(SCOPE).build();
        let mut batch = Vec::new();
        loop {
            let has_more = tokio::select! {
                has_more = collect(&mut logs.lines.waiting, |line| batch.push(line)) => has_more,
                () = stop.cancelled() => false,
            };
            if !has_more {
                while let Ok(line) = logs.lines.waiting.try_recv() {
                    batch.push(line);
                }
            }
            if !batch.is_empty() {
                let records: Vec<SdkLogRecord> = batch.drain(..).map(|line| logs.lines.record(line)).collect();
                let records: Vec<_> = records.iter().map(|record| (record, &scope)).collect();
                let limit = if has_more { TIMEOUT } else { LAST_TIMEOUT };
                self.report(("logs", &failing), limit, logs.exporter.export(LogBatch::new(&records))).await;
            }
            if !has_more {
                return;
            }
        }
    }

    async fn export_metrics(&self, stop: &CancellationToken) {
        let Some(Metrics { exporter, reader, interval }) = &self.metrics else { return };
        let (mut collected, failing) = (ResourceMetrics::default(), IsFailing::default());
        loop {
            let is_last = tokio::select! {
                () = tokio::time::sleep(*interval) => false,
                () = stop.cancelled() => true,
            };
            match reader.collect(&mut collected) {
                Ok(()) => {
                    let limit = if is_last { LAST_TIMEOUT } else { TIMEOUT };
                    self.report(("metrics", &failing), limit, exporter.export(&collected)).await;
                }
                Err(error) => tracing::warn!(cause = %error, "the metrics could not be collected"),
            }
            if is_last {
                return;
            }
        }
    }

    /// Waits for a request to the collector, and logs if it begins or ceases to fail.
    async fn report(
        &self,
        (signal, failing): (&str, &IsFailing),
        limit: Duration,
        exporting: impl Future<Output = OTelSdkResult>,
    ) {
        let exported = tokio::time::timeout(limit, exporting).await;
        let cause = match exported {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_elapsed) => Some(format!("no answer within {} s", limit.as_secs())),
        };
        let was_failing = failing.0.swap(cause.is_some(), Ordering::Relaxed);
        match cause {
            Some(cause) if !was_failing => {
                let endpoint = &self.endpoint;
                tracing::warn!(%cause, %endpoint, "{signal} could not be exported, and are dropped until this works");
            }
            None if was_failing => tracing::info!("{signal} are exported again"),
            _ => {}
        }
    }
}

/// Takes what waits, for a while after the first item. `false` if no more will come.
async fn collect<T>(waiting: &mut mpsc::Receiver<T>, mut take: impl FnMut(T)) -> bool {
    let Some(first) = waiting.recv().await else { return false };
    take(first);
    let until = Instant::now() + BATCH_DELAY;
    for _ in 1..MAX_BATCH {
        match tokio::time::timeout_at(until, waiting.recv()).await {
            Ok(Some(next)) => take(next),
            Ok(None) => return false,
            Err(_elapsed) => break,
        }
    }
    true
}

type Built<T> = Result<Result<T, ExporterBuildError>, OtlpError>;

fn span_exporter(otlp: &Otlp) -> Built<SpanExporter> {
    let builder = SpanExporter::builder();
    Ok(match otlp.protocol {
        OtlpProtocol::Grpc => grpc(builder.with_tonic(), otlp)?.build(),
        OtlpProtocol::Http => http(builder.with_http(), otlp, "/v1/traces")?.build(),
    })
}

fn log_exporter(otlp: &Otlp) -> Built<LogExporter> {
    let builder = LogExporter::builder();
    Ok(match otlp.protocol {
        OtlpProtocol::Grpc => grpc(builder.with_tonic(), otlp)?.build(),
        OtlpProtocol::Http => http(builder.with_http(), otlp, "/v1/logs")?.build(),
    })
}

fn metric_exporter(otlp: &Otlp) -> Built<MetricExporter> {
    let builder = MetricExporter::builder();
    Ok(match otlp.protocol {
        OtlpProtocol::Grpc => grpc(builder.with_tonic(), otlp)?.build(),
        OtlpProtocol::Http => http(builder.with_http(), otlp, "/v1/metrics")?.build(),
    })
}

fn grpc<B: WithExportConfig + WithTonicConfig>(builder: B, otlp: &Otlp) -> Result<B, OtlpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &otlp.headers {
        let invalid = || OtlpError::Header(name.clone());
        let key = HeaderName::try_from(name).map_err(|_| invalid())?;
        headers.insert(key, HeaderValue::try_from(value).map_err(|_| invalid())?);
    }
    let metadata = MetadataMap::from_headers(headers);
    let builder = builder.with_endpoint(&otlp.endpoint).with_timeout(TIMEOUT).with_metadata(metadata);
    let is_encrypted = otlp.endpoint.starts_with("https://");
    Ok(if is_encrypted { builder.with_tls_config(ClientTlsConfig::new().with_native_roots()) } else { builder })
}

fn http<B: WithExportConfig + WithHttpConfig>(builder: B, otlp: &Otlp, path: &str) -> Result<B, OtlpError> {
    let headers: HashMap<String, String> =
        otlp.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    // The endpoint of a signal is not extended by the exporter.
    let endpoint = format!("{}{path}", otlp.endpoint.trim_end_matches('/'));
    Ok(builder
        .with_endpoint(endpoint)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(TIMEOUT)
        .with_headers(headers)
        .with_shared_http_client(client(otlp)?))
}

/// A client for the collector: with the certificates of the system only for `https://`, since a
/// system may have none.
fn client(otlp: &Otlp) -> Result<Arc<dyn HttpClient>, OtlpError> {
    if !otlp.endpoint.starts_with("https://") {
        return Ok(Arc::new(HyperClient::with_default_connector(TIMEOUT, None)));
    }
    let builder = HttpsConnectorBuilder::new().with_native_roots().map_err(OtlpError::Certificates)?;
    Ok(Arc::new(HyperClient::new(builder.https_only().enable_http1().build(), TIMEOUT, None)))
}
