//! A transaction that owns its connection.
//!
//! The lease is busy from BEGIN until COMMIT or ROLLBACK is answered. So a transaction
//! dropped at any time closes its connection, and Postgres rolls it back.

use std::sync::Arc;
use std::time::Duration;

use super::{DbError, Lease, Pool, RawReads, RawRows, ReadsLookup, Row, within};
use crate::failpoints::{Failpoint, Failpoints, Point};
use crate::op::{Raw, RunAs};
use crate::sql::{self, Statement};

/// Time limit of BEGIN, COMMIT and ROLLBACK. A call would wait without end for a connection
/// whose other end vanished.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The isolation of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Serializable, for mutations.
    Serializable,
    /// One snapshot without writes, for queries of several statements.
    Snapshot,
}

impl Isolation {
    /// The statement that begins the transaction.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Isolation::Serializable => "begin isolation level serializable",
            Isolation::Snapshot => "begin isolation level repeatable read, read only",
        }
    }

    /// The same, weaker with [`Failpoint::ReadCommitted`].
    pub(super) fn begin_with(self, failpoints: &Failpoints) -> &'static str {
        match self {
            Isolation::Serializable if failpoints.has(Failpoint::ReadCommitted) => {
                "begin isolation level read committed"
            }
            isolation => isolation.begin(),
        }
    }

    /// The statement that ends a transaction of one statement. A read-only one is rolled back,
    /// so that the functions it has called leave no state in the session.
    pub(super) fn end(self) -> &'static str {
        match self {
            Isolation::Serializable => "commit",
            Isolation::Snapshot => "rollback",
        }
    }
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin<'a> {
    /// Its isolation, which the sessions of its pool must have.
    pub isolation: Isolation,
    /// The role of its first statement; `None` is that of the connection.
    pub run_as: Option<&'a Arc<RunAs>>,
    /// The time limit of its statements; `None` is that of the connection.
    pub statement_timeout: Option<Duration>,
}

impl Begin<'_> {
    /// With the role and the time limit of the connection.
    pub(super) fn plain(isolation: Isolation) -> Begin<'static> {
        Begin { isolation, run_as: None, statement_timeout: None }
    }

    /// Whether it takes nothing but the statement that begins a transaction.
    pub(super) fn sets_nothing(&self) -> bool {
        self.run_as.is_none() && self.statement_timeout.is_none()
    }
}

/// An open transaction.
pub(crate) struct Transaction {
    lease: Lease,
    isolation: Isolation,
    statement_timeout: Option<Duration>,
    /// How long the answer to a statement is waited for.
    answer_timeout: Duration,
    /// Whether its connection is lost, which rolls back.
    is_lost: bool,
    /// Whether it belongs to a serial queue. The sessions of those have a short `lock_timeout`,
    /// and a call that exceeds it runs again outside of the queue.
    is_queued: bool,
    /// The role of its next statement; `None` is that of the connection.
    run_as: Option<Arc<RunAs>>,
    /// Whether the session may be under another role than `run_as`.
    role_is_stale: bool,
    /// Whether it has had a role, which user statements may have changed since.
    had_role: bool,
}

/// The result of a commit.
#[derive(Debug)]
pub(crate) enum CommitOutcome {
    /// It is durable.
    Committed,
    /// Postgres rejected it; it has no effect.
    RolledBack(DbError),
    /// The answer was lost: it may have been committed.
    Unknown(DbError),
}

impl Transaction {
    /// Begins a transaction on a connection of the pool, whose sessions must have this
    /// isolation. A stale idle connection is replaced, because no statement has run yet.
    pub(crate) async fn begin(pool: &Pool, isolation: Isolation) -> Result<Transaction, DbError> {
        Transaction::begin_with(pool, Begin::plain(isolation)).await
    }

