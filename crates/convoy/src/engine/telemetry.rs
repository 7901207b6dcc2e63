//! What an engine records: its calls, and the state of its parts.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::{Engine, OpenError};
use crate::config::Config;
use crate::dispatch::FunctionKind;
use crate::error::Failure;
use crate::http::MetricsEndpoint;
use crate::live::Counts;
use crate::output;
use crate::telemetry::{CallRecord, Gauges, Metrics, Telemetry};

/// Listens for Prometheus, if it is configured.
pub(super) async fn metrics_endpoint(
    config: &Config,
    telemetry: &Telemetry,
    tasks: &TaskTracker,
) -> Result<Option<MetricsEndpoint>, OpenError> {
    let (Some(address), Some(metrics)) = (&config.telemetry.prometheus, &telemetry.prometheus) else {
        return Ok(None);
    };
    let bound = MetricsEndpoint::bind((&address.host, address.port), metrics.clone(), tasks.clone()).await;
    bound.map(Some).map_err(|cause| OpenError::Metrics { address: format!("{}:{}", address.host, address.port), cause })
}

impl Engine {
    /// Where Prometheus reads the metrics, if it does.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Records that a worker was lost and is replaced.
    pub fn record_worker_restart(&self) {
        self.telemetry.metrics.worker_restarted();
    }

    /// The metrics of this engine.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.telemetry.metrics
    }

    /// Makes a call, and records it.
    pub(super) async fn recorded<T>(
        &self,
        kind: FunctionKind,
        name: &str,
        calling: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if !self.telemetry.metrics.is_on() {
            return calling.await;
        }
        let program = self.program.load_full();
        let function = program.as_ref().and_then(|program| program.metrics_of(kind, name)).cloned();
        let function = function.unwrap_or_else(|| self.telemetry.metrics.unknown_function(kind.as_str()));
        let record = CallRecord::begin(function);
        let result = record.scope(calling).await;
        record.end(&result);
        result
    }

    /// Has the gauges read this engine while it exists.
    pub(super) fn observe_gauges(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        self.telemetry.metrics.observe(move || engine.upgrade().map(|engine| engine.gauges()));
    }

    fn gauges(&self) -> Gauges {
        let Counts { queries, sessions, subscriptions, .. } = self.live.counts();
        let (log_lines, dropped_lines) = output::stderr().queued_and_dropped();
        Gauges {
            live_queries: queries,
            subscriptions,
            sessions,
            running_calls: self.dispatcher.running(),
            cached_reads: self.read_cache.len(),
            connections: [&self.postgres.readers, &self.postgres.writers, &self.postgres.queue_writers]
                .map(|pool| pool.connections()),
            queues: vec![
                ("serial_queues", self.dispatcher.waiting_in_serial_queues()),
                ("inserts", self.dispatcher.waiting_inserts()),
                ("peers", self.peers.len()),
                ("log", log_lines),
            ],
            dropped: vec![("log_lines", dropped_lines)],
        }
    }
}
