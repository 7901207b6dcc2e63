//! Batches the inserts of mutations that only insert into one table.
//!
//! The cost of an insert is mostly its statement, not its row. While a statement for a table
//! is in progress, later inserts into the table wait, and the next statement has all of
//! them. An insert into an idle table is sent at once, and so is one of many rows.
//!
//! Such mutations have read nothing, so running several as one transaction is equivalent to
//! running them one after another, and each is still SERIALIZABLE. A fault of one mutation
//! must not fail another: after a batch that provably changed nothing, each insert is run
//! separately.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Attempt, ReadWriteSet};
use crate::change::{Change, ChangeKind, ChangeSource};
use crate::db::{Budget, Executor, TxCache};
use crate::dispatch::Dispatcher;
use crate::dispatch::call::timed_out;
use crate::dispatch::commit::idempotency::Keyed;
use crate::dispatch::commit::{Commit, CommitObserver, Unanswered, Unit};
use crate::dispatch::scope::CallScope;
use crate::failpoints::Failpoint;
use crate::postgres::{self, DbError};
use crate::schema::Table;
use crate::sql::document;
use crate::sql::idempotency::Entry;
use crate::supervise::Part;
use crate::telemetry::SpanRef;

/// The maximum number of rows in one statement, unless a single mutation inserts more.
const MAX_ROWS: usize = 256;
/// From so many rows on, the cost of an insert is its rows: it is sent at once, beside others.
const MIN_OWN_ROWS: usize = 32;

/// The rows that one mutation inserts into one table.
pub(in crate::dispatch) struct Insert {
    pub table: Arc<Table>,
    pub rows: Vec<(Uuid, Box<RawValue>)>,
}

/// The waiting inserts by table.
#[derive(Default)]
pub(in crate::dispatch) struct InsertQueues {
    /// Has an entry for a table while a task writes its inserts. Never locked across an
    /// await. Bounded by the limit on concurrent calls.
    queues: Mutex<HashMap<String, VecDeque<QueuedInsert>>>,
}

impl InsertQueues {
    /// How many inserts wait in all queues.
    pub(in crate::dispatch) fn waiting(&self) -> usize {
        self.queues.lock().values().map(VecDeque::len).sum()
    }
}

/// How an insert ended, or why it was not sent.
type InsertResult = Result<Commit, NotSent>;

/// Why an insert was not sent.
#[derive(Clone)]
enum NotSent {
    /// Its turn did not come before the deadline of its call.
    TimedOut,
    /// There was no connection.
    NoConnection(Arc<DbError>),
}

struct QueuedInsert {
    id: Uuid,
    insert: Insert,
    /// The function that inserts.
    by: Arc<str>,
    /// The response to store, of a keyed call.
    response: Option<(Entry, String)>,
    observer: Option<Arc<dyn CommitObserver>>,
    /// The span of the call.
    span: SpanRef,
    deadline: Instant,
    answer: oneshot::Sender<InsertResult>,
}

/// Ends a mutation that only inserts into one table, without a transaction block and possibly
/// in a statement with other mutations.
pub(super) async fn attempt(scope: &CallScope, insert: Insert, result: String, keyed: Option<Keyed>) -> Attempt {
    let response = keyed.as_ref().map(|keyed| (keyed.entry.clone(), result.clone()));
    match enqueue(scope, insert, response).await {
        Ok(commit) => Attempt::of_commit(commit, scope, result, keyed, ReadWriteSet::default),
        Err(NotSent::TimedOut) => Attempt::Failed(timed_out(), keyed),
        Err(NotSent::NoConnection(error)) => Attempt::Failed(scope.explain(&error), keyed),
    }
}

/// Queues an insert and waits for its result.
async fn enqueue(scope: &CallScope, insert: Insert, response: Option<(Entry, String)>) -> InsertResult {
    let inner = &scope.dispatcher.inner;
    let (answer, answered) = oneshot::channel();
    let (id, table) = (insert.rows[0].0, insert.table.clone());
    let (by, deadline) = (scope.function().name.clone(), scope.deadline);
    let (observer, span) = (scope.observer(), scope.telemetry.span.clone());
    let queued = QueuedInsert { id, insert, by, response, observer, span, deadline, answer };
    if queued.insert.rows.len() >= MIN_OWN_ROWS || inner.failpoints.has(Failpoint::NoInsertBatching) {
        return write_alone(&scope.dispatcher, &queued).await;
    }
    if inner.inserts.push(queued) {
        let (dispatcher, table) = (scope.dispatcher.clone(), table.physical.clone());
        inner.mutations.spawn(async move {
            // After a panic it continues with the waiting inserts; the batch in progress is
            // in doubt.
            let never = CancellationToken::new();
            dispatcher.inner.supervisor.keep(Part::InsertBatching, &never, || write_all(&dispatcher, &table)).await;
        });
    }
    match tokio::time::timeout_at(deadline, answered).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_dropped)) => Ok(inner.committer.note_in_doubt(Arc::new([changed(&table)]), &"its task panicked")),
        Err(_elapsed) if inner.inserts.withdraw(&table, id) => Err(NotSent::TimedOut),
        Err(_elapsed) => Ok(inner.committer.note_in_doubt(Arc::new([changed(&table)]), &"it took too long")),
    }
}

