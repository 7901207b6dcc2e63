//! Executes the operations of one call and writes their answers.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::TxCache;
use super::answer::{push_failure, push_ok};
use super::budget::Budget;
use super::joined_reads::{Autocommit, Reader};
use super::read_set::ReadSet;
use super::savepoints::Savepoints;
use super::write_buffer::WriteBuffer;
use crate::change::Change;
use crate::error::{Code, Failure};
use crate::failpoints::{Failpoint, Failpoints};
use crate::op::{Control, Edit, Op, Raw, Scan, Write, WriteSet};
use crate::postgres::{DbError, Isolation, RawRows, ReadsLookup, Row, RowSecurity, Transaction};
use crate::schema::Table;
use crate::sql::{Statement, document, optimistic};

/// Where the statements of a call are executed.
pub(crate) enum Access<'a> {
    /// Outside a transaction, read-only.
    Reading(&'a Autocommit),
    /// Outside a transaction, with writes.
    Writing(&'a Autocommit),
    /// Outside a transaction, reads of a mutation: serializable, and not from a replica.
    ReadingAsWriter(&'a Autocommit),
    /// In the call's transaction.
    Within(&'a mut Transaction),
}

impl Access<'_> {
    /// Runs one statement of Convoy.
    pub(crate) async fn run(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        match self {
            Access::Reading(database) => database.postgres().read(&statement).await,
            Access::Writing(database) => database.postgres().write(&statement).await,
            Access::ReadingAsWriter(database) => database.postgres().read_as_writer(&statement).await,
            Access::Within(transaction) => transaction.run(statement).await,
        }
    }

    /// Reads documents by id: `id, created_at, data`.
    pub(super) async fn get(&mut self, table: &Arc<Table>, ids: &[Uuid]) -> Result<Vec<Arc<Row>>, DbError> {
        match self {
            Access::Reading(database) => database.get(table, ids, Reader::Query).await,
            _ => Ok(self.run(document::get(table, ids)).await?.into_iter().map(Arc::new).collect()),
        }
    }

    /// Reads documents by id with their versions: `id, created_at, data, version`.
    pub(crate) async fn get_versions(&mut self, table: &Arc<Table>, ids: &[Uuid]) -> Result<Vec<Arc<Row>>, DbError> {
        match self {
            Access::ReadingAsWriter(database) => database.get(table, ids, Reader::Mutation).await,
            _ => Ok(self.run(optimistic::get(table, ids)).await?.into_iter().map(Arc::new).collect()),
        }
    }

    /// Runs the statement of a scan.
    pub(super) async fn scan(&mut self, scan: &Scan, statement: Statement) -> Result<Vec<Row>, DbError> {
        match self {
            // Others are not held up by it.
            Access::Reading(database) if scan.is_short() => database.scan(statement).await,
            _ => self.run(statement).await,
        }
    }

    pub(super) async fn raw(&mut self, raw: &Raw, lookup: ReadsLookup) -> Result<RawRows, DbError> {
        match self {
            Access::Reading(database) => database.postgres().readers.raw(raw, lookup).await,
            Access::Writing(database) | Access::ReadingAsWriter(database) => {
                database.postgres().writers.raw(raw, lookup).await
            }
            Access::Within(transaction) => transaction.raw(raw, lookup).await,
        }
    }

    /// Whether the call is a query, which may be live.
    pub(super) fn is_query(&self) -> bool {
        match self {
            Access::Reading(_) => true,
            Access::Writing(_) | Access::ReadingAsWriter(_) => false,
            Access::Within(transaction) => transaction.isolation() == Isolation::Snapshot,
        }
    }
}

/// The writes of a call.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The changed rows.
    pub changes: Vec<Change>,
    /// The transaction id, once known.
    pub xid: Option<String>,
}

impl Written {
    /// Adds later writes of the same transaction.
    pub(crate) fn join(&mut self, later: Written) {
        self.changes.extend(later.changes);
        self.xid = self.xid.take().or(later.xid);
    }
}

/// Executes operations, and records what the call reads and writes.
pub(crate) struct Executor {
    pub(super) node: Uuid,
    pub(super) reads: ReadSet,
    pub(super) written: Written,
    /// The document cache of the transaction.
    pub tx_cache: TxCache,
    /// The remaining limits of the call.
    pub budget: Budget,
    /// The savepoints of its transaction, each with the number of changes before it.
    savepoints: Savepoints,
    /// The call has written, or may have.
    pub(super) dirty: bool,
    /// The number of answered operations of the batch, and the length of their answers.
    progress: (usize, usize),
    /// The failpoint [`Failpoint::CutTooEarly`].
    pub(super) cuts_too_early: bool,
}

impl Executor {
    /// An executor for one run; `node` identifies its rows in the change log.
    pub(crate) fn new(node: Uuid, budget: Budget, tx_cache: TxCache) -> Executor {
        Executor {
            node,
            reads: ReadSet::default(),
            written: Written::default(),
            tx_cache,
            budget,
            savepoints: Savepoints::default(),
            dirty: false,
            progress: (0, 0),
            cuts_too_early: false,
        }
    }

    /// Applies the active failpoints.
    pub(crate) fn with_failpoints(self, failpoints: &Failpoints) -> Executor {
        Executor { cuts_too_early: failpoints.has(Failpoint::CutTooEarly), ..self }
    }

    /// How many statements these operations will take.
    pub(crate) fn statements(ops: &[Result<Op, Failure>]) -> usize {
        let mut gets: Vec<&str> = Vec::new();
        let mut others = 0;
        for op in ops.iter().flatten() {
            match op {
                Op::Get { table, .. } if gets.contains(&table.physical.as_str()) => {}
                Op::Get { table, .. } => gets.push(&table.physical),
                _ => others += 1,
            }
        }
        gets.len() + others
    }

    /// Executes operations and appends their answers to `out`, each followed by a comma.
    /// Fails [`Op::Control`].
    ///
    /// Neighbouring reads by id become one statement per table, and neighbouring writes of
    /// one kind to different documents of one table become one statement. The order is kept.
    pub(crate) async fn run(
        &mut self,
        access: &mut Access<'_>,
        ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<(), DbError> {
        let mut rest = ops;
        while let Some(first) = rest.first() {
            let op = match first {
                Ok(op) => op,
                Err(failure) => {
                    push_failure(out, failure);
                    self.progressed(1, out.len());
                    rest = &rest[1..];
                    continue;
                }
            };
            let (group, after) = rest.split_at(group_len(op, rest));
            rest = after;
            let ops: Vec<&Op> = group.iter().flatten().collect();
            if op.writes()
                && let Err(failure) =
                    self.budget.write(ops.len()).and_then(|()| self.budget.whole_documents(ops.iter().copied()))
            {
                ops.iter().for_each(|_| push_failure(out, &failure));
                self.progressed(ops.len(), out.len());
                continue;
            }
            self.dirty |= op.writes() || matches!(op, Op::Raw(_));
            match op {
                Op::Get { .. } => self.gets(access, &ops, out).await?,
                Op::Insert { table, .. } => self.inserts(access, table, &ops, out).await?,
                Op::Edit { table, .. } => self.edits(access, table, &ops, out).await?,
                Op::Delete { table, .. } => self.deletes(access, table, &ops, out).await?,
                Op::Scan(scan) => self.scan(access, scan, out).await?,
                Op::Count(scan) => self.count(access, scan, out).await?,
                Op::Page(page) => self.page(access, page, out).await?,
                Op::Raw(raw) => self.raw(access, raw, out).await?,
                Op::Cached { .. } | Op::Control(_) => push_failure(out, &out_of_place()),
            }
            self.progressed(ops.len(), out.len());
        }
        Ok(())
    }

    /// Executes operations in a transaction, including savepoints.
    pub(crate) async fn run_within(
        &mut self,
        transaction: &mut Transaction,
        mut ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<(), DbError> {
        while !ops.is_empty() {
            let before_control = ops.iter().take_while(|op| !matches!(op, Ok(Op::Control(_)))).count();
            let (now, rest) = ops.split_at(before_control);
            self.run(&mut Access::Within(transaction), now, out).await?;
            let Some((control, rest)) = rest.split_first() else { break };
            ops = rest;
            match control {
                Ok(Op::Control(Control::Savepoint(name))) => {
                    transaction.savepoint(*name).await?;
                    self.savepoints.set(*name, self.written.changes.len());
                    push_ok(out, "null");
                }
                Ok(Op::Control(Control::RollbackTo(name))) => {
                    transaction.rollback_to(*name).await?;
                    if let Some(changes) = self.savepoints.return_to(*name) {
                        self.undo_to(changes);
                    }
                    push_ok(out, "null");
                }
                _ => push_failure(out, &out_of_place()),
            }
            self.progressed(1, out.len());
        }
        Ok(())
    }

    /// Resets the savepoints and the cache, because a transaction begins or has ended.
    pub(crate) fn begin_transaction(&mut self, tx_cache: TxCache) {
        self.savepoints.clear();
        self.tx_cache = tx_cache;
    }

    /// Begins a batch. `length` is the length of the answers before it.
    pub(crate) fn begin_progress(&mut self, length: usize) {
        self.progress = (0, length);
    }

    /// Adds answered operations. `length` is the length of all answers.
    pub(crate) fn progressed(&mut self, ops: usize, length: usize) {
        self.progress = (self.progress.0 + ops, length);
    }

    /// The number of answered operations of the batch, and the length of their answers.
    pub(crate) fn progress(&self) -> (usize, usize) {
        self.progress
    }

    /// Records that the call has written.
    pub(crate) fn set_dirty(&mut self) {
        self.dirty = true;
    }

    /// Executes the writes of a buffer, and clears the buffer and the cache.
    pub(crate) async fn flush(&mut self, access: &mut Access<'_>, buffer: &mut WriteBuffer) -> Result<(), DbError> {
        let WriteSet { writes, inserts, .. } = buffer.take()?;
        buffer.clear();
        let mut ops: Vec<Result<Op, Failure>> = Vec::with_capacity(writes.len() + inserts.len());
        for Write { table, id, data, .. } in writes {
            ops.push(Ok(match data {
                Some(data) => {
                    let doc = RawValue::from_string(data).map_err(|error| DbError::Row(error.to_string()))?;
                    Op::Edit { table, id, edit: Edit::Replace { doc } }
                }
                None => Op::Delete { table, id },
            }));
        }
        ops.extend(inserts.into_iter().map(|(table, id, doc)| Ok(Op::Insert { table, id, doc })));
        if ops.is_empty() {
            return Ok(());
        }
        // The writes were counted when they were buffered.
        let (left, dirty) = (std::mem::replace(&mut self.budget, Budget::counted()), self.dirty);
        let mut answers = String::new();
        let ran = self.run(access, &ops, &mut answers).await;
        (self.budget, self.dirty) = (left, dirty);
        self.tx_cache.clear();
        ran
    }

    /// Sets when the result expires.
    pub(crate) fn refresh(&mut self, after_ms: Option<u64>) {
        self.reads.refresh = after_ms.map(std::time::Duration::from_millis);
    }

    /// Adds reads that were answered in another way.
    pub(crate) fn add_reads(&mut self, reads: &ReadSet) {
        self.reads.extend(reads);
    }

    /// Adds what the policies of the tables read so far have read.
    pub(crate) fn add_policy_reads(&mut self, row_security: &RowSecurity) {
        self.reads.add_policy_reads(row_security);
    }

    /// Takes the read set.
    pub(crate) fn take_reads(&mut self) -> ReadSet {
        std::mem::take(&mut self.reads)
    }

    /// Whether the call has written, or may have.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Takes the writes.
    pub(crate) fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Removes all changes after the first `changes`, which were undone.
    pub(crate) fn undo_to(&mut self, changes: usize) {
        self.written.changes.truncate(changes);
        self.tx_cache.clear();
    }
}

/// How many of the operations, which begin with `first`, are executed in one statement with
/// it (reads by id: in one statement for each table).
fn group_len(first: &Op, ops: &[Result<Op, Failure>]) -> usize {
    let only_sets = |op: &Op| matches!(op, Op::Edit { edit: Edit::Patch { unset, .. }, .. } if unset.is_empty());
    let replaces = |op: &Op| matches!(op, Op::Edit { edit: Edit::Replace { .. }, .. });
    let mut written: HashSet<Uuid> = HashSet::new();
    let mut another =
        |table: &Arc<Table>, of: &Arc<Table>, id: &Uuid| table.physical == of.physical && written.insert(*id);
    let count = ops
        .iter()
        .take_while(|op| match (first, op) {
            (Op::Get { .. }, Ok(Op::Get { .. })) => true,
            (Op::Insert { table, .. }, Ok(Op::Insert { table: of, id, .. }))
            | (Op::Delete { table, .. }, Ok(Op::Delete { table: of, id })) => another(table, of, id),
            (Op::Edit { table, .. }, Ok(op @ Op::Edit { table: of, id, .. })) => {
                let alike = only_sets(first) && only_sets(op) || replaces(first) && replaces(op);
                alike && another(table, of, id)
            }
            _ => false,
        })
        .count();
    count.max(1)
}

fn out_of_place() -> Failure {
    Failure::new(Code::InvalidArgs, "This function cannot begin or end a transaction here.")
}
