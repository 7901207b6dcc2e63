//! The instruments of an engine. Their names follow OpenTelemetry: Prometheus sees
//! `convoy.call.duration`, in seconds, as `convoy_call_duration_seconds`.
//!
//! What is recorded for each call is bound to its attributes once, when the program is loaded:
//! this takes 7 ns for a counter, and looking the attributes up at each call some 100 ns.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use super::SCOPE;
use crate::error::Code;

/// The function of calls that name none of the loaded ones: clients cannot add labels.
pub(crate) const UNKNOWN: &str = "_unknown";
/// The code of calls that have succeeded, and of those whose caller did not wait.
const OK: &str = "OK";
const CANCELLED: &str = "CANCELLED";

/// The limits of the buckets of durations, in seconds: those of the semantic conventions, and
/// finer ones below a millisecond, where most calls and statements are.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Records what happens; nothing if no exporter asks for it. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Metrics(Option<Arc<Instruments>>);

struct Instruments {
    provider: SdkMeterProvider,
    meter: Meter,
    calls: Counter<u64>,
    call_duration: Histogram<f64>,
    retries: Counter<u64>,
    requests: Histogram<f64>,
    /// Successful requests of each [`Route`], by its number.
    answered: Vec<BoundHistogram<f64>>,
    statements: Histogram<f64>,
    /// By [`PoolKind`].
    pool_wait: Vec<BoundHistogram<f64>>,
    query_runs: Counter<u64>,
    /// Calls answered from the result cache, and those that were not.
    cache_hits: BoundCounter<u64>,
    cache_misses: BoundCounter<u64>,
    frames: BoundCounter<u64>,
    frame_bytes: BoundCounter<u64>,
    /// By [`Stage`].
    feed_lag: Vec<BoundHistogram<f64>>,
    worker_restarts: BoundCounter<u64>,
}

/// The template of a request's path, which is its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Query,
    Mutation,
    Action,
    Live,
    Session,
    Socket,
    Subscribe,
    Program,
    Files,
    Other,
}

impl Route {
    const ALL: [Route; 10] = [
        Route::Query,
        Route::Mutation,
        Route::Action,
        Route::Live,
        Route::Session,
        Route::Socket,
        Route::Subscribe,
        Route::Program,
        Route::Files,
        Route::Other,
    ];

    /// The route of a number, by `as`.
    pub(crate) fn of_number(number: u8) -> Route {
        Route::ALL.get(usize::from(number)).copied().unwrap_or(Route::Other)
    }

    /// The template, below the base path.
    pub(crate) fn template(self) -> &'static str {
        match self {
            Route::Query => "/query/{name}",
            Route::Mutation => "/mutation/{name}",
            Route::Action => "/action/{name}",
            Route::Live => "/live",
            Route::Session => "/live/{session}",
            Route::Socket => "/ws",
            Route::Subscribe => "/subscribe",
            Route::Program => "{route}",
            Route::Files => "{file}",
            Route::Other => "{other}",
        }
    }

    /// The method that almost all of its requests have.
    fn usual_method(self) -> &'static str {
        match self {
            Route::Query | Route::Mutation | Route::Action | Route::Live | Route::Session | Route::Program => "POST",
            Route::Socket | Route::Subscribe | Route::Files | Route::Other => "GET",
        }
    }
}

/// A pool of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolKind {
    Readers,
    Writers,
    QueueWriters,
}

impl PoolKind {
    const ALL: [PoolKind; 3] = [PoolKind::Readers, PoolKind::Writers, PoolKind::QueueWriters];

    fn as_str(self) -> &'static str {
        match self {
            PoolKind::Readers => "readers",
            PoolKind::Writers => "writers",
            PoolKind::QueueWriters => "queue_writers",
        }
    }
}

/// How far a commit has come. Each stage is measured from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The live queries that it affects are queued.
    Applied,
    /// A frame with a result that has it was passed to its connection.
    Frame,
}

