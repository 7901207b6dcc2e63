//! Assembles the parts of an engine: opens it, loads code, serves, and closes.

#[cfg(feature = "failpoints")]
mod inspect;
mod jobs;
mod load;
mod migration;
mod openapi;
mod readiness;
mod remote;
mod telemetry;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::change::{ChangeSinks, InDoubtCommits};
use crate::config::{Config, SchemaPolicy};
use crate::dispatch::{
    Answer, Caller, CommitObserver, Dispatcher, IncomingCall, PendingCommits, Program, WorkerId, Writes,
};
use crate::error::{Code, Failure};
use crate::events::{EventReader, Events};
use crate::failpoints::Failpoint;
use crate::feed::{Feed, FeedDemand, Parts, PeerQueue, ReadRequests};
use crate::health::Health;
use crate::http::{DevPage, MetricsEndpoint, Router, RoutesError, SecurityHeaders, Server, StaticError, StaticFiles};
use crate::live::{Counts, Live, LiveParts, Retention, SharedRegistry};
use crate::postgres::{DbError, LayoutReport, PlannedStep, Postgres, SyncMode};
use crate::read_cache::ReadCache;
use crate::schema::{Schema, SchemaDescription, SchemaError};
use crate::supervise::{Part, Supervisor};
use crate::telemetry::{Exporters, Metrics, OtlpError, RemoteSpan, Telemetry};
use crate::write_log::WriteLog;
use jobs::{check_host, trim_at_intervals};
pub use migration::{apply_migration, plan_migration};
use readiness::Readiness;
pub(crate) use remote::{Caching, RemoteAnswer, RemoteCall, RemoteRead};
use telemetry::metrics_endpoint;
pub use watch::Watch;

/// How long a closing engine waits for calls in flight. Platforms kill a process ten seconds after
/// they asked it to end, so one is left for the rest.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(9);

/// One running engine. [`Engine::close`] ends everything it started.
pub struct Engine {
    config: Config,
    postgres: Postgres,
    dispatcher: Dispatcher,
    live: Arc<Live>,
    /// The reads kept in memory.
    read_cache: Arc<ReadCache>,
    feed: Feed,
    health: Health,
    readiness: Readiness,
    telemetry: Telemetry,
    /// Where Prometheus reads the metrics, if it does.
    metrics_address: Option<SocketAddr>,
    peers: Arc<PeerQueue>,
    program: Arc<ArcSwapOption<Program>>,
    /// The HTTP routes of the program; `None` if it has none.
    router: ArcSwapOption<Router>,
    /// Replaced programs that still have calls in flight.
    replaced: Mutex<Vec<Weak<Program>>>,
    servers: Mutex<Vec<Arc<Server>>>,
    dev_page: OnceLock<Arc<dyn DevPage>>,
    /// The files of a front end, which its own listeners serve.
    static_files: Option<Arc<StaticFiles>>,
    security_headers: SecurityHeaders,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// The export of telemetry, which ends last.
    stop_exports: CancellationToken,
    exports: TaskTracker,
    /// Set once the engine has closed.
    closed: OnceCell<()>,
}

