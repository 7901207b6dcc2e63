//! Runs queries: a single statement without a transaction, several statements in one
//! snapshot.

use crate::db::{Access, Executor, ReadSet};
use crate::dispatch::drive::{Stop, Strategy};
use crate::dispatch::scope::CallScope;
use crate::error::{Code, Failure};
use crate::op::Op;
use crate::postgres::{Isolation, Transaction};

/// One run of a query.
pub(in crate::dispatch) struct Snapshot<'a> {
    scope: &'a CallScope,
    executor: &'a mut Executor,
    /// The number of statements so far.
    statements: usize,
    /// The snapshot, if its function needs one.
    transaction: Option<Transaction>,
}

impl<'a> Snapshot<'a> {
    /// A run before its first operation.
    pub(crate) fn new(scope: &'a CallScope, executor: &'a mut Executor) -> Snapshot<'a> {
        Snapshot { scope, executor, statements: 0, transaction: None }
    }

    /// Ends the snapshot.
    pub(crate) async fn end(self) {
        if let Some(transaction) = self.transaction {
            transaction.rollback().await;
        }
    }
}

impl Strategy for Snapshot<'_> {
    /// A second statement needs a snapshot: [`Stop::NeedsOther`].
    async fn answer(&mut self, ops: &mut [Result<Op, Failure>], out: &mut String) -> Result<(), Stop> {
        for op in ops.iter_mut().filter(|op| op.as_ref().is_ok_and(Op::writes)) {
            *op = Err(Failure::new(Code::Internal, "A query cannot write; make this function a mutation."));
        }
        self.statements += Executor::statements(ops);
        let (scope, snapshot) = (self.scope, self.scope.function().learned.needs_snapshot.is_set());
        if self.statements > 1 && !snapshot {
            return Err(Stop::NeedsOther);
        }
        let postgres = &scope.dispatcher.inner.postgres;
        if snapshot && self.transaction.is_none() && self.statements > 0 {
            let begun = Transaction::begin(&postgres.readers, Isolation::Snapshot).await;
            self.transaction = Some(begun.map_err(|error| Stop::Failed(scope.explain(&error)))?);
        }
        let mut access = match &mut self.transaction {
            Some(transaction) => Access::Within(transaction),
            None => Access::Reading(postgres),
        };
        self.executor.run(&mut access, ops, out).await.map_err(|error| scope.stop(error))
    }

    fn add_reads(&mut self, reads: &ReadSet) {
        self.executor.add_reads(reads);
    }
}
