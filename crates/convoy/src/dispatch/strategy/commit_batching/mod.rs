//! Batches the commits of mutations that need no transaction: of those that only insert, and of
//! optimistic runs.
//!
//! The cost of a small commit is mostly its statement and its wait for the disk, not its rows.
//! While a statement for some tables is in progress, later commits to the same tables wait, and
//! the next statement has all of them that are independent. A commit to idle tables is sent at
//! once, and so is one of many documents.
//!
//! Commits are independent if none has read or written a document that the other writes. Then
//! running their mutations as one transaction is equivalent to running them one after another,
//! and each is still SERIALIZABLE. Because only one statement is in progress, those of one
//! process do not conflict with each other: serializable transactions do, even over different
//! documents, where these share a page of an index.
//!
//! A fault of one mutation must not fail or delay another: the statement waits only a moment
//! for the lock of a row, and after one that provably changed nothing, each commit of it is
//! sent separately.

mod queues;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Attempt;
use crate::change::{Change, ChangeKind, ChangeSource};
use crate::db::row_keys;
use crate::dispatch::Dispatcher;
use crate::dispatch::call::timed_out;
use crate::dispatch::commit::idempotency::Keyed;
use crate::dispatch::commit::{Commit, Unanswered, Unit};
use crate::dispatch::scope::CallScope;
use crate::failpoints::Failpoint;
use crate::key::RowKeys;
use crate::op::{Write, WriteSet};
use crate::postgres::{self, DbError, Lease, Row};
use crate::schema::Table;
use crate::sql::idempotency::Entry;
use crate::sql::optimistic::{self, Joined, LockWait};
use crate::supervise::Part;
pub(in crate::dispatch) use queues::CommitQueues;
use queues::{Landed, QueuedCommit, TableSet};

/// From so many documents on, they are the cost of a commit: it is sent at once, beside others.
const MIN_OWN_DOCUMENTS: usize = 32;

/// The rows that one mutation inserts into one table.
pub(in crate::dispatch) struct Insert {
    pub table: Arc<Table>,
    pub rows: Vec<(Uuid, Box<RawValue>)>,
}

/// How a commit ended, or why it was not sent.
type CommitResult = Result<Commit, NotSent>;

/// Why a commit was not sent.
#[derive(Clone)]
pub(super) enum NotSent {
    /// Its turn did not come before the deadline of its call.
    TimedOut,
    /// There was no connection.
    NoConnection(Arc<DbError>),
}

impl NotSent {
    /// The failure of the call.
    pub(super) fn fails(&self, scope: &CallScope, keyed: Option<Keyed>) -> Attempt {
        match self {
            NotSent::TimedOut => Attempt::Failed(timed_out(), keyed),
            NotSent::NoConnection(error) => Attempt::Failed(scope.explain(error), keyed),
        }
    }
}

/// Commits a mutation in one statement, possibly together with others.
pub(super) async fn commit(
    scope: &CallScope,
    write_set: WriteSet,
    keyed: Option<&Keyed>,
    result: &str,
) -> CommitResult {
    let inner = &scope.dispatcher.inner;
    let (answer, answered) = oneshot::channel();
    let id = inner.commits.next_id();
    let tables = optimistic::tables_of(write_set.tables());
    let queued = QueuedCommit {
        id,
        write_set,
        tables: tables.clone(),
        by: scope.function().name.clone(),
        response: keyed.map(|keyed| (keyed.entry.clone(), result.to_owned())),
        observer: scope.observer(),
        span: scope.telemetry.span.clone(),
        deadline: scope.deadline,
        answer,
    };
    if queued.write_set.len() >= MIN_OWN_DOCUMENTS || inner.failpoints.has(Failpoint::NoCommitBatching) {
        return send_alone(&scope.dispatcher, &queued).await;
    }
    let queue: TableSet = tables.iter().map(|table| table.key.clone()).collect();
    if inner.commits.push(&queue, queued) {
        let (dispatcher, queue) = (scope.dispatcher.clone(), queue.clone());
        inner.mutations.spawn(async move {
            // After a panic it continues with the waiting commits; the batch in progress is
            // in doubt.
            let never = CancellationToken::new();
            dispatcher.inner.supervisor.keep(Part::CommitBatching, &never, || send_all(&dispatcher, &queue)).await;
        });
    }
    let in_doubt = |why: &str| Ok(inner.committer.note_in_doubt(whole(&tables).into(), &why));
    match tokio::time::timeout_at(scope.deadline, answered).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_dropped)) => in_doubt("its task panicked"),
        Err(_elapsed) if inner.commits.withdraw(&queue, id) => Err(NotSent::TimedOut),
        Err(_elapsed) => in_doubt("it took too long"),
    }
}