/// The reason that an engine could not be opened, or code could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database failed.
    #[error("{}", .0.to_failure("opening").message)]
    Database(#[from] DbError),
    /// The schema was refused.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The HTTP routes were refused.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// The description of a schema is malformed.
    #[error("Malformed description of a schema: {0}.")]
    Description(#[source] serde_json::Error),
    /// Telemetry cannot be exported.
    #[error(transparent)]
    Telemetry(#[from] OtlpError),
    /// The metrics cannot be served.
    #[error("Metrics cannot be served at {address}: {cause}; choose another port in `telemetry.prometheus`.")]
    Metrics {
        /// The host and the port.
        address: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// The static files cannot be served.
    #[error(transparent)]
    Static(#[from] StaticError),
    /// A function has a rate limit, and it is not known which addresses are those of clients.
    #[error(
        "`{0}` has a rateLimit, and callers who are not signed in count by address; so set trustProxy: true behind a proxy, \
         or the number or the networks of all proxies, or false if clients connect directly."
    )]
    UnknownAddresses(Arc<str>),
    /// The database lacks what the schema needs, and may not be changed.
    #[error("The database does not fit the code, and is not changed here: {} missing; run `convoy migrate`.", list(.0))]
    Outdated(Vec<PlannedStep>),
}

/// `a`, `a and b are`, `a, b, and 3 more are`.
fn list(steps: &[PlannedStep]) -> String {
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    match names.as_slice() {
        [one] => format!("{one} is"),
        [first, second] => format!("{first} and {second} are"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more are", rest.len()),
        [] => String::new(),
    }
}

impl OpenError {
    /// The failure for the developer who opens the engine; its message includes the cause.
    pub fn to_failure(&self) -> Failure {
        match self {
            OpenError::Database(error) => {
                let failure = error.to_failure("opening");
                match error {
                    DbError::Duplicates { .. } | DbError::Address(_) | DbError::Setup(_) => failure,
                    DbError::Other(_) => {
                        let message = format!("Postgres refused a step of the schema sync: {}.", error.cause());
                        Failure { message, ..failure }
                    }
                    _ => failure
                        .with_cause(&error.cause())
                        .with_details(&serde_json::json!({ "database": { "fault": "unreachable", "passes": true } })),
                }
            }
            OpenError::Telemetry(_)
            | OpenError::Metrics { .. }
            | OpenError::Schema(_)
            | OpenError::Routes(_)
            | OpenError::Description(_)
            | OpenError::Static(_)
            | OpenError::UnknownAddresses(_) => Failure::new(Code::InvalidArgs, self.to_string()),
            OpenError::Outdated(steps) => {
                Failure::new(Code::InvalidArgs, self.to_string()).with_details(&serde_json::json!({ "pending": steps }))
            }
        }
    }
}

/// Counters, for inspection and tests.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Function runs started, re-runs of live queries included.
    pub handler_runs: u64,
    /// Calls that ended in a serial queue.
    pub queued_calls: u64,
    /// Turns in serial queues whose first operations were answered together with others.
    pub turns_together: u64,
    /// Function runs in flight.
    pub running: usize,
    /// Commits that wait for a statement, which they share.
    pub waiting_commits: usize,
    /// Reads by id that wait for a statement, which they share.
    pub waiting_reads: usize,
    /// Live queries.
    pub live_queries: usize,
    /// Live queries that wait for a run or are in one.
    pub busy: usize,
    /// Subscribers of live queries.
    pub subscribers: usize,
    /// Live streams.
    pub sessions: usize,
    /// Reads kept in memory.
    pub cached_reads: usize,
}

impl Engine {
    /// Connects, creates the `_convoy` schema, and starts the change feed.
    pub async fn open(config: Config) -> Result<Arc<Engine>, OpenError> {
        let static_files = StaticFiles::of(&config).await?.map(Arc::new);
        let security_headers = SecurityHeaders::of(&config.security_headers);
        let (telemetry, exporters) = Telemetry::new(&config.telemetry)?;
        let tasks = TaskTracker::new();
        let endpoint = metrics_endpoint(&telemetry, &tasks).await?;
        let (postgres, empty_schema) = open_database(&config, &telemetry.metrics).await?;
        let node = Uuid::now_v7();
        let in_doubt = InDoubtCommits::new(config.limits.mutation_time());
        let program = Arc::new(ArcSwapOption::empty());
        let peers = Arc::new(PeerQueue::default());
        let (read_requests, check_schema) = (Arc::new(ReadRequests::default()), Arc::new(Notify::new()));
        let health = Health::default();
        let (failpoints, limits) = (config.failpoints.clone(), &config.limits);
        let retention =
            Retention { time: Duration::from_millis(limits.idle_query_ms), bytes: limits.result_cache_bytes };
        let pending = Arc::new(PendingCommits::new(in_doubt.clone(), failpoints.clone()));
        let demand = Arc::new(FeedDemand::default());
        let own_commits = pending.clone();
        let read_cache =
            Arc::new(ReadCache::new(demand.clone(), Box::new(move || own_commits.oldest()), failpoints.clone()));
        let registry = SharedRegistry::new(retention, pending.clone(), demand.clone(), failpoints.clone());
        let registry = Arc::new(registry);
        // The cache is first: a live query that runs again must not find an old read in it.
        let sink = Arc::new(ChangeSinks(vec![read_cache.clone(), registry.clone()]));
        let supervisor = Supervisor::new(sink.clone(), health.clone(), failpoints.clone());
        let log = Arc::new(WriteLog::new(vec![read_cache.clone(), registry.clone(), peers.clone()]));
        let writes = Writes { log, pending, in_doubt: in_doubt.clone(), metrics: telemetry.metrics.clone() };
        let dispatcher = Dispatcher::new(
            postgres.clone(),
            &config,
            node,
            writes,
            read_cache.clone(),
            supervisor.clone(),
            check_schema.clone(),
        );
        let parts = LiveParts {
            registry: registry.clone(),
            dispatcher: dispatcher.clone(),
            program: program.clone(),
            node,
            read_requests: read_requests.clone(),
            supervisor: supervisor.clone(),
            metrics: telemetry.metrics.clone(),
            tracer: telemetry.tracer.clone(),
        };
        let live = Arc::new(Live::new(parts, &config));
        let stop = CancellationToken::new();
        let parts = Parts {
            postgres: postgres.clone(),
            node,
            empty_schema,
            has_subscribers: demand.subscribe(),
            sink,
            in_doubt,
            peer_queue: peers.clone(),
            read_requests,
            check_schema,
            health: health.clone(),
            supervisor: supervisor.clone(),
            metrics: telemetry.metrics.clone(),
            tracer: telemetry.tracer.clone(),
        };
        let feed = Feed::open(parts, &config, &tasks, &stop).await?;
        let engine = Engine {
            config,
            postgres,
            dispatcher,
            live,
            read_cache,
            feed,
            health,
            readiness: Readiness::default(),
            telemetry,
            metrics_address: endpoint.as_ref().and_then(|endpoint| endpoint.address().ok()),
            peers,
            program,
            router: ArcSwapOption::empty(),
            replaced: Mutex::default(),
            servers: Mutex::new(Vec::new()),
            dev_page: OnceLock::new(),
            static_files,
            security_headers,
            stop,
            tasks,
            stop_exports: CancellationToken::new(),
            exports: TaskTracker::new(),
            closed: OnceCell::new(),
        };
        engine.spawn_tasks(&supervisor, endpoint, exporters);
        let engine = Arc::new(engine);
        engine.observe_gauges();
        Ok(engine)
    }

    /// Spawns the long-lived tasks, except those of the feed.
    fn spawn_tasks(&self, supervisor: &Supervisor, endpoint: Option<MetricsEndpoint>, exporters: Option<Exporters>) {
        let Engine { config, postgres, live, health, program, stop, tasks, .. } = self;
        let (keeper, runner, until) = (supervisor.clone(), live.clone(), stop.clone());
        tasks.spawn(async move { keeper.keep(Part::LiveRuns, &until, || runner.run_all()).await });
        let (keeper, timer, until) = (supervisor.clone(), live.clone(), stop.clone());
        tasks.spawn(async move { keeper.keep(Part::Timer, &until, || timer.run_refresh_timer()).await });
        let (keeper, until) = (supervisor.clone(), stop.clone());
        let (checked, conditions, limit) = (program.clone(), health.clone(), config.limits.unresponsive_time());
        tasks.spawn(async move {
            keeper.keep(Part::Functions, &until, || check_host(&checked, &conditions, limit, &until)).await;
        });
        let (keeper, until) = (supervisor.clone(), stop.clone());
        let (database, tracer) = (postgres.clone(), self.telemetry.tracer.clone());
        tasks.spawn(async move {
            keeper.keep(Part::StoredResponses, &until, || trim_at_intervals((&database, &tracer), &until)).await
        });
        if let Some(endpoint) = endpoint {
            let (keeper, listed, until) = (supervisor.clone(), live.clone(), stop.clone());
            tasks.spawn(async move { keeper.keep(Part::Metrics, &until, || endpoint.run(&listed, &until)).await });
        }
        if let Some(exporters) = exporters {
            // Not with the others: it sends what these have recorded until they end.
            let (keeper, until) = (supervisor.clone(), self.stop_exports.clone());
            self.exports.spawn(async move { keeper.keep(Part::Telemetry, &until, || exporters.run(&until)).await });
        }
    }

    /// The configuration of the engine.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Serves the page of `convoy dev`, in development only. The first call counts.
    pub fn serve_dev_page(&self, page: Arc<dyn DevPage>) {
        self.dev_page.get_or_init(|| page);
    }

    /// The page of `convoy dev`, if it is served.
    pub(crate) fn dev_page(&self) -> Option<&Arc<dyn DevPage>> {
        self.dev_page.get().filter(|_| self.config.dev)
    }

    /// The static files, if there are any.
    pub(crate) fn static_files(&self) -> Option<&StaticFiles> {
        self.static_files.as_deref()
    }

    /// The headers by which browsers protect answers.
    pub(crate) fn security_headers(&self) -> &SecurityHeaders {
        &self.security_headers
    }

    /// Describes the live queries, as JSON: all, or those of one function with their last runs.
    pub fn live_overview(&self, function: Option<&str>) -> Result<String, Failure> {
        self.live.overview_json(function)
    }

    /// The tasks that end before the engine has closed.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The HTTP routes of the program, if it has any.
    pub(crate) fn router(&self) -> Option<Arc<Router>> {
        self.router.load_full()
    }

    /// The live queries.
    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The health conditions of this process. Each part sets and clears its own.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The failing readiness checks, by name, each with its reason. Empty: ready.
    pub async fn unready(&self) -> BTreeMap<String, String> {
        if self.stop.is_cancelled() {
            return BTreeMap::from([("shutdown".to_owned(), "it has begun".to_owned())]);
        }
        let program = self.program.load_full();
        let host = program.as_ref().map(|program| &*program.host);
        self.readiness.unready(&self.postgres, &self.health, host).await
    }

    /// The events of the engine.
    pub fn events(&self) -> &Events {
        self.health.events()
    }

    /// Hands all events from now on to `reader`. The first call counts.
    pub fn read_events(&self, reader: Arc<dyn EventReader>) {
        if !self.events().open() {
            return;
        }
        let (events, keeper, until) = (self.events().clone(), self.supervisor().clone(), self.stop.clone());
        self.tasks.spawn(async move { keeper.keep(Part::Events, &until, || events.deliver_all(&*reader)).await });
    }

    /// The supervisor of long-lived tasks.
    pub fn supervisor(&self) -> &Supervisor {
        self.live.supervisor()
    }

    /// Makes one call.
    pub async fn call(&self, call: IncomingCall<'_>) -> Result<Answer, Failure> {
        let caller = call.traceparent.as_deref().and_then(RemoteSpan::parse);
        let recorded = self.record_call(call.kind, call.name, caller);
        let result = recorded.scope().run(self.call_observed(call, None)).await;
        recorded.end(result)
    }

    /// Makes a call of a client; `observer` follows the commit of a mutation.
    async fn call_observed(
        &self,
        call: IncomingCall<'_>,
        observer: Option<Arc<dyn CommitObserver>>,
    ) -> Result<Answer, Failure> {
        // Functions in flight may make calls, or they could not end.
        if matches!(call.caller, Caller::Network(_)) {
            self.expect_open()?;
        }
        self.dispatcher.call(self.loaded()?, call, observer).await
    }

    fn expect_open(&self) -> Result<(), Failure> {
        match self.stop.is_cancelled() {
            false => Ok(()),
            true => {
                let message = "The server is shutting down; try again shortly.";
                Err(Failure::new(Code::Unavailable, message).with_repeatable(true))
            }
        }
    }

    /// Makes a call of a function that `worker` runs, in the same worker, which has the
    /// context of its caller.
    pub async fn call_at(&self, worker: WorkerId, call: IncomingCall<'_>) -> Result<Answer, Failure> {
        let current = self.program.load_full().and_then(|program| program.at(worker));
        let program = current.or_else(|| self.replaced_at(worker));
        let program =
            program.ok_or_else(|| Failure::new(Code::Unavailable, "The caller's worker is shutting down."))?;
        let caller = call.traceparent.as_deref().and_then(RemoteSpan::parse);
        let recorded = self.record_call(call.kind, call.name, caller);
        let result = recorded.scope().run(self.dispatcher.call(Arc::new(program), call, None)).await;
        recorded.end(result)
    }

    /// A replaced program that still has calls in this worker.
    fn replaced_at(&self, worker: WorkerId) -> Option<Program> {
        let replaced: Vec<Arc<Program>> = self.replaced.lock().iter().filter_map(Weak::upgrade).collect();
        replaced.iter().find_map(|program| program.at(worker))
    }

    fn loaded(&self) -> Result<Arc<Program>, Failure> {
        let program = self.program.load_full();
        program.ok_or_else(|| {
            let message = "No functions are loaded yet; try again shortly.";
            Failure::new(Code::Unavailable, message).with_repeatable(true)
        })
    }

    /// Serves HTTP on an address; port 0 selects a free one.
    pub async fn listen(self: &Arc<Self>, host: &str, port: u16) -> std::io::Result<Arc<Server>> {
        let server = Arc::new(Server::start(self.clone(), host, port).await?);
        let is_first = {
            let mut servers = self.servers.lock();
            servers.push(server.clone());
            servers.len() == 1
        };
        if is_first && let Some(files) = self.static_files.clone() {
            // Not before: the start would have to share the processors with it.
            let until = self.stop.clone();
            self.tasks.spawn_blocking(move || files.compress(&until));
        }
        Ok(server)
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let Counts { queries, busy, sessions, subscriptions } = self.live.counts();
        Stats {
            handler_runs: self.dispatcher.handler_runs(),
            queued_calls: self.dispatcher.queued_calls(),
            turns_together: self.dispatcher.turns_together(),
            running: self.dispatcher.running(),
            waiting_commits: self.dispatcher.waiting_commits(),
            waiting_reads: self.dispatcher.waiting_reads(),
            live_queries: queries,
            busy,
            subscribers: subscriptions,
            sessions,
            cached_reads: self.read_cache.len(),
        }
    }

    /// Refuses new calls, ends streams, waits up to nine seconds for calls in flight, and
    /// closes every connection. May be called more than once: all calls return when the
    /// engine has closed.
    pub async fn close(&self) {
        self.closed.get_or_init(|| self.shut_down()).await;
    }

    async fn shut_down(&self) {
        self.stop.cancel();
        let servers = std::mem::take(&mut *self.servers.lock());
        let limit = match self.config.failpoints.has(Failpoint::NoDrain) {
            true => Duration::ZERO,
            false => DRAIN_TIMEOUT,
        };
        let drained = tokio::time::timeout(limit, async {
            self.live.close().await;
            for server in &servers {
                server.close().await;
            }
            self.dispatcher.drain().await;
            self.events().close();
            self.tasks.close();
            self.tasks.wait().await;
        });
        if drained.await.is_err() {
            tracing::warn!(
                "closed while calls were still running: they took longer than the nine seconds given to them"
            );
        }
        self.postgres.close().await;
        self.stop_exports.cancel();
        self.exports.close();
        self.exports.wait().await;
        self.router.store(None);
        if let Some(program) = self.program.swap(None) {
            program.host.retire();
        }
    }
}

/// Connects, and prepares the `_convoy` schema. Returns also a schema without user tables.
async fn open_database(config: &Config, metrics: &Metrics) -> Result<(Postgres, Arc<Schema>), OpenError> {
    let postgres = Postgres::open(config, metrics).await?;
    let empty_schema = Arc::new(Schema::parse(SchemaDescription::default())?);
    open_schema(&postgres, &empty_schema, config).await?;
    postgres.record_timeline().await;
    Ok((postgres, empty_schema))
}

/// Creates the `_convoy` schema; or requires it, if the database may not be changed. Refuses
/// a role that could not use it.
async fn open_schema(postgres: &Postgres, empty: &Schema, config: &Config) -> Result<(), OpenError> {
    if config.schema_policy == SchemaPolicy::Create {
        postgres.sync_schema(empty, SyncMode::Apply).await?;
        return Ok(postgres.expect_usable().await?);
    }
    if config.schema_policy == SchemaPolicy::Require {
        // Before the schema is read, which needs some of these rights.
        postgres.expect_usable().await?;
    }
    refuse_outdated(&postgres.sync_schema(empty, SyncMode::Plan).await?)
}

/// Fails if a plan has steps without which the schema cannot be used.
fn refuse_outdated(plan: &LayoutReport) -> Result<(), OpenError> {
    let required: Vec<PlannedStep> = plan.pending.iter().filter(|step| step.is_required()).cloned().collect();
    if required.is_empty() { Ok(()) } else { Err(OpenError::Outdated(required)) }
}
