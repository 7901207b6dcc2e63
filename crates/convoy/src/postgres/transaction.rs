//! A transaction that owns its connection.
//!
//! The lease is marked busy from BEGIN until COMMIT or ROLLBACK is answered, so
//! a transaction dropped at any moment closes its connection, and Postgres rolls
//! it back.

use std::time::Duration;

use super::{DbError, Lease, Look, Pool, RawReads, RawRows, Row};
use crate::op::Raw;
use crate::sql::{self, Statement};

/// How long BEGIN, COMMIT and ROLLBACK may go unanswered. A connection whose
/// other end vanished without a word would keep its call for ever.
const PATIENCE: Duration = Duration::from_secs(10);

async fn answered(exchange: impl Future<Output = Result<(), DbError>>) -> Result<(), DbError> {
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_elapsed| Err(DbError::timed_out()))
}

/// What a transaction sees of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// A mutation's: as if it ran alone.
    Serializable,
    /// A query's of several statements: one snapshot, no writes.
    Snapshot,
}

impl Isolation {
    /// The words it begins with.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Isolation::Serializable => "begin isolation level serializable",
            Isolation::Snapshot => "begin isolation level repeatable read, read only",
        }
    }

    /// How a transaction of one statement ends. What only reads is undone, so that
    /// nothing of it stays in the session, whatever functions it has called.
    pub(super) fn end(self) -> &'static str {
        match self {
            Isolation::Serializable => "commit",
            Isolation::Snapshot => "rollback",
        }
    }
}

/// An open transaction.
pub(crate) struct Transaction {
    lease: Lease,
    isolation: Isolation,
    /// It is a serial queue's, whose sessions wait for no lock for long, and which runs again
    /// elsewhere what cannot have one.
    is_queued: bool,
}

/// What became of a transaction that was asked to commit.
#[derive(Debug)]
pub(crate) enum CommitOutcome {
    /// It is durable.
    Committed,
    /// Postgres said no; nothing of it is visible.
    RolledBack(DbError),
    /// The answer was lost: it may have happened.
    Unknown(DbError),
}

impl Transaction {
    /// Begins on a connection of the pool whose sessions are made for it. A stale idle connection is replaced:
    /// nothing has happened yet.
    pub(crate) async fn begin(pool: &Pool, isolation: Isolation) -> Result<Transaction, DbError> {
        loop {
            let mut lease = pool.acquire().await?;
            match answered(lease.enter().begin(isolation)).await {
                Ok(()) => return Ok(Transaction { lease, isolation, is_queued: false }),
                Err(error) if error.connection_lost() && !lease.is_fresh() => pool.forget_idle(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs one statement inside.
    pub(crate) async fn run(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        let result = self.lease.enter().fetch(statement).await;
        self.noted(result)
    }

    /// Runs a statement of the user's own inside. What it writes is logged by the
    /// triggers, like a stranger's.
    pub(crate) async fn raw(&mut self, raw: &Raw, look: Look) -> Result<RawRows, DbError> {
        let logged = self.isolation == Isolation::Serializable;
        let result = match raw.read_only {
            true => self.raw_read_only(raw).await,
            false => self.lease.raw_within(raw, look, logged).await,
        };
        self.noted(result)
    }

    /// What a statement's error says of the session, and what it means in a serial queue.
    fn noted<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
        self.lease.note_stale_plans(&result);
        if self.is_queued { result.map_err(DbError::of_short_lock_timeout) } else { result }
    }

    /// A transaction that was made read-only stays so, except by going back.
    async fn raw_read_only(&mut self, raw: &Raw) -> Result<RawRows, DbError> {
        let session = self.lease.enter();
        session.execute("savepoint convoy_read_only; set local transaction_read_only = on").await?;
        let rows = session.raw(raw, false).await;
        // Also after an error, which then affects this statement only.
        if rows.as_ref().err().is_none_or(|error| !error.connection_lost()) {
            session.execute("rollback to savepoint convoy_read_only").await?;
        }
        Ok(RawRows { rows: rows?, reads: RawReads::Everything })
    }

    /// What it sees of others.
    pub(crate) fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Makes a place to return to.
    pub(crate) async fn savepoint(&mut self, name: u32) -> Result<(), DbError> {
        self.tell(sql::savepoint(name)).await
    }

    /// Undoes everything since a savepoint, which stays.
    pub(crate) async fn rollback_to(&mut self, name: u32) -> Result<(), DbError> {
        self.tell(sql::rollback_to(name)).await
    }

    /// Waits for its turn among all lanes of this name. Must come first: a
    /// snapshot taken before the lock would not see what its last holder did.
    pub(crate) async fn lock_lane(&mut self, lane: u32) -> Result<(), DbError> {
        self.is_queued = true;
        self.tell(sql::lane::lock(lane)).await
    }

    /// Runs a statement without values or rows.
    async fn tell(&mut self, statement: Statement) -> Result<(), DbError> {
        self.lease.enter().tell(statement).await
    }

    /// Commits. Any database error in reply is a proven rollback, but for one that ends
    /// the session; a lost connection proves nothing.
    pub(crate) async fn commit(mut self) -> CommitOutcome {
        match answered(self.lease.enter().end("commit")).await {
            Ok(()) => {
                self.lease.leave();
                CommitOutcome::Committed
            }
            Err(error) if error.connection_lost() && error.may_be_done() => CommitOutcome::Unknown(error),
            Err(error) => {
                self.lease.leave();
                CommitOutcome::RolledBack(error)
            }
        }
    }

    /// Ends it without effect.
    pub(crate) async fn rollback(mut self) {
        match answered(self.lease.enter().end("rollback")).await {
            Ok(()) => self.lease.leave(),
            // The lease stays marked, so the connection closes, which rolls back too.
            Err(error) => tracing::debug!(cause = %error, "a rollback was not answered"),
        }
    }
}
