//! Answers a mutation's operations inside a transaction, with its savepoints, and tracks
//! whether the transaction may still commit. Works for transactions of one call and for
//! shared ones.

use std::sync::Arc;

use crate::db::{Access, Budget, Executor, WriteBuffer};
use crate::dispatch::call::{broken_protocol, timed_out};
use crate::dispatch::drive::{Stop, fail_all};
use crate::dispatch::host::{CallMetadata, FunctionResult};
use crate::dispatch::scope::CallScope;
use crate::error::Failure;
use crate::op::{Control, Op, RunAs};
use crate::postgres::{DbError, Transaction};
use crate::sql::document;

use super::ReadWriteSet;
use super::commit_batching::Insert;

/// The first error in a transaction. Postgres rejects all statements after it, so the
/// transaction does not commit, even if the function catches the error, unless the function
/// rolls back to a savepoint.
#[derive(Default)]
pub(super) struct Aborted(Option<Failure>);

impl Aborted {
    /// The error, if there was one.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.0.as_ref()
    }

    /// The error that these operations fail with, unless they begin with a rollback to a
    /// savepoint.
    fn refuses(&self, ops: &[Result<Op, Failure>]) -> Option<&Failure> {
        let rolls_back = matches!(ops.first(), Some(Ok(Op::Control(Control::RollbackTo(_)))));
        self.0.as_ref().filter(|_| !rolls_back)
    }

    /// Answers operations. After a conflict or a lost connection the rest stays unanswered,
    /// and [`Executor::progress`] returns how many are answered; after another error the
    /// rest fails with it.
    pub(super) async fn answer(
        &mut self,
        executor: &mut Executor,
        transaction: &mut Transaction,
        ops: &[Result<Op, Failure>],
        explain: impl Fn(&DbError) -> Failure,
        out: &mut String,
    ) -> Result<(), DbError> {
        executor.begin_progress(out.len());
        if let Some(failure) = self.refuses(ops) {
            fail_all(ops, failure, out);
            return Ok(());
        }
        let Err(error) = executor.run_within(transaction, ops, out).await else {
            // A rollback to a savepoint does not recover from an exceeded limit of writes.
            self.0 = executor.budget.refused_write().cloned();
            return Ok(());
        };
        // The operations before the failed one have been executed.
        let (done, length) = executor.progress();
        out.truncate(length);
        let failure = self.0.insert(explain(&error));
        if matches!(error, DbError::Retry(_)) || error.connection_lost() {
            return Err(error);
        }
        fail_all(&ops[done..], failure, out);
        Ok(())
    }

    /// Answers operations from a buffer, after reading the documents that it lacks. Returns the
    /// number of statements that read them.
    pub(super) async fn answer_buffered(
        &mut self,
        buffer: &mut WriteBuffer,
        budget: &mut Budget,
        access: &mut Access<'_>,
        ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<usize, DbError> {
        if let Some(failure) = self.refuses(ops) {
            fail_all(ops, failure, out);
            return Ok(0);
        }
        let missing = buffer.missing(ops);
        let reads = missing.len();
        let documents = missing.iter().map(|(_, ids)| ids.len()).sum();
        let writes = ops.iter().flatten().filter(|op| op.writes()).count();
        let counted = budget.read(documents).and_then(|()| budget.write(writes));
        if let Err(failure) = counted.and_then(|()| budget.whole_documents(ops.iter().flatten())) {
            fail_all(ops, &failure, out);
            self.0 = budget.refused_write().cloned();
            return Ok(0);
        }
        for (table, ids) in missing {
            let rows = access.get_versions(&table, &ids).await?;
            buffer.load(&table, &ids, rows)?;
        }
        buffer.answer(ops, budget, out)?;
        self.0 = budget.refused_write().cloned();
        Ok(reads)
    }
}

/// A run inside a transaction, and its state.
pub(super) struct TransactionRun {
    pub scope: CallScope,
    /// Its reads and writes.
    pub executor: Executor,
    /// The buffer it shares with other calls of its transaction, if it may use one.
    pub buffer: Option<WriteBuffer>,
    /// It has sent an operation that the buffer cannot answer: from then on its operations
    /// are statements, and its savepoints are those of Postgres.
    unbuffered: bool,
    /// Other calls may be in its transaction.
    pub shared: bool,
    /// The length of the buffer's undo log when the run began.
    pub undo_start: usize,
    aborted: Aborted,
}

impl TransactionRun {
    /// A run before its first operation.
    pub(super) fn new(scope: CallScope) -> TransactionRun {
        let executor = scope.executor(scope.tx_cache());
        let aborted = Aborted::default();
        TransactionRun { scope, executor, buffer: None, unbuffered: false, shared: false, undo_start: 0, aborted }
    }

    /// Answers operations of one batch, under the role `run_as`.
    pub(super) async fn answer(
        &mut self,
        transaction: &mut Transaction,
        ops: &[Result<Op, Failure>],
        run_as: Option<&Arc<RunAs>>,
        out: &mut String,
    ) -> Result<(), Stop> {
        self.record_raw(ops)?;
        transaction.run_as(run_as);
        if !self.unbuffered && self.buffer.as_ref().is_some_and(|buffer| !buffer.accepts(ops)) {
            self.flush_buffer(transaction).await?;
            self.unbuffered = true;
        }
        let TransactionRun { scope, executor, buffer, aborted, .. } = self;
        let answered = match buffer {
            Some(buffer) if !self.unbuffered => {
                let access = &mut Access::Within(transaction);
                aborted.answer_buffered(buffer, &mut executor.budget, access, ops, out).await.map(drop)
            }
            _ => aborted.answer(executor, transaction, ops, |error| scope.explain(error), out).await,
        };
        answered.map_err(|error| match error {
            DbError::Retry(_) => Stop::Conflict(error),
            // The connection is lost, or the error cannot be undone, because Postgres does
            // not have the savepoints of the buffer.
            error => Stop::Broken(self.scope.explain(&error)),
        })
    }

