//! The options of telemetry.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// What an engine records about itself, and where it goes. By default nothing is exported.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TelemetryOptions {
    /// The attribute `service.name` of everything that is exported.
    pub service_name: String,
    /// Further attributes of the process, such as `deployment.environment.name`.
    pub resource: BTreeMap<String, String>,
    /// The collector that receives traces, metrics and logs.
    pub otlp: Option<Otlp>,
    /// The address where Prometheus reads the metrics.
    pub prometheus: Option<PrometheusAddress>,
    /// The share of traces that are exported in any case, from 0 to 1.
    #[serde(deserialize_with = "ratio")]
    pub sample_ratio: f64,
    /// Milliseconds after which a call is slow, and its trace is exported.
    pub slow_ms: u64,
    /// Whether the `traceparent` of a request is the parent of its spans, instead of a link.
    pub trust_traceparent: bool,
}

impl Default for TelemetryOptions {
    fn default() -> TelemetryOptions {
        TelemetryOptions {
            service_name: "convoy".to_owned(),
            resource: BTreeMap::new(),
            otlp: None,
            prometheus: None,
            sample_ratio: 0.01,
            slow_ms: 1_000,
            trust_traceparent: false,
        }
    }
}

/// A collector of OTLP.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Otlp {
    /// Its URL. With HTTP, the path of the signal is added: `/v1/traces`.
    pub endpoint: String,
    /// The protocol.
    pub protocol: OtlpProtocol,
    /// Headers of each request, such as an API key.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether traces are exported.
    #[serde(default = "yes")]
    pub traces: bool,
    /// Whether metrics are exported.
    #[serde(default = "yes")]
    pub metrics: bool,
    /// Whether the log is exported.
    #[serde(default = "yes")]
    pub logs: bool,
    /// Milliseconds between two exports of metrics.
    #[serde(default = "default_interval")]
    pub interval_ms: u64,
}

/// A protocol of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum OtlpProtocol {
    /// gRPC, usually at port 4317.
    #[serde(rename = "grpc")]
    Grpc,
    /// Protocol buffers over HTTP, usually at port 4318.
    #[serde(rename = "http/protobuf")]
    Http,
}

/// An address for Prometheus.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusAddress {
    /// The interface; only this machine by default.
    #[serde(default = "default_host")]
    pub host: String,
    /// The port; 0 selects a free one.
    pub port: u16,
}

fn yes() -> bool {
    true
}

fn default_interval() -> u64 {
    60_000
}

fn default_host() -> String {
    "127.0.0.1".to_owned()
}

fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let ratio = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&ratio) {
        Ok(ratio)
    } else {
        Err(D::Error::custom("telemetry.sampleRatio is a share from 0 to 1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_nothing_is_exported_and_prometheus_is_only_for_this_machine() {
        let options: TelemetryOptions = serde_json::from_str("{}").expect("options");
        assert!(options.otlp.is_none() && options.prometheus.is_none());
        let options: TelemetryOptions = serde_json::from_str(r#"{"prometheus":{"port":9464}}"#).expect("options");
        assert_eq!(options.prometheus.expect("an address").host, "127.0.0.1");
        for ratio in ["-0.1", "1.1", "\"all\""] {
            let refused = serde_json::from_str::<TelemetryOptions>(&format!(r#"{{"sampleRatio":{ratio}}}"#));
            assert!(refused.is_err(), "{ratio}");
        }
    }
}
