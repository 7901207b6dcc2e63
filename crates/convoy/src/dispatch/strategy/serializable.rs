//! Runs a mutation in a separate serializable transaction, begun by its first operation.

use std::sync::Arc;

use super::commit_batching::{self, Insert};
use super::transaction::TransactionRun;
use super::{Attempt, ReadWriteSet};
use crate::change::Change;
use crate::db::Written;
use crate::dispatch::Answer;
use crate::dispatch::call::Call;
use crate::dispatch::commit::Unit;
use crate::dispatch::commit::idempotency::Keyed;
use crate::dispatch::drive::{Stop, Strategy, drive};
use crate::dispatch::host::{CallMetadata, FunctionResult};
use crate::dispatch::scope::CallScope;
use crate::error::Failure;
use crate::op::{Op, RunAs, WriteSet};
use crate::postgres::{Isolation, Transaction};

struct Serializable {
    run: TransactionRun,
    transaction: Option<Transaction>,
}

impl Strategy for Serializable {
    async fn answer(
        &mut self,
        ops: &mut [Result<Op, Failure>],
        run_as: Option<&Arc<RunAs>>,
        out: &mut String,
    ) -> Result<Option<Failure>, Stop> {
        let Serializable { run, transaction } = self;
        let transaction = match transaction {
            Some(open) => open,
            empty => empty.insert(begin(&run.scope, run_as).await?),
        };
        run.answer(transaction, ops, run_as, out).await.map(|()| None)
    }
}

/// Runs a mutation once.
pub(in crate::dispatch) async fn attempt(scope: &CallScope) -> Attempt {
    let mut call = Call::start(scope);
    let mut strategy = Serializable { run: TransactionRun::new(scope.clone()), transaction: None };
    match drive(&mut call, scope, &mut strategy).await {
        Ok((ended, metadata)) => strategy.end(ended, metadata).await,
        Err(stop) => strategy.stopped(stop, None).await,
    }
}

async fn begin(scope: &CallScope, run_as: Option<&Arc<RunAs>>) -> Result<Transaction, Stop> {
    let writers = &scope.dispatcher.inner.postgres.writers;
    let begun = Transaction::begin_with(writers, scope.begin(Isolation::Serializable, run_as)).await;
    begun.map_err(|error| Stop::Failed(scope.explain(&error)))
}

impl Serializable {
    /// Commits after the function has ended.
    async fn end(mut self, ended: FunctionResult, metadata: CallMetadata) -> Attempt {
        let keyed = Keyed::of(&self.run.scope, metadata.identity.as_deref());
        let (result, mut held) = match self.run.finish(ended, &metadata) {
            Ok(finished) => finished,
            Err(failure) => return self.stopped(Stop::Failed(failure), keyed).await,
        };
        if self.transaction.is_none()
            && held.len() == 1
            && self.run.scope.limits().statement_timeout.is_none()
            && let Some(Insert { table, rows }) = held.pop()
        {
            let inserts = rows.into_iter().map(|(id, doc)| (table.clone(), id, doc)).collect();
            let (scope, write_set) = (&self.run.scope, WriteSet { inserts, ..WriteSet::default() });
            return match commit_batching::commit(scope, write_set, keyed.as_ref(), &result).await {
                Ok(commit) => Attempt::of_commit(commit, scope, result, keyed, ReadWriteSet::default),
                Err(not_sent) => not_sent.fails(scope, keyed),
            };
        }
        if self.transaction.is_none() && held.is_empty() && keyed.is_none() {
            return Attempt::Done(Ok(Answer::fresh(result)));
        }
        match self.write_held(held).await {
            Ok(transaction) => self.commit(transaction, result, keyed).await,
            Err(stop) => self.stopped(stop, keyed).await,
        }
    }

    /// Writes the held inserts. Returns the transaction, which the caller has to commit.
    async fn write_held(&mut self, held: Vec<Insert>) -> Result<Transaction, Stop> {
        let mut transaction = match self.transaction.take() {
            Some(open) => open,
            None => begin(&self.run.scope, None).await?,
        };
        match self.run.insert(&mut transaction, held).await {
            Ok(()) => Ok(transaction),
            Err(stop) => {
                self.transaction = Some(transaction);
                Err(stop)
            }
        }
    }

    async fn commit(mut self, transaction: Transaction, result: String, keyed: Option<Keyed>) -> Attempt {
        let TransactionRun { scope, executor, .. } = &mut self.run;
        let Written { changes, xid } = executor.take_written();
        let changes: Arc<[Change]> = changes.into();
        let read_write_set = ReadWriteSet { reads: executor.take_reads(), written: changes.clone() };
        let responses = keyed.iter().map(|keyed| (&keyed.entry, result.as_str())).collect();
        let unit = Unit { responses, ..scope.unit() };
        let commit = scope.dispatcher.inner.committer.transaction(transaction, changes, xid, unit).await;
        Attempt::of_commit(commit, scope, result, keyed, || read_write_set)
    }

    /// Rolls back a stopped run.
    async fn stopped(mut self, stop: Stop, keyed: Option<Keyed>) -> Attempt {
        // A broken transaction is dropped, which closes its connection.
        if !matches!(stop, Stop::Broken(_))
            && let Some(transaction) = self.transaction.take()
        {
            transaction.rollback().await;
        }
        Attempt::of_stop(stop, keyed, || self.run.read_write_set())
    }
}