    /// Records that the function runs `raw`. A statement may change settings for the rest of
    /// the transaction, so the transaction must not be shared.
    fn record_raw(&self, ops: &[Result<Op, Failure>]) -> Result<(), Stop> {
        let mut raw =
            ops.iter().flatten().filter_map(|op| if let Op::Raw(raw) = op { Some(raw) } else { None }).peekable();
        if raw.peek().is_none() {
            return Ok(());
        }
        self.scope.function().learned.runs_raw.set();
        if raw.any(|raw| !raw.read_only) {
            self.scope.function().learned.writes_raw.set();
        }
        if self.shared { Err(Stop::NeedsOther) } else { Ok(()) }
    }

    /// Writes and clears the buffer, including the writes of other calls, so that the next
    /// operations can be statements.
    async fn flush_buffer(&mut self, transaction: &mut Transaction) -> Result<(), Stop> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        if buffer.has_savepoints() {
            return Err(Stop::NeedsOther);
        }
        let own = buffer.undo_length() > self.undo_start;
        match self.executor.flush(&mut Access::Within(transaction), buffer).await {
            Ok(()) => {
                if own {
                    self.executor.set_dirty();
                }
                self.undo_start = 0;
                Ok(())
            }
            Err(error) if error.connection_lost() => Err(Stop::Broken(self.scope.explain(&error))),
            // The rejected write may be another call's, which then fails separately.
            Err(error) => Err(Stop::Conflict(error)),
        }
    }

    /// The result of the function and its held inserts by table, or the failure; see
    /// [`finish`].
    pub(super) fn finish(
        &mut self,
        ended: FunctionResult,
        metadata: &CallMetadata,
    ) -> Result<(String, Vec<Insert>), Failure> {
        finish(&self.scope, self.aborted.failure().cloned(), &mut self.executor.budget, ended, metadata)
    }

    /// Writes held inserts.
    pub(super) async fn insert(&mut self, transaction: &mut Transaction, held: Vec<Insert>) -> Result<(), Stop> {
        for insert in held {
            let statement = document::insert(&insert.table, self.scope.dispatcher.inner.node, &insert.rows);
            let Ok(written) = tokio::time::timeout_at(self.scope.deadline, transaction.run(statement)).await else {
                return Err(Stop::Broken(timed_out()));
            };
            let recorded = written.and_then(|rows| self.executor.inserted(&insert.table, &rows));
            recorded.map_err(|error| self.scope.stop(error))?;
        }
        Ok(())
    }

    /// Whether the buffer has answered all of its operations.
    pub(super) fn is_buffered(&self) -> bool {
        self.buffer.is_some() && !self.unbuffered
    }

    /// Whether a statement failed and was not rolled back to a savepoint.
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.failure().is_some()
    }

    /// Takes what the run has read and written.
    pub(super) fn read_write_set(&mut self) -> ReadWriteSet {
        ReadWriteSet { reads: self.executor.take_reads(), written: self.executor.take_written().changes.into() }
    }
}

/// The result of a function and its held inserts by table, or the failure. With a `failure`
/// the function cannot succeed.
pub(super) fn finish(
    scope: &CallScope,
    failure: Option<Failure>,
    budget: &mut Budget,
    ended: FunctionResult,
    metadata: &CallMetadata,
) -> Result<(String, Vec<Insert>), Failure> {
    let result = match (failure, ended) {
        (Some(failure), FunctionResult::Returned(_)) => return Err(failure),
        (_, ended) => scope.conclude(ended)?,
    };
    let held = held_inserts(metadata, scope)?;
    budget.write(held.iter().map(|insert| insert.rows.len()).sum())?;
    for Insert { table, rows } in &held {
        rows.iter().try_for_each(|(_, doc)| budget.document(table, doc.get()))?;
    }
    Ok((result, held))
}

/// Groups held inserts by table, in the order in which tables first appear. The order of
/// inserts into different tables does not matter.
fn held_inserts(metadata: &CallMetadata, scope: &CallScope) -> Result<Vec<Insert>, Failure> {
    let Some(held) = &metadata.held else { return Ok(Vec::new()) };
    if scope.program.role().is_some() {
        return Err(broken_protocol(&"no insert is held where policies may refuse it"));
    }
    let ops = Op::parse_batch(held.get(), &scope.program.schema).map_err(|error| broken_protocol(&error))?;
    let mut inserts: Vec<Insert> = Vec::new();
    for op in ops {
        let Op::Insert { table, id, doc } = op? else {
            return Err(broken_protocol(&"only inserts can be held"));
        };
        match inserts.iter_mut().find(|known| known.table.physical == table.physical) {
            Some(known) => known.rows.push((id, doc)),
            None => inserts.push(Insert { table, rows: vec![(id, doc)] }),
        }
    }
    Ok(inserts)
}
