//! Turns a function's name and input into one run: begins what it needs, calls
//! the host, answers its operations, commits, and runs it again where another
//! writer won.

mod call;
mod commits;
mod heat;
mod host;
mod idempotency;
mod insert_lane;
mod mutation;
mod names;
mod optimistic;
mod program;
mod query;
mod run;
mod serial_lane;
mod unbound;
mod workers;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use host::{
    Activity, CallId, CallLink, FunctionHost, Invocation, LinkError, Outcome, Rest, Seen, Silence, Work, WorkerId,
};
pub use idempotency::Key;
pub use program::{Function, FunctionKind, Program, ProgramDescription};
pub use query::QueryRun;
pub use workers::{Notice, Workers};

use commits::{Commits, Committing};
use heat::Heat;
use idempotency::Keys;
use insert_lane::InsertLanes;
use serial_lane::SerialLanes;

use crate::change::{ChangeSink, Doubts};
use crate::config::{Config, Limits};
use crate::error::{Code, Failure};
use crate::mistakes::Mistakes;
use crate::output;
use crate::postgres::{DbError, Postgres};
use crate::sql::layout;
use crate::supervise::Supervisor;

/// One call: a function with its input, and who asks.
#[derive(Clone)]
pub struct Request {
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
pub struct CallOf<'a> {
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

/// Runs functions. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    postgres: Postgres,
    limits: Limits,
    mistakes: Mistakes,
    dev: bool,
    /// Signs our rows in the change log.
    node: Uuid,
    sink: Weak<dyn ChangeSink>,
    doubts: Doubts,
    supervisor: Supervisor,
    /// Requests a check of the `_convoy` schema.
    look_now: Arc<Notify>,
    next_call: AtomicU64,
    /// Calls handed to the host and not over yet.
    running: AtomicUsize,
    handler_runs: AtomicU64,
    commits: Arc<Commits>,
    inserts: InsertLanes,
    heat: Heat,
    serial: SerialLanes,
    keys: Keys,
    /// Owns the tasks of mutations and of the lanes they insert through, which a caller hanging up must not cut short.
    mutations: TaskTracker,
}

impl Dispatcher {
    /// Runs functions on `postgres` and reports what they committed to `sink`.
    pub fn new(
        postgres: Postgres,
        config: &Config,
        node: Uuid,
        sink: Weak<dyn ChangeSink>,
        doubts: Doubts,
        supervisor: Supervisor,
        look_now: Arc<Notify>,
    ) -> Dispatcher {
        let commits = Arc::new(Commits::new(doubts.clone(), config.mistakes.clone()));
        Dispatcher {
            inner: Arc::new(Inner {
                postgres,
                limits: config.limits.clone(),
                mistakes: config.mistakes.clone(),
                dev: config.dev,
                node,
                sink,
                doubts,
                supervisor,
                look_now,
                next_call: AtomicU64::new(1),
                running: AtomicUsize::new(0),
                handler_runs: AtomicU64::new(0),
                commits,
                inserts: InsertLanes::default(),
                heat: Heat::default(),
                serial: SerialLanes::default(),
                keys: Keys::default(),
                mutations: TaskTracker::new(),
            }),
        }
    }

    /// Makes one call.
    pub async fn call(&self, program: Arc<Program>, call: CallOf<'_>) -> Result<Answer, Failure> {
        let CallOf { kind, name, input, caller, key } = call;
        let function = caller.find(&program, kind, name)?;
        crate::value::check(&input)?;
        let key = key.filter(|_| kind == FunctionKind::Mutation && function.transactional);
        let caller = caller.describe(&program, key.is_some());
        let request = Request { function, input: input.into(), caller, key };
        match kind {
            FunctionKind::Query => self.query(&program, &request).await.result.map(Answer::fresh),
            FunctionKind::Mutation => self.mutate(program, request).await,
            FunctionKind::Action => self.act(program, request).await,
        }
    }

