//! Runs functions without a transaction: actions, and mutations that opted out. Each
//! operation is committed separately, except between `begin` and `commit` operations. After
//! a conflict there, the function itself must retry, because the engine cannot undo its
//! other effects.

use std::sync::Arc;

use super::commit_batching::whole;
use super::transaction::Aborted;
use crate::db::{Access, Executor, TxCache, Written};
use crate::dispatch::Answer;
use crate::dispatch::call::{Call, broken_protocol, host_gone};
use crate::dispatch::commit::Commit;
use crate::dispatch::drive::{Stop, Strategy, drive, fail_all};
use crate::dispatch::scope::CallScope;
use crate::error::{Code, Failure};
use crate::op::{Control, Op, RunAs};
use crate::postgres::{DbError, Isolation, Transaction};
use crate::sql::optimistic::tables_of;

struct NonTransactional<'a> {
    scope: &'a CallScope,
    executor: Executor,
    open: Option<Open>,
}

/// The transaction that a function has begun.
struct Open {
    transaction: Transaction,
    aborted: Aborted,
}

/// Runs the function once. It is never retried, because its effects cannot be undone.
pub(in crate::dispatch) async fn run(scope: &CallScope) -> Result<Answer, Failure> {
    let mut strategy = NonTransactional { scope, executor: scope.executor(TxCache::none()), open: None };
    let mut call = Call::start(scope);
    let ended = drive(&mut call, scope, &mut strategy).await;
    // If the connection is lost or busy, the transaction is dropped, which closes it.
    if !matches!(ended, Err(Stop::Broken(_)))
        && let Some(Open { transaction, .. }) = strategy.open
    {
        transaction.rollback().await;
    }
    match ended {
        Ok((_, metadata)) if metadata.held.is_some() => {
            Err(broken_protocol(&"only a mutation in a transaction can hold writes"))
        }
        Ok((ended, _)) => scope.conclude(ended).map(Answer::fresh),
        Err(Stop::Failed(failure) | Stop::Broken(failure)) => Err(failure),
        Err(Stop::HostGone | Stop::Idle | Stop::NeedsOther) => Err(host_gone()),
        Err(Stop::Conflict(error)) => Err(scope.explain(&error)),
    }
}

impl Strategy for NonTransactional<'_> {
    /// The operations after a failed `begin` or `commit` depend on it.
    async fn answer(
        &mut self,
        ops: &mut [Result<Op, Failure>],
        run_as: Option<&Arc<RunAs>>,
        out: &mut String,
    ) -> Result<Option<Failure>, Stop> {
        let mut rest = &*ops;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch_len(rest, self.open.is_some()));
            rest = later;
            let failed = match now {
                [Ok(Op::Control(control))] if !is_savepoint(*control) => {
                    let done = self.control(*control).await;
                    match &done {
                        Ok(()) => out.push_str(r#"{"ok":null},"#),
                        Err(failure) => fail_all(now, failure, out),
                    }
                    done.err()
                }
                _ => {
                    self.operations(now, run_as, out).await;
                    None
                }
            };
            if let Some(failure) = failed {
                fail_all(rest, &failure, out);
                return Ok(Some(failure));
            }
        }
        Ok(None)
    }
}

