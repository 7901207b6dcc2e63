//! Runs mutations by optimistic concurrency control. While the function runs there is no
//! transaction: it reads documents by id, and its writes stay in a [`WriteBuffer`]. At the
//! end one statement validates the versions of the documents read, and writes. This takes one
//! round trip for each read and one for the commit, two less than a transaction, and locks
//! no rows while the function runs.
//!
//! If a function sends an operation that the buffer cannot answer, it runs again from the
//! start in a transaction, and uses one from then on.

use std::sync::Arc;

use super::insert_batching::{self, Insert, changed};
use super::transaction::{Aborted, finish};
use super::{Attempt, ReadWriteSet};
use crate::change::{Change, ChangeKind};
use crate::db::{Access, Budget, ReadSet, WriteBuffer, row_keys};
use crate::dispatch::Answer;
use crate::dispatch::call::Call;
use crate::dispatch::commit::Unit;
use crate::dispatch::commit::{
    Commit,
    idempotency::{Keyed, is_duplicate_key},
};
use crate::dispatch::drive::{Stop, Strategy, drive};
use crate::dispatch::host::{CallMetadata, FunctionResult};
use crate::dispatch::scope::CallScope;
use crate::error::Failure;
use crate::key::RowKeys;
use crate::op::{Op, RunAs, WriteSet};
use crate::postgres::{self, DbError, Lease, Row};
use crate::sql::idempotency::Entry;
use crate::sql::optimistic;

struct Optimistic<'a> {
    scope: &'a CallScope,
    buffer: WriteBuffer,
    budget: Budget,
    aborted: Aborted,
    /// The number of read statements. The reads of one statement are consistent.
    reads: usize,
}

/// Runs a mutation once.
pub(in crate::dispatch) async fn attempt(scope: &CallScope) -> Attempt {
    let budget = scope.budget();
    let mut strategy =
        Optimistic { scope, buffer: WriteBuffer::default(), budget, aborted: Aborted::default(), reads: 0 };
    let mut call = Call::start(scope);
    let ended = match drive(&mut call, scope, &mut strategy).await {
        Ok((ended, metadata)) => strategy.end(ended, metadata).await,
        Err(stop) => Err(stop),
    };
    ended.unwrap_or_else(|stop| Attempt::of_stop(stop, None, || strategy.read_write_set()))
}

impl Strategy for Optimistic<'_> {
    async fn answer(
        &mut self,
        ops: &mut [Result<Op, Failure>],
        run_as: Option<&Arc<RunAs>>,
        out: &mut String,
    ) -> Result<Option<Failure>, Stop> {
        // A role needs a transaction.
        if run_as.is_some() || !self.buffer.accepts(ops) {
            return Err(Stop::NeedsOther);
        }
        let Optimistic { scope, buffer, budget, aborted, reads } = self;
        let access = &mut Access::ReadingAsWriter(&scope.dispatcher.inner.postgres);
        let answered = aborted.answer_buffered(buffer, budget, access, ops, out).await;
        *reads += answered.map_err(|error| scope.stop(error))?;
        Ok(None)
    }
}

