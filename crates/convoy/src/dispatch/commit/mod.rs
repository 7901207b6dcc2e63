//! Commits for all strategies: pending commits, stored responses of keyed calls, the write
//! log, and commits in doubt.

pub(super) mod idempotency;
mod in_doubt;
mod pending;

use std::sync::Arc;

use tokio::time::Instant;

use crate::change::{Change, ChangeSource, InDoubtCommits};
use crate::dispatch::Answer;
use crate::error::Failure;
use crate::failpoints::Failpoints;
use crate::postgres::{CommitOutcome, DbError, Postgres, Transaction};
use crate::sql::idempotency::Entry;
use crate::supervise::Part;
use crate::write_log::WriteLog;
pub(super) use in_doubt::{Unanswered, outcome_unknown};
use pending::Pending;
pub(crate) use pending::PendingCommits;

/// Follows the commit of one mutation, for the live session of its client. Called from the
/// task of the mutation or of its batch; must not block.
pub(crate) trait CommitObserver: Send + Sync {
    /// The commit is sent to Postgres now: from here on, a query may read its changes.
    fn committing(&self);
    /// The commit was rolled back, so that no query has read its changes.
    fn rolled_back(&self);
    /// The call has ended, and live queries are notified of its changes.
    fn ended(&self, result: &Result<Answer, Failure>);
}

/// The calls that are committed in one transaction.
pub(super) struct Unit<'a> {
    /// The functions of the calls.
    pub by: ChangeSource,
    /// The responses to store with the commit.
    pub responses: Vec<(&'a Entry, &'a str)>,
    /// How long to try to resolve the commit if it is in doubt.
    pub deadline: Instant,
    /// The long-lived task that commits, if any.
    pub part: Option<Part>,
    /// The observers of the calls that have one.
    pub observers: Vec<Arc<dyn CommitObserver>>,
}

impl Unit<'_> {
    fn committing(&self) {
        self.observers.iter().for_each(|observer| observer.committing());
    }

    fn rolled_back(&self) {
        self.observers.iter().for_each(|observer| observer.rolled_back());
    }
}

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Commit {
    /// The transaction is durable, and the write log has it.
    Committed,
    /// Another transaction won. It is rolled back, and its functions may run again.
    Conflict(DbError),
    /// It is rolled back for another reason, and a retry is expected to fail the same way:
    /// Postgres rejected it, or a statement of the commit got no connection or was cancelled.
    Rejected(DbError),
    /// Postgres did not answer, and it is unknown whether the commit was made. Live
    /// queries treat it as committed.
    InDoubt(Failure),
}

impl Commit {
    /// After an error which proves that the transaction is rolled back.
    fn refused(error: DbError) -> Commit {
        match error {
            DbError::Retry(_) => Commit::Conflict(error),
            _ => Commit::Rejected(error),
        }
    }
}

/// Commits transactions and statements, and appends their changes to the write log.
pub(super) struct Committer {
    postgres: Postgres,
    pending: Arc<PendingCommits>,
    in_doubt: InDoubtCommits,
    log: Arc<WriteLog>,
    failpoints: Failpoints,
}

impl Committer {
    /// A committer to `postgres` and `log`.
    pub(super) fn new(
        postgres: Postgres,
        pending: Arc<PendingCommits>,
        in_doubt: InDoubtCommits,
        log: Arc<WriteLog>,
        failpoints: Failpoints,
    ) -> Committer {
        Committer { postgres, pending, in_doubt, log, failpoints }
    }

    /// Commits a transaction with these changes. `xid` is its id, if it has one.
    pub(super) async fn transaction(
        &self,
        mut transaction: Transaction,
        changes: Arc<[Change]>,
        xid: Option<String>,
        unit: Unit<'_>,
    ) -> Commit {
        // The responses are Convoy's own.
        transaction.run_as(None);
        if !unit.responses.is_empty()
            && let Err(error) = idempotency::store(&mut transaction, &unit.responses).await
        {
            transaction.rollback().await;
            return Commit::refused(error);
        }
        let pending = self.pending.begin();
        unit.committing();
        match transaction.commit().await {
            CommitOutcome::Committed => self.committed(pending, changes, &unit),
            CommitOutcome::RolledBack(error) => {
                unit.rolled_back();
                pending.end();
                Commit::refused(error)
            }
            CommitOutcome::Unknown(error) => {
                self.resolve(Unanswered { pending, changes, xid, cause: error }, &unit).await
            }
        }
    }

    /// Commits by a single statement, and resolves the commit if Postgres did not answer;
    /// see [`send`](Self::send).
    pub(super) async fn statement(
        &self,
        run: impl Future<Output = Result<Vec<Change>, DbError>>,
        may_change: impl FnOnce() -> Vec<Change>,
        limit: Instant,
        unit: Unit<'_>,
    ) -> Commit {
        match self.send(run, may_change, limit, &unit).await {
            Ok(commit) => commit,
            Err(unanswered) => self.resolve(unanswered, &unit).await,
        }
    }

    /// Commits by a single statement outside a transaction block: `run` returns its changes,
    /// and `may_change` the possible changes in case that the commit is in doubt. After
    /// `limit` the statement is not waited for, but it may still be executed.
    pub(super) async fn send(
        &self,
        run: impl Future<Output = Result<Vec<Change>, DbError>>,
        may_change: impl FnOnce() -> Vec<Change>,
        limit: Instant,
        unit: &Unit<'_>,
    ) -> Result<Commit, Unanswered> {
        let pending = self.pending.begin();
        unit.committing();
        let cause = match tokio::time::timeout_at(limit, run).await {
            Ok(Ok(changes)) => return Ok(self.committed(pending, changes.into(), unit)),
            Ok(Err(error)) => error,
            Err(_elapsed) => DbError::timed_out(),
        };
        if cause.connection_lost() {
            self.postgres.writers.close_idle();
        }
        if !cause.may_have_taken_effect() {
            unit.rolled_back();
            pending.end();
            return Ok(Commit::refused(cause));
        }
        Err(Unanswered { pending, changes: may_change().into(), xid: None, cause })
    }

    fn committed(&self, pending: Pending, changes: Arc<[Change]>, unit: &Unit<'_>) -> Commit {
        if let Some(part) = unit.part {
            self.failpoints.reach(part);
        }
        self.log.append(changes, &unit.by);
        pending.end();
        Commit::Committed
    }
}
