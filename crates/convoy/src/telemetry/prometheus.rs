//! Metrics in the text format of Prometheus.

use opentelemetry_prometheus::PrometheusExporter;
use prometheus::{Encoder, Registry, TextEncoder};

/// Encodes the metrics of one engine.
pub(crate) struct Prometheus {
    registry: Registry,
}

impl Prometheus {
    /// The encoder, and the reader that its metrics come from.
    pub(super) fn new() -> (Prometheus, PrometheusExporter) {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .expect("a new registry has no metrics of the same names");
        (Prometheus { registry }, reader)
    }

    /// The `Content-Type` of [`Prometheus::text`].
    pub(crate) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

    /// All metrics.
    pub(crate) fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(64 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