impl Optimistic<'_> {
    /// Commits after the function has ended, if there is something to commit.
    async fn end(&mut self, ended: FunctionResult, metadata: CallMetadata) -> Result<Attempt, Stop> {
        let keyed = Keyed::of(self.scope, metadata.identity.as_deref());
        if self.reads > 1 && !matches!(ended, FunctionResult::Returned(_)) {
            // Its reads may be inconsistent, and the cause of its error; then it runs again.
            self.validate().await?;
        }
        let failure = self.aborted.failure().cloned();
        let (result, mut held) = match finish(self.scope, failure, &mut self.budget, ended, &metadata) {
            Ok(finished) => finished,
            Err(failure) => return Ok(Attempt::Failed(failure, keyed)),
        };
        let writes = self.buffer.writes() || !held.is_empty();
        if !writes && self.reads <= 1 && keyed.is_none() {
            // It wrote nothing, and its reads are consistent.
            return Ok(Attempt::Done(Ok(Answer::fresh(result))));
        }
        let mut write_set = self.buffer.take().map_err(|error| self.scope.stop(error))?;
        if write_set.is_empty()
            && held.len() == 1
            && let Some(insert) = held.pop()
        {
            // It only inserts into one table, so the insert can be batched with others.
            return Ok(insert_batching::attempt(self.scope, insert, result, keyed).await);
        }
        for Insert { table, rows } in held {
            write_set.inserts.extend(rows.into_iter().map(|(id, doc)| (table.clone(), id, doc)));
        }
        self.commit(&write_set, result, keyed).await
    }

    /// Checks that the documents read are unchanged.
    async fn validate(&mut self) -> Result<(), Stop> {
        let checked = async {
            let mut write_set = self.buffer.take()?;
            write_set.drop_writes();
            let mut lease = self.scope.dispatcher.inner.postgres.writers.acquire().await?;
            self.apply(&mut lease, &write_set, None).await
        };
        checked.await.map(drop).map_err(|error| self.scope.stop(error))
    }

    async fn commit(&self, write_set: &WriteSet, result: String, keyed: Option<Keyed>) -> Result<Attempt, Stop> {
        let inner = &self.scope.dispatcher.inner;
        // Outside of the commit: if this fails no statement was sent, so nothing is in doubt.
        let mut lease = match inner.postgres.writers.acquire().await {
            Ok(lease) => lease,
            Err(error) => return Ok(Attempt::Failed(self.scope.explain(&error), keyed)),
        };
        let response = keyed.as_ref().map(|keyed| (&keyed.entry, result.as_str()));
        let unit = Unit { responses: response.into_iter().collect(), ..self.scope.unit() };
        let may_change = || optimistic::touched_tables(write_set).iter().map(|table| changed(table)).collect();
        let run = async move { self.apply(&mut lease, write_set, response).await };
        match inner.committer.statement(run, may_change, self.scope.deadline, unit).await {
            // Postgres rejects a value: in a transaction, the function gets the error from the
            // operation that caused it.
            Commit::Rejected(error @ (DbError::Value { .. } | DbError::Constraint { .. }))
                if !is_duplicate_key(&error) =>
            {
                Err(Stop::NeedsOther)
            }
            commit => Ok(Attempt::of_commit(commit, self.scope, result, keyed, || self.read_write_set())),
        }
    }

    /// Validates and writes, in one statement.
    async fn apply(
        &self,
        lease: &mut Lease,
        write_set: &WriteSet,
        response: Option<(&Entry, &str)>,
    ) -> Result<Vec<Change>, DbError> {
        let statement = optimistic::apply(write_set, self.scope.dispatcher.inner.node, response);
        let rows = match postgres::run(lease, statement).await {
            Err(error) if error.message_contains(optimistic::STALE) => return Err(DbError::aborted()),
            rows => rows?,
        };
        let places = optimistic::touched_tables(write_set);
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(place) = row.int8_or_null(0)? {
                let table = places.get(place as usize).ok_or_else(|| DbError::Row("a place of no table".into()))?;
                let id = row.uuid(1)?;
                let (new, old) = (keys(row, id, 2)?, keys(row, id, 4)?);
                let write = write_set.writes.iter().find(|write| write.id == id && write.table.key == table.key);
                let fields = write.and_then(|write| write.fields.clone());
                changes.push(Change { table: table.key.clone(), kind: ChangeKind::Row { id, old, new, fields } });
            }
        }
        Ok(changes)
    }

    /// The documents over which this run can have conflicted.
    fn read_write_set(&self) -> ReadWriteSet {
        let mut reads = ReadSet::default();
        reads.points.extend(self.buffer.keys());
        ReadWriteSet { reads, ..ReadWriteSet::default() }
    }
}

fn keys(row: &Row, id: uuid::Uuid, at: usize) -> Result<Option<RowKeys>, DbError> {
    let (Some(created), Some(json)) = (row.micros_or_null(at)?, row.json_or_null(at + 1)?) else { return Ok(None) };
    row_keys(id, created, json).map(Some)
}
