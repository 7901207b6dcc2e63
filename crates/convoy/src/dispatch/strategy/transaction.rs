//! A mutation's operations inside a transaction: its savepoints, and whether it may still
//! commit. Who else is in the transaction is not known here.

use crate::db::{Access, Budget, Executor, TxCache, WriteBuffer};
use crate::dispatch::call::{broken_protocol, time_is_up};
use crate::dispatch::drive::{Stop, fail_all};
use crate::dispatch::host::{CallMetadata, FunctionResult};
use crate::dispatch::scope::CallScope;
use crate::error::Failure;
use crate::op::{Control, Op};
use crate::postgres::{DbError, Transaction};
use crate::sql::{document, optimistic};

use super::ReadWriteSet;
use super::insert_batching::Insert;

/// The first error in a transaction. Postgres refuses everything after it, so
/// nothing is committed, even where the function catches the error, unless it first returns
/// to a savepoint.
#[derive(Default)]
pub(super) struct Aborted(Option<Failure>);

impl Aborted {
    /// The error, if there was one.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.0.as_ref()
    }

    /// The error that these operations fail with, unless they return to a savepoint.
    fn refuses(&self, ops: &[Result<Op, Failure>]) -> Option<&Failure> {
        let returns = matches!(ops.first(), Some(Ok(Op::Control(Control::RollbackTo(_)))));
        self.0.as_ref().filter(|_| !returns)
    }

    /// Answers operations. After an error that is neither a conflict nor a lost connection
    /// the rest of them fail with it; after one of these they stay unanswered, and
    /// [`Executor::progress`] says how many are answered.
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
            // A limit that was passed has cost a write, savepoint or not.
            self.0 = executor.budget.refused_write().cloned();
            return Ok(());
        };
        // What came before it was done.
        let (done, length) = executor.progress();
        out.truncate(length);
        let failure = self.0.insert(explain(&error));
        if matches!(error, DbError::Retry(_)) || error.connection_lost() {
            return Err(error);
        }
        fail_all(&ops[done..], failure, out);
        Ok(())
    }
}

/// A run inside a transaction and what it has done so far.
pub(super) struct TransactionRun {
    pub scope: CallScope,
    /// What it has read and written.
    pub executor: Executor,
    /// Reads and writes it shares with others in its transaction, where it may.
    pub buffer: Option<WriteBuffer>,
    /// It has asked for something a buffer cannot answer: from then on it asks
    /// Postgres, which also keeps its savepoints.
    unbuffered: bool,
    /// Other calls may be in its transaction.
    pub shared: bool,
    /// How long the buffer's undo_log was when it began.
    pub mark: usize,
    aborted: Aborted,
}

impl TransactionRun {
    /// A run that has done nothing.
    pub(super) fn new(scope: CallScope) -> TransactionRun {
        let executor = scope.executor(TxCache::default());
        let aborted = Aborted::default();
        TransactionRun { scope, executor, buffer: None, unbuffered: false, shared: false, mark: 0, aborted }
    }

