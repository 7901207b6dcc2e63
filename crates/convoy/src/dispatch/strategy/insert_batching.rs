//! Mutations that did nothing but insert into one table, written together.
//!
//! Most of what an insert costs Postgres is its statement, not its row. So while
//! one statement for a table is under way, later inserts into it wait, and the
//! next statement takes them all. An insert into an idle table is sent at once.
//!
//! Such mutations have read nothing, so running several as one transaction is the
//! same as running them one after another, and each is still SERIALIZABLE. What
//! one of them gets wrong must not be another's loss: a batch that provably
//! changed nothing is run again one by one.

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
use crate::dispatch::call::time_is_up;
use crate::dispatch::commit::idempotency::Keyed;
use crate::dispatch::commit::{Commit, Unanswered, Unit};
use crate::dispatch::scope::CallScope;
use crate::error::Failure;
use crate::failpoints::Failpoint;
use crate::postgres;
use crate::schema::Table;
use crate::sql::document;
use crate::sql::idempotency::Entry;
use crate::supervise::Part;

/// The most rows one statement takes of those that wait.
const MAX_ROWS: usize = 256;

/// Rows for one table: what one mutation inserts.
pub(in crate::dispatch) struct Insert {
    pub table: Arc<Table>,
    pub rows: Vec<(Uuid, Box<RawValue>)>,
}

/// The tables that are being inserted into.
#[derive(Default)]
pub(in crate::dispatch) struct InsertQueues {
    /// A table is here while a task writes its inserts. Never locked across an
    /// await. Bounded by the calls that may run at once.
    queues: Mutex<HashMap<String, VecDeque<QueuedInsert>>>,
}

/// How an insert ended, or why it was not sent.
type Ended = Result<Commit, Failure>;

struct QueuedInsert {
    id: Uuid,
    insert: Insert,
    /// The function that inserts.
    by: Arc<str>,
    /// What its call is answered with, where that is kept.
    keep: Option<(Entry, String)>,
    deadline: Instant,
    answer: oneshot::Sender<Ended>,
}

/// Ends a mutation that did nothing but insert into one table: no BEGIN, and
/// perhaps not even a statement of its own.
pub(super) async fn attempt(scope: &CallScope, insert: Insert, result: String, keyed: Option<Keyed>) -> Attempt {
    let keep = keyed.as_ref().map(|keyed| (keyed.entry.clone(), result.clone()));
    match enqueue(scope, insert, keep).await {
        Ok(commit) => Attempt::of_commit(commit, scope, result, keyed, ReadWriteSet::default),
        Err(failure) => Attempt::Failed(failure, keyed),
    }
}

/// Inserts in one statement of its own or in one with others.
async fn enqueue(scope: &CallScope, insert: Insert, keep: Option<(Entry, String)>) -> Ended {
    let inner = &scope.dispatcher.inner;
    let (answer, answered) = oneshot::channel();
    let (id, table) = (insert.rows[0].0, insert.table.clone());
    let (by, deadline) = (scope.function().name.clone(), scope.deadline);
    let queued = QueuedInsert { id, insert, by, keep, deadline, answer };
    if inner.failpoints.has(Failpoint::NoInsertBatching) {
        return write_alone(&scope.dispatcher, &queued).await;
    }
    if inner.inserts.push(queued) {
        let (dispatcher, table) = (scope.dispatcher.clone(), table.physical.clone());
        inner.mutations.spawn(async move {
            // It goes on with those that wait; what it had in hand is in doubt.
            let never = CancellationToken::new();
            dispatcher.inner.supervisor.keep(Part::InsertBatching, &never, || write_all(&dispatcher, &table)).await;
        });
    }
    match tokio::time::timeout_at(deadline, answered).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_dropped)) => Ok(inner.committer.note_in_doubt(Arc::new([changed(&table)]), &"its task panicked")),
        Err(_elapsed) if inner.inserts.withdraw(&table, id) => Err(time_is_up()),
        Err(_elapsed) => Ok(inner.committer.note_in_doubt(Arc::new([changed(&table)]), &"it took too long")),
    }
}

/// Writes one table's inserts until none waits.
async fn write_all(dispatcher: &Dispatcher, table: &str) {
    while let Some(batch) = dispatcher.inner.inserts.next(table) {
        match write(dispatcher, &batch).await {
            Ok(Ok(commit)) => end(dispatcher, batch, commit).await,
            Ok(Err(unanswered)) => {
                // It may take as long as a call may to find out; later inserts do not wait.
                let dispatcher = dispatcher.clone();
                dispatcher.inner.mutations.clone().spawn(async move {
                    let commit = dispatcher.inner.committer.resolve(unanswered, &unit(&batch)).await;
                    end(&dispatcher, batch, commit).await;
                });
            }
            // Without a connection none of them has a chance alone either.
            Err(failure) => give_all(batch, || Err(failure.clone())),
        }
    }
}

