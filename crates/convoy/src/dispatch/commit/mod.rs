//! Commits of all strategies: the marks of those under way, the answers of keyed calls,
//! the write log, and what became of a commit that Postgres did not answer.

pub(super) mod idempotency;
mod in_doubt;
mod pending;

use std::sync::Arc;

use tokio::time::Instant;

use crate::change::{Change, ChangeSource, InDoubtCommits};
use crate::error::Failure;
use crate::failpoints::Failpoints;
use crate::postgres::{CommitOutcome, DbError, Postgres, Transaction};
use crate::sql::idempotency::Entry;
use crate::supervise::Part;
use crate::write_log::WriteLog;
pub(super) use in_doubt::Unanswered;
use pending::Pending;
pub(crate) use pending::PendingCommits;

/// What is committed in one transaction.
pub(super) struct Unit<'a> {
    /// The functions whose calls it is.
    pub by: ChangeSource,
    /// The answers that are kept along with it.
    pub answers: Vec<(&'a Entry, &'a str)>,
    /// How long the result of an unanswered commit is looked for.
    pub deadline: Instant,
    /// The long-lived task that commits it, if one does.
    pub part: Option<Part>,
}

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Commit {
    /// The transaction is durable, and the write log has it.
    Committed,
    /// Another transaction won. Nothing of this one is left; its functions may run again.
    Conflict(DbError),
    /// Postgres refused it, and would again. Nothing of it is left.
    Rejected(DbError),
    /// Postgres did not answer, and what became of it could not be found out. Live
    /// queries treat it as committed.
    InDoubt(Failure),
}

impl Commit {
    /// Of an error that proves that nothing was done.
    fn refused(error: DbError) -> Commit {
        match error {
            DbError::Retry(_) => Commit::Conflict(error),
            _ => Commit::Rejected(error),
        }
    }
}

/// Commits what strategies have made.
pub(super) struct Committer {
    postgres: Postgres,
    pending: Arc<PendingCommits>,
    in_doubt: InDoubtCommits,
    log: Arc<WriteLog>,
    failpoints: Failpoints,
}

impl Committer {
    /// Commits to `postgres` and appends to `log`.
    pub(super) fn new(
        postgres: Postgres,
        pending: Arc<PendingCommits>,
        in_doubt: InDoubtCommits,
        log: Arc<WriteLog>,
        failpoints: Failpoints,
    ) -> Committer {
        Committer { postgres, pending, in_doubt, log, failpoints }
    }

    /// Commits a transaction with this id, once it has one, that has changed this.
    pub(super) async fn transaction(
        &self,
        mut transaction: Transaction,
        changes: Arc<[Change]>,
        xid: Option<String>,
        unit: Unit<'_>,
    ) -> Commit {
        if !unit.answers.is_empty()
            && let Err(error) = idempotency::keep(&mut transaction, &unit.answers).await
        {
            transaction.rollback().await;
            return Commit::refused(error);
        }
        let pending = self.pending.begin();
        match transaction.commit().await {
            CommitOutcome::Committed => self.committed(pending, changes, &unit),
            CommitOutcome::RolledBack(error) => {
                pending.end();
                Commit::refused(error)
            }
            CommitOutcome::Unknown(error) => {
                self.resolve(Unanswered { pending, changes, xid, cause: error }, &unit).await
            }
        }
    }

    /// Commits by a statement that is a transaction by itself, and finds out what became
    /// of it where Postgres did not answer; see [`send`](Self::send).
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

    /// Sends a statement that is a transaction by itself: `run` gives what it has changed.
    /// Where that stays unknown, `may_change` is what it could have. It is given up at
    /// `limit`, and may be done all the same.
    pub(super) async fn send(
        &self,
        run: impl Future<Output = Result<Vec<Change>, DbError>>,
        may_change: impl FnOnce() -> Vec<Change>,
        limit: Instant,
        unit: &Unit<'_>,
    ) -> Result<Commit, Unanswered> {
        let pending = self.pending.begin();
        let cause = match tokio::time::timeout_at(limit, run).await {
            Ok(Ok(changes)) => return Ok(self.committed(pending, changes.into(), unit)),
            Ok(Err(error)) => error,
            Err(_elapsed) => DbError::timed_out(),
        };
        if cause.connection_lost() {
            self.postgres.writers.close_idle();
        }
        if !cause.may_have_taken_effect() {
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
