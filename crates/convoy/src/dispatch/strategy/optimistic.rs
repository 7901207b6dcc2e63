//! Runs mutations by optimistic concurrency control. While the function runs there is no
//! transaction: it reads documents by id, and its writes stay in a [`WriteBuffer`]. At the
//! end one statement validates the versions of the documents read, and writes. This takes one
//! round trip for each read and one for the commit, two less than a transaction, and locks
//! no rows while the function runs.
//!
//! If a function sends an operation that the buffer cannot answer, it runs again from the
//! start in a transaction, and uses one from then on.

use std::sync::Arc;

use super::commit_batching::{self, Insert};
use super::transaction::{Aborted, finish};
use super::{Attempt, ReadWriteSet};
use crate::db::{Access, Budget, ReadSet, WriteBuffer};
use crate::dispatch::Answer;
use crate::dispatch::call::Call;
use crate::dispatch::commit::{
    Commit,
    idempotency::{Keyed, is_duplicate_key},
};
use crate::dispatch::drive::{Stop, Strategy, drive};
use crate::dispatch::host::{CallMetadata, FunctionResult};
use crate::dispatch::prefetch::prefetch;
use crate::dispatch::scope::CallScope;
use crate::error::Failure;
use crate::op::{Op, RunAs};
use crate::postgres::DbError;
use crate::sql::optimistic::{Joined, LockWait};

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
    let run = async {
        let prefetched = prefetch(scope, &mut strategy).await?;
        let (ended, metadata) = drive(&mut Call::start_with(scope, prefetched), scope, &mut strategy).await?;
        strategy.end(ended, metadata).await
    };
    let ended = run.await;
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
        let access = &mut Access::ReadingAsWriter(&scope.dispatcher.inner.autocommit);
        let answered = aborted.answer_buffered(buffer, budget, access, ops, out).await;
        *reads += answered.map_err(|error| scope.stop(error))?;
        Ok(None)
    }

    fn forget(&mut self) -> bool {
        self.buffer.clear();
        self.budget = self.scope.budget();
        self.aborted = Aborted::default();
        self.reads = 0;
        true
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
        let (result, held) = match finish(self.scope, failure, &mut self.budget, ended, &metadata) {
            Ok(finished) => finished,
            Err(failure) => return Ok(Attempt::Failed(failure, keyed)),
        };
        let writes = self.buffer.writes() || !held.is_empty();
        if !writes && self.reads <= 1 && keyed.is_none() {
            // It wrote nothing, and its reads are consistent.
            return Ok(Attempt::Done(Ok(Answer::fresh(result))));
        }
        let mut write_set = self.buffer.take().map_err(|error| self.scope.stop(error))?;
        let only_held = write_set.is_empty();
        for Insert { table, rows } in held {
            write_set.inserts.extend(rows.into_iter().map(|(id, doc)| (table.clone(), id, doc)));
        }
        match commit_batching::commit(self.scope, write_set, keyed.as_ref(), &result).await {
            // Postgres rejects a value: in a transaction, the function gets the error from the
            // operation that caused it.
            Ok(Commit::Rejected(error @ (DbError::Value { .. } | DbError::Constraint { .. })))
                if !only_held && !is_duplicate_key(&error) =>
            {
                Err(Stop::NeedsOther)
            }
            Ok(commit) => Ok(Attempt::of_commit(commit, self.scope, result, keyed, || self.read_write_set())),
            Err(not_sent) => Ok(not_sent.fails(self.scope, keyed)),
        }
    }

    /// Checks that the documents read are unchanged.
    async fn validate(&mut self) -> Result<(), Stop> {
        let checked = async {
            let mut write_set = self.buffer.take()?;
            write_set.drop_writes();
            let inner = &self.scope.dispatcher.inner;
            let mut lease = inner.postgres.writers.acquire().await?;
            let reads = Joined::of(std::iter::once(&write_set));
            commit_batching::apply(&mut lease, &reads, inner.node, &[], LockWait::Unlimited).await
        };
        checked.await.map(drop).map_err(|error| self.scope.stop(error))
    }

    /// The documents over which this run can have conflicted.
    fn read_write_set(&self) -> ReadWriteSet {
        let mut reads = ReadSet::default();
        reads.points.extend(self.buffer.keys());
        ReadWriteSet { reads, ..ReadWriteSet::default() }
    }
}