/// Answers the calls of a batch.
async fn end(dispatcher: &Dispatcher, mut batch: Vec<QueuedInsert>, commit: Commit) {
    match commit {
        Commit::Committed => give_all(batch, || Ok(Commit::Committed)),
        Commit::InDoubt(failure) => give_all(batch, || Ok(Commit::InDoubt(failure.clone()))),
        Commit::Conflict(_) | Commit::Rejected(_) if batch.len() == 1 => give(batch.remove(0).answer, Ok(commit)),
        // Nothing was written, and one of them is the reason.
        Commit::Conflict(_) | Commit::Rejected(_) => {
            for waiting in batch {
                let ended = write_alone(dispatcher, &waiting).await;
                give(waiting.answer, ended);
            }
        }
    }
}

/// Writes one insert, and finds out what became of it.
async fn write_alone(dispatcher: &Dispatcher, queued: &QueuedInsert) -> Ended {
    let batch = std::slice::from_ref(queued);
    match write(dispatcher, batch).await? {
        Ok(commit) => Ok(commit),
        Err(unanswered) => Ok(dispatcher.inner.committer.resolve(unanswered, &unit(batch)).await),
    }
}

/// Writes a batch in one statement, which is its own transaction: its
/// session makes every statement SERIALIZABLE.
async fn write(dispatcher: &Dispatcher, batch: &[QueuedInsert]) -> Result<Result<Commit, Unanswered>, Failure> {
    let inner = &dispatcher.inner;
    let table = &batch[0].insert.table;
    let rows: Vec<_> = batch.iter().flat_map(|waiting| waiting.insert.rows.iter().cloned()).collect();
    let unit = unit(batch);
    let statement = document::insert_with_responses(table, inner.node, &rows, &unit.answers);
    let acquired = inner.postgres.writers.acquire().await;
    let mut lease = acquired.map_err(|error| error.to_failure("insert"))?;
    let run = async move {
        let written = postgres::run(&mut lease, statement).await?;
        let mut executor = Executor::new(inner.node, Budget::counted(), TxCache::none());
        executor.inserted(table, &written)?;
        Ok(executor.take_written().changes)
    };
    let limit = Instant::now() + inner.limits.mutation_time();
    Ok(inner.committer.send(run, || vec![changed(table)], limit, &unit).await)
}

/// What a batch commits.
fn unit(batch: &[QueuedInsert]) -> Unit<'_> {
    let kept = batch.iter().filter_map(|waiting| waiting.keep.as_ref());
    Unit {
        by: ChangeSource::functions(batch.iter().map(|waiting| &waiting.by)),
        answers: kept.map(|(entry, result)| (entry, result.as_str())).collect(),
        deadline: batch.iter().map(|waiting| waiting.deadline).max().unwrap_or_else(Instant::now),
        part: Some(Part::InsertBatching),
    }
}

impl InsertQueues {
    /// Adds an insert; `true` where the table was idle.
    fn push(&self, waiting: QueuedInsert) -> bool {
        let mut queues = self.queues.lock();
        let table = &waiting.insert.table.physical;
        let idle = !queues.contains_key(table);
        queues.entry(table.clone()).or_default().push_back(waiting);
        idle
    }

    /// Takes an insert out of its queue. `false`: it is under way.
    fn withdraw(&self, table: &Table, id: Uuid) -> bool {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&table.physical) else { return false };
        let place = queue.iter().position(|waiting| waiting.id == id);
        place.and_then(|place| queue.remove(place)).is_some()
    }

    /// The next batch; the table becomes idle when there is none.
    fn next(&self, table: &str) -> Option<Vec<QueuedInsert>> {
        let mut queues = self.queues.lock();
        let queue = queues.get_mut(table)?;
        let Some(first) = queue.pop_front() else {
            queues.remove(table);
            return None;
        };
        let mut rows = first.insert.rows.len();
        let mut batch = vec![first];
        // New code may describe the table differently: not in one statement.
        while let Some(next) = queue.pop_front_if(|next| {
            rows += next.insert.rows.len();
            rows <= MAX_ROWS && Arc::ptr_eq(&next.insert.table, &batch[0].insert.table)
        }) {
            batch.push(next);
        }
        Some(batch)
    }
}

/// What to tell when it is not known which rows were written.
pub(super) fn changed(table: &Table) -> Change {
    Change { table: table.key.clone(), kind: ChangeKind::Whole }
}

fn give_all(batch: Vec<QueuedInsert>, ended: impl Fn() -> Ended) {
    batch.into_iter().for_each(|waiting| give(waiting.answer, ended()));
}

fn give(answer: oneshot::Sender<Ended>, ended: Ended) {
    if answer.send(ended).is_err() {
        tracing::debug!("an insert ended after its call had been answered");
    }
}
