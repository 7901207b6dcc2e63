//! Turns a function's name and input into one run: a strategy (`strategy/`)
//! answers the function's operations in the loop that all share (`drive.rs`), `commit/`
//! commits what they wrote, and the run is repeated where another transaction won.

mod call;
mod commit;
mod contention;
mod drive;
mod host;
mod mutation;
mod names;
mod program;
mod query;
mod scope;
mod strategy;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use commit::PendingCommits;
pub(crate) use commit::idempotency::Key;
pub use host::{
    Activity, CallId, CallLink, CallMetadata, FunctionHost, FunctionResult, HostInvocation, HostTask, LinkError, Seen,
    Unresponsive, WorkerId,
};
pub(crate) use program::{Function, Program};
pub use program::{FunctionKind, ProgramDescription};
pub(crate) use query::QueryRun;
pub use workers::{WorkerEvent, Workers};

use commit::Committer;
use commit::idempotency::Keys;
use contention::ContentionTracker;
use strategy::insert_batching::InsertQueues;
use strategy::serial_queue::SerialQueues;

use crate::change::InDoubtCommits;
use crate::config::{Config, Limits};
use crate::error::{Code, Failure};
use crate::failpoints::Failpoints;
use crate::postgres::Postgres;
use crate::supervise::Supervisor;
use crate::write_log::WriteLog;

/// One call: a function with its input, and who asks.
#[derive(Clone)]
pub(crate) struct FunctionCall {
    /// The function.
    pub function: Arc<Function>,
    /// Its input, JSON text.
    pub input: Arc<str>,
    /// Who asks, JSON text, where the program has a context to make of it.
    pub caller: Option<Arc<str>>,
    /// What names the call, however often it is made; of mutations only.
    pub key: Option<Key>,
}

/// What a call is answered with.
#[derive(Debug)]
pub struct Answer {
    /// The result, JSON text.
    pub result: Bytes,
    /// An earlier call with the same key has had the effect, and this answer.
    pub replayed: bool,
}

impl Answer {
    fn fresh(result: impl Into<Bytes>) -> Answer {
        Answer { result: result.into(), replayed: false }
    }
}

/// A call as it comes from outside the engine.
pub struct IncomingCall<'a> {
    /// The kind of function.
    pub kind: FunctionKind,
    /// Its name.
    pub name: &'a str,
    /// Its input, JSON text.
    pub input: String,
    /// Who makes it.
    pub caller: Caller<'a>,
    /// Its `Idempotency-Key`, if it has one.
    pub key: Option<Key>,
}

/// Who makes a call.
pub enum Caller<'a> {
    /// This process itself, with what its host wants to know of the call.
    Inside(Option<Arc<str>>),
    /// Someone on the network; described only where the program has a context.
    /// The question is whether the call has a key.
    Network(&'a (dyn Fn(bool) -> Arc<str> + Sync)),
}

impl Caller<'_> {
    /// The function that is meant: this process may call internal ones.
    fn find(&self, program: &Program, kind: FunctionKind, name: &str) -> Result<Arc<Function>, Failure> {
        match self {
            Caller::Inside(_) => program.any(kind, name),
            Caller::Network(_) => program.public(kind, name),
        }
    }

    /// What the host is told of the caller when it runs `program`.
    fn describe(self, program: &Program, keyed: bool) -> Option<Arc<str>> {
        match self {
            Caller::Inside(request) => request,
            Caller::Network(describe) => program.has_context.then(|| describe(keyed)),
        }
    }
}

/// Where commits go.
pub(crate) struct Writes {
    /// What all commits are appended to.
    pub log: Arc<WriteLog>,
    /// The commits under way.
    pub pending: Arc<PendingCommits>,
    /// The commits in doubt.
    pub in_doubt: InDoubtCommits,
}

/// Runs functions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    postgres: Postgres,
    limits: Limits,
    failpoints: Failpoints,
    dev: bool,
    /// Signs our rows in the change log.
    node: Uuid,
    supervisor: Supervisor,
    /// Requests a check of the `_convoy` schema.
    check_schema: Arc<Notify>,
    next_call: AtomicU64,
    /// Calls handed to the host and not over yet.
    running: AtomicUsize,
    handler_runs: AtomicU64,
    committer: Committer,
    inserts: InsertQueues,
    contention: ContentionTracker,
    serial: SerialQueues,
    keys: Keys,
    /// Owns the tasks of mutations and of their queues, which go on when a caller hangs up.
    mutations: TaskTracker,
}

impl Dispatcher {
    /// Runs functions on `postgres` and appends what they committed to `log`.
    pub(crate) fn new(
        postgres: Postgres,
        config: &Config,
        node: Uuid,
        writes: Writes,
        supervisor: Supervisor,
        check_schema: Arc<Notify>,
    ) -> Dispatcher {
        let Writes { log, pending, in_doubt } = writes;
        let failpoints = config.failpoints.clone();
        let committer = Committer::new(postgres.clone(), pending, in_doubt, log, failpoints.clone());
        Dispatcher {
            inner: Arc::new(Inner {
                postgres,
                limits: config.limits.clone(),
                failpoints,
                dev: config.dev,
                node,
                supervisor,
                check_schema,
                next_call: AtomicU64::new(1),
                running: AtomicUsize::new(0),
                handler_runs: AtomicU64::new(0),
                committer,
                inserts: InsertQueues::default(),
                contention: ContentionTracker::default(),
                serial: SerialQueues::default(),
                keys: Keys::default(),
                mutations: TaskTracker::new(),
            }),
        }
    }

    /// Makes one call.
    pub(crate) async fn call(&self, program: Arc<Program>, call: IncomingCall<'_>) -> Result<Answer, Failure> {
        let IncomingCall { kind, name, input, caller, key } = call;
        let function = caller.find(&program, kind, name)?;
        crate::value::check(&input)?;
        let key = key.filter(|_| kind == FunctionKind::Mutation && function.transactional);
        let caller = caller.describe(&program, key.is_some());
        let request = FunctionCall { function, input: input.into(), caller, key };
        match kind {
            FunctionKind::Query => self.query(&program, &request).await.result.map(Answer::fresh),
            FunctionKind::Mutation | FunctionKind::Action => self.run_to_end(program, request).await,
        }
    }

    /// How many function runs were started.
    pub(crate) fn handler_runs(&self) -> u64 {
        self.inner.handler_runs.load(Ordering::Relaxed)
    }

    /// How many calls ended in a serial queue.
    pub(crate) fn in_lanes(&self) -> u64 {
        self.inner.serial.ended()
    }

    /// How many function runs are not over.
    pub(crate) fn running(&self) -> usize {
        self.inner.running.load(Ordering::Relaxed)
    }

    /// Waits until every mutation has ended. Later ones are still run, but
    /// this does not wait for them.
    pub(crate) async fn drain(&self) {
        self.inner.mutations.close();
        self.inner.mutations.wait().await;
    }

    /// Takes a place among the running calls; it is freed on drop.
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
        format!("{waiting} calls are already waiting; the server is overloaded, try again shortly"),
    )
}

/// A place among the running calls.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
