//! Runs functions by name: a strategy (`strategy/`) answers the operations of a function
//! in a shared loop (`drive.rs`), `commit/` commits its writes, and after a conflict the
//! function runs again.

mod cached_read;
mod call;
mod call_limits;
mod commit;
mod contention;
mod drive;
mod host;
mod mutation;
mod names;
mod prefetch;
mod program;
mod query;
mod rate_limits;
mod route_exchange;
mod route_slots;
mod scope;
mod strategy;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use commit::idempotency::Key;
pub(crate) use commit::{CommitObserver, PendingCommits};
pub(crate) use host::WHOLE;
pub use host::{
    Activity, CallId, CallLink, CallMetadata, FunctionHost, FunctionResult, HostInvocation, HostTask, HostTurn,
    LinkError, Seen, Unresponsive, UnstartedCall, WorkerId,
};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use program::route_of;
pub(crate) use program::{Function, HttpGet, OpenApiDocument, Program, Route, RouteOptions};
pub use program::{FunctionKind, ProgramDescription};
pub(crate) use query::QueryRun;
pub(crate) use route_exchange::{RequestChunks, RouteBody, RouteCall, RouteClient};
pub use route_exchange::{RouteExchange, RouteHead};
pub use workers::{WorkerEvent, Workers};

use call_limits::CallLimits;
use commit::Committer;
use commit::idempotency::KeyLocks;
use contention::ContentionTracker;
use rate_limits::SharedBuckets;
use route_slots::RouteSlots;
use strategy::commit_batching::CommitQueues;
use strategy::serial_queue::SerialQueues;

use crate::change::InDoubtCommits;
use crate::config::{Config, Limits};
use crate::db::Autocommit;
use crate::error::{Code, Failure};
use crate::events::{Event, EventKind, Events, LastRun};
use crate::failpoints::Failpoints;
use crate::postgres::Postgres;
use crate::rate_limit::{EVERY_FUNCTION, Policy, RateLimiter};
use crate::read_cache::ReadCache;
use crate::supervise::Supervisor;
use crate::telemetry::Metrics;
use crate::trusted_proxies::ClientNetwork;
use crate::write_log::WriteLog;

/// One call: a function with its input and its caller.
#[derive(Clone)]
pub(crate) struct FunctionCall {
    /// The function.
    pub function: Arc<Function>,
    /// Its input, JSON text.
    pub input: Arc<str>,
    /// The caller's request, JSON text; only if the program has a context.
    pub caller: Option<Arc<str>>,
    /// The idempotency key; of mutations only.
    pub key: Option<Key>,
    /// Follows the commit of a mutation.
    pub observer: Option<Arc<dyn CommitObserver>>,
    /// Its reads must not come from memory: its caller may have seen later changes, on
    /// another server.
    pub uncached: bool,
    /// The host observes whether the result depends on anything that changes without a write.
    pub observed: bool,
    /// Of a route: its request and response.
    pub route: Option<RouteCall>,
    /// The id of its last run, for events.
    pub last_run: LastRun,
}

/// The answer to a successful call.
#[derive(Debug)]
pub struct Answer {
    /// The result, JSON text.
    pub result: Bytes,
    /// It is the stored response of an earlier call with the same idempotency key.
    pub replayed: bool,
}

impl Answer {
    fn fresh(result: impl Into<Bytes>) -> Answer {
        Answer { result: result.into(), replayed: false }
    }
}

/// A call from outside the engine.
pub struct IncomingCall<'a> {
    /// The kind of function.
    pub kind: FunctionKind,
    /// Its name.
    pub name: &'a str,
    /// Its input, JSON text.
    pub input: String,
    /// The caller.
    pub caller: Caller<'a>,
    /// Its `Idempotency-Key`, if it has one.
    pub key: Option<Key>,
    /// No read may come from memory: the caller may have seen later changes, on another
    /// server.
    pub uncached: bool,
    /// The span of the run that calls, of this process, as a `traceparent`.
    pub traceparent: Option<String>,
}

/// A request for a route.
pub(crate) struct IncomingRoute {
    /// The caller, as JSON.
    pub caller: Arc<str>,
    /// The input of its function.
    pub input: Arc<str>,
    /// The client, if its routes are counted.
    pub counted: Option<ClientNetwork>,
    /// The body.
    pub chunks: RequestChunks,
}

/// A route that runs: the client's side of it, and its end.
pub(crate) type StartedRoute = (RouteClient, oneshot::Receiver<Result<Answer, Failure>>);

