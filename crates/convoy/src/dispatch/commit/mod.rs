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
use crate::failpoints::{Failpoints, Point};
use crate::postgres::{CommitOutcome, DbError, Postgres, Transaction};
use crate::sql::idempotency::Entry;
use crate::supervise::Part;
use crate::telemetry::{Metrics, Scope, Span, SpanKind, SpanRef, Stage};
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
    /// The spans of the calls; empty without tracing.
    pub spans: Vec<SpanRef>,
}

impl Unit<'_> {
    fn committing(&self) {
        self.observers.iter().for_each(|observer| observer.committing());
    }

    fn rolled_back(&self) {
        self.observers.iter().for_each(|observer| observer.rolled_back());
    }

    /// A span of the commit, in the trace of one of the calls: of one that is exported in any
    /// case, if there is one. It has links to the others.
    fn span(&self, xid: Option<&str>) -> Span {
        let is_sampled = |span: &&SpanRef| span.remote().is_some_and(|span| span.is_sampled());
        let Some(of_call) = self.spans.iter().find(is_sampled).or(self.spans.first()) else {
            return Span::default();
        };
        let mut span = of_call.child(SpanKind::Internal, "commit");
        if span.is_some() {
            let others = self.spans.iter().filter_map(SpanRef::remote).filter(|other| Some(*other) != of_call.remote());
            others.take(MAX_LINKS).for_each(|other| span.link(other));
            span.set("convoy.commit.calls", self.spans.len() as i64);
            xid.into_iter().for_each(|xid| span.set("convoy.commit.xid", xid.to_owned()));
        }
        span
    }
}

/// The most other calls that the span of a commit names.
const MAX_LINKS: usize = 16;

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
    /// Postgres did not answer, and the outcome could not be found out.
    pub(super) fn unanswered() -> Commit {
        Commit::InDoubt(outcome_unknown("The database did not answer while committing"))
    }

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
    metrics: Metrics,
}

impl Committer {
    /// A committer to `postgres` and `log`.
    pub(super) fn new(
        postgres: Postgres,
        pending: Arc<PendingCommits>,
        in_doubt: InDoubtCommits,
        log: Arc<WriteLog>,
        failpoints: Failpoints,
        metrics: Metrics,
    ) -> Committer {
        Committer { postgres, pending, in_doubt, log, failpoints, metrics }
    }

    /// Commits a transaction with these changes. `xid` is its id, if it has one.
    pub(super) async fn transaction(
        &self,
        mut transaction: Transaction,
        changes: Arc<[Change]>,
        xid: Option<String>,
        unit: Unit<'_>,
    ) -> Commit {
        transaction.statement_timeout().into_iter().for_each(|longest| self.in_doubt.may_take(longest));
        // The responses are Convoy's own.
        transaction.run_as(None);
        if !unit.responses.is_empty()
            && let Err(error) = idempotency::store(&mut transaction, &unit.responses).await
        {
            transaction.rollback().await;
            return Commit::refused(error);
        }
        self.failpoints.pass(Point::BeforeCommit).await;
        let mut span = unit.span(xid.as_deref());
        let scope = Scope::current().within(&span);
        let pending = self.pending.begin();
        unit.committing();
        match scope.clone().run(transaction.commit()).await {
            CommitOutcome::Committed => self.committed((pending, changes), &unit, (scope, &mut span)).await,
            CommitOutcome::RolledBack(error) => {
                span.fail(error.kind());
                unit.rolled_back();
                pending.end();
                Commit::refused(error)
            }
            CommitOutcome::Unknown(error) => {
                span.fail("in_doubt");
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
        self.failpoints.pass(Point::BeforeBegin).await;
        let mut span = unit.span(None);
        let scope = Scope::current().within(&span);
        let pending = self.pending.begin();
        unit.committing();
        let cause = match tokio::time::timeout_at(limit, scope.clone().run(run)).await {
            Ok(Ok(changes)) => {
                return Ok(self.committed((pending, changes.into()), unit, (scope, &mut span)).await);
            }
            Ok(Err(error)) => error,
            Err(_elapsed) => DbError::timed_out(),
        };
        span.fail(cause.kind());
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

    /// Publishes the changes of a commit, in the scope of its span: it is the cause of what follows,
    /// which names it by the number that the span gets.
    async fn committed(
        &self,
        (pending, changes): (Pending, Arc<[Change]>),
        unit: &Unit<'_>,
        (scope, span): (Scope, &mut Span),
    ) -> Commit {
        let began = Instant::now();
        self.failpoints.pass(Point::BeforeApplying).await;
        if let Some(part) = unit.part {
            self.failpoints.reach(part);
        }
        if let Some(number) = scope.run_sync(|| self.log.append(changes, &unit.by)) {
            span.set("convoy.commit.number", number as i64);
        }
        pending.end();
        self.metrics.feed_lag(Stage::Applied, began.elapsed());
        Commit::Committed
    }
}