    /// The same, with a role and a time limit of its own.
    pub(crate) async fn begin_with(pool: &Pool, begin: Begin<'_>) -> Result<Transaction, DbError> {
        loop {
            let mut lease = pool.acquire().await?;
            pool.failpoints().pass(Point::BeforeBegin).await;
            match within(EXCHANGE_TIMEOUT, lease.enter().begin(begin)).await {
                Ok(()) => {
                    return Ok(Transaction {
                        lease,
                        isolation: begin.isolation,
                        statement_timeout: begin.statement_timeout,
                        answer_timeout: pool.answer_timeout(begin.statement_timeout),
                        is_lost: false,
                        is_queued: false,
                        run_as: begin.run_as.cloned(),
                        role_is_stale: false,
                        had_role: begin.run_as.is_some(),
                    });
                }
                Err(error) if error.connection_lost() && !lease.is_fresh() => pool.close_idle(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Has the next statements run under a role; `None` is that of the connection.
    pub(crate) fn run_as(&mut self, run_as: Option<&Arc<RunAs>>) {
        if self.run_as.as_ref() != run_as {
            self.run_as = run_as.cloned();
            self.role_is_stale = true;
            self.had_role = true;
        }
    }

    /// Puts the session under the role of the next statement.
    async fn enter_role(&mut self) -> Result<(), DbError> {
        if self.role_is_stale {
            self.execute(sql::session::run_as(self.run_as.as_deref())).await?;
            self.role_is_stale = false;
        }
        Ok(())
    }

    /// Runs one statement in the transaction.
    pub(crate) async fn run(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        self.enter_role().await?;
        let result = within(self.answer_timeout, self.lease.enter().fetch(statement)).await;
        self.note_loss(&result);
        self.check(result)
    }

    /// Runs a user statement in the transaction. The triggers log what it writes, like the
    /// writes of other programs.
    pub(crate) async fn raw(&mut self, raw: &Raw, lookup: ReadsLookup) -> Result<RawRows, DbError> {
        self.enter_role().await?;
        let logged = self.isolation == Isolation::Serializable;
        let result = match raw.read_only {
            true => self.raw_read_only(raw).await,
            false => self.lease.raw_within(raw, lookup, logged).await,
        };
        // It may have set another role.
        self.role_is_stale = self.had_role;
        self.check(result)
    }

    /// Discards stale plans after an error, and converts the error for a serial queue.
    fn check<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
        self.lease.discard_stale_plans(&result);
        if self.is_queued { result.map_err(DbError::lock_timeout_as_conflict) } else { result }
    }

    /// A transaction that was made read-only can only be reset by a rollback to a savepoint.
    async fn raw_read_only(&mut self, raw: &Raw) -> Result<RawRows, DbError> {
        let session = self.lease.enter();
        session.execute_text("savepoint convoy_read_only; set local transaction_read_only = on").await?;
        let rows = session.raw(raw, false).await;
        // Also after an error, which then affects only this statement.
        if rows.as_ref().err().is_none_or(|error| !error.connection_lost()) {
            session.execute_text("rollback to savepoint convoy_read_only").await?;
        }
        Ok(RawRows { rows: rows?, reads: RawReads::Everything })
    }

    /// The isolation of the transaction.
    pub(crate) fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The time limit of its statements, if it is not that of the connection.
    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        self.statement_timeout
    }

    /// Sets a savepoint.
    pub(crate) async fn savepoint(&mut self, name: u32) -> Result<(), DbError> {
        self.execute(sql::savepoint(name)).await
    }

    /// Rolls back to a savepoint, which stays. The role becomes that at the savepoint.
    pub(crate) async fn rollback_to(&mut self, name: u32) -> Result<(), DbError> {
        self.role_is_stale = self.had_role;
        self.execute(sql::rollback_to(name)).await
    }

    /// Takes the lock of a serial queue. Must be the first statement: a snapshot taken before
    /// the lock would miss the writes of its previous holder.
    pub(crate) async fn lock_queue(&mut self, queue: u32) -> Result<(), DbError> {
        self.is_queued = true;
        self.execute(sql::queue_lock::lock(queue)).await
    }

    /// Runs a statement without binds, whose rows are not needed.
    async fn execute(&mut self, statement: Statement) -> Result<(), DbError> {
        let result = within(self.answer_timeout, self.lease.enter().execute(statement)).await;
        self.note_loss(&result);
        result
    }

    fn note_loss<T>(&mut self, result: &Result<T, DbError>) {
        self.is_lost |= result.as_ref().is_err_and(DbError::connection_lost);
    }

    /// Commits. A database error proves a rollback, except one that terminates the session;
    /// a lost connection proves neither.
    pub(crate) async fn commit(mut self) -> CommitOutcome {
        match within(EXCHANGE_TIMEOUT, self.lease.enter().end("commit")).await {
            Ok(()) => {
                self.lease.leave();
                CommitOutcome::Committed
            }
            Err(error) if error.connection_lost() && error.may_have_taken_effect() => CommitOutcome::Unknown(error),
            Err(error) => {
                self.lease.leave();
                CommitOutcome::RolledBack(error)
            }
        }
    }

    /// Rolls back. A connection that is lost is closed, because one that has fallen silent would
    /// not answer.
    pub(crate) async fn rollback(mut self) {
        if self.is_lost {
            return;
        }
        match within(EXCHANGE_TIMEOUT, self.lease.enter().end("rollback")).await {
            Ok(()) => self.lease.leave(),
            // The lease stays busy, so its connection closes, which rolls back too.
            Err(error) => tracing::debug!(cause = %error, "a rollback was not answered"),
        }
    }
}