/// The caller of a function.
pub enum Caller<'a> {
    /// This process itself, with the request that its host passes on.
    Inside(Option<Arc<str>>),
    /// A network client. The closure returns the request for the context, and is called only
    /// if the program has a context; its argument is whether the call has a key.
    Network(&'a (dyn Fn(bool) -> Arc<str> + Sync)),
}

impl Caller<'_> {
    /// Looks up the function. Only this process may call internal functions.
    fn find(&self, program: &Program, kind: FunctionKind, name: &str) -> Result<Arc<Function>, Failure> {
        match self {
            Caller::Inside(_) => program.any(kind, name),
            Caller::Network(_) => program.public(kind, name),
        }
    }

    /// The request that the host receives when it runs `program`.
    fn describe(self, program: &Program, keyed: bool) -> Option<Arc<str>> {
        match self {
            Caller::Inside(request) => request,
            Caller::Network(describe) => program.has_context.then(|| describe(keyed)),
        }
    }
}

/// The records of this process's commits.
pub(crate) struct Writes {
    /// The log that all commits are appended to.
    pub log: Arc<WriteLog>,
    /// The commits in flight.
    pub pending: Arc<PendingCommits>,
    /// The commits in doubt.
    pub in_doubt: InDoubtCommits,
    /// Records them.
    pub metrics: Metrics,
}

/// Runs functions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    postgres: Postgres,
    autocommit: Autocommit,
    limits: Limits,
    failpoints: Failpoints,
    dev: bool,
    /// Identifies the rows of this engine in the change log.
    node: Uuid,
    supervisor: Supervisor,
    /// Requests a check of the `_convoy` schema.
    check_schema: Arc<Notify>,
    next_call: AtomicU64,
    /// The number of calls in progress, without those of routes.
    running: AtomicUsize,
    routes: Arc<RouteSlots>,
    handler_runs: AtomicU64,
    committer: Committer,
    read_cache: Arc<ReadCache>,
    commits: CommitQueues,
    contention: ContentionTracker,
    serial: SerialQueues,
    keys: KeyLocks,
    rate_limiter: RateLimiter,
    /// The limit of all functions together, with its name.
    rate_limit: Option<(Arc<str>, Policy)>,
    shared_buckets: SharedBuckets,
    /// Owns the tasks of mutations and of their queues, which outlive a disconnected caller.
    mutations: TaskTracker,
}

impl Dispatcher {
    /// A dispatcher that runs functions on `postgres` and records their commits in `writes`.
    pub(crate) fn new(
        postgres: Postgres,
        config: &Config,
        node: Uuid,
        writes: Writes,
        read_cache: Arc<ReadCache>,
        supervisor: Supervisor,
        check_schema: Arc<Notify>,
    ) -> Dispatcher {
        let Writes { log, pending, in_doubt, metrics } = writes;
        let failpoints = config.failpoints.clone();
        let committer = Committer::new(postgres.clone(), pending, in_doubt, log, failpoints.clone(), metrics);
        Dispatcher {
            inner: Arc::new(Inner {
                autocommit: Autocommit::new(postgres.clone()),
                postgres,
                limits: config.limits.clone(),
                failpoints,
                dev: config.dev,
                node,
                supervisor,
                check_schema,
                next_call: AtomicU64::new(1),
                running: AtomicUsize::new(0),
                routes: RouteSlots::new(&config.limits),
                handler_runs: AtomicU64::new(0),
                committer,
                read_cache,
                commits: CommitQueues::default(),
                contention: ContentionTracker::default(),
                serial: SerialQueues::default(),
                keys: KeyLocks::default(),
                rate_limiter: RateLimiter::default(),
                rate_limit: config.rate_limit.clone().map(|policy| (EVERY_FUNCTION.into(), policy)),
                shared_buckets: SharedBuckets::default(),
                mutations: TaskTracker::new(),
            }),
        }
    }

    /// Runs one call to its end. `observer` follows the commit of a mutation.
    pub(crate) async fn call(
        &self,
        program: Arc<Program>,
        call: IncomingCall<'_>,
        observer: Option<Arc<dyn CommitObserver>>,
    ) -> Result<Answer, Failure> {
        let (began, kind) = (Instant::now(), call.kind);
        let request = match self.prepare(&program, call, observer) {
            Ok(request) => request,
            Err(failure) => {
                let refused: Result<Answer, Failure> = Err(failure);
                self.events().emit(|| Event::ended(EventKind::Call, None, (&LastRun::default(), began), &refused));
                return refused;
            }
        };
        match kind {
            FunctionKind::Query => {
                let result = self.query(&program, &request).await.result.map(Answer::fresh);
                self.call_ended(&request, began, &result);
                result
            }
            FunctionKind::Mutation | FunctionKind::Action => self.run_to_end(program, request).await,
        }
    }

