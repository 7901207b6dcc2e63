//! Keeps results current: finds the queries that a change concerns, runs each once,
//! and sends new results to all subscribers.

mod advice;
mod answer;
mod cause;
pub(crate) mod client_messages;
mod clock_watch;
mod consistency_token;
mod delta;
mod describe_cause;
mod message;
mod observe_mutation;
mod preload;
mod public_result;
mod rate_limits;
mod registry;
mod result_cache;
mod run;
mod run_slots;
mod share_key;
mod shared;
mod sharing_audit;
mod stream;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use answer::{Answer, hash_from_hex, hash_of_result};
pub(crate) use message::{EndReason, SessionId, SessionMessage};
pub(crate) use public_result::{Audience, PublicCall};
pub(crate) use registry::{CacheSize, Counts, FunctionInfo, QueryInfo, Retention, StreamFormat};
pub(crate) use result_cache::{CacheOutcome, CachedCall, CachedResult};
pub(crate) use shared::SharedRegistry;
pub(crate) use stream::{OpenSession, Payer, QueryRequest, Stream};

use crate::config::{Config, Limits};
use crate::db::ReadSet;
use crate::dispatch::{Dispatcher, Function, FunctionKind, Program};
use crate::error::{Code, Failure};
use crate::failpoints::{Failpoint, Failpoints};
use crate::feed::ReadRequests;
use crate::supervise::Supervisor;
use crate::telemetry::{Metrics, Tracer};
use consistency_token::Clock;
use registry::{Now, QueryKey, Registry};
use result_cache::{Admission, Flights};
use run_slots::RunSlots;

/// The id of a live query.
pub(crate) type QueryId = crate::invalidation::ReaderId;

/// The live queries of one engine.
pub(crate) struct Live {
    registry: Arc<SharedRegistry>,
    dispatcher: Dispatcher,
    program: Arc<ArcSwapOption<Program>>,
    limits: Limits,
    dev: bool,
    failpoints: Failpoints,
    clock: Clock,
    /// Triggers a read of the change log.
    read_requests: Arc<ReadRequests>,
    /// The earliest refresh may have changed.
    due: Notify,
    /// Functions that the log has a warning about.
    warned: Mutex<HashSet<Arc<str>>>,
    /// Functions that returned different results to callers who share them.
    differing: Mutex<HashSet<Arc<str>>>,
    /// Queries with `cache` whose answers no cache may keep, and why, as the log has them.
    uncached: Mutex<HashSet<String>>,
    /// When a call has last waited in vain for a read of the change log.
    feed_read_failed: Mutex<Option<Instant>>,
    /// Which calls are worth keeping.
    admission: Admission,
    /// The runs of calls that others wait for.
    flights: Flights,
    /// Limits how many queries run at once.
    slots: RunSlots,
    tasks: TaskTracker,
    stop: CancellationToken,
    supervisor: Supervisor,
    metrics: Metrics,
    tracer: Tracer,
    /// The name of `createContext` in telemetry.
    context_name: Arc<str>,
}

/// The parts and options that [`Live`] is made from.
pub(crate) struct LiveParts {
    /// The state of the live queries.
    pub registry: Arc<SharedRegistry>,
    /// Runs functions.
    pub dispatcher: Dispatcher,
    /// The loaded program.
    pub program: Arc<ArcSwapOption<Program>>,
    /// The id of this process.
    pub node: Uuid,
    /// Triggers a read of the change log.
    pub read_requests: Arc<ReadRequests>,
    /// Restarts the tasks that run queries.
    pub supervisor: Supervisor,
    /// Records their runs.
    pub metrics: Metrics,
    /// Traces them.
    pub tracer: Tracer,
}

/// All live queries and the number of sessions, for inspection in development.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    sessions: usize,
    /// Functions that returned different results to callers who share them, which is
    /// a defect of the function.
    differing: Vec<String>,
    /// The runs of each function since its code was loaded, those with the most equal answers
    /// first.
    functions: Vec<FunctionInfo>,
    queries: Vec<QueryInfo>,
}