/// Writes one table's inserts until none waits.
async fn write_all(dispatcher: &Dispatcher, table: &str) {
    while let Some(batch) = dispatcher.inner.inserts.next(table) {
        match write(dispatcher, &batch).await {
            Ok(Ok(commit)) => end(dispatcher, batch, commit).await,
            Ok(Err(unanswered)) => {
                // On a separate task, because resolving may take as long as the time limit of
                // a call, and later inserts must not wait for it.
                let dispatcher = dispatcher.clone();
                dispatcher.inner.mutations.clone().spawn(async move {
                    let commit = dispatcher.inner.committer.resolve(unanswered, &unit(&batch)).await;
                    end(&dispatcher, batch, commit).await;
                });
            }
            // Without a connection, separate statements would fail, too.
            Err(not_sent) => answer_all(batch, || Err(not_sent.clone())),
        }
    }
}

/// Answers the calls of a batch after its commit.
async fn end(dispatcher: &Dispatcher, mut batch: Vec<QueuedInsert>, commit: Commit) {
    match commit {
        Commit::Committed => answer_all(batch, || Ok(Commit::Committed)),
        Commit::InDoubt(failure) => answer_all(batch, || Ok(Commit::InDoubt(failure.clone()))),
        Commit::Conflict(_) | Commit::Rejected(_) if batch.len() == 1 => answer(batch.remove(0).answer, Ok(commit)),
        // The batch is rolled back because of one of its inserts.
        Commit::Conflict(_) | Commit::Rejected(_) => {
            for waiting in batch {
                let ended = write_alone(dispatcher, &waiting).await;
                answer(waiting.answer, ended);
            }
        }
    }
}

/// Writes one insert in a separate statement, and resolves its commit if it is in doubt.
async fn write_alone(dispatcher: &Dispatcher, queued: &QueuedInsert) -> InsertResult {
    let batch = std::slice::from_ref(queued);
    match write(dispatcher, batch).await? {
        Ok(commit) => Ok(commit),
        Err(unanswered) => Ok(dispatcher.inner.committer.resolve(unanswered, &unit(batch)).await),
    }
}

/// Writes a batch in one statement outside a transaction block; the session's default
/// isolation is SERIALIZABLE.
async fn write(dispatcher: &Dispatcher, batch: &[QueuedInsert]) -> Result<Result<Commit, Unanswered>, NotSent> {
    let inner = &dispatcher.inner;
    let table = &batch[0].insert.table;
    let rows: Vec<_> = batch.iter().flat_map(|waiting| waiting.insert.rows.iter().cloned()).collect();
    let unit = unit(batch);
    let statement = document::insert_with_responses(table, inner.node, &rows, &unit.responses);
    let acquired = inner.postgres.writers.acquire().await;
    let mut lease = acquired.map_err(|error| NotSent::NoConnection(Arc::new(error)))?;
    let run = async move {
        let written = postgres::run(&mut lease, statement).await?;
        let mut executor = Executor::new(inner.node, Budget::counted(), TxCache::none());
        executor.inserted(table, &written)?;
        Ok(executor.take_written().changes)
    };
    let limit = Instant::now() + inner.limits.mutation_time();
    Ok(inner.committer.send(run, || vec![changed(table)], limit, &unit).await)
}

/// The commit unit of a batch.
fn unit(batch: &[QueuedInsert]) -> Unit<'_> {
    let stored = batch.iter().filter_map(|waiting| waiting.response.as_ref());
    Unit {
        by: ChangeSource::functions(batch.iter().map(|waiting| &waiting.by)),
        responses: stored.map(|(entry, result)| (entry, result.as_str())).collect(),
        deadline: batch.iter().map(|waiting| waiting.deadline).max().unwrap_or_else(Instant::now),
        part: Some(Part::InsertBatching),
        observers: batch.iter().filter_map(|waiting| waiting.observer.clone()).collect(),
        spans: batch.iter().filter_map(|waiting| waiting.span.recorded()).collect(),
    }
}

impl InsertQueues {
    /// Adds an insert. Returns whether the table was idle.
    fn push(&self, waiting: QueuedInsert) -> bool {
        let mut queues = self.queues.lock();
        let table = &waiting.insert.table.physical;
        let idle = !queues.contains_key(table);
        queues.entry(table.clone()).or_default().push_back(waiting);
        idle
    }

    /// Removes an insert from its queue; `false` if it has already been taken.
    fn withdraw(&self, table: &Table, id: Uuid) -> bool {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&table.physical) else { return false };
        let index = queue.iter().position(|waiting| waiting.id == id);
        index.and_then(|index| queue.remove(index)).is_some()
    }

    /// The next batch. If no insert waits, the table becomes idle.
    fn next(&self, table: &str) -> Option<Vec<QueuedInsert>> {
        let mut queues = self.queues.lock();
        let queue = queues.get_mut(table)?;
        let Some(first) = queue.pop_front() else {
            queues.remove(table);
            return None;
        };
        let mut rows = first.insert.rows.len();
        let mut batch = vec![first];
        // A batch has one version of the table, because new code may describe it differently.
        while let Some(next) = queue.pop_front_if(|next| {
            rows += next.insert.rows.len();
            rows <= MAX_ROWS && Arc::ptr_eq(&next.insert.table, &batch[0].insert.table)
        }) {
            batch.push(next);
        }
        Some(batch)
    }
}

/// The change of a whole table, if the written rows are unknown.
pub(super) fn changed(table: &Table) -> Change {
    Change { table: table.key.clone(), kind: ChangeKind::Whole }
}

fn answer_all(batch: Vec<QueuedInsert>, ended: impl Fn() -> InsertResult) {
    batch.into_iter().for_each(|waiting| answer(waiting.answer, ended()));
}

fn answer(sender: oneshot::Sender<InsertResult>, ended: InsertResult) {
    if sender.send(ended).is_err() {
        tracing::debug!("an insert ended after its call had been answered");
    }
}