    /// Finds the function of a call, and checks its input.
    fn prepare(
        &self,
        program: &Program,
        call: IncomingCall<'_>,
        observer: Option<Arc<dyn CommitObserver>>,
    ) -> Result<FunctionCall, Failure> {
        let IncomingCall { kind, name, input, caller, key, uncached, traceparent: _ } = call;
        let function = caller.find(program, kind, name)?;
        crate::value::check(&input)?;
        let key = key.filter(|_| function.keeps_keys());
        let caller = caller.describe(program, key.is_some());
        let (input, last_run) = (input.into(), self.events().last_run());
        Ok(FunctionCall { function, input, caller, key, observer, uncached, observed: false, route: None, last_run })
    }

    /// Called once for each call that has ended, also if its caller has disconnected.
    pub(crate) fn call_ended<T>(&self, call: &FunctionCall, began: Instant, result: &Result<T, Failure>) {
        let run = (&call.last_run, began);
        self.events().emit(|| Event::ended(EventKind::Call, Some(&call.function.name), run, result));
    }

    /// Starts a route, which runs as an action, unless too many run. The result tells only
    /// whether the response is whole.
    pub(crate) fn start_route(
        &self,
        (program, route): (&Arc<Program>, &Route),
        request: IncomingRoute,
    ) -> Result<StartedRoute, Failure> {
        let IncomingRoute { caller, input, counted, chunks } = request;
        let slot = self.inner.routes.take(counted)?;
        self.inner.handler_runs.fetch_add(1, Ordering::Relaxed);
        let (exchange, client) = RouteExchange::open(chunks);
        let time = route.options.timeout_ms.map_or(self.inner.limits.action_time(), Duration::from_millis);
        let call = FunctionCall {
            function: route.function.clone(),
            input,
            caller: Some(caller),
            key: None,
            observer: None,
            uncached: false,
            observed: false,
            route: Some(RouteCall::new(exchange, time, slot)),
            last_run: self.events().last_run(),
        };
        Ok((client, self.start(program.clone(), call)))
    }

    /// Limits how often a caller may call a function.
    pub(crate) fn rate_limiter(&self) -> &RateLimiter {
        &self.inner.rate_limiter
    }

    /// The limits of a function's calls.
    fn limits_of(&self, function: &Function) -> CallLimits {
        CallLimits::of(function, &self.inner.limits)
    }

    /// The events of the engine.
    pub(crate) fn events(&self) -> &Events {
        self.inner.supervisor.events()
    }

    /// How many function runs were started.
    pub(crate) fn handler_runs(&self) -> u64 {
        self.inner.handler_runs.load(Ordering::Relaxed)
    }

    /// How many calls ended in a serial queue.
    pub(crate) fn queued_calls(&self) -> u64 {
        self.inner.serial.ended()
    }

    /// How many turns in serial queues began with operations that were answered together.
    pub(crate) fn turns_together(&self) -> u64 {
        self.inner.serial.together()
    }

    /// How many calls wait in serial queues.
    pub(crate) fn waiting_in_serial_queues(&self) -> usize {
        self.inner.serial.waiting()
    }

    /// How many commits wait for a statement.
    pub(crate) fn waiting_commits(&self) -> usize {
        self.inner.commits.waiting()
    }

    /// How many reads by id wait for a statement.
    pub(crate) fn waiting_reads(&self) -> usize {
        self.inner.autocommit.waiting()
    }

    /// How many function runs are in progress, those of routes included.
    pub(crate) fn running(&self) -> usize {
        self.inner.running.load(Ordering::Relaxed) + self.inner.routes.taken()
    }

    /// Waits until every mutation has ended. Mutations that start later still run, but are
    /// not waited for.
    pub(crate) async fn drain(&self) {
        self.inner.mutations.close();
        self.inner.mutations.wait().await;
    }

    /// Counts a function run as in progress until the guard is dropped. Fails at the limit.
    fn enter(&self) -> Result<Running<'_>, Failure> {
        let before = self.inner.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(&self.inner.running);
        if before >= self.inner.limits.max_pending_calls {
            return Err(overloaded(before));
        }
        self.inner.handler_runs.fetch_add(1, Ordering::Relaxed);
        Ok(running)
    }
}

fn overloaded(waiting: usize) -> Failure {
    Failure::new(
        Code::Unavailable,
        format!("{waiting} calls are already waiting; the server is overloaded, try again shortly."),
    )
}

/// Counts a function run as in progress.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