/// Sends the commits of one queue until none waits.
async fn send_all(dispatcher: &Dispatcher, queue: &TableSet) {
    while let Some(batch) = dispatcher.inner.commits.next(queue) {
        match send(dispatcher, &batch, LockWait::Short).await {
            Ok(Ok((commit, landed))) => {
                // Before their statement would find it out.
                dispatcher.inner.commits.reject_stale(queue, &landed);
                end(dispatcher, batch, commit);
            }
            Ok(Err(unanswered)) => {
                // On a separate task, because resolving may take as long as the time limit of
                // a call, and later commits must not wait for it.
                let dispatcher = dispatcher.clone();
                dispatcher.inner.mutations.clone().spawn(async move {
                    let commit = dispatcher.inner.committer.resolve(unanswered, &unit(&batch)).await;
                    end_resolved(&dispatcher, batch, commit);
                });
            }
            // Without a connection, separate statements would fail, too.
            Err(not_sent) => answer_all(batch, || Err(not_sent.clone())),
        }
    }
}

/// Answers the calls of a batch after its end.
fn end(dispatcher: &Dispatcher, mut batch: Vec<QueuedCommit>, commit: Commit) {
    let waited_for_lock = matches!(&commit, Commit::Rejected(error) if error.is_lock_timeout());
    match commit {
        Commit::Committed => answer_all(batch, || Ok(Commit::Committed)),
        Commit::InDoubt(failure) => answer_all(batch, || Ok(Commit::InDoubt(failure.clone()))),
        Commit::Conflict(_) | Commit::Rejected(_) if batch.len() == 1 && !waited_for_lock => {
            answer(batch.remove(0).answer, Ok(commit));
        }
        // The batch is rolled back because of one of its commits.
        Commit::Conflict(_) | Commit::Rejected(_) => {
            for queued in batch {
                let dispatcher = dispatcher.clone();
                dispatcher.inner.mutations.clone().spawn(async move {
                    let ended = send_alone(&dispatcher, &queued).await;
                    answer(queued.answer, ended);
                });
            }
        }
    }
}

/// Answers the calls of a batch that was not answered. That a commit was made is known by the
/// first stored response of the batch, which may be that of an earlier call with the same key:
/// then the statement has failed because of it, and the others have had no effect.
fn end_resolved(dispatcher: &Dispatcher, mut batch: Vec<QueuedCommit>, commit: Commit) {
    if batch.len() > 1
        && matches!(commit, Commit::Committed)
        && let Some(keyed) = batch.iter().position(|queued| queued.response.is_some())
    {
        answer(batch.swap_remove(keyed).answer, Ok(commit));
        return answer_all(batch, || Ok(Commit::unanswered()));
    }
    end(dispatcher, batch, commit);
}

/// Sends one commit in a separate statement, and resolves it if it is in doubt.
async fn send_alone(dispatcher: &Dispatcher, queued: &QueuedCommit) -> CommitResult {
    let batch = std::slice::from_ref(queued);
    match send(dispatcher, batch, LockWait::Unlimited).await? {
        Ok((commit, _)) => Ok(commit),
        Err(unanswered) => Ok(dispatcher.inner.committer.resolve(unanswered, &unit(batch)).await),
    }
}

