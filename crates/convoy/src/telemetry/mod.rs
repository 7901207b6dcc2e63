//! What an engine records about itself: metrics, for Prometheus and a collector of OTLP, and
//! traces and the log for the collector. The only module that uses `opentelemetry` and `prometheus`.

mod call_record;
mod config;
mod logs;
mod metrics;
mod otlp;
mod prometheus;
mod remote_span;
mod scope;
mod statement;
mod trace;
mod value;

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::sync::mpsc;

pub(crate) use call_record::CallRecord;
pub use config::{Otlp, OtlpProtocol, PrometheusAddress, TelemetryOptions};
pub(crate) use logs::dropped_lines;
pub use logs::{LogLine, exports_logs};
pub(crate) use metrics::{FunctionMetrics, Gauges, Metrics, PoolKind, Route, Stage, UNKNOWN, known_method};
pub(crate) use otlp::Exporters;
pub use otlp::OtlpError;
pub(crate) use prometheus::Prometheus;
pub use remote_span::RemoteSpan;
pub(crate) use scope::{ErrorKind, Scope};
pub(crate) use statement::{Database, StatementKinds, sqlstate};
pub(crate) use trace::{Span, SpanKind, SpanRef, Tracer};

/// The name of the instrumentation.
const SCOPE: &str = "convoy";

/// The telemetry of one engine.
pub(crate) struct Telemetry {
    pub metrics: Metrics,
    pub tracer: Tracer,
    /// Where Prometheus reads the metrics, and their format, if it does.
    pub scraping: Option<(PrometheusAddress, Arc<Prometheus>)>,
}

impl Telemetry {
    /// Prepares what `options` asks for, and the exporters that a task has to run. Without
    /// exporters, nothing is recorded.
    pub(crate) fn new(options: &TelemetryOptions) -> Result<(Telemetry, Option<Exporters>), OtlpError> {
        let resource = resource(options);
        let (prometheus, prometheus_reader) = options.prometheus.as_ref().map(|_address| Prometheus::new()).unzip();
        let (mut exporters, mut otlp_reader, mut tracer) = (None, None, Tracer::default());
        if let Some(otlp) = &options.otlp {
            let (finished, waiting) = mpsc::channel(otlp::MAX_WAITING_TRACES);
            let (made, reader) = Exporters::new(otlp, &resource, waiting)?;
            if otlp.traces {
                tracer = Tracer::new(options, finished);
            }
            (exporters, otlp_reader) = (Some(made), reader);
        }
        let mut metrics = Metrics::default();
        if prometheus_reader.is_some() || otlp_reader.is_some() {
            let mut provider = SdkMeterProvider::builder().with_resource(resource);
            if let Some(reader) = prometheus_reader {
                provider = provider.with_reader(reader);
            }
            if let Some(reader) = otlp_reader {
                provider = provider.with_reader(reader);
            }
            metrics = Metrics::new(provider.build());
        }
        let scraping = options.prometheus.clone().zip(prometheus.map(Arc::new));
        Ok((Telemetry { metrics, tracer, scraping }, exporters))
    }
}

fn resource(options: &TelemetryOptions) -> Resource {
    let given = options.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(given)
        .with_service_name(options.service_name.clone())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn traces_up_to_the_limit_wait_for_an_export_and_more_are_counted() {
        let options =
            r#"{"sampleRatio":1,"otlp":{"endpoint":"http://127.0.0.1:1","protocol":"http/protobuf","traces":true}}"#;
        let options = serde_json::from_str(options).expect("options");
        // Its task does not run, as if the collector did not answer.
        let (Telemetry { tracer, .. }, _exporters) = Telemetry::new(&options).expect("it is prepared");
        (0..otlp::MAX_WAITING_TRACES).for_each(|_| drop(tracer.request("request", None)));
        assert_eq!(tracer.dropped(), 0);
        drop(tracer.request("request", None));
        assert_eq!(tracer.dropped(), 1);
    }
}