    /// Answers one batch of operations.
    pub(super) async fn answer(
        &mut self,
        transaction: &mut Transaction,
        ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<(), Stop> {
        self.note_raw(ops)?;
        if !self.unbuffered && self.buffer.as_ref().is_some_and(|buffer| !buffer.takes(ops)) {
            self.flush_buffer(transaction).await?;
            self.unbuffered = true;
        }
        let answered = match self.buffer.is_some() && !self.unbuffered {
            true => self.answer_from_buffer(transaction, ops, out).await,
            false => {
                let TransactionRun { scope, executor, aborted, .. } = self;
                aborted.answer(executor, transaction, ops, |error| scope.explain(error), out).await
            }
        };
        answered.map_err(|error| match error {
            DbError::Retry(_) => Stop::Conflict(error),
            // The connection is lost, or a buffer's savepoints, unknown to Postgres, cannot
            // undo what failed there.
            error => Stop::Broken(self.scope.explain(&error)),
        })
    }

    /// Notes what the function does by `raw`. What that sets holds for the rest of the
    /// transaction, so it must not be shared.
    fn note_raw(&self, ops: &[Result<Op, Failure>]) -> Result<(), Stop> {
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

    /// Answers from the buffer, reading what it does not know.
    async fn answer_from_buffer(
        &mut self,
        transaction: &mut Transaction,
        ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<(), DbError> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        if let Some(failure) = self.aborted.refuses(ops) {
            fail_all(ops, failure, out);
            return Ok(());
        }
        let unknown = buffer.unknown(ops);
        let documents = unknown.iter().map(|(_, ids)| ids.len()).sum();
        let writes = ops.iter().flatten().filter(|op| op.writes()).count();
        let budget = &mut self.executor.budget;
        if let Err(failure) = budget.read(documents).and_then(|()| budget.write(writes)) {
            fail_all(ops, &failure, out);
            self.aborted = Aborted(budget.refused_write().cloned());
            return Ok(());
        }
        for (table, ids) in unknown {
            let rows = transaction.run(optimistic::get(&table, &ids)).await?;
            buffer.learn(&table, &ids, rows)?;
        }
        buffer.answer(ops, out)
    }

    /// Writes what is in the buffer, others' writes too, and forgets it: what comes
    /// next is Postgres' to answer.
    async fn flush_buffer(&mut self, transaction: &mut Transaction) -> Result<(), Stop> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        if buffer.has_savepoints() {
            return Err(Stop::NeedsOther);
        }
        let own = buffer.mark() > self.mark;
        match self.executor.flush(&mut Access::Within(transaction), buffer).await {
            Ok(()) => {
                if own {
                    self.executor.set_dirty();
                }
                self.mark = 0;
                Ok(())
            }
            Err(error) if error.connection_lost() => Err(Stop::Broken(self.scope.explain(&error))),
            // The refused write may be another call's, which will fail by itself.
            Err(error) => Err(Stop::Conflict(error)),
        }
    }

    /// The function has ended: its result, and the inserts held back until now, by table;
    /// or why it fails.
    pub(super) fn finish(
        &mut self,
        ended: FunctionResult,
        metadata: &CallMetadata,
    ) -> Result<(String, Vec<Insert>), Failure> {
        finish(&self.scope, self.aborted.failure().cloned(), &mut self.executor.budget, ended, metadata)
    }

    /// Writes what was held back.
    pub(super) async fn insert(&mut self, transaction: &mut Transaction, held: Vec<Insert>) -> Result<(), Stop> {
        for insert in held {
            let statement = document::insert(&insert.table, self.scope.dispatcher.inner.node, &insert.rows);
            let Ok(written) = tokio::time::timeout_at(self.scope.deadline, transaction.run(statement)).await else {
                return Err(Stop::Broken(time_is_up()));
            };
            let noted = written.and_then(|rows| self.executor.inserted(&insert.table, &rows));
            noted.map_err(|error| self.scope.stop(error))?;
        }
        Ok(())
    }

    /// Whether something in the database failed that was not undone.
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.failure().is_some()
    }

    /// What a run that met a conflict has touched.
    pub(super) fn read_write_set(&mut self) -> ReadWriteSet {
        ReadWriteSet { reads: self.executor.take_reads(), written: self.executor.take_written().changes.into() }
    }
}

/// What a function's end gives: its result, and the inserts held back until now, by table;
/// or why it fails. It cannot succeed after `failure`.
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
    Ok((result, held))
}

/// Groups held inserts by table, in the order tables first appear: plain
/// inserts into different tables do not depend on each other.
fn held_inserts(metadata: &CallMetadata, scope: &CallScope) -> Result<Vec<Insert>, Failure> {
    let Some(held) = &metadata.held else { return Ok(Vec::new()) };
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