impl NonTransactional<'_> {
    /// Answers operations, in the open transaction if there is one.
    async fn operations(&mut self, ops: &[Result<Op, Failure>], run_as: Option<&Arc<RunAs>>, out: &mut String) {
        let NonTransactional { scope, executor, open } = self;
        let failure = match open {
            Some(Open { transaction, aborted }) => {
                transaction.run_as(run_as);
                let explain = |error: &DbError| scope.explain_retryable(error);
                match aborted.answer(executor, transaction, ops, explain, out).await {
                    Ok(()) => return,
                    Err(error) => scope.explain_retryable(&error),
                }
            }
            None => match self.autocommit(ops, run_as, out).await {
                Ok(()) => return,
                Err(failure) => failure,
            },
        };
        let (done, length) = self.executor.progress();
        out.truncate(length);
        fail_all(&ops[done..], &failure, out);
    }

    /// Answers operations outside of a transaction.
    async fn autocommit(
        &mut self,
        ops: &[Result<Op, Failure>],
        run_as: Option<&Arc<RunAs>>,
        out: &mut String,
    ) -> Result<(), Failure> {
        let NonTransactional { scope, executor, .. } = self;
        executor.begin_progress(out.len());
        executor.budget.forget_refused_document();
        if ops.iter().any(|op| matches!(op, Ok(Op::Control(_)))) {
            return Err(misplaced());
        }
        let database = &scope.dispatcher.inner.autocommit;
        let writes = ops.iter().flatten().any(|op| op.writes() || matches!(op, Op::Raw(raw) if !raw.read_only));
        if run_as.is_some() || scope.limits().statement_timeout.is_some() {
            return self.in_transaction(run_as, writes, ops, out).await;
        }
        if !writes {
            let ran = executor.run(&mut Access::Reading(database), ops, out).await;
            return ran.map_err(|error| scope.explain_retryable(&error));
        }
        let run = async {
            executor.run(&mut Access::Writing(database), ops, out).await?;
            Ok(executor.take_written().changes)
        };
        let may_change = || whole(&tables_of(ops.iter().flatten().filter_map(Op::table)));
        let (committer, deadline) = (&scope.dispatcher.inner.committer, scope.operation_deadline());
        scope.committed(committer.statement(run, may_change, deadline, scope.unit()).await)
    }

    /// The same in a transaction, with which a role and a time limit of statements end.
    async fn in_transaction(
        &mut self,
        run_as: Option<&Arc<RunAs>>,
        writes: bool,
        ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<(), Failure> {
        let NonTransactional { scope, executor, .. } = self;
        let (postgres, before) = (&scope.dispatcher.inner.postgres, out.len());
        let (pool, isolation) = match writes {
            true => (&postgres.writers, Isolation::Serializable),
            false => (&postgres.readers, Isolation::Snapshot),
        };
        let begun = Transaction::begin_with(pool, scope.begin(isolation, run_as)).await;
        let mut transaction = begun.map_err(|error| scope.explain_retryable(&error))?;
        let ran = executor.run(&mut Access::Within(&mut transaction), ops, out).await;
        let Written { changes, xid } = executor.take_written();
        match ran {
            // It is answered with the failure.
            Ok(()) if executor.budget.refused_write().is_some() => {
                transaction.rollback().await;
                Ok(())
            }
            Ok(()) if writes => {
                let committer = &scope.dispatcher.inner.committer;
                let commit = committer.transaction(transaction, changes.into(), xid, scope.unit()).await;
                // Without a commit, no operation is answered.
                scope.committed(commit).inspect_err(|_| executor.begin_progress(before))
            }
            Ok(()) => {
                transaction.rollback().await;
                Ok(())
            }
            Err(error) => {
                if !error.connection_lost() {
                    transaction.rollback().await;
                }
                Err(scope.explain_retryable(&error))
            }
        }
    }

    async fn control(&mut self, control: Control) -> Result<(), Failure> {
        match control {
            Control::Begin => self.begin().await,
            Control::Commit => self.commit().await,
            Control::Rollback => {
                let Open { transaction, .. } = self.open.take().ok_or_else(misplaced)?;
                transaction.rollback().await;
                self.executor.undo_to(0);
                self.executor.begin_transaction(TxCache::none());
                Ok(())
            }
            Control::Savepoint(_) | Control::RollbackTo(_) => Err(misplaced()),
        }
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        if self.open.is_some() {
            let message = "A transaction is already open; use its `tx` for a nested transaction.";
            return Err(Failure::new(Code::InvalidArgs, message));
        }
        let writers = &self.scope.dispatcher.inner.postgres.writers;
        let begun = Transaction::begin_with(writers, self.scope.begin(Isolation::Serializable, None)).await;
        let transaction = begun.map_err(|error| self.scope.explain_retryable(&error))?;
        self.executor.begin_transaction(self.scope.tx_cache());
        self.executor.budget.forget_refused_document();
        self.open = Some(Open { transaction, aborted: Aborted::default() });
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        let Open { transaction, aborted } = self.open.take().ok_or_else(misplaced)?;
        let Written { changes, xid } = self.executor.take_written();
        self.executor.begin_transaction(TxCache::none());
        if let Some(failure) = aborted.failure().or(self.executor.budget.refused_write()) {
            transaction.rollback().await;
            return Err(failure.clone());
        }
        let committer = &self.scope.dispatcher.inner.committer;
        self.scope.committed(committer.transaction(transaction, changes.into(), xid, self.scope.unit()).await)
    }
}

impl CallScope {
    /// The result of a commit for the function, which goes on.
    fn committed(&self, commit: Commit) -> Result<(), Failure> {
        match commit {
            Commit::Committed => Ok(()),
            Commit::Conflict(error) | Commit::Rejected(error) => Err(self.explain_retryable(&error)),
            Commit::InDoubt(failure) => Err(failure),
        }
    }

    /// Converts a database error, with `retry: true` in the details after a conflict.
    fn explain_retryable(&self, error: &DbError) -> Failure {
        let failure = self.explain(error);
        match error {
            DbError::Retry(_) => failure.with_details(&serde_json::json!({ "retry": true })),
            _ => failure,
        }
    }
}

/// How many of the first operations run together: within a transaction, all up to its end;
/// outside, one, or neighbouring reads by id.
fn batch_len(ops: &[Result<Op, Failure>], in_transaction: bool) -> usize {
    let joins = |op: &Result<Op, Failure>| match op {
        Ok(Op::Control(control)) => in_transaction && is_savepoint(*control),
        Ok(Op::Get { .. }) => true,
        _ => in_transaction,
    };
    ops.iter().take_while(|op| joins(op)).count().max(1)
}

fn is_savepoint(control: Control) -> bool {
    matches!(control, Control::Savepoint(_) | Control::RollbackTo(_))
}

fn misplaced() -> Failure {
    let message = "No transaction is open here to commit or to roll back; use the `tx` of ctx.db.transaction.";
    Failure::new(Code::InvalidArgs, message)
}