impl Stage {
    const ALL: [Stage; 2] = [Stage::Applied, Stage::Frame];

    fn as_str(self) -> &'static str {
        match self {
            Stage::Applied => "applied",
            Stage::Frame => "frame",
        }
    }
}

/// The current values of what is not counted by events.
pub(crate) struct Gauges {
    pub live_queries: usize,
    pub subscriptions: usize,
    pub sessions: usize,
    pub running_calls: usize,
    pub cached_reads: usize,
    pub cached_results: usize,
    pub cached_result_bytes: usize,
    /// Results that were evicted because all were too large together.
    pub evicted_results: u64,
    /// The open connections of each pool: those in use, and the idle ones.
    pub connections: [(PoolKind, usize, usize); 3],
    /// The lengths of queues, by name.
    pub queues: Vec<(&'static str, usize)>,
    /// What was dropped because its queue was full, by name.
    pub dropped: Vec<(&'static str, u64)>,
}

impl Metrics {
    /// Instruments of `provider`.
    pub(super) fn new(provider: SdkMeterProvider) -> Metrics {
        let meter = provider.meter(SCOPE);
        let seconds = |name: &'static str, description: &'static str| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(description);
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        let counter = |name: &'static str, description: &'static str| {
            meter.u64_counter(name).with_description(description).build()
        };
        let requests = seconds("http.server.request.duration", "Time until the head of the response.");
        let answered = Route::ALL.map(|route| requests.bind(&request_attributes(route.usual_method(), route, 200)));
        let pool_wait = seconds("convoy.pool.wait", "Waiting for a connection to Postgres.");
        let pool_wait = PoolKind::ALL.map(|pool| pool_wait.bind(&[KeyValue::new("pool", pool.as_str())]));
        let feed_lag = seconds(
            "convoy.feed.lag",
            "Time from a commit until live queries know it, and from then until its frames.",
        );
        let feed_lag = Stage::ALL.map(|stage| feed_lag.bind(&[KeyValue::new("stage", stage.as_str())]));
        let cache =
            counter("convoy.result_cache.calls", "Calls of queries, by whether the result cache had the answer.");
        let cached = |outcome: &'static str| cache.bind(&[KeyValue::new("outcome", outcome)]);
        Metrics(Some(Arc::new(Instruments {
            cache_hits: cached("hit"),
            cache_misses: cached("miss"),
            calls: counter("convoy.calls", "Calls that have ended."),
            call_duration: seconds("convoy.call.duration", "Time of calls."),
            retries: counter("convoy.call.retries", "Repeated runs of functions."),
            requests,
            answered: answered.into(),
            statements: seconds("db.client.operation.duration", "Time of statements."),
            pool_wait: pool_wait.into(),
            query_runs: counter("convoy.query.runs", "Runs of live queries."),
            frames: counter("convoy.frames", "Frames sent to clients.").bind(&[]),
            frame_bytes: meter
                .u64_counter("convoy.frame")
                .with_unit("By")
                .with_description("Bytes of frames sent to clients.")
                .build()
                .bind(&[]),
            feed_lag: feed_lag.into(),
            worker_restarts: counter("convoy.worker.restarts", "Workers that were replaced.").bind(&[]),
            meter,
            provider,
        })))
    }

    /// Reads `gauges` at each export; `None` once the engine has gone.
    pub(crate) fn observe(&self, gauges: impl Fn() -> Option<Gauges> + Clone + Send + Sync + 'static) {
        let Some(Instruments { meter, .. }) = self.0.as_deref() else { return };
        type Read = fn(&Gauges) -> Vec<(u64, Vec<KeyValue>)>;
        let gauge = |name: &'static str, unit: &'static str, description: &'static str, read: Read| {
            let gauges = gauges.clone();
            meter
                .u64_observable_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |observer| {
                    let found = gauges().map(|gauges| read(&gauges)).unwrap_or_default();
                    found.iter().for_each(|(value, attributes)| observer.observe(*value, attributes));
                })
                .build();
        };
        gauge("convoy.live_queries", "", "Live queries.", |of| one(of.live_queries));
        gauge("convoy.subscriptions", "", "Subscriptions to live queries.", |of| one(of.subscriptions));
        gauge("convoy.sessions", "", "Connected live sessions.", |of| one(of.sessions));
        gauge("convoy.calls.running", "", "Functions that run or wait for JavaScript.", |of| one(of.running_calls));
        gauge("convoy.cached_reads", "", "Reads of createContext kept in memory.", |of| one(of.cached_reads));
        gauge("convoy.result_cache.results", "", "Results that no live query keeps current, in memory.", |of| {
            one(of.cached_results)
        });
        gauge("convoy.result_cache.size", "By", "Their memory.", |of| one(of.cached_result_bytes));
        gauge("convoy.pool.connections", "", "Open connections to Postgres.", |of| {
            let states =
                of.connections.iter().flat_map(|(pool, used, idle)| [(pool, "used", *used), (pool, "idle", *idle)]);
            let labelled =
                |pool: &PoolKind, state| vec![KeyValue::new("pool", pool.as_str()), KeyValue::new("state", state)];
            states.map(|(pool, state, count)| (count as u64, labelled(pool, state))).collect()
        });
        gauge("convoy.queue.length", "", "Entries of queues in memory.", |of| {
            of.queues.iter().map(|(queue, length)| (*length as u64, vec![KeyValue::new("queue", *queue)])).collect()
        });
        gauge("process.memory.usage", "By", "Resident memory of the process.", |_| {
            resident_bytes().map(|bytes| (bytes, Vec::new())).into_iter().collect()
        });
        let evicting = gauges.clone();
        meter
            .u64_observable_counter("convoy.result_cache.evictions")
            .with_description("Results that were evicted because all were too large together.")
            .with_callback(move |observer| {
                if let Some(gauges) = evicting() {
                    observer.observe(gauges.evicted_results, &[]);
                }
            })
            .build();
        meter
            .u64_observable_counter("convoy.dropped")
            .with_description("What was dropped because its queue was full.")
            .with_callback(move |observer| {
                let dropped = gauges().map(|gauges| gauges.dropped).unwrap_or_default();
                dropped.iter().for_each(|(what, count)| observer.observe(*count, &[KeyValue::new("what", *what)]));
            })
            .build();
    }