    /// How many function runs were started.
    pub fn handler_runs(&self) -> u64 {
        self.inner.handler_runs.load(Ordering::Relaxed)
    }

    /// When the oldest commit of ours was sent that our live queries were not told
    /// of yet.
    pub fn oldest_commit(&self) -> Option<std::time::Instant> {
        self.inner.commits.oldest()
    }

    /// Something is about to be committed; keep this until it was told.
    fn committing(&self) -> Committing {
        self.inner.commits.begin()
    }

    /// How many calls ended in a serial lane.
    pub fn in_lanes(&self) -> u64 {
        self.inner.serial.ended()
    }

    /// How many function runs are not over.
    pub fn running(&self) -> usize {
        self.inner.running.load(Ordering::Relaxed)
    }

    /// Waits until every mutation has ended. Later ones are still run, but
    /// nobody waits for them.
    pub async fn drain(&self) {
        self.inner.mutations.close();
        self.inner.mutations.wait().await;
    }

    /// Takes a place among the running calls; it is freed on drop.
    fn enter(&self) -> Result<Running<'_>, Failure> {
        let before = self.inner.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(&self.inner.running);
        if before >= self.inner.limits.waiting_calls {
            return Err(overloaded(before));
        }
        self.inner.handler_runs.fetch_add(1, Ordering::Relaxed);
        Ok(running)
    }

    /// What a database error means for the caller, in the words of the schema; of
    /// an unexpected one, the developer is told the cause.
    fn explain(&self, program: &Program, function: &Function, error: &DbError) -> Failure {
        if let DbError::Constraint { constraint, unique: true, .. } = error
            && let Some((table, index)) = program.schema.tables().find_map(|table| {
                let index = table.indexes.iter().find(|index| layout::index_name(table, index) == *constraint)?;
                Some((table, index))
            })
        {
            let fields: Vec<String> = index.fields.iter().map(|field| field.path.dotted()).collect();
            let message = format!(
                "another document of `{}` already has this {} (unique index `{}`)",
                table.name,
                fields.join(", "),
                index.name
            );
            let details = serde_json::json!({ "table": table.name, "index": index.name, "fields": fields });
            return Failure::new(Code::Conflict, message).with_details(&details);
        }
        if error.names_nothing() && error.says("_convoy") {
            self.inner.look_now.notify_one();
        }
        let mut failure = error.to_failure(&function.name);
        if let Some(why) = error.why_cancelled() {
            // A statement of an action has a limit of its own.
            let subject = match function.kind {
                FunctionKind::Action => format!("`{}`", function.name),
                FunctionKind::Query | FunctionKind::Mutation => self.did_not_finish(function),
            };
            failure.message = format!("{subject}: {why}");
        }
        if self.inner.dev && matches!(error, DbError::Other(_) | DbError::Row(_)) {
            failure.message = format!("`{}`: {}", function.name, error.cause());
        }
        failure
    }

    /// What an outcome means for the caller.
    fn conclude(&self, function: &Function, outcome: Outcome) -> Result<String, Failure> {
        match outcome {
            Outcome::Returned(result) if result.len() > self.inner.limits.result_bytes => Err(Failure::new(
                Code::PayloadTooLarge,
                format!(
                    "the result of `{}` has {} bytes; the limit is {}",
                    function.name,
                    result.len(),
                    self.inner.limits.result_bytes
                ),
            )),
            Outcome::Returned(result) => Ok(result),
            Outcome::Refused(failure) => Err(failure),
            Outcome::Threw { message, stack } => {
                let cause = if stack.is_empty() { &message } else { &stack };
                let mut failure = Failure::internal(&function.name, cause);
                if self.inner.dev {
                    failure.message = format!("`{}` threw: {}", function.name, output::cut(&message));
                    failure = failure.with_details(&serde_json::json!({ "stack": output::cut(&stack) }));
                }
                Err(failure)
            }
        }
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