/// Sends a batch as one statement outside a transaction block; the session's default isolation
/// is SERIALIZABLE.
async fn send(
    dispatcher: &Dispatcher,
    batch: &[QueuedCommit],
    wait: LockWait,
) -> Result<Result<(Commit, Landed), Unanswered>, NotSent> {
    let inner = &dispatcher.inner;
    let joined = Joined::of(batch.iter().map(|queued| &queued.write_set));
    let unit = unit(batch);
    // Outside of the commit: if this fails no statement was sent, so nothing is in doubt.
    let acquired = inner.postgres.writers.acquire().await;
    let mut lease = acquired.map_err(|error| NotSent::NoConnection(Arc::new(error)))?;
    let mut landed = Landed::default();
    let run = async {
        let applied = apply(&mut lease, &joined, inner.node, &unit.responses, wait).await;
        drop(lease);
        let (changes, version) = applied?;
        landed.version = version;
        Ok(changes)
    };
    let sent = inner.committer.send(run, || whole(joined.tables()), unit.deadline, &unit).await;
    landed.documents = joined.writes().iter().map(|write| (write.table.key.clone(), write.id)).collect();
    Ok(sent.map(|commit| (commit, landed)))
}

/// Validates and writes, in one statement. Returns the changes, and the version of the documents
/// written.
pub(super) async fn apply(
    lease: &mut Lease,
    joined: &Joined<'_>,
    node: Uuid,
    responses: &[(&Entry, &str)],
    wait: LockWait,
) -> Result<(Vec<Change>, String), DbError> {
    let rows = match postgres::run(lease, optimistic::apply(joined, node, responses, wait)).await {
        Err(error) if error.message_contains(optimistic::STALE) => return Err(DbError::aborted()),
        rows => rows?,
    };
    let writes: HashMap<(&str, Uuid), &Write> =
        joined.writes().iter().map(|write| ((&*write.table.key, write.id), *write)).collect();
    let mut changes = Vec::with_capacity(rows.len());
    let mut version = String::new();
    for row in &rows {
        let Some(place) = row.int8_or_null(0)? else { continue };
        let table = usize::try_from(place).ok().and_then(|place| joined.tables().get(place));
        let table = table.ok_or_else(|| DbError::Row("a place of no table".into()))?;
        let id = row.uuid(1)?;
        let (new, old) = (keys(row, id, 2)?, keys(row, id, 4)?);
        let fields = writes.get(&(&*table.key, id)).and_then(|write| write.fields.clone());
        changes.push(Change { table: table.key.clone(), kind: ChangeKind::Row { id, old, new, fields } });
        if version.is_empty() {
            version = version_of(row.text(6)?)?;
        }
    }
    Ok((changes, version))
}

/// The version of what a transaction has written: `xmin`, the lower half of its id.
fn version_of(xid: &str) -> Result<String, DbError> {
    let xid: u64 = xid.parse().map_err(|_| DbError::Row(format!("{xid} is no transaction id")))?;
    Ok((xid & u64::from(u32::MAX)).to_string())
}

fn keys(row: &Row, id: Uuid, at: usize) -> Result<Option<RowKeys>, DbError> {
    let (Some(created), Some(json)) = (row.micros_or_null(at)?, row.json_or_null(at + 1)?) else { return Ok(None) };
    row_keys(id, created, json).map(Some)
}

/// The commit unit of a batch.
fn unit(batch: &[QueuedCommit]) -> Unit<'_> {
    let stored = batch.iter().filter_map(|queued| queued.response.as_ref());
    Unit {
        by: ChangeSource::functions(batch.iter().map(|queued| &queued.by)),
        responses: stored.map(|(entry, result)| (entry, result.as_str())).collect(),
        deadline: batch.iter().map(|queued| queued.deadline).max().unwrap_or_else(Instant::now),
        part: Some(Part::CommitBatching),
        observers: batch.iter().filter_map(|queued| queued.observer.clone()).collect(),
        spans: batch.iter().filter_map(|queued| queued.span.recorded()).collect(),
    }
}

/// The changes of whole tables, if the written rows are unknown.
pub(super) fn whole(tables: &[Arc<Table>]) -> Vec<Change> {
    tables.iter().map(|table| Change { table: table.key.clone(), kind: ChangeKind::Whole }).collect()
}

fn answer_all(batch: Vec<QueuedCommit>, ended: impl Fn() -> CommitResult) {
    batch.into_iter().for_each(|queued| answer(queued.answer, ended()));
}

fn answer(sender: oneshot::Sender<CommitResult>, ended: CommitResult) {
    if sender.send(ended).is_err() {
        tracing::debug!("a commit ended after its call had been answered");
    }
}