    /// The part for one function.
    pub(crate) fn function(&self, name: &Arc<str>, kind: &'static str) -> FunctionMetrics {
        FunctionMetrics(self.0.as_ref().map(|instruments| {
            let attributes = vec![KeyValue::new("function", name.clone()), KeyValue::new("kind", kind)];
            Arc::new(BoundFunction {
                succeeded: instruments.calls.bind(&with(&attributes, "code", OK)),
                duration: instruments.call_duration.bind(&attributes),
                instruments: instruments.clone(),
                attributes,
            })
        }))
    }

    /// The part for calls that name no function.
    pub(crate) fn unknown_function(&self, kind: &'static str) -> FunctionMetrics {
        self.function(&UNKNOWN.into(), kind)
    }

    /// Records a request whose response begins now.
    pub(crate) fn request(&self, method: &str, route: Route, status: u16, time: Duration) {
        let Some(instruments) = self.0.as_deref() else { return };
        if status == 200 && method == route.usual_method() {
            return instruments.answered[route as usize].record(time.as_secs_f64());
        }
        instruments.requests.record(time.as_secs_f64(), &request_attributes(known_method(method), route, status));
    }

    /// Whether anything is recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The durations of statements, for [`StatementKinds`](super::StatementKinds).
    pub(super) fn statements(&self) -> Option<Histogram<f64>> {
        self.0.as_ref().map(|instruments| instruments.statements.clone())
    }

