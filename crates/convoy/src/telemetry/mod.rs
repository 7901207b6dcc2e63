//! What an engine records about itself: metrics, for Prometheus and for a collector of OTLP.
//! The only module that uses `opentelemetry` and `prometheus`.

mod call_record;
mod config;
mod metrics;
mod prometheus;

pub(crate) use call_record::CallRecord;
pub use config::{Otlp, OtlpProtocol, PrometheusAddress, TelemetryOptions};
pub(crate) use metrics::{FunctionMetrics, Gauges, Metrics, PoolKind, Route, Statement};
pub(crate) use prometheus::Prometheus;

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;

/// The name of the instrumentation.
const SCOPE: &str = "convoy";

/// The telemetry of one engine.
pub(crate) struct Telemetry {
    pub metrics: Metrics,
    /// The metrics in the format of Prometheus, if it reads them.
    pub prometheus: Option<Arc<Prometheus>>,
}

impl Telemetry {
    /// Prepares what `options` asks for. Without exporters, nothing is recorded.
    pub(crate) fn new(options: &TelemetryOptions) -> Telemetry {
        let prometheus = options.prometheus.as_ref().map(|_address| Prometheus::new());
        let (prometheus, reader) = prometheus.unzip();
        let prometheus = prometheus.map(Arc::new);
        let Some(reader) = reader else { return Telemetry { metrics: Metrics::default(), prometheus } };
        let provider = SdkMeterProvider::builder().with_resource(resource(options)).with_reader(reader).build();
        Telemetry { metrics: Metrics::new(provider), prometheus }
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
