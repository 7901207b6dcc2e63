//! What an engine records: its calls, and the state of its parts.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::{Engine, OpenError};
use crate::dispatch::FunctionKind;
use crate::error::{Code, Failure};
use crate::events::{Event, EventKind};
use crate::http::MetricsEndpoint;
use crate::live::{Counts, SessionId, SessionMessage};
use crate::output;
use crate::telemetry::{
    self, CallRecord, Gauges, Metrics, RemoteSpan, Scope, Span, SpanKind, Stage, Telemetry, Tracer, UNKNOWN,
};

/// How many digits of a session's id are recorded, of 32.
const SESSION_DIGITS: usize = 12;

/// Listens for Prometheus, if it is configured.
pub(super) async fn metrics_endpoint(
    telemetry: &Telemetry,
    tasks: &TaskTracker,
) -> Result<Option<MetricsEndpoint>, OpenError> {
    let Some((address, metrics)) = &telemetry.scraping else { return Ok(None) };
    let bound = MetricsEndpoint::bind((&address.host, address.port), metrics.clone(), tasks.clone()).await;
    bound.map(Some).map_err(|cause| OpenError::Metrics { address: format!("{}:{}", address.host, address.port), cause })
}

/// A call that is recorded.
#[derive(Default)]
pub(super) struct RecordedCall {
    record: CallRecord,
    span: Span,
}

impl RecordedCall {
    /// What the work of the call belongs to.
    pub(super) fn scope(&self) -> Scope {
        Scope { call: self.record.clone(), span: self.span.at() }
    }

    /// Records its end.
    pub(super) fn end<T>(mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.record.end(&result);
        if let Err(failure) = &result {
            self.span.set("convoy.code", failure.code.as_str());
            if failure.http_status() >= 500 || failure.code == Code::Conflict {
                self.span.fail(failure.code.as_str());
            }
        }
        result
    }
}

impl Engine {
    /// Where Prometheus reads the metrics, if it does.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Records that a worker was lost and is replaced.
    pub fn record_worker_restart(&self) {
        self.telemetry.metrics.worker_restarted();
        self.events().emit(|| Event::now(EventKind::WorkerRestarted));
    }

    /// The metrics of this engine.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.telemetry.metrics
    }

    /// The tracer of this engine.
    pub(crate) fn tracer(&self) -> &Tracer {
        &self.telemetry.tracer
    }

    /// Begins to record a call. `caller` is the span of a run of this process that calls.
    pub(super) fn record_call(&self, kind: FunctionKind, name: &str, caller: Option<RemoteSpan>) -> RecordedCall {
        let Telemetry { metrics, tracer, .. } = &self.telemetry;
        if !metrics.is_on() && !tracer.is_on() {
            return RecordedCall::default();
        }
        let program = self.program.load_full();
        let function = program.as_ref().and_then(|program| program.find(kind, name));
        let record = match function {
            Some(function) => CallRecord::begin(function.metrics.clone()),
            None => CallRecord::begin(metrics.unknown_function(kind.as_str())),
        };
        // A call of this process begins a trace.
        let above = Scope::current();
        let mut span = match above.span.is_some() {
            true => above.span.child(SpanKind::Internal, "call"),
            false => tracer.caused(SpanKind::Internal, "call", caller),
        };
        if span.is_some() {
            let label = function.map_or_else(|| UNKNOWN.into(), |function| function.name.clone());
            span.name(kind.as_str(), label.clone());
            span.set("convoy.function", label);
            span.set("convoy.kind", kind.as_str());
        }
        RecordedCall { record, span }
    }

    /// Records a frame that is passed to the connection of its session.
    pub(crate) fn record_frame(&self, session: SessionId, messages: &[SessionMessage], bytes: usize) {
        let Telemetry { metrics, tracer, .. } = &self.telemetry;
        metrics.frame(bytes);
        if !metrics.is_on() && !tracer.is_on() {
            return;
        }
        for message in messages {
            let SessionMessage::Answer { answer, .. } = message else { continue };
            let origin = answer.origin();
            if let Some(committed_at) = origin.committed_at {
                metrics.feed_lag(Stage::Frame, committed_at.elapsed());
            }
            if let Some(run) = origin.of_frame() {
                let mut span = tracer.caused(SpanKind::Producer, "frame", Some(run.span));
                run.id.into_iter().for_each(|id| span.set("convoy.run.id", id as i64));
                // A part of the id: the whole would let others update a session without a context.
                span.set("convoy.session.id", session.to_string().chars().take(SESSION_DIGITS).collect::<String>());
                span.set("convoy.frame.bytes", bytes as i64);
            }
        }
    }

    /// Has the gauges read this engine while it exists.
    pub(super) fn observe_gauges(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        self.telemetry.metrics.observe(move || engine.upgrade().map(|engine| engine.gauges()));
    }

    fn gauges(&self) -> Gauges {
        let Counts { queries, sessions, subscriptions, .. } = self.live.counts();
        let (log_lines, dropped_lines) = output::stderr().queued_and_dropped();
        let cache = self.live.cache_size();
        Gauges {
            live_queries: queries,
            subscriptions,
            sessions,
            running_calls: self.dispatcher.running(),
            cached_reads: self.read_cache.len(),
            cached_results: cache.results,
            cached_result_bytes: cache.bytes,
            evicted_results: cache.evicted,
            connections: [&self.postgres.readers, &self.postgres.writers, &self.postgres.queue_writers]
                .map(|pool| pool.connections()),
            queues: vec![
                ("serial_queues", self.dispatcher.waiting_in_serial_queues()),
                ("commits", self.dispatcher.waiting_commits()),
                ("reads", self.dispatcher.waiting_reads()),
                ("peers", self.peers.len()),
                ("log", log_lines),
            ],
            dropped: vec![
                ("events", self.events().dropped()),
                ("log_lines", dropped_lines),
                ("exported_log_lines", telemetry::dropped_lines()),
                ("spans", self.telemetry.tracer.dropped()),
            ],
        }
    }
}