    /// Records how long a connection was waited for.
    pub(crate) fn pool_wait(&self, pool: PoolKind, time: Duration) {
        if let Some(instruments) = self.0.as_deref() {
            instruments.pool_wait[pool as usize].record(time.as_secs_f64());
        }
    }

    /// Records a run of a live query; `cause` is one of few words.
    pub(crate) fn query_run(&self, function: &Arc<str>, cause: &'static str, equal: bool) {
        if let Some(instruments) = self.0.as_deref() {
            let attributes = [
                KeyValue::new("function", function.clone()),
                KeyValue::new("cause", cause),
                KeyValue::new("equal", equal),
            ];
            instruments.query_runs.add(1, &attributes);
        }
    }

    /// Records a frame that is passed to its connection.
    pub(crate) fn frame(&self, bytes: usize) {
        if let Some(instruments) = self.0.as_deref() {
            instruments.frames.add(1);
            instruments.frame_bytes.add(bytes as u64);
        }
    }

    /// Records how long after its commit a change has come this far.
    pub(crate) fn feed_lag(&self, stage: Stage, time: Duration) {
        if let Some(instruments) = self.0.as_deref() {
            instruments.feed_lag[stage as usize].record(time.as_secs_f64());
        }
    }

    /// Records a call of a query that the result cache may answer; `hit`: it did.
    pub(crate) fn cached(&self, hit: bool) {
        if let Some(instruments) = self.0.as_deref() {
            if hit { &instruments.cache_hits } else { &instruments.cache_misses }.add(1);
        }
    }

    /// Records that a worker was replaced.
    pub(crate) fn worker_restarted(&self) {
        if let Some(instruments) = self.0.as_deref() {
            instruments.worker_restarts.add(1);
        }
    }
}

impl Drop for Instruments {
    fn drop(&mut self) {
        // Its readers were shut down with the engine, or there is no one left to tell.
        self.provider.shutdown().unwrap_or_default();
    }
}

/// Records the calls of one function. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct FunctionMetrics(Option<Arc<BoundFunction>>);

struct BoundFunction {
    instruments: Arc<Instruments>,
    attributes: Vec<KeyValue>,
    succeeded: BoundCounter<u64>,
    duration: BoundHistogram<f64>,
}

impl FunctionMetrics {
    /// Whether calls are recorded.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records a call that has ended; `None`: its caller did not wait for the end.
    pub(super) fn call(&self, ended: Option<Result<(), Code>>, time: Duration) {
        let Some(bound) = self.0.as_deref() else { return };
        bound.duration.record(time.as_secs_f64());
        let code = match ended {
            Some(Ok(())) => return bound.succeeded.add(1),
            Some(Err(code)) => code.as_str(),
            None => CANCELLED,
        };
        bound.instruments.calls.add(1, &with(&bound.attributes, "code", code));
    }

    /// Records that a run of a call is repeated; `cause` is one of few words.
    pub(super) fn retry(&self, cause: &'static str) {
        if let Some(bound) = self.0.as_deref() {
            let [function, _kind] = bound.attributes.as_slice() else { return };
            bound.instruments.retries.add(1, &[function.clone(), KeyValue::new("cause", cause)]);
        }
    }
}

fn with(attributes: &[KeyValue], key: &'static str, value: &'static str) -> Vec<KeyValue> {
    attributes.iter().cloned().chain([KeyValue::new(key, value)]).collect()
}

fn one(value: usize) -> Vec<(u64, Vec<KeyValue>)> {
    vec![(value as u64, Vec::new())]
}

fn request_attributes(method: &'static str, route: Route, status: u16) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route.template()),
        KeyValue::new("http.response.status_code", i64::from(status)),
    ];
    if status >= 500 {
        attributes.push(KeyValue::new("error.type", status.to_string()));
    }
    attributes
}

/// The method as a label and in the name of a span: clients cannot add any.
pub(crate) fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "POST", "OPTIONS", "HEAD", "PUT", "PATCH", "DELETE", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

/// The resident memory of this process; `None` where the system does not tell it as Linux does.
#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
