//! Runs queries: a single statement without a transaction, several statements in one
//! snapshot.

use std::sync::Arc;

use crate::db::{Access, Budget, Executor, ReadSet};
use crate::dispatch::drive::{Stop, Strategy};
use crate::dispatch::scope::CallScope;
use crate::error::{Code, Failure};
use crate::op::{Op, RunAs};
use crate::postgres::{Isolation, Transaction};

/// One run of a query.
pub(in crate::dispatch) struct Snapshot<'a> {
    scope: &'a CallScope,
    executor: &'a mut Executor,
    /// The number of statements so far.
    statements: usize,
    /// The snapshot, if its function needs one.
    transaction: Option<Transaction>,
    /// The limits before the function has begun.
    budget: Budget,
}

impl<'a> Snapshot<'a> {
    /// A run before its first operation.
    pub(crate) fn new(scope: &'a CallScope, executor: &'a mut Executor) -> Snapshot<'a> {
        let budget = executor.budget.clone();
        Snapshot { scope, executor, statements: 0, transaction: None, budget }
    }

    /// Ends the snapshot.
    pub(crate) async fn end(self) {
        if let Some(transaction) = self.transaction {
            transaction.rollback().await;
        }
    }
}

impl Strategy for Snapshot<'_> {
    /// A second statement needs a snapshot: [`Stop::NeedsOther`]. So does a role, which
    /// ends with the transaction; if it is the first, the snapshot begins with it. A time limit
    /// of the function for its statements is known from the start.
    async fn answer(
        &mut self,
        ops: &mut [Result<Op, Failure>],
        run_as: Option<&Arc<RunAs>>,
        out: &mut String,
    ) -> Result<Option<Failure>, Stop> {
        for op in ops.iter_mut().filter(|op| op.as_ref().is_ok_and(Op::writes)) {
            *op = Err(Failure::new(Code::Internal, "A query cannot write; make this function a mutation."));
        }
        let scope = self.scope;
        let has_timeout = scope.limits().statement_timeout.is_some();
        let snapshot = has_timeout || scope.function().learned.needs_snapshot.is_set();
        let statements = Executor::statements(ops);
        self.statements += statements;
        let is_first = self.statements == statements;
        if self.statements > 1 && !snapshot && self.transaction.is_none() && !(run_as.is_some() && is_first) {
            return Err(Stop::NeedsOther);
        }
        let postgres = &scope.dispatcher.inner.postgres;
        if (snapshot || run_as.is_some()) && self.transaction.is_none() && self.statements > 0 {
            let begun = Transaction::begin_with(&postgres.readers, scope.begin(Isolation::Snapshot, run_as)).await;
            self.transaction = Some(begun.map_err(|error| Stop::Failed(scope.explain(&error)))?);
        }
        let mut access = match &mut self.transaction {
            Some(transaction) => {
                transaction.run_as(run_as);
                Access::Within(transaction)
            }
            None => Access::Reading(&scope.dispatcher.inner.autocommit),
        };
        self.executor.run(&mut access, ops, out).await.map(|()| None).map_err(|error| scope.stop(error))
    }

    fn forget(&mut self) -> bool {
        self.statements = 0;
        self.executor.budget = self.budget.clone();
        self.transaction.is_none()
    }

    fn add_reads(&mut self, reads: &ReadSet) {
        self.executor.add_reads(reads);
    }
}