impl Live {
    /// The live queries of these parts; they run once [`Live::run_all`] is called.
    pub(crate) fn new(parts: LiveParts, config: &Config) -> Live {
        let LiveParts { registry, dispatcher, program, node, read_requests, supervisor, metrics, tracer } = parts;
        // A quarter of the read connections stays free for calls.
        let runs = config.pool_size - config.pool_size / 4;
        let slots = RunSlots::new(runs, config.failpoints.has(Failpoint::WaitForTheFirst));
        Live {
            registry,
            dispatcher,
            program,
            limits: config.limits.clone(),
            dev: config.dev,
            failpoints: config.failpoints.clone(),
            clock: Clock::new(node, config.failpoints.clone()),
            read_requests,
            due: Notify::new(),
            warned: Mutex::default(),
            differing: Mutex::default(),
            uncached: Mutex::default(),
            feed_read_failed: Mutex::default(),
            admission: Admission::new(),
            flights: Flights::default(),
            slots,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            supervisor,
            metrics,
            tracer,
            context_name: "createContext".into(),
        }
    }

    /// The state of the live queries.
    #[cfg(feature = "failpoints")]
    pub(crate) fn registry(&self) -> &SharedRegistry {
        &self.registry
    }

    /// The supervisor of long-lived tasks.
    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Applies a load of new code. If it has a context and the old code had none, or the
    /// other way round, the state of sessions is invalid and all of them end.
    pub(crate) fn reloaded(&self, context_changed: bool) {
        self.admission.reset();
        self.with(|registry| match context_changed {
            true => registry.end_all(EndReason::Reload),
            false => registry.reloaded(),
        });
    }

    /// The size of the result cache.
    pub(crate) fn cache_size(&self) -> CacheSize {
        self.lock().cache_size()
    }

    /// Counts queries and sessions.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// Describes all live queries, or those of one function with their last runs, as JSON.
    pub(crate) fn overview_json(&self, function: Option<&str>) -> Result<String, Failure> {
        serde_json::to_string(&self.overview(function)).map_err(|error| Failure::internal("_live", &error))
    }

    fn overview(&self, function: Option<&str>) -> Overview {
        let differing = self.differing.lock().iter().map(|name| name.to_string()).collect();
        let schema = self.program.load().as_ref().map(|program| program.schema.clone()).unwrap_or_default();
        let now = Now { instant: Instant::now(), ms: milliseconds() };
        let registry = self.lock();
        let functions = registry.describe_functions(&schema);
        Overview {
            sessions: registry.counts().sessions,
            differing,
            functions,
            queries: registry.describe(function, now),
        }
    }

    /// How long a disconnected client should wait before it reconnects, in milliseconds;
    /// random, so that clients do not reconnect all at once.
    pub(crate) fn retry_ms(&self) -> u32 {
        message::retry_ms(&self.failpoints)
    }

    /// The consistency token of a client that has seen everything until now.
    pub(crate) fn position(&self) -> String {
        self.clock.encode(Instant::now())
    }

    /// Whether a consistency token is of this process.
    pub(crate) fn is_own_position(&self, position: &str) -> bool {
        self.clock.is_own(position)
    }

    /// Ends every stream.
    pub(crate) fn end_streams(&self) {
        self.stop.cancel();
        self.with(|registry| registry.end_all(EndReason::Shutdown));
    }

    /// Waits for the runs in flight.
    pub(crate) async fn close(&self) {
        self.end_streams();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The state; see [`SharedRegistry::lock`].
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock()
    }

    /// Applies an event; see [`SharedRegistry::with`].
    fn with<T>(&self, event: impl FnOnce(&mut Registry) -> T) -> T {
        self.registry.with(event)
    }

    /// Finds a function by its name and canonicalizes its input.
    fn resolve(&self, program: &Program, name: &str, input: &str) -> Result<(Arc<Function>, QueryKey), Failure> {
        let function = program.public(FunctionKind::Query, name)?;
        let input = crate::value::canonical(input)?;
        let query_key = QueryKey { function: function.name.clone(), input: input.into() };
        Ok((function, query_key))
    }

    /// The loaded program.
    fn loaded(&self) -> Result<Arc<Program>, Failure> {
        let missing = || Failure::new(Code::Unavailable, "No functions are loaded yet; try again shortly.");
        self.program.load_full().ok_or_else(missing)
    }

    /// Logs once per function that it reads a whole table: its results are correct, but
    /// it slows down as the table grows and runs for every change in it.
    fn warn_about_full_scan(&self, function: &Arc<str>, reads: &ReadSet) {
        let Some(whole) = reads.ranges.iter().find(|range| range.is_whole()) else { return };
        if self.warned.lock().insert(function.clone()) {
            let table = &whole.table().name;
            tracing::warn!(
                "`{function}` reads the whole table `{table}`, so it runs again for every change in it; \
                 an index (withIndex) or a limit (take) narrows that"
            );
        }
    }

    fn context_refresh(&self) -> Duration {
        Duration::from_millis(self.limits.context_refresh_ms)
    }
}

/// Milliseconds since 1970.
fn milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
